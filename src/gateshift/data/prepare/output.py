"""The lists that ``prepare`` writes to a folder, and what must not be in their way."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gateshift.data.lists.class_pairs import find_mirror_pairs
from gateshift.data.lists.manifest import CLASSES_FILE, MIRROR_COLUMNS, MIRROR_FILE
from gateshift.data.lists.splits import Split
from gateshift.data.prepare.listing import Item
from gateshift.errors import ManifestError
from gateshift.files import atomic_write

TRAIN_FILE, VAL_FILE, MISSING_FILE = "train.csv", "val.csv", "missing.csv"


@dataclass(frozen=True)
class UnusableVideo:
    """A listed video that cannot be used, and why."""

    id: str
    split: Split
    reason: str


@dataclass(frozen=True)
class ListedClip:
    """A video, or a part of one, as a list names it."""

    item: Item
    path: Path
    num_frames: int


def check_out(out: Path, *, overwrite: bool, begun: str | None) -> None:
    """Raise ManifestError if there is something in a folder that is to be written.

    Args:
        out: The folder; it may be missing.
        overwrite: Whether its lists may be replaced.
        begun: The folder of frames that may be there, as an earlier run has begun it; None for none.
    """
    if out.exists() and not out.is_dir():
        raise ManifestError(f"{out}: is a file; choose a folder with --out")
    if overwrite or not out.exists():
        return
    others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    if begun in others:
        others.remove(begun)
    if others:
        raise ManifestError(
            f"{out} exists and holds {others[0]}{' and more' if len(others) > 1 else ''}; "
            "choose another folder, or replace the lists in it with --overwrite"
        )


def check_sources_stay(out: Path, sources: Iterable[Path]) -> None:
    """Raise ManifestError if writing lists to a folder would replace one of the annotation files."""
    written = {(out / name).resolve() for name in (TRAIN_FILE, VAL_FILE, CLASSES_FILE, MIRROR_FILE, MISSING_FILE)}
    for source in sources:
        if source.resolve() in written:
            raise ManifestError(f"{out}: holds {source.name} of the data set itself; choose another folder with --out")


def write_lists(
    out: Path, classes: Sequence[str], clips: Sequence[ListedClip], problems: Sequence[UnusableVideo], *, timed: bool
) -> tuple[Path, ...]:
    """Write the lists of a data set; each appears when it is whole.

    Args:
        out: Folder to write; made if missing.
        classes: All class names, in the order of their numbers.
        clips: What is listed.
        problems: What is left out.
        timed: Whether clips that are parts of videos are listed with their times.

    Returns:
        The files that were written.
    """
    timed = timed and any(clip.item.start_s is not None for clip in clips)
    columns = ["path", "label", *(["start", "end"] if timed else []), "frames"]
    tables: dict[str, list[Sequence[object]]] = {TRAIN_FILE: [columns], VAL_FILE: [columns]}
    for clip in clips:
        times = [clip.item.start_s, clip.item.end_s] if timed else []
        row = [_listed_path(clip.path, out), clip.item.label, *times, clip.num_frames]
        tables[TRAIN_FILE if clip.item.split == "train" else VAL_FILE].append(row)
    texts = {name: _csv_text(rows) for name, rows in tables.items()}
    texts[CLASSES_FILE] = "".join(f"{name}\n" for name in classes)
    texts[MIRROR_FILE] = _csv_text([MIRROR_COLUMNS, *find_mirror_pairs(classes)])
    if problems:
        rows = [(problem.id, problem.split, problem.reason) for problem in problems]
        texts[MISSING_FILE] = _csv_text([("id", "split", "reason"), *rows])
    else:
        (out / MISSING_FILE).unlink(missing_ok=True)  # of an earlier run
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as all_or_none:
        for name, text in texts.items():
            partial = all_or_none.enter_context(atomic_write(out / name))
            partial.write_text(text, encoding="utf-8", newline="")
    return tuple(out / name for name in texts)


def _csv_text(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _listed_path(path: Path, out: Path) -> str:
    """Relative to the list where the video is below it, so that the folder can be moved, else absolute."""
    whole, base = Path(os.path.abspath(path)), Path(os.path.abspath(out))  # noqa: PTH100 - links stay as they are
    return (whole.relative_to(base) if whole.is_relative_to(base) else whole).as_posix()
