"""What an annotated data set lists: its classes, and for each video its class, list and whereabouts.

This module imports nothing heavy, as the command line's settings need its names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from gateshift.data.lists.splits import Split
from gateshift.errors import ManifestError

DatasetName = Literal["something-v1", "something-v2", "jester", "diving48", "kinetics", "epic-kitchens-100", "folder"]
Edition = Literal["v1", "v2"]
Task = Literal["verb", "noun", "action"]


@dataclass(frozen=True)
class Source:
    """Where a data set lies, and which of its labels are wanted.

    Attributes:
        root: Folder of the videos.
        annotations: Folder of the annotation files; None for ``root``.
        edition: Of Diving48, where both are there.
        task: What a class of EPIC-KITCHENS is.
        val_share: Share of each class that goes to val, above 0 and below 1, where class folders are not yet split.
        group_pattern: Finds in the path of a video the group that it belongs to; groups of class folders stay whole.
            See :func:`gateshift.data.prepare.group_split.find_groups`.
        skip: Folder below ``root`` that is no class folder, as it is where the lists are written.
    """

    root: Path
    annotations: Path | None = None
    edition: Edition | None = None
    task: Task | None = None
    val_share: float = 0.2
    group_pattern: str | None = None
    skip: Path | None = None

    @property
    def folder(self) -> Path:
        """Folder of the annotation files."""
        return self.root if self.annotations is None else self.annotations


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled video, or a part of one.

    Attributes:
        id: What the data set calls it; no other item is called so.
        label: Its class.
        split: The list that it belongs to.
        names: What its file or frame folder can be called, the likeliest first.
        folders: Where below the root that can lie, the likeliest first; "" is the root itself.
        start_s: Where the part begins, in seconds; None for the video's start.
        end_s: Where it ends, not included; None for the video's end.
    """

    id: str
    label: str
    split: Split
    names: tuple[str, ...]
    folders: tuple[str, ...]
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Listing:
    """A whole data set as it is annotated.

    Attributes:
        classes: All class names, in the order of their numbers.
        items: Every video of both lists, in their order.
        files: The annotation files that were read.
        notes: What the user should know, a line each.
    """

    classes: tuple[str, ...]
    items: tuple[Item, ...]
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def collect(rows: Iterable[tuple[str, Item]], classes: Sequence[str], files: Sequence[Path]) -> Listing:
    """Check the items of a data set and put them together.

    Args:
        rows: Each item, with the place in a file that it comes from.
        classes: All class names, in the order of their numbers.
        files: The files that were read.

    Raises:
        ManifestError: If an item is of no known class, an id is listed twice or cannot name a folder.
    """
    known = set(classes)
    seen: dict[str, Split] = {}
    items = []
    for where, item in rows:
        if item.label not in known:
            near = (*get_close_matches(item.label, classes, n=1), classes[0])[0]
            raise ManifestError(
                f"{where}: class {item.label!r} of video {item.id} is none of the {len(classes)} classes, such as "
                f"{near!r}; correct it, or take lists and classes of the same release"
            )
        if item.id in seen:
            again = "twice" if seen[item.id] == item.split else "in the training list too"
            raise ManifestError(f"{where}: video {item.id} is listed {again}; list each video once")
        if not item.id or item.id.startswith(".") or set("/\\\0") & set(item.id):
            raise ManifestError(f"{where}: {item.id!r} cannot be the name of a video; correct the id")
        seen[item.id] = item.split
        items.append(item)
    return Listing(tuple(classes), tuple(items), tuple(files))


def check_classes(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The names as they are.

    Raises:
        ManifestError: If one is empty or there twice.
    """
    for name, times in Counter(names).items():
        if not name or times > 1:
            raise ManifestError(f"{path}: a class is called {name!r}, {times} times; give each class its own name")
    return tuple(names)
