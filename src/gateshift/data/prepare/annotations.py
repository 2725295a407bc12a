"""Annotation files: what they list, and reading one, with a one-line error for anything wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gateshift.data.lists.splits import Split
from gateshift.data.lists.tables import parse_json, read_table, read_text
from gateshift.errors import ManifestError


@dataclass(frozen=True, slots=True)
class Item:
    """One labeled video of a data set, or a part of one.

    Attributes:
        id: Its name in the data set, unique.
        label: Its class.
        split: The list that it belongs to.
        names: Possible names of its file or frame folder, the likeliest first.
        folders: Where below the root it may lie, the likeliest first; "" is the root itself.
        start_s: Start of the part in seconds; None for the video's start.
        end_s: End of the part in seconds, not included; None for the video's end.
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
    """The annotations of a data set.

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
        rows: Each item, with its place in a file.
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
                f"{near!r}; correct it, or use lists and classes of the same release"
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
    """Return the names; raise ManifestError if one is empty or occurs twice."""
    for name, times in Counter(names).items():
        if not name or times > 1:
            raise ManifestError(f"{path}: a class is called {name!r}, {times} times; give each class its own name")
    return tuple(names)


def find_file(folder: Path, names: Sequence[str], *, pattern: str | None = None) -> Path:
    """Find the one file in a folder that has one of the names, or else the one that fits a pattern.

    Raises:
        ManifestError: If there is none, or more than one.
    """
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found and pattern is not None:
        found = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
    if not found:
        raise missing_file(folder, [*names, *([pattern] if pattern else [])])
    if len(found) > 1:
        raise ManifestError(
            f"{folder}: {' and '.join(path.name for path in found)} are both there, and one is needed; "
            "keep one of them there"
        )
    return found[0]


def missing_file(folder: Path, names: Sequence[str]) -> ManifestError:
    """The error for a folder that has none of the files."""
    return ManifestError(
        f"{folder}: no annotation file {' or '.join(names)} is there; put it there, or set `annotations` to its folder"
    )


def read_lines(path: Path) -> list[tuple[str, str]]:
    """The lines that are not blank, each as its place and its text without outer spaces.

    Raises:
        ManifestError: If there is none, or the file is not text.
    """
    lines = read_text(path).split("\n")  # not splitlines: a name may hold rarer characters that it splits at
    stripped = [(f"{path}, line {number}", line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not stripped:
        raise _empty(path)
    return stripped


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV with a header, each as its place and its fields without outer spaces.

    Raises:
        ManifestError: If it is no table with these columns, or has no row.
    """
    empty = True
    for where, row in read_table(path, columns, advice="give the data set's own file"):
        empty = False
        yield where, {name: field.strip() for name, field in row.items()}
    if empty:
        raise _empty(path)


def read_json(path: Path, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """The object or list, as ``kind`` says, that a JSON file holds.

    Raises:
        ManifestError: If it is broken, holds something else or holds nothing.
    """
    text = read_text(path)
    if not text.strip():
        raise _empty(path)
    value = parse_json(text, path, "download it again, whole")
    if not isinstance(value, kind):
        wanted = "an object {...}" if kind is dict else "a list [...]"
        raise ManifestError(f"{path}: holds a JSON {type(value).__name__}, not {wanted}; give the data set's own file")
    if not value:
        raise _empty(path)
    return value


def read_records(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The objects of a JSON list, each as its place and the wanted fields as text.

    Raises:
        ManifestError: If the file is no such list, or an object lacks one of the fields.
    """
    for number, record in enumerate(read_json(path, list), start=1):
        where = f"{path}, entry {number}"
        if not isinstance(record, dict):
            raise ManifestError(f"{where}: {record!r} is not an object with {', '.join(fields)}; correct it")
        for field in fields:
            if not isinstance(record.get(field), (str, int)):
                raise ManifestError(
                    f"{where}: {record} has no text or number {field!r}; each entry needs {', '.join(fields)}; "
                    "give a labeled list, not the test list"
                )
        yield where, {field: str(record[field]).strip() for field in fields}


def _empty(path: Path) -> ManifestError:
    return ManifestError(f"{path}: is empty, and should be the data set's own file; download it again")
