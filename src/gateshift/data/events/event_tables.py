"""Events and spans as tables that anybody can write: ``path,time_s,label`` and ``path,label,start,end``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from gateshift.data.events.events import Event, EventList, Span, VideoInfo, number_if_any, read_event
from gateshift.data.lists.tables import columns_of, listed_path, printable, read_table
from gateshift.errors import ManifestError
from gateshift.files import check_writable, write_text

_OWN = ("path", "frame", "time_s", "label", "score")
SPAN_COLUMNS = ("path", "label", "start", "end")
Spans = Mapping[str, Sequence[Span]]


def read_event_table(path: Path) -> EventList:
    """The events of a CSV ``path,time_s,label`` or ``path,frame,label``; it may have both, ``score`` and more."""
    events: list[Event] = []
    videos: dict[str, VideoInfo] = {}
    columns: tuple[str, ...] = ()
    advice = "an event has the column time_s or frame too"
    empty: dict[str, str] = {}
    for where, row in read_table(path, ["path", "label"], advice=advice, errors="surrogateescape"):
        columns = tuple(row)
        if not {"frame", "time_s"} & row.keys():
            raise ManifestError(f"{where}: columns {', '.join(row)}; add time_s or frame, when each event happens")
        name, label = _name_and_label(row, path, where)
        extra = {column: value for column, value in row.items() if column not in _OWN}
        if label:
            events.append(read_event(name, row, where, extra=extra))
        elif any(row.get(column, "").strip() for column in ("frame", "time_s")):
            raise ManifestError(f"{where}: an event without a label; name its class, or leave its time empty too")
        else:
            empty[name] = where
        if name not in videos or not label:
            videos[name] = VideoInfo(extra={} if label else extra)
    if both := [event.video for event in events if event.video in empty]:
        raise ManifestError(f"{empty[both[0]]}: no label, but {both[0]} has events on other lines; delete this one")
    return EventList(tuple(events), videos, "csv", {"columns": columns} if columns else {})


def _name_and_label(row: Mapping[str, str], path: Path, where: str) -> tuple[str, str]:
    """The video of a row, whose name may be any bytes, as on a disk, and its class, which is text.

    Raises:
        ManifestError: If there is no name, or the class is not UTF-8, as where a spreadsheet wrote its own encoding.
    """
    name, label = listed_path(row["path"], path.parent), row["label"].strip()
    if not name:
        raise ManifestError(f"{where}: no path; name the video")
    if label != printable(label):
        raise ManifestError(f"{where}: label {label!r} is not in UTF-8; save the file as UTF-8")
    return name, label


def event_table(listed: EventList) -> str:
    """Events as a table; videos without any come last, with an empty label."""
    events, filled = listed.events, {event.video for event in listed.events}
    given = [name for name in ("frame", "time_s", "score") if any(getattr(each, name) is not None for each in events)]
    times = [name for name in given if name != "score"] or ["time_s"]
    columns = list(listed.extra.get("columns", ())) or ["path", *times, "label"]
    more = (*given, *(name for event in events for name in event.extra))
    columns += dict.fromkeys(name for name in more if name not in columns)
    rows: list[dict[str, Any]] = [
        {
            **event.extra,
            "path": event.video,
            **{name: getattr(event, name) for name in ("frame", "time_s", "label", "score")},
        }
        for event in events
    ]
    rows += [{**info.extra, "path": name} for name, info in listed.videos.items() if name not in filled]
    return _table(columns, rows)


def is_span_table(path: Path) -> bool:
    """Whether a file is a table of spans, by the columns that its first line names."""
    return path.is_file() and {*SPAN_COLUMNS} <= columns_of(path)


def read_spans(path: str | PathLike[str]) -> dict[str, list[Span]]:
    """The spans of each video from a CSV ``path,label,start,end``, which may have a column ``score`` too.

    Args:
        path: The file. ``start`` and ``end`` are seconds; a row without a label is a video in which nothing happens.

    Returns:
        The spans of each video by its path as listed, in the order of the file.

    Raises:
        ManifestError: If it is no such table, or a row has no such times.
    """
    path, found = Path(path), dict[str, list[Span]]()
    for where, row in read_table(path, SPAN_COLUMNS, advice="correct it", errors="surrogateescape"):
        name, label = _name_and_label(row, path, where)
        spans = found.setdefault(name, [])
        if not label and (row["start"].strip() or row["end"].strip()):
            raise ManifestError(f"{where}: a span without a label; name its class, or leave its times empty too")
        if label:
            start_s, end_s = (_seconds(row[column]) for column in ("start", "end"))
            if not 0 <= start_s < end_s < math.inf:
                raise ManifestError(
                    f"{where}: start {row['start']!r} and end {row['end']!r}; they must be seconds from 0, the start "
                    "before the end; correct them"
                )
            spans.append(Span(start_s, end_s, label, number_if_any(row.get("score"), "score", where)))
    return found


def write_spans(spans: Spans, path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Write spans as a CSV ``path,label,start,end``, with a column ``score`` if any of them has one.

    Args:
        spans: Of each video by its path; a video without any has a row without a label.
        path: The .csv file.
        overwrite: Replace the file if it is there.

    Raises:
        SettingsError: If the file cannot be written there.
    """
    check_writable("path", Path(path), overwrite=overwrite, suffixes=[".csv"])
    write_text(Path(path), span_table(spans))


def span_table(spans: Spans) -> str:
    """Spans as a table; videos without any come last, with an empty label."""
    scored = any(span.score is not None for each in spans.values() for span in each)
    rows = [
        {"path": name, "label": span.label, "start": span.start_s, "end": span.end_s, "score": span.score}
        for name, each in spans.items()
        for span in each
    ]
    rows += [{"path": name} for name, each in spans.items() if not each]
    return _table([*SPAN_COLUMNS, *(["score"] if scored else [])], rows)


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
