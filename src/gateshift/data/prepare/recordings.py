"""Lists of labelled recordings: spans or events that a labelling program has, split by recordings."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gateshift.data.events.event_tables import event_table, span_table
from gateshift.data.events.events import Event, EventList, Span, VideoInfo
from gateshift.data.labelling.labels import Labels, read_labels
from gateshift.data.labelling.programs import Program
from gateshift.data.lists.manifest import CLASSES_FILE
from gateshift.data.prepare.annotations import check_classes
from gateshift.data.prepare.group_split import split_groups
from gateshift.data.prepare.output import (
    TRAIN_FILE,
    VAL_FILE,
    Prepared,
    mirror_table,
    missing_table,
    path_in_list,
    write_texts,
)
from gateshift.data.prepare.settings import PrepareSettings
from gateshift.data.prepare.videos import UnusableVideo
from gateshift.errors import ManifestError, SettingsError
from gateshift.files import csv_text

Marks = dict[str, Sequence[Span] | Sequence[Event]]


def list_recordings(settings: PrepareSettings, program: Program) -> Prepared:
    """Read a labelling program's files, split their recordings, and write the lists.

    Raises:
        ManifestError: If a file is faulty, or there are too few recordings to split.
        SettingsError: If both spans and events are there, and ``kind`` does not say which are meant.
    """
    names = ("videos", "only", "fps", "allow_missing")
    labels = read_labels(settings.root, program, **{name: getattr(settings, name) for name in names})
    found = _of_kind(labels, settings)
    classes = check_classes(settings.root[0], sorted({mark.label for own in found.values() for mark in own}))
    in_val, notes = _split(found, settings)
    listed = {name: path_in_list(Path(name), settings.out) for name in found}
    texts = {
        file: _text(
            {listed[name]: own for name, own in found.items() if (name in in_val) == (file == VAL_FILE)}, settings.box
        )
        for file in (TRAIN_FILE, VAL_FILE)
    }
    texts[CLASSES_FILE] = "".join(f"{name}\n" for name in classes)
    texts |= mirror_table(classes)
    left_out = tuple(UnusableVideo(name, "train", reason) for name, reason in labels.missing.items())
    if left_out:
        texts |= missing_table(left_out)
    train, val, *others = write_texts(settings.out, texts)
    return Prepared(
        train=train,
        val=val,
        files=(train, val, *others),
        num_videos={"train": len(found) - len(in_val), "val": len(in_val)},
        classes=tuple(classes),
        left_out=left_out,
        num_written=0,
        num_reused=0,
        notes=(*labels.notes, *notes),
    )


def _of_kind(labels: Labels, settings: PrepareSettings) -> Marks:
    """The spans, or the events, of each video."""
    counts = {"spans": sum(map(len, labels.spans.values())), "events": len(labels.events)}
    there = [kind for kind, count in counts.items() if count]
    if settings.kind is None and len(there) > 1:
        raise SettingsError(
            f"{counts['spans']} spans and {counts['events']} events are labelled; choose `kind=spans` or "
            "`kind=events`; give each a folder of its own"
        )
    kind = settings.kind or (there[0] if there else "spans")
    if not counts[kind]:
        other = f"; there are {there[0]}: leave `kind` out" if there else "; label some"
        raise ManifestError(f"{settings.root[0]}: no {kind} are labelled in {len(labels.spans)} videos{other}")
    return dict(labels.spans) if kind == "spans" else dict(labels.events.by_video())


def _split(found: Marks, settings: PrepareSettings) -> tuple[set[str], list[str]]:
    """The recordings for val, and what to know of them. One in which nothing happens is of a class of its own."""
    pairs = [(label, name) for name, own in found.items() for label in [mark.label for mark in own] or [""]]
    labels, names = [label for label, _ in pairs], [name for _, name in pairs]
    chosen = split_groups(labels, names, val_share=settings.val_share)
    in_val = {name for name, is_val in zip(names, chosen, strict=True) if is_val}
    if not any(found[name] for name in in_val):
        raise ManifestError(
            f"{settings.root[0]}: no class is in 2 of the {len(found)} videos, one for train and one for val; label "
            "more videos"
        )
    absent = sorted(set(labels) - {label for label, name in pairs if name in in_val} - {""})
    return in_val, [f"class {label!r} is in train alone, as recordings stay whole" for label in absent]


def _text(found: Marks, box: str | None) -> str:
    """A table of spans or events; a recording in which nothing happens has a row too. A box is a column of all rows."""
    events = [replace(mark, video=name) for name, own in found.items() for mark in own if isinstance(mark, Event)]
    spans = {name: [mark for mark in own if isinstance(mark, Span)] for name, own in found.items()}
    table = (
        event_table(EventList(tuple(events), {name: VideoInfo() for name in found})) if events else span_table(spans)
    )
    if box is None:
        return table
    header, *rows = csv.reader(io.StringIO(table, newline=""))
    return csv_text([[*header, "box"], *([*row, box] for row in rows)])
