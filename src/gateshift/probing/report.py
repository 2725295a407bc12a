"""A probe on a page: its learning curve as a picture, and which class needs clips."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from gateshift.data.lists.tables import printable
from gateshift.drawing.figures import new_figure, save_png
from gateshift.drawing.html_page import Section
from gateshift.files import write_text
from gateshift.probing.probe import ClassNeed, CurvePoint, ProbeResult


def save_probe(found: ProbeResult, path: Path) -> None:
    """Write what was found as JSON, and its learning curve beside it as a PNG of the same name."""
    write_text(path, json.dumps(dataclasses.asdict(found), indent=2) + "\n")
    figure = new_figure(4.5, 3.2)
    axis = figure.subplots()
    counts, accuracies, spreads = zip(
        *((each.per_class, each.accuracy, each.spread) for each in found.curve), strict=True
    )
    axis.errorbar(counts, accuracies, yerr=spreads, marker=".", capsize=3)
    axis.set_xscale("log")
    axis.set_xticks(counts, map(str, counts), minor=False)
    axis.minorticks_off()
    axis.set_ylim(0, 1)
    axis.set_xlabel("training clips per class")
    axis.set_ylabel("validation top-1 of frozen features")
    save_png(figure, path.with_suffix(".png"))


def load_probe(path: Path) -> ProbeResult | None:
    """What was saved; None where there is no file, or another one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        curve = tuple(CurvePoint(**each) for each in content.pop("curve"))
        classes = tuple(ClassNeed(**each) for each in content.pop("classes"))
        return ProbeResult(**content, curve=curve, classes=classes)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def probe_section(found: ProbeResult, path: Path) -> Section:
    """The section of a page about what was saved there."""
    text = (
        f"Before any training, {found}. This is a floor for the training, and its learning curve says what more clips "
        "would bring; points are means and standard deviations of several draws. The first class of the table needs "
        "clips most: of those that are still missed, it is found most the more often for the second half of all clips."
    )
    columns = ("class", "training clips", "found with half of all clips", "with all")
    rows = [
        (printable(each.name), str(each.clips), f"{each.recall_half:.0%}", f"{each.recall:.0%}")
        for each in found.classes
    ]
    return Section("More clips?", [text], [path.with_suffix(".png")], columns=columns, rows=rows)
