"""What tests of labelling programs share: the files in ``label_files``, and what they say of two videos."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gateshift as gs
from gateshift.data.labelling.programs import Program

FILES = Path(__file__).parent / "label_files"
# Written by hand to what each program publishes of its format; all say TRUTH.
GIVEN: dict[str, tuple[Program, tuple[str, ...], dict[str, Any]]] = {
    "a project of BORIS": ("boris", ("days.boris",), {}),
    "tabular events of BORIS": ("boris", ("events.tsv",), {}),
    "aggregated events of BORIS": ("boris", ("aggregated.csv",), {}),
    "ELAN": ("elan", ("fox.eaf", "hen.eaf"), {"only": ("behaviour", "moments")}),
    "Label Studio": ("label-studio", ("label_studio.json",), {}),
    "CVAT": ("cvat", ("fox_cvat.xml", "hen_cvat.xml"), {}),
    "VIA": ("via", ("via.json",), {}),
    "Create ML's JSON": ("create-ml", ("create_ml.json",), {}),
    "Create ML's CSV": ("create-ml", ("create_ml.csv",), {}),
}
SPANS = {
    "fox.mp4": [gs.Span(0.5, 2.0, "walk"), gs.Span(2.0, 3.5, "sit")],
    "hen.mp4": [gs.Span(1.0, 2.5, "walk"), gs.Span(3.0, 5.0, "sit")],
}
EVENTS = {"fox.mp4": [(1.2, "peck"), (4.0, "peck")], "hen.mp4": [(0.3, "peck")]}
FRAMES, RATE = 60, 10  # of both videos


def lay_videos(folder: Path, put_video: Callable[[Path, int], Path]) -> Path:
    """Both videos below a folder, each at another depth."""
    put_video(folder / "days" / "fox.mp4", FRAMES)
    put_video(folder / "hen.mp4", FRAMES)
    return folder


def lay_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Copies of files, which a test may change."""
    return [Path(shutil.copy(FILES / name, folder)) for name in names]


def by_name(labels: gs.Labels) -> tuple[dict[str, list[gs.Span]], dict[str, list[tuple[float | None, str]]]]:
    """Spans, and times and classes of events, of each video by the name of its file."""
    spans = {Path(name).name: own for name, own in labels.spans.items()}
    events = {
        Path(name).name: [(each.time_s, each.label) for each in own] for name, own in labels.events.by_video().items()
    }
    return spans, events
