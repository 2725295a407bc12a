"""Files and folders that appear under their names when they are whole, and names that a disk takes."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from gateshift.errors import SettingsError

MAX_NAME_BYTES = 255  # of most file systems
_MAX_PARTIAL_BYTES = 100  # leaves room also where less is allowed


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a hidden path beside ``path`` to write a file or folder to, which is moved there at the end of the block.

    If the block raises, what it wrote is deleted and ``path`` is as it was.

    >>> with atomic_write(Path("scores.csv")) as partial:  # doctest: +SKIP
    ...     figure.savefig(partial)
    """
    partial = partial_path(path)
    remove(partial)  # of a process that was killed
    try:
        yield partial
        partial.replace(path)
    finally:
        remove(partial)


def write_text(
    path: Path, text: str, *, errors: Literal["surrogateescape", "backslashreplace"] = "surrogateescape"
) -> None:
    """Write a text file in UTF-8, its line ends as they are, that appears when it is whole.

    Args:
        path: The file.
        text: What it is to hold.
        errors: What becomes of names of files that are no text: their own bytes, or ``\\udc..``.
    """
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", errors=errors, newline="")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """The text of a CSV file of these rows, with plain line ends; None is an empty field."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def check_writable(
    argument: str, path: Path, *, overwrite: bool, suffixes: Sequence[str] = (), beside: Sequence[Path] = ()
) -> None:
    """Raise SettingsError unless a file can be written, before any work is done.

    Args:
        argument: Which one names it, such as "out".
        path: The file.
        overwrite: Whether files that are there may be replaced.
        suffixes: One of which it must have, if any are given.
        beside: Other files of this folder that are written with it.
    """
    given = f"`{argument}` {path}"
    if suffixes and path.suffix not in suffixes:
        raise SettingsError(f"{given}; its name must end with {' or '.join(suffixes)}; rename it")
    if not path.parent.is_dir():
        raise SettingsError(f"{given}: no folder {path.parent}; create it")
    for file in (path, *beside):
        named = given if file == path else f"{given}: {file}"
        if file.is_dir():
            raise SettingsError(f"{named} is a folder; choose another name")
        if file.exists() and not overwrite:
            raise SettingsError(f"{named} exists; choose another name, or add `overwrite=True`")
    if not os.access(path.parent, os.W_OK):
        raise SettingsError(f"{given}: {path.parent} cannot be written to; choose another folder")


def partial_path(path: Path) -> Path:
    """Where a file lies until it is whole: hidden, in the same folder, with the same suffix, and never too long."""
    return path.with_name(f".partial-{fitting_name(path.name, _MAX_PARTIAL_BYTES)}")


def fitting_name(name: str, max_bytes: int = MAX_NAME_BYTES) -> str:
    """A name as it is if a disk takes it, else its end, after a digest of all of it.

    >>> fitting_name("a.mp4")
    'a.mp4'
    >>> fitting_name(300 * "a" + ".zip", 30)
    '644becd809001486-aaaaaaaaa.zip'
    """
    whole = os.fsencode(name)
    if len(whole) <= max_bytes:
        return name
    digest = hashlib.sha256(whole).hexdigest()[:16]
    while len(os.fsencode(name)) > max_bytes - len(digest) - 1:
        name = name[1:]
    return f"{digest}-{name}"


def remove(path: Path) -> None:
    """Delete a file or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
