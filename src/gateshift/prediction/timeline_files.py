"""Timelines as files: JSON, CSV, and subtitles for players."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

from gateshift.data.events.event_tables import span_table
from gateshift.data.events.events import Span
from gateshift.data.events.subtitles import SUBTITLE_SUFFIXES, subtitles
from gateshift.files import write_text

TIMELINE_SUFFIXES = (".json", ".csv", *SUBTITLE_SUFFIXES)


def write_timeline(spans: Sequence[Span], path: str | PathLike[str], *, video: str) -> None:
    """Write spans as .json, .csv, .srt or .vtt; the file appears when it is whole.

    Args:
        spans: In order of time, with scores.
        path: Its suffix says the format.
        video: What they are of, told in the JSON, and in the CSV, which is a table as labels are.
    """
    path = Path(path)
    if path.suffix == ".json":
        record = {"video": video, "segments": [asdict(span) for span in spans]}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    elif path.suffix == ".csv":
        rounded = [Span(round(s.start_s, 6), round(s.end_s, 6), s.label, round(s.score or 0, 6)) for s in spans]
        text = span_table({video: rounded})
    else:
        text = subtitles(spans, path.suffix)
    write_text(path, text, errors="surrogateescape" if path.suffix == ".csv" else "backslashreplace")
