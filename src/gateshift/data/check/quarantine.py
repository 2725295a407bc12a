"""Videos that are better left out, and the table of them that ``train --exclude`` takes.

This module imports nothing heavy: its words are choices of a command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from gateshift.files import csv_text, write_text

# These read well, and may be meant.
HarmlessFault = Literal[
    "rotated",
    "variable-rate",
    "no-times",
    "mirrored",
    "not-square",
    "late",
    "joined",
    "changing-size",
]
HARMLESS: tuple[HarmlessFault, ...] = get_args(HarmlessFault)
Fault = Literal[
    "missing",
    "zero-bytes",
    "empty",
    "no-video",
    "truncated",
    "unreadable",
    "wrong-length",
    "wrong-box",
    "duplicate",
    "listed-twice",
    HarmlessFault,
    "time-out",
    "crash",
]
COLUMNS = ("path", "problem", "detail")


@dataclass(frozen=True)
class FaultyVideo:
    """What is wrong with a video, or with a part of one.

    Attributes:
        path: The video.
        problem: What kind of fault it is.
        detail: The fault in words, in one line.
        part: ``#`` and the times and the box, as in the ids of a list, for a fault of one part alone; else empty.
    """

    path: Path
    problem: Fault
    detail: str
    part: str = ""

    @property
    def name(self) -> str:
        """The absolute path, and the part: the same from whichever list the video is reached."""
        return os.path.abspath(self.path) + self.part  # noqa: PTH100 - links stay as they are


def write_quarantine(path: Path, problems: Iterable[FaultyVideo]) -> None:
    """Write problems as a CSV with the columns path, problem and detail; it appears when it is whole."""
    rows = ((problem.name, problem.problem, problem.detail) for problem in problems)
    write_text(path, csv_text([COLUMNS, *rows]))
