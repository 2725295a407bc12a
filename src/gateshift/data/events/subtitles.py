"""Spans as subtitles, which players show at their times: SubRip (.srt) and WebVTT (.vtt)."""

from __future__ import annotations

from collections.abc import Sequence

from gateshift.data.events.events import Span

SUBTITLE_SUFFIXES = (".srt", ".vtt")


def subtitles(spans: Sequence[Span], suffix: str) -> str:
    """The text of a file with this suffix, a cue for each span, in the order given.

    >>> print(subtitles([Span(1.0, 2.5, "bounce", 0.9)], ".srt"), end="")
    1
    00:00:01,000 --> 00:00:02,500
    bounce (0.90)
    """
    if suffix == ".vtt":
        return "\n".join(("WEBVTT\n", *(_cue(span, ".", _escaped(span.label)) for span in spans)))
    return "\n".join(f"{number}\n{_cue(span, ',', span.label)}" for number, span in enumerate(spans, start=1))


def _cue(span: Span, point: str, label: str) -> str:
    score = "" if span.score is None else f" ({span.score:.2f})"
    return f"{_clock(span.start_s, point)} --> {_clock(span.end_s, point)}\n{label}{score}\n"


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
