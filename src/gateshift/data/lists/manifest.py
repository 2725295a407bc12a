"""Lists of labeled videos in their three forms, and the files that may lie beside one.

- a CSV with the columns ``path,label`` and optionally ``start,end`` in seconds and ``box``, the region of the picture
  that is used (other columns are ignored); of a multi-label list, a label is the names of all classes with semicolons
  between, or nothing;
- a ``videofolder.txt`` list of the original code: ``path frames label`` per line, labels as numbers from 0;
- a folder with one sub-folder of videos (or frame folders) for each class.

Beside it, ``classes.txt`` gives the order of the classes, one per line, ``mirror_pairs.csv`` (``class,mirrored``) the
pairs that a horizontal flip swaps, and ``reversal_pairs.csv`` (``class,reversed``) the pairs that swap when played
backwards.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateshift.data.lists.class_pairs import Pairs, find_mirror_pairs
from gateshift.data.lists.entries import Entries
from gateshift.data.lists.entries import Entry as Entry
from gateshift.data.lists.labels import (
    LABEL_SEPARATOR,
    check_separators,
    describe_numbers,
    describe_one_class,
    hint_for_number,
    label_rows,
    names_in,
    unknown_label,
)
from gateshift.data.lists.splits import folders_of
from gateshift.data.lists.tables import box_in, listed_path, open_text, read_pairs, read_table, read_text
from gateshift.data.path_hints import hint_for
from gateshift.data.regions import Region, region_text
from gateshift.data.video.folders import FolderSearch, folders_in
from gateshift.errors import ManifestError

CLASSES_FILE = "classes.txt"
MIRROR_FILE = "mirror_pairs.csv"
MIRROR_COLUMNS = ("class", "mirrored")
REVERSAL_FILE = "reversal_pairs.csv"
REVERSAL_COLUMNS = ("class", "reversed")


@dataclass(frozen=True)
class Manifest:
    """A list of labeled videos.

    Attributes:
        source: Where it was read from.
        entries: The videos, in the list's order.
        names: Names of the class numbers, for a list with numbers and no ``classes.txt``; may be empty.
        multi_label: Whether each label is a set of classes, with semicolons between.
        notes: What lies in a folder of class folders and is not used, a line each.
    """

    source: Path
    entries: Entries
    names: tuple[str, ...] = ()
    multi_label: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def class_names(self) -> list[str]:
        """The classes: those of a ``classes.txt`` beside the list, else the sorted labels.

        Raises:
            ManifestError: If ``classes.txt`` is empty, or names a class twice or by a name that cannot be listed.
        """
        file = self._beside(CLASSES_FILE)
        if file.is_file():
            names = read_names(file)
            if self.multi_label and any(LABEL_SEPARATOR in name for name in names):
                raise ManifestError(f"{file}: a name with a semicolon, which separates labels here; rename the class")
            return names
        numbers = [label for label in self.entries.labels if isinstance(label, int)]
        if numbers and self.names:
            return list(self.names)
        if numbers:
            return [str(number) for number in range(max(numbers) + 1)]
        if not self.multi_label and self.source.is_file():
            check_separators(self.entries, self.source)
        split = names_in if self.multi_label else (lambda label: [str(label)])
        labels = {name for label in self.entries.labels for name in split(label)}
        return sorted(labels, key=int if all(_is_number(label) for label in labels) else str)

    def mirror_pairs(self, classes: Sequence[str]) -> Pairs:
        """The classes that a horizontal flip swaps: those of a ``mirror_pairs.csv`` beside the list, else by name.

        Raises:
            ManifestError: If ``mirror_pairs.csv`` pairs a class that is none of ``classes``, or one twice.
        """
        file = self._beside(MIRROR_FILE)
        if not file.is_file():
            return find_mirror_pairs(classes)
        return read_pairs(file, classes, MIRROR_COLUMNS)

    def reversal_pairs(self, classes: Sequence[str]) -> Pairs:
        """The classes that swap when played backwards: those of a ``reversal_pairs.csv`` beside the list, or none.

        A class may be paired with itself, if its clips show the same backwards.

        Raises:
            ManifestError: If the file pairs a class that is none of ``classes``, or one twice.
        """
        file = self._beside(REVERSAL_FILE)
        return read_pairs(file, classes, REVERSAL_COLUMNS, with_itself=True) if file.is_file() else ()

    def without(self, names: Collection[str]) -> Manifest:
        """The list without the videos that have one of these paths or ids; its classes stay."""
        return dataclasses.replace(self, entries=self.entries.without(names))

    def with_box(self, box: Region | None) -> Manifest:
        """The list with this region for the videos that have none of their own; None for whole pictures."""
        return dataclasses.replace(self, entries=self.entries.with_box(box))

    def _beside(self, name: str) -> Path:
        return (self.source if self.source.is_dir() else self.source.parent) / name

    def label_indices(self, classes: Sequence[str]) -> list[int]:
        """The index of each entry's label in ``classes``, always by name.

        A class number means its line in a ``classes.txt`` beside the list, or else the class with that number as its
        name.

        Raises:
            ManifestError: If a label is none of them.
        """
        known = {name: index for index, name in enumerate(classes)}
        own = self.class_names() if any(isinstance(label, int) for label in self.entries.labels) else []
        index_of = []
        for label in self.entries.labels:
            name = label
            if isinstance(name, int):
                name = own[name] if name < len(own) else str(name)
            index_of.append(known.get(name, -1))
        indices = self.entries.map_labels(index_of)
        if -1 in indices:  # labels of entries that were left out stay, and do not matter
            entry = self.entries[indices.index(-1)]
            hint = "correct the list or the classes"
            if isinstance(entry.label, int):
                hint = hint_for_number(self.entries, len(classes))
            elif LABEL_SEPARATOR in entry.label:
                hint += ", or set `multi_label=True` if a video has several labels"
            elif self.source.is_dir() and folders_in(self.source / entry.label):
                hint = describe_one_class(self.source, entry.label)
            raise unknown_label(self.source, entry.label, entry.video_id, classes, hint)
        return indices

    def targets(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """The target of each entry: [N], indices in ``classes``; of a multi-label list [N, K] of 0 and 1.

        Raises:
            ManifestError: If a label is none of the classes, or, of a multi-label list, as
                :func:`gateshift.data.lists.labels.label_rows` says.
        """
        if not self.multi_label:
            return np.array(self.label_indices(classes))  # in columns, as the entries are
        return label_rows(self.entries, classes, self.source)

    def describe_numbers(self, *, train: bool) -> tuple[str, ...]:
        """Warn of odd numeric labels; see :func:`gateshift.data.lists.labels.describe_numbers`."""
        if not any(isinstance(label, int) for label in self.entries.labels):
            return ()
        return describe_numbers(self.entries, self.source, self.class_names(), train=train)

    def check_files(self) -> None:
        """Raise ManifestError if a video is not where the list says, naming the first."""
        missing = [entry.path for entry in self.entries if not entry.path.exists()]
        if missing:
            hint = hint_for(missing[0]) or "correct the list, or set `root` to the folder where its paths start"
            raise ManifestError(
                f"{self.source}: {len(missing)} of {len(self)} videos are missing, such as {missing[0]}; {hint}"
            )

    def check_unique(self) -> None:
        """Raise ManifestError if an entry is listed twice, as scores are kept by video."""
        first: dict[str, int] = {}
        for place, video_id in enumerate(self.entries.video_ids()):
            other = first.setdefault(video_id, place)
            if other != place:
                labels = list(dict.fromkeys(self.entries.label(each) for each in (other, place)))
                both = f", as {labels[0]!r} and as {labels[1]!r}" if len(labels) > 1 else ""
                raise ManifestError(f"{self.source}: {video_id} is listed twice{both}; list each video once")


def read_manifest(
    source: str | PathLike[str],
    *,
    root: str | PathLike[str] | None = None,
    names: Sequence[str] = (),
    multi_label: bool = False,
) -> Manifest:
    """Read a list of labeled videos in any of the three forms.

    Args:
        source: A ``.csv`` file, a ``.txt`` list or a folder of class folders.
        root: Folder where relative paths of the list start; the list's own by default.
        names: Names of the class numbers, for a list with numbers only.
        multi_label: Whether the labels of a CSV are sets of classes, with semicolons between.

    Returns:
        The videos with their labels, in the order of the list.

    Raises:
        ManifestError: If there is no such list, it has no videos, or a line of it cannot be used.
    """
    source = Path(source)
    if multi_label and source.exists() and not _is_csv(source):
        raise ManifestError(f"{source}: several labels per video need a CSV (path,label), as 'open;push'; give one")
    notes: tuple[str, ...] = ()
    if source.is_dir():
        entries, notes = _class_folders(source)
    elif not source.is_file():
        raise ManifestError(f"{source}: no such list; give a CSV, a videofolder.txt or a folder of class folders")
    else:
        base = source.parent if root is None else Path(root)
        read = partial(_csv_rows, may_be_none=multi_label) if _is_csv(source) else _list_lines
        entries = read(source, base)
    if not entries:
        raise ManifestError(f"{source}: lists no videos; add some")
    return Manifest(source, entries, tuple(names), multi_label, notes)


def read_videos(source: str | PathLike[str], *, root: str | PathLike[str] | None = None) -> Manifest:
    """Read a list only for its videos; its labels may have any form."""
    return read_manifest(source, root=root, multi_label=_is_csv(Path(source)))


def _is_csv(source: Path) -> bool:
    return source.suffix.lower() == ".csv" and source.is_file()


def read_names(path: Path) -> list[str]:
    """Class names, one per line.

    Raises:
        ManifestError: If the file is missing or empty, or names a class twice.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: no such file of class names; give a text file with one name per line")
    names = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if not names or len(set(names)) != len(names):
        raise ManifestError(f"{path}: {len(names)} names, {len(set(names))} different; list each class once")
    return names


def _class_folders(source: Path) -> tuple[Entries, tuple[str, ...]]:
    search = FolderSearch()
    classes = search.classes(source)
    filled = [label for label, videos in classes.items() if videos]
    lists = folders_of("train", filled), folders_of("val", filled)
    if all(lists) or (filled and len(filled) == sum(map(len, lists))):
        names = [name for each in lists for name in each]
        raise ManifestError(
            f"{source}: {' and '.join(names)} are lists, not classes; give {source / names[0]}, or make lists with "
            "gateshift prepare folder"
        )
    entries = Entries(source)
    for label, videos in classes.items():
        for video in videos:
            entries.add(video.relative_to(source).as_posix(), label)
    if not entries:
        aside = "".join(f"; {note}" for note in search.notes())
        raise ManifestError(
            f"{source}: no class folders with videos in it; expected {source.name}/CLASS/VIDEO.mp4{aside}"
        )
    return entries, search.notes()


def _csv_rows(source: Path, base: Path, *, may_be_none: bool) -> Entries:
    entries = Entries(base)
    for where, row in read_table(source, ["path", "label"], advice="correct it (start,end are for parts of videos)"):
        _add_row(entries, row, base, where, may_be_none=may_be_none)
    return entries


def _add_row(entries: Entries, row: dict[str, str], base: Path, where: str, *, may_be_none: bool) -> None:
    path, label = listed_path(row["path"], base), row["label"].strip()
    if not path or not (label or may_be_none):
        hint = "" if label or may_be_none else "; only with `multi_label=True` may a video have no label"
        raise ManifestError(f"{where}: path {path!r} and label {label!r}; give both{hint}")
    start_s, end_s = (_seconds(row.get(column), where) for column in ("start", "end"))
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise ManifestError(f"{where}: start {start_s} is not before end {end_s}; both are seconds; correct them")
    part = "" if start_s is None and end_s is None else f"#{row.get('start') or ''}-{row.get('end') or ''}"
    box = box_in(row, where)
    if box is not None:  # two persons in one video are two entries
        part = f"{part or '#'}@{region_text(box)}"
    entries.add(path, label, part=part, start_s=start_s, end_s=end_s, box=box)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _seconds(text: str | None, where: str) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ManifestError(f"{where}: time {text!r}; start and end are seconds from 0; correct it")
    return value


def _list_lines(source: Path, base: Path) -> Entries:
    entries = Entries(base)
    with open_text(source) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            # Spaces of other kinds may be in a name, and at its end.
            found = re.fullmatch(r"(.+)[ \t](\d{1,9})[ \t]+(\d{1,9})\s*", line, re.ASCII)
            if found is None or int(found[2]) < 1:
                raise ManifestError(
                    f"{source}, line {number}: {line.rstrip()!r}; a line is 'path frames label', frames from 1"
                )
            entries.add(listed_path(found[1], base), int(found[3]), num_frames=int(found[2]))
    return entries
