"""What a bench leaves: a table as CSV, and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateshift.bench.data_rate import Bottleneck
from gateshift.bench.programs import Timing, kind_of
from gateshift.drawing.figures import new_figure
from gateshift.files import atomic_write, write_text

COLUMNS = ("what", "program", "ms", "times faster", "relative error", "videos/s")
PLOT_SUFFIXES = (".png", ".svg")
COLORS = {"model": "#4477aa", "TSN": "#bbbbbb", "other": "#cc6677"}
MEANINGS = {"model": "forms of the model", "TSN": "TSN: no temporal module", "other": "torchvision's video networks"}
BAR_INCHES = 0.28


def write_table(
    path: Path, found: Mapping[str, Sequence[Timing]], bottleneck: Bottleneck | None, *, batch_size: int
) -> None:
    """Write a row for each program, and where the data was measured, for its loader and for what is the bottleneck.

    Args:
        path: The CSV.
        found: Titles and timings.
        bottleneck: Its row says in "times faster" by how much the other one is.
        batch_size: Clips of one run.
    """
    rows: list[tuple[str, ...]] = []
    for title, timings in found.items():
        for row in timings:
            error = "" if row.error is None else f"{row.error:.1e}"
            speed = f"{batch_size / row.seconds:.3g}"
            rows.append((title, row.name, f"{1e3 * row.seconds:.1f}", f"{row.ratio:.3f}", error, speed))
    if bottleneck is not None:
        data = bottleneck.data
        ms = f"{1e3 * batch_size / data.videos_per_s:.1f}"
        rows.append(("data", f"loader, {data.loader}", ms, "", "", f"{data.videos_per_s:.3g}"))
        rows.append(("bottleneck", bottleneck.where, "", f"{bottleneck.times:.3f}", "", ""))
    text = io.StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *rows])
    write_text(path, text.getvalue())


def draw_ratios(path: Path, found: Mapping[str, Sequence[Timing]], *, title: str) -> None:
    """Draw how many times faster each program is, in a panel for each title.

    Args:
        path: The .png or .svg to write.
        found: Titles and timings, each compared with its first.
        title: Above the picture.
    """
    from matplotlib.patches import Patch

    lengths = [len(timings) for timings in found.values()]
    figure = new_figure(8.5, BAR_INCHES * sum(lengths) + 0.8 * len(found) + 0.9)
    panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=lengths)[:, 0]
    for panel, (name, timings) in zip(panels, found.items(), strict=True):
        _draw_panel(panel, timings)
        panel.set_title(name, loc="left", fontsize=10, fontweight="bold")
    kinds = dict.fromkeys(kind_of(row.name) for timings in found.values() for row in timings)
    patches = [Patch(color=COLORS[kind], label=MEANINGS[kind]) for kind in kinds]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=10, wrap=True, parse_math=False)
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=120, format=path.suffix[1:])


def _draw_panel(panel: Any, timings: Sequence[Timing]) -> None:
    ratios = [row.ratio for row in timings]
    colors = [COLORS[kind_of(row.name)] for row in timings]
    bars = panel.barh(range(len(timings)), ratios, color=colors, height=0.75)
    panel.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], padding=3, fontsize=8)
    panel.set_yticks(range(len(timings)), [row.name for row in timings], fontsize=8)
    panel.set_ylim(len(timings) - 0.4, -0.6)  # the first on top
    panel.set_xlim(0, 1.1 * max(ratios))
    panel.axvline(1, color="black", linewidth=0.8, linestyle=":")
    panel.tick_params(axis="x", labelsize=8)
    panel.set_xlabel(f"times faster than “{timings[0].name}”", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
