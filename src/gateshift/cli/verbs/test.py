"""What ``test`` and ``ensemble`` do with their settings, and print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateshift.cli.terminal import count_bar, is_main_process, print_line
from gateshift.evaluation.settings import EnsembleSettings, EvaluationSettings

if TYPE_CHECKING:
    from gateshift.evaluation.result import Evaluation


def run_test(settings: EvaluationSettings) -> None:
    """Verb ``test``."""
    from gateshift.evaluation.evaluate import evaluate

    with count_bar("testing", "videos") as progress:
        found = evaluate(**vars(settings), progress=progress)
    if not is_main_process():
        return
    for note in found.notes:
        print_line(note)
    print_accuracies(found)
    if found.skipped:
        print_line(f"skipped {len(found.skipped)} videos that cannot be read:")
        for reason in found.skipped.values():
            print_line(f"  {reason}")
    if settings.scores is not None:
        print_line(f"scores: {settings.scores}")
    if found.threshold is not None:
        print_line(str(found.threshold))
    if settings.out is not None:
        print_line(f"model: {settings.out}")
    if found.comparison is not None:
        print_line(f"compared with {found.other_name}: {found.comparison}")
    if settings.report is not None:
        print_line(f"report: {settings.report}")


def run_ensemble(settings: EnsembleSettings) -> None:
    """Verb ``ensemble``."""
    from gateshift.evaluation.evaluate import ensemble

    print_accuracies(ensemble(**vars(settings)))
    if settings.scores is not None:
        print_line(f"scores: {settings.scores}")


def print_accuracies(found: Evaluation) -> None:
    """A line for each part of an ensemble, and one for all of it."""
    for part in found.parts:
        print_line(f"{part.model} ({part.scores.protocol}): {part.scores.metrics()}")
    if found.parts:
        print_line(f"ensemble of {len(found.parts)} ({found.scores.protocol}): {found.scores.metrics()}")
    else:
        print_line(str(found))
