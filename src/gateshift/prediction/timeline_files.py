"""Timelines as files: JSON, CSV, and subtitles for players."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

from gateshift.files import write_text


@dataclass(frozen=True)
class Event:
    """A stretch of a recording in which one class happens.

    Attributes:
        start_s: When it begins, in seconds on the recording's clock.
        end_s: When it ends.
        label: The class.
        score: Mean probability of the class in it.
    """

    start_s: float
    end_s: float
    label: str
    score: float


def write_timeline(events: Sequence[Event], path: str | PathLike[str], *, video: str) -> None:
    """Write events as .json, .csv, .srt or .vtt; the file appears when it is whole.

    Args:
        events: In order of time.
        path: Its suffix says the format.
        video: What they are of, told in the JSON.
    """
    path = Path(path)
    write_text(path, _FORMATS[path.suffix](events, video), errors="backslashreplace")


def _json_text(events: Sequence[Event], video: str) -> str:
    record = {"video": video, "segments": [asdict(event) for event in events]}
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _csv_text(events: Sequence[Event], _: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("start_s", "end_s", "label", "score"))
    writer.writerows((f"{s.start_s:.3f}", f"{s.end_s:.3f}", s.label, f"{s.score:.4f}") for s in events)
    return text.getvalue()


def _srt_text(events: Sequence[Event], _: str) -> str:
    cues = (
        f"{number}\n{_clock(s.start_s, ',')} --> {_clock(s.end_s, ',')}\n{s.label} ({s.score:.2f})\n"
        for number, s in enumerate(events, start=1)
    )
    return "\n".join(cues)


def _vtt_text(events: Sequence[Event], _: str) -> str:
    cues = (
        f"{_clock(s.start_s, '.')} --> {_clock(s.end_s, '.')}\n{_escaped(s.label)} ({s.score:.2f})\n" for s in events
    )
    return "\n".join(("WEBVTT\n", *cues))


def _escaped(text: str) -> str:
    """A name as the text of a cue, in which these letters begin tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(time_s: float, point: str) -> str:
    """Hours, minutes, seconds and thousandths.

    >>> _clock(3725.5, ",")
    '01:02:05,500'
    """
    seconds, thousandths = divmod(round(time_s * 1000), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{thousandths:03}"


_FORMATS: dict[str, Callable[[Sequence[Event], str], str]] = {
    ".json": _json_text,
    ".csv": _csv_text,
    ".srt": _srt_text,
    ".vtt": _vtt_text,
}
TIMELINE_SUFFIXES = tuple(_FORMATS)
