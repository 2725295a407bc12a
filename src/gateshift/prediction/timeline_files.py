"""Timelines as files: JSON, CSV, and subtitles for players."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

from gateshift.data.events.events import Span
from gateshift.data.events.subtitles import SUBTITLE_SUFFIXES, subtitles
from gateshift.files import csv_text, write_text

TIMELINE_SUFFIXES = (".json", ".csv", *SUBTITLE_SUFFIXES)


def write_timeline(spans: Sequence[Span], path: str | PathLike[str], *, video: str) -> None:
    """Write spans as .json, .csv, .srt or .vtt; the file appears when it is whole.

    Args:
        spans: In order of time, with scores.
        path: Its suffix says the format.
        video: What they are of, told in the JSON.
    """
    path = Path(path)
    if path.suffix == ".json":
        record = {"video": video, "segments": [asdict(span) for span in spans]}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    elif path.suffix == ".csv":
        rows = ((f"{s.start_s:.3f}", f"{s.end_s:.3f}", s.label, f"{s.score:.4f}") for s in spans)
        text = csv_text([("start_s", "end_s", "label", "score"), *rows])
    else:
        text = subtitles(spans, path.suffix)
    write_text(path, text, errors="backslashreplace")
