"""Train a network by one call: lists and options in, the best model and its figures out."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from gateshift.data.lists.manifest import Manifest
from gateshift.devices import Precision, create_accelerator, num_processes
from gateshift.errors import SettingsError, VideoError
from gateshift.evaluation.metrics import Metrics, MultiLabelMetrics
from gateshift.model.classifier import VideoClassifier
from gateshift.model.io import load_model
from gateshift.model.warm_start import network_of
from gateshift.planning.machine import Machine, Timing, takes_size, this_machine, time_network
from gateshift.planning.plan import (
    BACKBONE,
    EPOCHS_WITHIN,
    SMALL_PX,
    Plan,
    fit_minutes,
    may_start_from_motion,
    plan_network,
    plan_training,
    training_s,
)
from gateshift.planning.recordings_plan import (
    clip_read_s,
    frame_training_s,
    look_at_recordings,
    plan_frame_network,
    plan_frame_training,
)
from gateshift.planning.videos import Videos, look_at
from gateshift.probing.starts import compare_starts
from gateshift.recipes.recipe import load_one_recipe, load_recipe
from gateshift.recipes.starts import IMAGENET, MOTION, start_network
from gateshift.training.inputs import read_lists, read_recording_lists, with_rate
from gateshift.training.loop import run_training
from gateshift.training.reporter import Reporter, Silent
from gateshift.training.run_folder import RunFolder
from gateshift.training.settings import TrainSettings
from gateshift.training.state import StopRequest

StrPath = str | os.PathLike[str]
_FIRST = (
    f"val_{Metrics.FIRST}",
    f"val_{MultiLabelMetrics.FIRST}",
    "val_frame_accuracy",
)  # what the best epoch is chosen by


@dataclass(frozen=True)
class TrainMetrics:
    """Figures of a training.

    Attributes:
        best_epoch: The epoch of the best model, from 1; 0 if ``log.csv`` was removed.
        loss: Mean training loss of that epoch.
        accuracy: Training accuracy of that epoch, in 0..1; with several labels per video, the fraction of correct ones.
        validation: Validation figures of that epoch, in 0..1: ``top1``, ``top5`` and ``mean_class``, or ``mean_ap`` and
            ``f1`` with several labels per video, on the center crop of one clip. Of events ``mean_ap`` (within 1, 2 and
            4 frames), ``map_1``, ...; of spans ``frame_accuracy``, ``edit``, ``f1_50``, ....
        history: The row of ``log.csv`` of each epoch.
    """

    best_epoch: int
    loss: float
    accuracy: float
    validation: dict[str, float]
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves behind.

    Attributes:
        folder: The folder of the run: ``best.safetensors``, ``last.safetensors``, ``log.csv``, ``training.html``, ...
        metrics: Figures of the best epoch.
    """

    folder: Path
    metrics: TrainMetrics

    @cached_property
    def model(self) -> VideoClassifier:
        """The best model, in eval mode on the CPU; loaded when it is first asked for."""
        return load_model(self.folder / "best.safetensors").eval()


def train(
    train: StrPath,
    val: StrPath,
    *,
    out: StrPath,
    recipe: StrPath | None = None,
    reporter: Reporter | None = None,
    stop: StopRequest | None = None,
    **options: Any,
) -> TrainResult:
    """Train a network on labelled videos.

    ::

        result = train("lists/train.csv", "lists/val.csv", out="run", backbone="resnet50", epochs=20)
        result.model.predict("clip.mp4")

    Args:
        train: Training videos: a CSV (``path,label[,start,end]``), a ``videofolder.txt`` list, or a folder with one
            sub-folder per class. With ``task="spot"`` events: a CSV ``path,time_s,label``, or any file that
            :func:`gateshift.read_events` takes; with ``task="segment"`` spans: a CSV ``path,label,start,end``.
        val: Validation videos, likewise.
        out: Folder to write; it must not exist, unless ``resume``.
        recipe: Name of a published recipe, "papers", or path of a ``.toml`` file, for the defaults of ``options``. Its
            test protocol is saved with the model. For one of several models see :func:`train_parts`. Without it a plan
            for these videos and this machine chooses what ``options`` leave open.
        reporter: Receives the progress; nothing is printed by default.
        stop: Asks the training to save its state and stop; :func:`gateshift.training.state.stop_signals` gives one.
        options: Any field of :class:`~gateshift.training.settings.TrainSettings`, and of its groups of options, by
            name: ``backbone``, ``temporal``, ``epochs``, ``batch_size``, ``lr``, ``mirror_pairs``, ``workers``, ...

    Returns:
        The best model, its figures and the folder.

    Raises:
        GateShiftError: If options, lists, videos or weights cannot be used, or the disk is full.
        StoppedError: If it was asked to stop; ``resume=True`` continues.
    """
    settings = TrainSettings.from_options(train, val, out=out, recipe=recipe, **options)
    return _train(settings, reporter, stop)


def _train(settings: TrainSettings, reporter: Reporter | None, stop: StopRequest | None) -> TrainResult:
    folder = run_training(fill_open_options(settings, reporter or Silent()), reporter, stop)
    return TrainResult(folder.path, _metrics(folder))


def train_parts(
    train: StrPath,
    val: StrPath,
    *,
    out: StrPath,
    recipe: StrPath,
    reporter: Reporter | None = None,
    stop: StopRequest | None = None,
    **options: Any,
) -> dict[str, TrainResult]:
    """Train every model of a recipe of several, each into the folder ``out/NAME``; see :func:`train`.

    With ``resume=True`` models that were not started are started.

    Returns:
        The result of each model by the name of its recipe.
    """
    parts = load_recipe(recipe).parts or (os.fspath(recipe),)
    settings = [TrainSettings.from_options(train, val, out=out, recipe=part, **options) for part in parts]
    return {name: _train(each.for_part(name), reporter, stop) for name, each in zip(parts, settings, strict=True)}


def fill_open_options(settings: TrainSettings, reporter: Reporter) -> TrainSettings:
    """The settings with the options that are open: planned, or, of a run that is resumed, as it was begun with.

    Args:
        settings: Those that were given, and a recipe's.
        reporter: Is told what is planned, and why, in up to five lines.

    Raises:
        GateShiftError: If settings or lists cannot be used, or ``minutes`` are too few.
    """
    filled = _fill_open_options(settings, reporter)
    if num_processes() == 1:
        return filled
    create_accelerator("no")  # joins the processes, which may have timed the same network differently
    return broadcast_object_list([filled])[0]


def _fill_open_options(settings: TrainSettings, reporter: Reporter) -> TrainSettings:
    settings.check_given()
    folder, minutes = RunFolder(settings.out), settings.minutes
    if folder.choose_start(settings.resume):
        is_open = settings.recipe is None or minutes is not None
        return settings.filled(load_one_recipe(folder.recipe)) if is_open and folder.recipe.is_file() else settings
    if settings.recipe is not None and minutes is None:
        return settings
    given = settings.given()
    if minutes is not None and "epochs" in given:
        raise SettingsError(f"`minutes` {minutes:g} and `epochs` {given['epochs']}; leave one of them out")
    start = settings.model.start
    if settings.recipe is None and start not in (None, IMAGENET):  # it is of one network
        given = (start_network(start) or network_of(start)) | given
        settings = settings.changed(given)
    if settings.frames.is_dense:
        return _planned_of_recordings(settings, given, reporter)
    lists = read_lists(settings, Silent())
    classes, machine = lists.train.class_names(), this_machine()
    videos = look_at(lists.train, lists.val, classes, num_segments=settings.model.segments)
    if settings.recipe is not None and minutes is not None:
        timing = _time(settings, len(classes), machine, settings.optim.precision)
        every, probed = settings.optim.validate_every, settings.probe is True
        seconds = training_s(videos, machine, timing, every=every, probed=probed)
        return _shortened(settings, minutes, seconds, f"{len(lists.train)} videos", reporter)
    network = _plan_network(settings, given, lists.train, videos, machine)
    settings = settings.changed(network.options)
    timing = _time(settings, len(classes), machine, given.get("precision"))
    training = plan_training(videos, machine, timing, given | network.options, minutes=minutes)
    for line in (f"plan for {videos}: {folder.recipe}", *network.reasons, *training.reasons):
        reporter.log(line)
    probe = not settings.multi_label if settings.probe is None else settings.probe
    return dataclasses.replace(settings.changed(training.options), probe=probe)


def _plan_network(
    settings: TrainSettings, given: dict[str, Any], train_list: Manifest, videos: Videos, machine: Machine
) -> Plan:
    """The network, from the start that knows more of the training videos where that is open."""
    size_px = _size_px(machine, given)
    plan = plan_network(videos, machine, given, size_px=size_px)
    if not may_start_from_motion(given) or settings.multi_label:
        return plan
    options = settings.changed(plan.options).model
    with contextlib.suppress(VideoError):  # the training will say so
        known = compare_starts((MOTION, IMAGENET), train_list, options, workers=settings.workers)
        return plan_network(videos, machine, given, size_px=size_px, known=known)
    return plan


def _size_px(machine: Machine, given: dict[str, Any]) -> int | None:
    """The input's side where the machine is slow and the network takes it; None for the network's own."""
    return SMALL_PX if machine.is_slow and takes_size(given.get("backbone", BACKBONE), SMALL_PX) else None


def _planned_of_recordings(settings: TrainSettings, given: dict[str, Any], reporter: Reporter) -> TrainSettings:
    """The settings with what is open of a training on long recordings."""
    lists = read_recording_lists(settings, Silent())
    train = lists.train_recordings
    machine, minutes, num_classes = this_machine(), settings.minutes, len(lists.train.class_names())
    recordings = look_at_recordings(train, lists.val_recordings, fps=with_rate(settings, train).frames.fps or 1.0)
    if settings.recipe is not None and minutes is not None:
        rated = with_rate(settings, train)
        timing = _time(rated, num_classes, machine, settings.optim.precision)
        every, read_s = settings.optim.validate_every, clip_read_s(train, rated.frames)
        seconds = frame_training_s(recordings, rated.frames, machine, timing, read_s=read_s, every=every)
        return _shortened(settings, minutes, seconds, f"{len(train)} recordings", reporter)
    network = plan_frame_network(recordings, machine, given, size_px=_size_px(machine, given))
    rated = with_rate(settings.changed(network.options), train)
    training = plan_frame_training(
        recordings,
        machine,
        _time(rated, num_classes, machine, given.get("precision")),
        given | network.options,
        frames=rated.frames,
        read_s=clip_read_s(train, rated.frames),
        minutes=minutes,
    )
    for line in (
        f"plan for {len(train)} recordings: {RunFolder(settings.out).recipe}",
        *network.reasons,
        *training.reasons,
    ):
        reporter.log(line)
    return settings.changed(network.options | training.options)


def _time(settings: TrainSettings, num_classes: int, machine: Machine, precision: Precision | None) -> Timing:
    """How long the network takes here."""
    frames = settings.frames if settings.frames.is_dense else None
    return time_network(settings.model, num_classes=num_classes, machine=machine, precision=precision, frames=frames)


def _shortened(
    settings: TrainSettings, minutes: float, seconds: Callable[[int], float], what: str, reporter: Reporter
) -> TrainSettings:
    """A recipe's settings with as many epochs as fit into the minutes; its warm-up keeps its share."""
    optim = settings.optim
    epochs = fit_minutes(minutes, seconds, what, at_most=optim.epochs)
    within = {name: getattr(optim, name) for name in EPOCHS_WITHIN if getattr(optim, name) is not None}
    shorter = {name: value * epochs // optim.epochs for name, value in within.items()}
    reporter.log(f"plan: {epochs} of {optim.epochs} epochs of {settings.recipe} fit into {minutes:g} minutes")
    return settings.changed({"epochs": epochs, **shorter})


def _metrics(folder: RunFolder) -> TrainMetrics:
    """The figures of the epoch of ``best.safetensors``."""
    rows = folder.read_log()
    if not rows:
        return TrainMetrics(0, math.nan, math.nan, {}, [])
    marked = [row for row in rows if row.get("best")]
    # Logs of older runs do not mark the best epoch.
    best = marked[-1] if marked else max(rows, key=lambda row: max(row.get(name, -1.0) for name in _FIRST))
    validation = {name.removeprefix("val_"): value for name, value in best.items() if name.startswith("val_")}
    return TrainMetrics(best["epoch"], best["loss"], best["accuracy"], validation, rows)
