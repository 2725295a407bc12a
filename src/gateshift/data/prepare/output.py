"""The lists that ``prepare`` writes to a folder, what it says of them, and what must not be in their way."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gateshift.data.lists.class_pairs import find_mirror_pairs
from gateshift.data.lists.index_folder import INDEX_FOLDER
from gateshift.data.lists.manifest import CLASSES_FILE, MIRROR_COLUMNS, MIRROR_FILE
from gateshift.data.lists.splits import Split
from gateshift.data.prepare.videos import FoundVideo, UnusableVideo, unusable
from gateshift.data.regions import Region, region_text
from gateshift.errors import ManifestError
from gateshift.files import atomic_write, csv_text

TRAIN_FILE, VAL_FILE, MISSING_FILE = "train.csv", "val.csv", "missing.csv"


@dataclass(frozen=True)
class Prepared:
    """The result of :func:`gateshift.prepare`.

    Attributes:
        train: The list of training videos.
        val: The list of validation videos.
        files: Every list that was written.
        num_videos: Videos, or parts of videos, of each list, by ``"train"`` and ``"val"``.
        classes: All class names, in the order of their numbers.
        left_out: Missing and broken videos, which no list has.
        num_written: Frame folders or packed files that were written.
        num_reused: Frame folders or packed files that an earlier run had written.
        notes: What the user should know, a line each.
    """

    train: Path
    val: Path
    files: tuple[Path, ...]
    num_videos: dict[Split, int]
    classes: tuple[str, ...]
    left_out: tuple[UnusableVideo, ...]
    num_written: int
    num_reused: int
    notes: tuple[str, ...]


def check_out(out: Path, *, overwrite: bool, begun: str | None) -> None:
    """Raise ManifestError if the output folder holds something.

    Args:
        out: The folder; it may be missing.
        overwrite: Whether its lists may be replaced.
        begun: A folder in it that may exist beside that of the indices, as a stopped run leaves it; None for none.
    """
    if out.exists() and not out.is_dir():
        raise ManifestError(f"{out}: is a file; choose a folder")
    if overwrite or not out.exists():
        return
    own = (begun, INDEX_FOLDER)
    others = sorted(path.name for path in out.iterdir() if path.name not in own and not path.name.startswith("."))
    if others:
        raise ManifestError(
            f"{out} exists and holds {others[0]}{' and more' if len(others) > 1 else ''}; "
            "choose another folder, or replace the lists in it with `overwrite=True`"
        )


def check_sources_stay(out: Path, sources: Iterable[Path]) -> None:
    """Raise ManifestError if writing lists to a folder would replace one of the annotation files."""
    written = {(out / name).resolve() for name in (TRAIN_FILE, VAL_FILE, CLASSES_FILE, MIRROR_FILE, MISSING_FILE)}
    for source in sources:
        if source.resolve() in written:
            raise ManifestError(f"{out}: holds {source.name} of the data set itself; set `out` to another folder")


def write_lists(
    out: Path, classes: Sequence[str], videos: Sequence[FoundVideo], *, timed: bool, box: Region | None = None
) -> tuple[Path, ...]:
    """Write the lists of a data set, all or none of them.

    Args:
        out: Output folder; created if missing.
        classes: All class names, in the order of their numbers.
        videos: All videos; those with a problem are written to ``missing.csv``.
        timed: Whether parts of videos are listed with their times.
        box: The column ``box`` of all of them; None for none.

    Returns:
        The files that were written; the list of training videos is first, that of validation videos second.
    """
    usable = [(video, video.path) for video in videos if not video.problem and video.path is not None]
    timed = timed and any(video.item.start_s is not None for video, _ in usable)
    columns = ["path", "label", *(["start", "end"] if timed else []), *(["box"] if box else []), "frames"]
    boxes = [region_text(box)] if box else []
    tables: dict[str, list[Sequence[object]]] = {TRAIN_FILE: [columns], VAL_FILE: [columns]}
    for video, path in usable:
        item = video.item
        times = [item.start_s, item.end_s] if timed else []
        row = [path_in_list(path, out), item.label, *times, *boxes, len(video.frames)]
        tables[TRAIN_FILE if item.split == "train" else VAL_FILE].append(row)
    texts = {name: csv_text(rows) for name, rows in tables.items()}
    texts[CLASSES_FILE] = "".join(f"{name}\n" for name in classes)
    texts |= mirror_table(classes)
    if problems := unusable(videos):
        texts |= missing_table(problems)
    return write_texts(out, texts)


def mirror_table(classes: Sequence[str]) -> dict[str, str]:
    """The name and the text of the file with the classes that a horizontal flip swaps."""
    return {MIRROR_FILE: csv_text([MIRROR_COLUMNS, *find_mirror_pairs(classes)])}


def missing_table(videos: Sequence[UnusableVideo]) -> dict[str, str]:
    """The name and the text of the file with the videos that are left out."""
    rows = [(video.id, video.split, video.reason) for video in videos]
    return {MISSING_FILE: csv_text([("id", "split", "reason"), *rows])}


def write_texts(out: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    """Write the files of a folder, all or none of them; a ``missing.csv`` of an earlier run does not stay."""
    if MISSING_FILE not in texts:
        (out / MISSING_FILE).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as all_or_none:
        for name, text in texts.items():
            partial = all_or_none.enter_context(atomic_write(out / name))
            # Names of files may be any bytes.
            partial.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    return tuple(out / name for name in texts)


def path_in_list(path: Path, out: Path) -> str:
    """Relative to the list where the video is below it, so that the folder can be moved, else absolute."""
    whole, base = Path(os.path.abspath(path)), Path(os.path.abspath(out))  # noqa: PTH100 - links stay as they are
    return (whole.relative_to(base) if whole.is_relative_to(base) else whole).as_posix()
