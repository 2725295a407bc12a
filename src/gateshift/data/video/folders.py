"""Which videos lie in a folder, by class or not, and what else lies there and is not used."""

from __future__ import annotations

import os
import re
import string
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from pathlib import Path

from gateshift.data.choices import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from gateshift.data.video.images import IMAGE_FORMATS, IMAGE_SUFFIXES
from gateshift.data.video.index import PacketSource
from gateshift.data.video.protocol import natural_order
from gateshift.errors import GateShiftWarning, ManifestError, VideoError

# fmt: off
# What network disks, Windows, macOS and Linux put beside the files of a user; in lower case.
_SYSTEM_FOLDERS = frozenset({
    "#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recycle", "__macosx", "lost+found",
    "system volume information",
})
# fmt: on
_THUMBNAIL_FOLDERS = frozenset({"thumbs", "thumbnails"})
_PROBED_PER_SUFFIX = 3
_FLOW_PREFIXES = ("flow_x", "flow_y")  # what dense_flow, of the original code, puts beside the frames
_NO_DIGITS = dict.fromkeys(map(ord, string.digits))


def find_videos(folder: str | PathLike[str]) -> list[Path]:
    """Find all videos in a folder and below it, as :meth:`FolderSearch.videos` does."""
    return FolderSearch().videos(folder)


class FolderSearch:
    """A search for videos, in one folder or several, that keeps in mind what it did not take for one."""

    def __init__(self) -> None:
        self._covers = _Tally()
        self._below_images = _Tally()
        self._passed = _Tally()
        self._unclassed = _Tally()
        self._empty = _Tally()
        self._others: dict[str, _Tally] = {}  # files by their suffix, which is of no video or image

    def videos(self, folder: str | PathLike[str]) -> list[Path]:
        """Find all videos in a folder and below it. Hidden files and folders, and those of systems, are ignored.

        A folder that directly holds images is one video, and nothing below it is searched. If there are video
        files beside the images, these are the videos, and the images are taken for their covers.

        Args:
            folder: Where to search.

        Returns:
            Video files and folders of images, sorted; ``[folder]`` if it is itself a folder of images. A folder that
            may not be read is given as a video, whose reading says why.

        Raises:
            VideoError: If ``folder`` is not a folder, or may not be read.
        """
        folder = Path(folder)
        if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where it may not look
            raise VideoError(f"{folder} is not a folder; give an existing folder to search for videos")
        return sorted(self._search(folder, folder, set()))

    def classes(self, place: Path, *, skip: Path | None = None) -> dict[str, list[Path]]:
        """Find the videos of each class folder in a place, both sorted; a class without videos has an empty list.

        Args:
            place: Holds a folder for each class.
            skip: A folder in it that is no class.

        Raises:
            ManifestError: If a class folder directly holds images, or two have one name but for outer spaces.
        """
        contents = _look_into(place)
        self._unclassed.add(place, contents.videos)
        found: dict[str, list[Path]] = {}
        for name in sorted(contents.folders):
            folder = place / name
            if self._passes(folder) or (skip is not None and folder.resolve() == skip.resolve()):
                continue
            videos = self.videos(folder)
            if videos == [folder] and name.lower() in _THUMBNAIL_FOLDERS:
                self._passed.add(place, [name])
                continue
            if videos == [folder]:
                raise ManifestError(
                    f"{folder}: holds images, as a video does; expected CLASS/VIDEO in {place}; put it in a class "
                    "folder"
                )
            label = name.strip()
            if label in found or not label:
                raise ManifestError(f"{folder}: outer spaces alone tell this class from another; rename the folder")
            if not videos:
                self._empty.add(place, [name])
            found[label] = videos
        return found

    def notes(self) -> tuple[str, ...]:
        """What was found and is not used, a line for each kind."""
        kinds = {
            "image(s) beside videos": self._covers,
            "folder(s) in folders of images, which are one video each": self._below_images,
            "folder(s) of thumbnails or of the system": self._passed,
            "video(s) beside the class folders": self._unclassed,
            "class folder(s) without a video": self._empty,
        }
        notes = [f"not used: {tally.count} {kind}{tally}" for kind, tally in kinds.items() if tally.count]
        return (*notes, *self._describe_others())

    def _search(self, place: Path, top: Path, seen: set[Path]) -> Iterator[Path]:
        if place.resolve() in seen:  # links may lead round in a circle
            return
        seen.add(place.resolve())
        try:
            contents = _look_into(place)
        except VideoError:
            if place == top:
                raise
            yield place  # reading it says what is wrong
            return
        for name in contents.others:
            suffix = Path(name).suffix.lower()
            self._others.setdefault(suffix, _Tally()).add(place, [name])
        if contents.images and not contents.videos:
            if place != top and place.name.lower() in _THUMBNAIL_FOLDERS:
                self._passed.add(place.parent, [place.name])
                return
            if contents.folders:
                self._below_images.add(place, contents.folders)
            yield place
            return
        self._covers.add(place, contents.images)
        yield from (place / name for name in contents.videos)
        for name in contents.folders:
            if not self._passes(place / name):
                yield from self._search(place / name, top, seen)

    def _passes(self, folder: Path) -> bool:
        is_of_system = folder.name.lower() in _SYSTEM_FOLDERS
        if is_of_system:
            self._passed.add(folder.parent, [folder.name])
        return is_of_system

    def _describe_others(self) -> Iterator[str]:
        """Files that hold video by what is in a few of each suffix: to open all would take long, and tell no more."""
        for suffix, tally in sorted(self._others.items()):
            if any(map(_holds_video, tally.first)):
                named = f"of suffix {suffix}" if suffix else "without a suffix"
                yield (
                    f"not used: {tally.count} file(s) {named}, which hold video{tally}; give them the suffix of their "
                    "kind, such as .mp4"
                )


@dataclass
class _Tally:
    """How many there are of something, and the first of them."""

    count: int = 0
    first: list[Path] = field(default_factory=list)

    def add(self, place: Path, names: list[str]) -> None:
        self.count += len(names)
        room = _PROBED_PER_SUFFIX - len(self.first)
        if room > 0:
            self.first += [place / name for name in sorted(names)[:room]]

    def __str__(self) -> str:
        return f", {'such as ' if self.count > 1 else ''}{self.first[0]}"


@dataclass
class _Contents:
    """The names of what directly lies in a folder and is not hidden."""

    videos: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def folders_in(folder: Path) -> list[str]:
    """The names of the folders that directly lie in a folder, sorted, without those of systems; none if it is none."""
    if not folder.is_dir():
        return []
    return sorted(name for name in _look_into(folder).folders if name.lower() not in _SYSTEM_FOLDERS)


def frames_in(folder: Path) -> list[str]:
    """The names of the images that directly lie in a folder, in their natural order: img_2 before img_10.

    Images of optical flow beside others are no frames.

    Raises:
        VideoError: If it may not be read, or holds two kinds of images with the same numbers.
    """
    images = _look_into(folder).images
    frames = [name for name in images if not name.lower().startswith(_FLOW_PREFIXES)]
    if frames and len(frames) < len(images):
        warn_of_flow()
    frames = frames or images
    _check_numbered_once(folder, frames)
    return sorted(frames, key=natural_order)


@cache  # once is enough
def warn_of_flow() -> None:
    """Warn that images of optical flow are not used."""
    warnings.warn(
        "not used: images of optical flow (flow_x_00001.jpg, flow_y_00001.jpg) in folders of frames",
        GateShiftWarning,
        stacklevel=2,
    )


def _check_numbered_once(folder: Path, names: Sequence[str]) -> None:
    """Refuse images of two kinds, as of a left and a right camera: no order of all of them is that of time."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(name.translate(_NO_DIGITS), []).append(name)
    if len(kinds) < 2:
        return
    fewer, more = sorted(kinds.values(), key=len)[-2:]
    shared = set(map(_numbers_in, fewer)) & set(map(_numbers_in, more))
    if len(shared) > 1 and len(shared) > len(more) / 2:
        raise VideoError(
            f"{folder}: holds two kinds of images with the same numbers, such as {min(more)} and {min(fewer)}, but "
            "must hold the frames of one video; put each kind in a folder of its own"
        )


def _numbers_in(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall("[0-9]+", os.path.splitext(name)[0])))  # noqa: PTH122 - is faster


def _look_into(folder: Path) -> _Contents:
    """One pass over a folder that asks for no more than names and kinds, unlike a list of paths."""
    found = _Contents()
    with _entries(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - is faster
            is_video, is_image = suffix in VIDEO_SUFFIXES, suffix in IMAGE_SUFFIXES
            if (is_video or is_image) and _is_file(entry):
                (found.videos if is_video else found.images).append(entry.name)
            elif entry.is_dir(follow_symlinks=False) or os.path.isdir(entry):  # noqa: PTH112 - raises
                found.folders.append(entry.name)
            elif os.path.isfile(entry):  # noqa: PTH113 - raises
                found.others.append(entry.name)
    return found


@contextmanager
def _entries(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            yield entries
    except PermissionError:
        raise VideoError(f"{folder}: permission denied; ask for the right to read this folder") from None


def _is_file(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_file()
    path = Path(entry.path)
    return path.is_file() or not path.exists()  # a link that leads nowhere is a video that is missing, and not none


def _holds_video(path: Path) -> bool:
    try:
        source = PacketSource(path)
    except VideoError:
        return False
    shown = source.stream
    is_image = shown.container.format.name.endswith(IMAGE_FORMATS) or shown.frames == 1
    source.close()
    return not is_image
