"""Where the videos of an annotated data set lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateshift.data.lists.tables import read_paths
from gateshift.data.prepare.listing import Item
from gateshift.data.video.files import VIDEO_SUFFIXES
from gateshift.errors import ManifestError


@dataclass(slots=True)
class FoundClip:
    """An item of a data set, and what is known of its video so far.

    Attributes:
        item: What its annotations say.
        path: Its file or frame folder; None if it was not found.
        frames: Those of it, by number; empty before they were counted.
        problem: Why it cannot be used, or empty.
    """

    item: Item
    path: Path | None = None
    frames: range = range(0)
    problem: str = ""


def find_clips(items: Iterable[Item], root: Path) -> list[FoundClip]:
    """Look for each item's file or frame folder; each folder is listed once."""
    places: dict[str, dict[str, str]] = {}
    clips = []
    for item in items:
        clip = FoundClip(item)
        for name, folder in ((name, folder) for name in item.names for folder in item.folders):
            if folder not in places:
                places[folder] = _names_in(root / folder)
            found = places[folder].get(name) or places[folder].get(_without_suffix(name))
            if found is not None:
                clip.path = root / folder / found
                break
        else:
            looked = ", ".join(str(root / folder) for folder in item.folders)
            clip.problem = f"not there: no {' or '.join(item.names)} in {looked}"
        clips.append(clip)
    return clips


def _names_in(folder: Path) -> dict[str, str]:
    """What lies in a folder, by its name and, for a video in whatever container, by its name without suffix."""
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


def clips_without(clips: Sequence[FoundClip], exclude: Path) -> list[FoundClip]:
    """The clips less those whose whole video a table names in its column ``path``, absolute or from here.

    Raises:
        ManifestError: If there is no such table, or it names videos and none of them is among the clips.
    """
    names = {_absolute(name) for name in read_paths(exclude)}
    kept = [clip for clip in clips if clip.path is None or _absolute(clip.path) not in names]
    if names and len(kept) == len(clips):
        raise ManifestError(
            f"--exclude {exclude}: none of its {len(names)} paths is a video of the data set; give absolute paths"
        )
    return kept


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links stay as they are
