"""What ``demo`` does with its settings, and prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from gateshift.cli.terminal import ConsoleReporter, print_line
from gateshift.demo.settings import DemoSettings

if TYPE_CHECKING:
    from gateshift.evaluation.result import Evaluation


def run_demo(settings: DemoSettings) -> None:
    """Verb ``demo``."""
    options = {name: value for name, value in vars(settings).items() if name != "spot"}
    (_show_events if settings.spot else _show_clips)(options)


def _show_events(options: dict[str, Any]) -> None:
    from gateshift.demo.demo import NAMES
    from gateshift.demo.spot_demo import run_spot_demo, suppressed_answers

    found = run_spot_demo(**options, reporter=ConsoleReporter(Console(stderr=True)))
    table = Table("network", "mAP within 0", "1", "2", "4 frames", "the right one of opposite events")
    for name, each in found.evaluations.items():
        precisions = (f"{value:.1%}" for value in suppressed_answers(each)["mAP"].values())
        table.add_row(NAMES[name], *precisions, f"{found.pairs[name]:.1%}")
    Console().print(table)
    print_line(f"picture: {found.picture}; the worst mistakes: {found.picture.parent / 'gsm.html'}")
    print_line(f"try: gateshift predict {found.model} {found.video} --events events.csv")


def _show_clips(options: dict[str, Any]) -> None:
    from gateshift.demo.demo import NAMES
    from gateshift.demo.demo import run_demo as show

    found = show(**options, reporter=ConsoleReporter(Console(stderr=True)))
    for temporal, name in NAMES.items():
        _print_confusion(found.evaluations[temporal], f"{name}: what each action (row) was called (column)")
    classes = len(found.evaluations["gsm"].scores.classes)
    table = Table("network", f"top-1 of {classes} classes", "right way round in its pair")
    table.title = f"unseen clips, {found.evaluations['gsm'].scores.protocol}"
    for temporal, name in NAMES.items():
        accuracy = found.evaluations[temporal].accuracies()["top1"]
        table.add_row(name, f"{accuracy:.1%}", f"{found.pairs[temporal]:.1%}")
    Console().print(table)
    print_line("Each clip of a pair is the other class played backwards: without gate-shift it is a coin's toss.")
    print_line(f"{found.video}: {found.top[0][0]} ({found.top[0][1]:.1%})")
    print_line(f"picture: {found.picture}")
    print_line(f"try: gateshift predict {found.model} {found.video}")


def _print_confusion(found: Evaluation, title: str) -> None:
    from gateshift.evaluation.metrics import confusion

    names = [f"{chr(ord('a') + number)} {name}" for number, name in enumerate(found.scores.classes)]
    table = Table("", *(name[0] for name in names), title=title, box=None)
    for row, counts in enumerate(confusion(found.scores.logits, found.scores.labels)):
        cells = [str(count or "·") for count in counts]
        cells[row] = f"[bold green]{cells[row]}[/]"
        table.add_row(names[row], *cells)
    Console().print(table)
