"""The videos of an annotated data set: where each lies, and why it cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateshift.data.lists.splits import Split
from gateshift.data.lists.tables import read_paths
from gateshift.data.prepare.annotations import Item
from gateshift.data.video.folders import VIDEO_SUFFIXES
from gateshift.errors import ManifestError


@dataclass(slots=True)
class FoundVideo:
    """An item of a data set, and what is known of its video so far.

    Attributes:
        item: Its annotations.
        path: Its file or frame folder; None if it was not found.
        frames: Numbers of its frames; empty until they are counted.
        problem: Why it cannot be used, or empty.
    """

    item: Item
    path: Path | None = None
    frames: range = range(0)
    problem: str = ""


@dataclass(frozen=True)
class UnusableVideo:
    """A listed video that is missing or broken.

    Attributes:
        id: Its name in the data set.
        split: The list that it belongs to.
        reason: What is wrong with it, in one line.
    """

    id: str
    split: Split
    reason: str


def unusable(videos: Iterable[FoundVideo]) -> tuple[UnusableVideo, ...]:
    """Those that have a problem."""
    return tuple(UnusableVideo(video.item.id, video.item.split, video.problem) for video in videos if video.problem)


def locate_videos(items: Iterable[Item], root: Path) -> list[FoundVideo]:
    """Look for the file or frame folder of each item; each folder is listed once."""
    places: dict[str, dict[str, str]] = {}
    videos = []
    for item in items:
        video = FoundVideo(item)
        for name, folder in ((name, folder) for name in item.names for folder in item.folders):
            if folder not in places:
                places[folder] = _names_in(root / folder)
            found = places[folder].get(name) or places[folder].get(_without_suffix(name))
            if found is not None:
                video.path = root / folder / found
                break
        else:
            looked = ", ".join(str(root / folder) for folder in item.folders)
            video.problem = f"not there: no {' or '.join(item.names)} in {looked}"
        videos.append(video)
    return videos


def _names_in(folder: Path) -> dict[str, str]:
    """The contents of a folder by name, and its videos also by their name without suffix, as containers vary."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208 - is faster
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {name: name for name in names}
    for name in names:
        found.setdefault(_without_suffix(name), name)
    return found


def _without_suffix(name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - is faster
    return stem if suffix.lower() in VIDEO_SUFFIXES else name


def excluded_paths(exclude: Path) -> frozenset[str]:
    """What a table names in its column ``path``, as absolute paths or from here: all of them absolute.

    Raises:
        ManifestError: If there is no such table.
    """
    return frozenset(os.path.abspath(name) for name in read_paths(exclude))  # noqa: PTH100 - links stay as they are


def exclude_videos(videos: Sequence[FoundVideo], exclude: Path) -> list[FoundVideo]:
    """The videos without those that a table names.

    Raises:
        ManifestError: If there is no such table, or it names videos of which none is in the data set.
    """
    names = excluded_paths(exclude)
    kept = [video for video in videos if video.path is None or os.path.abspath(video.path) not in names]  # noqa: PTH100
    if names and len(kept) == len(videos):
        raise ManifestError(
            f"`exclude` {exclude}: none of its {len(names)} paths is a video of the data set; give absolute paths"
        )
    return kept
