"""The options of ``score``; the text under a field is its help. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

Rule = Literal["nearest", "soccernet"]


@dataclass(frozen=True)
class ScoreSettings:
    """Score answers about events or spans beside labels, whoever gave them: mAP, precision, recall, errors in time.

    Lists of spans (path,label,start,end) are told by their columns: frame accuracy, edit score, F1.
    """

    truth: Annotated[Positional[Path], arg(metavar="TRUTH")]
    """Labels: a CSV path,time_s,label or path,frame,label; E2E-Spot's JSON; SoccerNet's Labels-*.json or a folder of
    its games; or a CSV of spans."""
    answers: Annotated[Positional[Path], arg(metavar="ANSWERS")]
    """Answers: the same with a column score, or SoccerNet's results_spotting.json."""
    tolerances: tuple[float, ...] = (0, 1, 2, 4)
    """Of events: how far an answer may be from its event, in frames; with --rule soccernet over how many seconds."""
    rule: Rule = "nearest"
    """Of events: how answers find events: as in E2E-Spot (nearest), or as in SoccerNet."""
    fps: float | None = None
    """Of events: frames a second to count in; by default each video's own, as files say. 1000 counts milliseconds."""
    overlaps: tuple[float, ...] = (0.1, 0.25, 0.5)
    """Of spans: from which IoU on a span counts as found."""
    threshold: float = 0.5
    """Of events: answers with this score and more count for precision, recall, misses and errors in time."""
    report: Annotated[Path | None, arg(metavar="FILE.html")] = None
    """Of events: write the results to this page, with a timeline of each video, and the worst misses as frames."""
    root: Path | None = None
    """Folder where the videos' names start, to show frames; that of TRUTH by default."""
    overwrite: bool = False
    """Replace the report if it exists."""
