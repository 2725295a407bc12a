"""Text files and tables that users write, read with a one-line error for anything wrong with them."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, TextIO

from gateshift.data.regions import Region, parse_region
from gateshift.errors import ManifestError

_LONGEST_HEADER = 4096  # letters; the first line of another file may be all of it


@contextmanager
def open_text(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """A text file in UTF-8, to be read line by line, so that it is never in memory as a whole.

    Raises:
        ManifestError: If it is something else; where ``errors`` let bytes pass, if it is UTF-16, as Excel may write.
    """
    try:
        with path.open("rb") as start, io.TextIOWrapper(start, encoding="utf-8-sig", errors=errors) as file:
            if start.peek(2)[:2] in (BOM_UTF16_LE, BOM_UTF16_BE):
                raise ManifestError(f"{path}: not a text file in UTF-8; save it as one")
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


def parse_json(text: str, path: Path, advice: str) -> Any:
    """What the text of a JSON file holds.

    Raises:
        ManifestError: If it is broken; with advice on what to do.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number that is too long to be read
        raise ManifestError(f"{path}: broken JSON ({error}); {advice}") from None


def listed_path(text: str, base: Path) -> str:
    """A path of a list, without outer spaces, unless there is a file whose name has them."""
    bare = text.strip()
    return text if text != bare and bare and os.path.lexists(base / text) else bare


def printable(text: str) -> str:
    """A file name as it can be written and drawn: bytes that are not valid UTF-8 become ``\\udc..``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_number(value: object, name: str, where: str) -> float:
    """A finite number, or a text of one.

    Raises:
        ManifestError: If it is something else; ``name`` and ``where`` say what and where it is.
    """
    try:
        is_number = type(value) in (float, int, str) or (isinstance(value, Real) and not isinstance(value, bool))
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ManifestError(f"{where}: {name} {value!r}; it must be a number; correct it")
    return number


def read_table(
    path: Path, columns: Sequence[str], *, advice: str = "correct it", errors: str = "strict"
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV, each as its place and its fields by the column names of the first line.

    Fields keep their outer spaces. Columns that are not required may be missing at the end of a row, and are empty
    then.

    Args:
        path: The file.
        columns: Required columns; there may be others.
        advice: What to do if they are missing.
        errors: What becomes of bytes that are not UTF-8: an error, or "surrogateescape".

    Raises:
        ManifestError: If there is no such table, or a row lacks one of these fields or has more than there are names.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: no such file; give a CSV with the columns {','.join(columns)}")
    with open_text(path, errors=errors) as text:
        rows = csv.DictReader(text)
        try:
            rows.fieldnames = names = [name.strip() for name in rows.fieldnames or ()]
            if not set(columns) <= set(names):
                found = f"columns {', '.join(names)}" if names else "is empty, or begins with a blank line"
                raise ManifestError(
                    f"{path}: {found}; its first line must be {','.join(columns)}, and may name more; {advice}"
                )
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                extra = row.pop(None, ())
                if extra or any(row[column] is None for column in columns):
                    count = len(names) + len(extra) - list(row.values()).count(None)
                    raise ManifestError(
                        f"{where}: {count} fields for {len(names)} columns; give each column one, and put a field with "
                        "a comma in double quotes"
                    )
                yield where, {name: field or "" for name, field in row.items()}
        except csv.Error as error:
            raise ManifestError(f"{path}, line {rows.line_num}: {error}; correct the line") from None


def columns_of(path: Path) -> set[str]:
    """The columns that the first line of a file names, if it is a table."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        try:
            names = next(csv.reader([file.readline(_LONGEST_HEADER)]), [])
        except csv.Error:
            return set()
    return {name.strip() for name in names}


def box_in(row: Mapping[str, str], where: str) -> Region | None:
    """The column ``box`` of a row: a region of the picture; None where the row has none.

    Raises:
        ManifestError: If it is none.
    """
    text = row.get("box", "").strip()
    try:
        return parse_region(text) if text else None
    except ValueError as error:
        raise ManifestError(f"{where}: box {error}") from None


def read_boxes(path: Path) -> dict[str, Region]:
    """The regions of the videos of a CSV with the columns ``path`` and ``box``, by their paths as listed.

    A video may be in several rows, of its events or parts; all of them say the same region, or none. A file that is no
    such table says none.

    Raises:
        ManifestError: If a box is no region, or the rows of a video differ.
    """
    if path.suffix.lower() != ".csv" or not path.is_file():
        return {}
    found: dict[str, Region | None] = {}
    for where, row in read_table(path, ["path"], errors="surrogateescape"):
        name, box = listed_path(row["path"], path.parent), box_in(row, where)
        if found.setdefault(name, box) != box:
            raise ManifestError(f"{where}: another box of {name} than before; give all of its rows the same")
    return {name: box for name, box in found.items() if box is not None}


def read_pairs(
    file: Path, classes: Sequence[str], columns: tuple[str, str], *, with_itself: bool = False
) -> tuple[tuple[str, str], ...]:
    """Pairs of classes from a table with these two columns; ``with_itself`` allows a class paired with itself.

    Raises:
        ManifestError: If a column is missing, or a class is none of ``classes`` or in two pairs.
    """
    pairs: list[tuple[str, str]] = []
    free = set(classes)
    for where, row in read_table(file, columns, advice="correct it, or delete the file"):
        first, second = (row[column].strip() for column in columns)
        for name in (first,) if with_itself and first == second else (first, second):
            if name not in free:
                fault = "in two pairs" if name in classes else f"none of the {len(classes)} classes"
                raise ManifestError(f"{where}: {name!r} is {fault}; correct or delete the line")
            free.remove(name)
        pairs.append((first, second))
    return tuple(pairs)


def read_paths(file: Path) -> frozenset[str]:
    """The column ``path`` of a table.

    Raises:
        ManifestError: If there is no such file or column.
    """
    # File names may not be valid UTF-8, and may begin or end with a space.
    listed = [row["path"] for _, row in read_table(file, ["path"], errors="surrogateescape")]
    return frozenset(listed).union(map(str.strip, listed))
