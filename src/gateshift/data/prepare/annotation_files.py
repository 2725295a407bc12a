"""Finding one annotation file and reading it, with one clear line for whatever is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateshift.data.lists.tables import read_table, read_text
from gateshift.errors import ManifestError


def find_file(folder: Path, names: Sequence[str], *, pattern: str | None = None) -> Path:
    """Find the one file in a folder that has one of the names, or else the one that fits a pattern.

    Raises:
        ManifestError: If there is none, or more than one.
    """
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found and pattern is not None:
        found = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
    if not found:
        wanted = " or ".join([*names, *([pattern] if pattern else [])])
        raise ManifestError(
            f"{folder}: no annotation file {wanted} is there; put it there, or say with --annotations where it lies"
        )
    if len(found) > 1:
        raise ManifestError(
            f"{folder}: {' and '.join(path.name for path in found)} are both there, and one is needed; "
            "keep one of them there"
        )
    return found[0]


def read_lines(path: Path) -> list[tuple[str, str]]:
    """The lines that are not blank, each as where it is and its text without spaces around it.

    Raises:
        ManifestError: If there is none, or the file is no text.
    """
    lines = read_text(path).split("\n")  # not splitlines: a name may hold rarer characters that it splits at
    stripped = [(f"{path}, line {number}", line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not stripped:
        raise _empty(path)
    return stripped


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV with a header, each as where it is and its fields without spaces around them.

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
    """What a JSON file holds: an object or a list, as ``kind`` says.

    Raises:
        ManifestError: If it is broken, holds something else or holds nothing.
    """
    text = read_text(path)
    if not text.strip():
        raise _empty(path)
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ManifestError(f"{path}: broken JSON ({error}); download it again, whole") from None
    if not isinstance(value, kind):
        wanted = "an object {...}" if kind is dict else "a list [...]"
        raise ManifestError(f"{path}: holds a JSON {type(value).__name__}, not {wanted}; give the data set's own file")
    if not value:
        raise _empty(path)
    return value


def read_records(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The objects of a JSON list, each as where it is and the wanted fields as text.

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
                    "give a labelled list, not the test list"
                )
        yield where, {field: str(record[field]).strip() for field in fields}


def _empty(path: Path) -> ManifestError:
    return ManifestError(f"{path}: is empty, and should be the data set's own file; download it again")
