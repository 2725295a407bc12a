"""Figures that no window shows, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateshift.files import atomic_write

DOTS_PER_INCH = 90


def new_figure(width: float, height: float) -> Any:
    """An empty figure of this size in inches, that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Any, path: Path) -> None:
    """Write a figure that appears when it is whole."""
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=DOTS_PER_INCH, format="png")
