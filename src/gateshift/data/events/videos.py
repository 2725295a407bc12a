"""Where a video lies that a list of events names: with its suffix or without, a half of a game, or a part of a file."""

from __future__ import annotations

import re
from glob import escape
from os import PathLike
from pathlib import Path

from gateshift.data.choices import VIDEO_SUFFIXES
from gateshift.data.events.events import VideoInfo


def base_of(source: Path | None, root: str | PathLike[str] | None) -> Path:
    """Where names of videos start: in the folder that is given, else in that of their list, which may be a folder."""
    if root is not None:
        return Path(root)
    return Path() if source is None else source if source.is_dir() else source.parent


def find_named(base: Path, name: str) -> list[Path]:
    """The files and folders of frames that a name may mean, the likeliest first.

    Args:
        base: Folder where names start.
        name: As a list has it: a path, a path without its suffix, as E2E-Spot has them, or GAME/1 and GAME/2 for the
            halves of a game, whose files SoccerNet calls 1_720p.mkv, 1_224p.mkv or, of one half, 720p.mp4; these may
            lie in ``base`` too, beside the labels.
    """
    path = base / name
    if path.exists():
        return [path]
    found = [each for each in sorted(path.parent.glob(f"{escape(path.name)}.*")) if _is_video(each)]
    if found or path.name not in ("1", "2"):
        return found
    wanted = rf"{path.name}_(\d+)p" if path.name == "2" else r"(?:1_)?(\d+)p"
    lines = {
        each: int(match[1])
        for folder in dict.fromkeys((path.parent, base))
        for each in sorted(folder.glob("*p.*"))
        if _is_video(each) and (match := re.fullmatch(wanted, each.stem))
    }
    return sorted(lines, key=lambda each: -lines[each])


def find_recording(base: Path, name: str, info: VideoInfo) -> tuple[Path, range | None] | None:
    """The file or folder of frames that a name means; or the file that it is a part of, and which frames of it.

    Args:
        base: Folder where names start.
        name: As of :func:`find_named`; or RECORDING_START_END, of a video file RECORDING.
        info: What the list says of the video.
    """
    if found := find_named(base, name):
        return found[0], None
    part = recording_part(name, info)
    files = [each for each in find_named(base, part[0]) if _is_video(each) and each.is_file()] if part else []
    return (files[0], part[1]) if part and files else None


def recording_part(name: str, info: VideoInfo) -> tuple[str, range] | None:
    """The full recording and its frames that a video named RECORDING_START_END is, as of E2E-Spot's data sets.

    A name that only looks like one, as its length is another, gives None.

    >>> recording_part("final_00000100_00000160", VideoInfo(num_frames=60))
    ('final', range(100, 160))
    """
    found = re.fullmatch(r"(.+)_(\d+)_(\d+)", name, re.DOTALL)
    if found is None or info.num_frames is None:
        return None
    part = range(int(found[2]), int(found[3]))
    return (found[1], part) if len(part) == info.num_frames else None


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES
