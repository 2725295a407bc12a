"""What ``test`` does with its settings, and prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gateshift.errors import ModelError, ScoresError, SettingsError
from gateshift.evaluation.settings import EvaluationSettings
from gateshift.files import check_writable
from gateshift.terminal import is_main_process, make_bar, print_line

if TYPE_CHECKING:
    from gateshift.data.clips.views import EvalProtocol
    from gateshift.data.lists.manifest import Manifest
    from gateshift.evaluation.confidence import Answered
    from gateshift.evaluation.evaluate import Evaluation
    from gateshift.evaluation.report import Report
    from gateshift.evaluation.scores import Scores
    from gateshift.exporting.loading import ExportedModel
    from gateshift.model.classifier import VideoClassifier
    from gateshift.model.config import ModelConfig

    AnyModel = VideoClassifier | ExportedModel


def run_test(settings: EvaluationSettings) -> None:
    """Verb ``test``."""
    from gateshift.evaluation.report import Report

    _check_outputs(settings)
    other, model = _read_other(settings), _load(settings)
    multi_label = model.config.multi_label
    if multi_label:
        _check_one_label(settings)
    manifest = _read_list(settings, multi_label=multi_label)
    found = _test(settings, model, manifest, other)
    if is_main_process():
        print_line(f"{found.scores.protocol}: {found.scores.metrics()}")
        report = Report(
            found.scores,
            str(settings.model),
            manifest,
            found.choices,
            found.skipped,
            other,
            str(settings.compare),
        )
        _finish(settings, report, model)


def run_test_parts(parts: Mapping[str, EvaluationSettings]) -> None:
    """Verb ``test`` with a recipe of several models, which lie in one folder: the average of their scores."""
    from gateshift.evaluation.report import Report
    from gateshift.evaluation.scores import ensemble

    settings = next(iter(parts.values()))
    if settings.fit_threshold is not None:
        raise SettingsError(
            f"--fit-threshold {settings.fit_threshold} with a recipe of several models, which have no file together; "
            "leave it out, or test one of them"
        )
    _check_outputs(settings)
    models = {name: find_part(settings.model, name) for name in parts}
    manifest, other = _read_list(settings), _read_other(settings)
    found = []
    for name, path in models.items():
        own = dataclasses.replace(parts[name], model=path)
        model = _load(own)
        if model.config.multi_label:
            raise SettingsError(
                f"{path}: a model of several labels a video, and a recipe of several models is for one; test each with "
                "--scores, and average them by gateshift ensemble"
            )
        found.append(_test(own, model, manifest, other))
        if is_main_process():
            print_line(f"{path} ({found[-1].scores.protocol}): {found[-1].scores.metrics()}")
    skipped = {video_id: reason for each in found for video_id, reason in each.skipped.items()}
    together = ensemble([_without(each.scores, skipped) for each in found])
    if is_main_process():
        print_line(f"ensemble of {len(found)} ({together.protocol}): {together.metrics()}")
        report = Report(together, str(settings.model), manifest, None, skipped, other, str(settings.compare))
        _finish(settings, report)


def find_part(folder: Path, name: str) -> Path:
    """Where a model of an ensemble lies, as a training or a download leaves it.

    Raises:
        ModelError: If it is not there.
    """
    places = (folder / name / "best.safetensors", folder / f"{name}.safetensors")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ModelError(
            f"{folder}: no model {name}: neither {places[0]} nor {places[1]}; "
            "give the folder that train or download wrote with this recipe"
        )
    return found


def _check_outputs(settings: EvaluationSettings) -> None:
    from gateshift.evaluation.scores import check_output

    if settings.scores is not None:
        check_output(settings.scores, overwrite=settings.overwrite)
    if settings.report is not None:
        check_writable("--report", settings.report, overwrite=settings.overwrite, suffixes=[".html"])
    _check_threshold(settings)


def _check_threshold(settings: EvaluationSettings) -> None:
    """Raise SettingsError unless a threshold can be fitted and written as asked."""
    from gateshift.evaluation.confidence import check_accuracy
    from gateshift.exporting.loading import FORMAT_SUFFIXES

    out, model = settings.out, settings.model
    if settings.fit_threshold is not None:
        check_accuracy(settings.fit_threshold)
    if out is None:
        return
    if settings.fit_threshold is None:
        raise SettingsError(f"--out {out} without --fit-threshold, which it is for; add --fit-threshold 0.95")
    if model.suffix in FORMAT_SUFFIXES.values():
        raise SettingsError(f"--out {out} of {model}, an exported file; give the model, and export what is written")
    check_writable("--out", out, overwrite=settings.overwrite, suffixes=[".safetensors"])


def _check_one_label(settings: EvaluationSettings) -> None:
    """Raise SettingsError for what a model of several labels a video does not have."""
    wanted = {"report": settings.report, "compare": settings.compare, "fit-threshold": settings.fit_threshold}
    for name, value in wanted.items():
        if value is not None:
            raise SettingsError(
                f"--{name} {value} with {settings.model}, a model of several labels a video; it is for one; "
                "leave it out, and take --scores FILE.npz"
            )


def _names(settings: EvaluationSettings) -> list[str]:
    from gateshift.data.lists.manifest import read_names

    return [] if settings.classes is None else read_names(settings.classes)


def _read_list(settings: EvaluationSettings, *, multi_label: bool = False) -> Manifest:
    from gateshift.data.lists.manifest import read_manifest

    manifest = read_manifest(settings.videos, root=settings.root, names=_names(settings), multi_label=multi_label)
    manifest.check_files()
    if is_main_process():
        for note in (*manifest.notes, *manifest.describe_numbers(train=False)):
            print_line(note)
    return manifest


def _read_other(settings: EvaluationSettings) -> Scores | None:
    from gateshift.evaluation.scores import load_scores

    if settings.compare is None:
        return None
    other = load_scores(settings.compare)
    if other.multi_label:
        raise SettingsError(
            f"--compare {settings.compare}: scores of several labels a video; it is for one; leave it out"
        )
    return other


def _load(settings: EvaluationSettings) -> AnyModel:
    from gateshift.exporting.loading import load_any

    return load_any(settings.model, names=_names(settings))


def _choose_protocol(settings: EvaluationSettings, config: ModelConfig) -> EvalProtocol:
    from gateshift.evaluation.protocol import choose_protocol

    return choose_protocol(
        config,
        segments=settings.segments,
        clips=settings.clips,
        crops=settings.crops,
        short_videos=settings.short_videos,
    )


def _test(settings: EvaluationSettings, model: AnyModel, manifest: Manifest, other: Scores | None) -> Evaluation:
    from gateshift.devices import create_accelerator
    from gateshift.evaluation.evaluate import evaluate_views
    from gateshift.evaluation.scores import check_classes_and_videos

    if other is not None:
        # Videos that one of the tests has skipped cannot be in both.
        ids = other.ids if settings.skip_bad else tuple(manifest.entries.video_ids())
        names = (f"--compare {settings.compare}", "this test")
        check_classes_and_videos(other, classes=model.config.classes, ids=ids, names=names)
    protocol = _choose_protocol(settings, model.config)
    accelerator = create_accelerator(settings.precision)
    with make_bar(Console(stderr=True)) as bar:
        task = bar.add_task("testing", total=len(manifest), note=f"{len(manifest)} videos")
        return evaluate_views(
            accelerator.prepare(model),
            model.config,
            manifest,
            protocol,
            accelerator,
            batch_size=settings.batch_size,
            workers=settings.workers,
            skip_bad=settings.skip_bad,
            on_batch=lambda videos: bar.advance(task, videos),
        )


def _without(scores: Scores, skipped: Mapping[str, str]) -> Scores:
    left = [video_id for video_id in scores.ids if video_id not in skipped]
    if not left:
        raise ScoresError("no video can be read for every model of the ensemble; check their files")
    return scores.select(left)


def _finish(settings: EvaluationSettings, report: Report, model: AnyModel | None = None) -> None:
    """Save the scores first, as they took the longest; then fit, compare, and write the report."""
    from gateshift.evaluation.report import write_report

    if report.skipped:
        print_line(f"skipped {len(report.skipped)} videos that cannot be read:")
        for reason in report.skipped.values():
            print_line(f"  {reason}")
    save_and_say(report.scores, settings.scores)
    if model is not None:
        report = dataclasses.replace(report, answered=_abstain(settings, model, report.scores))
    if report.comparison is not None:
        print_line(f"compared with {report.other_name}: {report.comparison}")
    if settings.report is not None:
        write_report(report, settings.report)
        print_line(f"report: {settings.report}")


def _abstain(settings: EvaluationSettings, model: AnyModel, scores: Scores) -> Answered | None:
    """Fit a threshold, and write the model with it if asked; or say how the model does with the one that it has."""
    from gateshift.evaluation.confidence import fit_abstaining, measure_abstaining, save_abstaining
    from gateshift.model.classifier import VideoClassifier

    if settings.fit_threshold is not None:
        answered = fit_abstaining(scores, settings.fit_threshold)
    elif model.config.abstain_below is not None:
        answered = measure_abstaining(scores, model.config.abstain_below)
    else:
        return None
    print_line(str(answered))
    if settings.out is not None and isinstance(model, VideoClassifier):
        save_abstaining(model, settings.out, answered.threshold, _choose_protocol(settings, model.config))
        print_line(f"model: {settings.out}")
    return answered


def save_and_say(scores: Scores, path: Path | None) -> None:
    """Save scores, if a file is named, and print where they are."""
    from gateshift.evaluation.scores import save_scores

    if path is not None:
        save_scores(scores, path)
        print_line(f"scores: {path}")
