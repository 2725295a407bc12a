"""Annotations of Create ML's action classifiers: JSON or CSV with video, label, start and end; no moments."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateshift.data.labelling.sheets import Answers, Mark, Sheet, read_json
from gateshift.data.lists.tables import read_number, read_table
from gateshift.errors import ManifestError

_VIDEO_NAMES = ("video", "videoPath")


def read_create_ml(path: Path) -> Sheet:
    """The labels of all videos; without a start from the beginning, without an end to the end."""
    sheet = Sheet()
    for where, row in _rows(path):
        name = next((str(row[each]) for each in _VIDEO_NAMES if row.get(each)), "")
        if not name or not isinstance(row.get("label"), str):
            raise ManifestError(f"{where}: {str(row)[:80]}; it needs video and label; correct it")
        sheet.videos.setdefault(name, (name,))
        start, end = (row.get(each) for each in ("start", "end"))
        stop = math.inf if end in (None, "") else _seconds(end, where)
        sheet.marks.append(
            Mark(name, row["label"].strip(), 0.0 if start in (None, "") else _seconds(start, where), stop, where)
        )
    return sheet


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.suffix.lower() == ".csv":
        yield from read_table(path, ["video", "label"])
        return
    for place, row in enumerate(read_json(path, list, "Create ML's annotations, a list of objects"), start=1):
        if not isinstance(row, dict):
            raise ManifestError(f"{path}, entry {place}: {row!r}; it needs video, label, start and end; correct it")
        yield f"{path}, entry {place}", row


def _seconds(value: Any, where: str) -> float:
    """Seconds, or a text of minutes and seconds, or of hours, minutes and seconds.

    >>> _seconds(3.5, ""), _seconds("01:03.14", ""), _seconds("05:01:03", "")
    (3.5, 63.14, 18063.0)
    """
    total = 0.0
    for each in str(value).split(":"):
        total = 60 * total + read_number(each, "time", where)
    return total


def create_ml_text(answers: Answers) -> str:
    """Annotations for a folder that has the videos, as JSON."""
    rows = [
        {"video": answers.paths[name].name, "label": mark.label, **_times(mark)}
        for name, own in answers.marks.items()
        for mark in own
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _times(mark: Mark) -> dict[str, float]:
    assert mark.end is not None
    return {"start": round(mark.start, 3), "end": round(mark.end, 3)}
