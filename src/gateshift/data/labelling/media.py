"""Where the videos lie that a labelling program names, on whichever machine it ran, and when their frames are shown."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from gateshift.data.clips.recordings import Floats, frame_times
from gateshift.data.events.videos import find_named
from gateshift.data.video.files import mean_rate, open_video, with_end
from gateshift.errors import ManifestError


class Media:
    """The videos of some files of labels.

    Args:
        folder: Where they lie, at any depth; None for where the file of labels says, or beside it.
        beside: The folder of that file.
    """

    def __init__(self, folder: Path | None, beside: Path) -> None:
        self.folder, self.base = folder, beside if folder is None else folder

    def find(self, names: Sequence[str], where: str) -> Path:
        """The video that has one of these names: by its path, by the end of its path in the folder, or by its name.

        Raises:
            ManifestError: If it is not there, or several have this name.
        """
        if not names:
            raise ManifestError(f"{where}: names no video; export it again, or name the video in it")
        paths = [plain_path(name) for name in names]
        for path in paths if self.folder is None else ():
            if path and (found := self._named(path)):
                return found[0]
        tails = [[each for each in path.split("/") if each not in ("", ".", "..")] for path in paths]
        tails = [tail for tail in tails if tail]
        for tail in tails:
            if found := self._named("/".join(tail)):
                return found[0]
            if self.folder is not None and (deep := self._at_any_depth(tail, where)):
                return deep
        for tail in tails:
            for start in range(1, len(tail)):
                if found := self._named("/".join(tail[start:])):
                    return found[0]
        raise ManifestError(
            f"{where}: no video {names[0]!r} in {self.base}; put it there, or set `videos` to its folder"
        )

    def _named(self, path: str) -> list[Path]:
        try:
            return find_named(self.base, path)
        except (OSError, ValueError):  # no file system takes such a name
            return []

    def _at_any_depth(self, tail: Sequence[str], where: str) -> Path | None:
        """The file of this name, if it is in the folder; of several the one whose path ends most alike.

        Raises:
            ManifestError: If several do.
        """
        wanted = [_composed(part) for part in reversed(tail)]
        alike: dict[int, list[Path]] = {}
        for path in self._by_name.get(wanted[0], []):
            own = [_composed(part) for part in reversed(path.relative_to(self.base).parts)]
            same = [*takewhile(lambda parts: parts[0] == parts[1], zip(wanted, own, strict=False))]
            alike.setdefault(len(same), []).append(path)
        best = alike[max(alike)] if alike else []
        if len(best) > 1:
            raise ManifestError(
                f"{where}: {len(best)} videos are called {tail[-1]}, such as {best[0]} and {best[1]}; set `videos` to "
                "the folder of the right one"
            )
        return best[0] if best else None

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for folder, _, files in os.walk(self.base):
            for name in sorted(files):
                found.setdefault(_composed(name), []).append(Path(folder) / name)
        return found


def _composed(name: str) -> str:
    """A name in one of the two forms that Unicode has of letters with accents: macOS writes the other."""
    return unicodedata.normalize("NFC", name)


def plain_path(name: str) -> str:
    """A path with forward slashes, of one that may be a Windows path, or the address of a file.

    >>> plain_path("C:\\\\data\\\\fox 1.mp4"), plain_path("C:/data\\\\fox.mp4"), plain_path("file:///C:/data/fox%201.mp4")
    ('/data/fox 1.mp4', '/data/fox.mp4', '/data/fox 1.mp4')
    >>> plain_path("/data/local-files/?d=day/fox.mp4"), plain_path("file:///home/me/take #1/fox.mp4")
    ('day/fox.mp4', '/home/me/take #1/fox.mp4')
    """
    if name.startswith("file:"):  # programs write # and ? in it as they are
        name = unquote(re.sub("^file:(//[^/]*)?", "", name))
    elif re.match(r"\w{2,}://", name) or name.startswith("/data/local-files/"):
        address = urlsplit(name)
        name = parse_qs(address.query).get("d", [unquote(address.path)])[0]
    if "/" not in name or re.match(r"[A-Za-z]:", name):  # of Windows, where some programs write both
        name = name.replace("\\", "/")
    return re.sub(r"^(/?)[A-Za-z]:(?=/)", "", name)


def clock_of(path: Path, name: str, fps: float | None) -> Floats:
    """When each frame of a video is shown, and when the last one ends, in seconds: [n + 1].

    Raises:
        VideoError: If it cannot be read, or images have no rate.
    """
    with open_video(path) as video:
        return with_end(frame_times(video, name, fps))


def rate_of(clock_s: Floats) -> float:
    """Frames a second, on average; of one frame 1."""
    return mean_rate(clock_s) or 1.0


def nearest(clock_s: Floats, time_s: float) -> int:
    """Which of these times is nearest."""
    return int(np.abs(clock_s - time_s).argmin())


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a video's frames, in pixels."""
    with open_video(path) as video:
        height, width = video.read([0]).shape[-2:]
    return width, height
