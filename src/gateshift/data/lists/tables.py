"""Text files and tables that users write, read with one clear line for whatever is wrong with them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from gateshift.errors import ManifestError

TableRow = dict[str | None, str | None]


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8 to be read line by line: not even its text is held in whole.

    Raises:
        ManifestError: If it is something else.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: not a text file in UTF-8; save it as one") from None


def read_text(path: Path) -> str:
    """A text file in UTF-8, without its byte order mark and with plain line ends.

    Raises:
        ManifestError: If it is something else.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: not a text file in UTF-8; save it as one") from None


def listed_path(text: str, base: Path) -> str:
    """A path of a list, without outer spaces, unless there is a file whose name has them."""
    bare = text.strip()
    return text if text != bare and bare and os.path.lexists(base / text) else bare


def printable(text: str) -> str:
    """A name as it can be written and drawn: what is no text in a name of a file becomes ``\\udc..``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def parsed_rows(rows: csv.DictReader[str], source: Path) -> Iterator[TableRow]:
    """The rows of a table; a fault of its form is a ManifestError that names the line."""
    try:
        yield from rows
    except csv.Error as error:
        raise ManifestError(f"{source}, line {rows.line_num}: {error}; correct the line") from None


def read_pairs(
    file: Path, classes: Sequence[str], columns: tuple[str, str], *, with_itself: bool = False
) -> tuple[tuple[str, str], ...]:
    """Pairs of classes from a table with these two columns; ``with_itself`` allows a class paired with itself.

    Raises:
        ManifestError: If a column is missing, or a class is none of ``classes`` or in two pairs.
    """
    pairs: list[tuple[str, str]] = []
    free = set(classes)
    with open_text(file) as text:
        rows = csv.DictReader(text)
        if not set(columns) <= set(rows.fieldnames or ()):
            raise ManifestError(f"{file}: its first line must be {','.join(columns)}; correct it, or delete it")
        for row in parsed_rows(rows, file):
            first, second = ((row[column] or "").strip() for column in columns)
            for name in (first,) if with_itself and first == second else (first, second):
                if name not in free:
                    fault = "in two pairs" if name in classes else f"none of the {len(classes)} classes"
                    raise ManifestError(
                        f"{file}, line {rows.line_num}: {name!r} is {fault}; correct or delete the line"
                    )
                free.remove(name)
            pairs.append((first, second))
    return tuple(pairs)


def read_paths(file: Path) -> frozenset[str]:
    """What the column ``path`` of a table holds.

    Raises:
        ManifestError: If there is no such file or column.
    """
    if not file.is_file():
        raise ManifestError(f"{file}: no such file; give a CSV with a column path")
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as text:  # names of files may hold what is no text
        rows = csv.DictReader(text)
        if "path" not in (rows.fieldnames or ()):
            raise ManifestError(
                f"{file}: columns {', '.join(rows.fieldnames or ()) or '(none)'}; one must be path; add it"
            )
        listed = [row["path"] or "" for row in parsed_rows(rows, file)]
        return frozenset(listed).union(map(str.strip, listed))  # names of files may begin or end with a space
