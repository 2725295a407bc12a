"""What ``test`` and ``ensemble`` do with their settings, and print."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from gateshift.cli.terminal import count_bar, is_main_process, print_line
from gateshift.cli.verbs.score import print_figures
from gateshift.errors import SettingsError
from gateshift.evaluation.settings import EnsembleSettings, EvaluationSettings, FrameTestOptions

if TYPE_CHECKING:
    from gateshift.evaluation.result import Evaluation

FIGURES_FROM = 0.5  # the score from which an answer counts in precision and recall


def run_test(settings: EvaluationSettings) -> None:
    """Verb ``test``."""
    from gateshift.evaluation.evaluate import evaluate
    from gateshift.exported.loading import is_dense_file

    options = {name: value for name, value in vars(settings).items() if name != "frames"}
    if is_dense_file(settings.model):
        _test_frames(settings, options)
        return
    if settings.frames != FrameTestOptions():
        given = next(
            each.name for each in fields(FrameTestOptions) if getattr(settings.frames, each.name) != each.default
        )
        raise SettingsError(f"`{given}` is of models that answer for each frame, and this one does not; leave it out")
    with count_bar("testing", "videos") as progress:
        found = evaluate(**options, progress=progress)
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


def _test_frames(settings: EvaluationSettings, options: dict[str, Any]) -> None:
    """A model that answers for each frame."""
    from gateshift.evaluation.events.event_scores import EventScores
    from gateshift.spotting.evaluate import evaluate_frames

    taken = {"model", "videos", "classes", "scores", "report", "skip_bad", "overwrite", "root", "box"}
    defaults = {each.name: each.default for each in fields(EvaluationSettings)}
    for name in (name for name, value in options.items() if name not in taken and value != defaults[name]):
        raise SettingsError(
            f"`{name}` is of models that classify clips, and this one answers for each frame; leave it out"
        )
    with count_bar("testing", "recordings") as progress:
        own = {name: options[name] for name in taken}
        found = evaluate_frames(**own, **vars(settings.frames), progress=progress)
    print_line(str(found))
    if isinstance(found.scores, EventScores):
        print_figures(found.scores, FIGURES_FROM)
    for reason in found.skipped.values():
        print_line(f"skipped: {reason}")
    for name in ("scores", "report"):
        if options[name] is not None:
            print_line(f"{name}: {options[name]}")


def print_accuracies(found: Evaluation) -> None:
    """A line for each part of an ensemble, and one for all of it."""
    for part in found.parts:
        print_line(f"{part.model} ({part.scores.protocol}): {part.scores.metrics()}")
    if found.parts:
        print_line(f"ensemble of {len(found.parts)} ({found.scores.protocol}): {found.scores.metrics()}")
    else:
        print_line(str(found))
