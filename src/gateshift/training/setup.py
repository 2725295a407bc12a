"""One training put together: lists, network, optimizer and loader, on this machine's devices."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

from gateshift.data.clips.dataset import Sample, TrainingClips
from gateshift.data.clips.loader import EpochShuffle, make_loader
from gateshift.data.clips.mixing import Mixing
from gateshift.data.clips.recording_clips import RecordingClips
from gateshift.data.lists.class_pairs import Pairs, parse_pairs
from gateshift.data.lists.labels import check_several
from gateshift.data.lists.manifest import Manifest
from gateshift.data.regions import region_of
from gateshift.devices import create_accelerator
from gateshift.errors import SettingsError, VideoError
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.stand_ins.activation_checkpointing import checkpoint_blocks
from gateshift.model.stand_ins.depthwise import keep_depthwise_float32
from gateshift.model.temporal.frame_head import MAX_LOOK_AHEAD
from gateshift.model.warm_start import start_from
from gateshift.published.download import fetch_published
from gateshift.recipes.options import TABLES, option_types
from gateshift.recipes.recipe import ProtocolOptions, load_recipe, write_recipe
from gateshift.recipes.starts import WEIGHTS, is_published
from gateshift.training.batch_norms import check_small_batches, freeze_wanted
from gateshift.training.inputs import (
    Lists,
    check_labels,
    choose_reversal_pairs,
    create_clips,
    create_order,
    read_lists,
    read_recording_lists,
    with_rate,
)
from gateshift.training.losses import FrameLoss, Loss, balancing_weights
from gateshift.training.optimizer import WeightAverage, create_optimizer
from gateshift.training.reporter import Reporter
from gateshift.training.run_folder import RunFolder, describe
from gateshift.training.schedule import plan_longer
from gateshift.training.settings import TrainSettings
from gateshift.training.state import Progress


@dataclass
class Training:
    """The parts of one training, ready to run."""

    settings: TrainSettings
    accelerator: Accelerator
    folder: RunFolder
    model: VideoClassifier
    wrapped: torch.nn.Module
    average: WeightAverage | None
    optimizer: torch.optim.Optimizer
    loss: Loss | FrameLoss
    clips: TrainingClips | RecordingClips
    order: EpochShuffle
    mixing: Mixing
    loader: DataLoader[Sample]
    lists: Lists
    progress: Progress

    @property
    def updates_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(len(self.loader) / self.settings.optim.accumulate)

    def synchronize(self) -> VideoClassifier:
        """The model to validate and save, the same in every process; all of them must call it at the same time."""
        return self.model if self.average is None else self.average.synchronize()


def set_up(settings: TrainSettings, folder: RunFolder, reporter: Reporter) -> Training:
    """Read the lists, create or restore everything, and enter the folder.

    Raises:
        GateShiftError: If settings, lists or weights cannot be used; then the folder is not made.
    """
    accelerator = create_accelerator(settings.optim.precision, log_with=settings.log_with)
    _check_processes(settings, accelerator.num_processes)
    if settings.frames.is_dense:
        lists = read_recording_lists(settings, reporter)
        settings = with_rate(settings, lists.train_recordings)
    else:
        lists = read_lists(settings, reporter)
    classes = lists.train.class_names()
    if not settings.multi_label and not settings.frames.is_dense:
        check_several(classes, lists.train.source)
    reversed_pairs = choose_reversal_pairs(settings.augment, lists.train, classes)
    description = describe(settings, classes, lists.train, lists.val, reversed_pairs, lists.train_recordings)
    old_description = folder.check_description(description) if settings.resume else None
    check_labels(settings, lists, classes, reporter)

    model = _create_started(settings, lists.train, classes, accelerator, reporter)
    progress = Progress()
    skip = _skipping(settings, progress) if settings.skip_bad else None
    clips = create_clips(settings, lists, model.config, reversed_pairs, on_failure=skip)
    order = create_order(settings, clips)
    loader = make_loader(clips, batch_size=settings.optim.batch_size, workers=settings.workers, sampler=order)
    loss = _create_loss(settings, classes, clips)
    # 2D convolutions are faster with the channels of a pixel side by side, on CPUs and on GPUs.
    model.to(accelerator.device).to(memory_format=torch.channels_last).train()
    average = WeightAverage(model, settings.optim.ema, accelerator) if settings.optim.ema else None  # of a plain copy
    freeze_wanted(model, settings.optim)
    check_small_batches(model, settings, num_videos=len(order), processes=accelerator.num_processes)
    wrapped, optimizer, loader = _prepare(settings, model, loader, accelerator)
    run = Training(
        settings=settings,
        accelerator=accelerator,
        folder=folder,
        model=model,
        wrapped=wrapped,
        average=average,
        optimizer=optimizer,
        loss=loss,
        clips=clips,
        order=order,
        mixing=Mixing(len(classes), settings.augment.mixup, settings.augment.cutmix, settings.seed),
        loader=loader,
        lists=lists,
        progress=progress,
    )
    _enter(run, description, old_description, reporter)
    _log_settings(run, reversed_pairs, reporter)
    return run


def _create_started(
    settings: TrainSettings, learned: Manifest, classes: list[str], accelerator: Accelerator, reporter: Reporter
) -> VideoClassifier:
    """The network with the weights that it starts from; a training that is resumed restores them later."""
    set_seed(settings.seed)
    model = _create(settings, learned, classes)
    if not settings.resume:
        _start(model, settings.model.start, accelerator, reporter)
    if accelerator.process_index:  # each process has its own dropout
        set_seed((settings.seed + accelerator.process_index) % 2**32)
    return model


def _prepare(
    settings: TrainSettings, model: VideoClassifier, loader: DataLoader[Sample], accelerator: Accelerator
) -> tuple[torch.nn.Module, torch.optim.Optimizer, DataLoader[Sample]]:
    """The network, its optimizer and the loader as this machine's devices and processes run them."""
    optim = settings.optim
    optimizer = create_optimizer(model, optim, num_updates=optim.epochs * math.ceil(len(loader) / optim.accumulate))
    if accelerator.device.type == "cpu" and optim.precision == "bf16":
        keep_depthwise_float32(model.backbone)
    if settings.checkpointing:
        checkpoint_blocks(model.backbone)
    wrapped = torch.compile(model) if settings.compile else model
    wrapped, optimizer, loader = accelerator.prepare(wrapped, optimizer, loader)
    return wrapped, optimizer, loader


def _enter(
    run: Training, description: dict[str, Any], old_description: Mapping[str, Any] | None, reporter: Reporter
) -> None:
    """Go on with the training that is in the folder, or make the folder."""
    accelerator, folder = run.accelerator, run.folder
    accelerator.register_for_checkpointing(run.progress)
    if old_description is not None:
        _restore(run, description, old_description, reporter)
    run.progress.validated_on = description["val_videos"]
    accelerator.wait_for_everyone()  # until every process has seen that the folder is new
    if accelerator.is_main_process:
        if run.settings.resume:
            folder.describe(description)
        else:
            title = f"A training of {len(run.model.classes)} classes"
            options = {table: {name: description[name] for name in option_types(TABLES[table])} for table in TABLES}
            folder.create(description, write_recipe(title, options))


def _start(model: VideoClassifier, start: str | None, accelerator: Accelerator, reporter: Reporter) -> None:
    """Give the model the weights that it starts from, unless it was created with them."""
    if start is None:
        return
    if start in WEIGHTS:
        reporter.log(f"starting from {start}")
        return
    with accelerator.main_process_first():  # one process fetches what is not there yet
        new = start_from(model, fetch_published(start) if is_published(start) else start)
    reporter.log(f"starting from {start}; classes that are new to it: {', '.join(new) or 'none'}")


def _skipping(settings: TrainSettings, progress: Progress) -> Callable[[int, VideoError], None]:
    """What notes a recording that cannot be read, as far as such ones may be skipped."""

    def skip(number: int, error: VideoError) -> None:
        progress.skipped[number] = str(error)
        if len(progress.skipped) > settings.skip_bad:
            raise error

    return skip


def _create_loss(
    settings: TrainSettings, classes: list[str], clips: TrainingClips | RecordingClips
) -> Loss | FrameLoss:
    smoothing, gamma = settings.optim.label_smoothing, settings.skew.focal_gamma
    if not isinstance(clips, TrainingClips):
        is_weighted = settings.frames.task == "spot" and settings.frames.event_weight != 1
        weights = torch.tensor([1.0, *[settings.frames.event_weight] * len(classes)]) if is_weighted else None
        return FrameLoss(Loss(smoothing, gamma, weights), len(classes))
    weights = balancing_weights(clips.labels, len(classes)) if settings.skew.class_weights else None
    return Loss(smoothing, gamma, weights, settings.multi_label)


def _check_processes(settings: TrainSettings, num_processes: int) -> None:
    if settings.optim.batch_size % num_processes:
        raise SettingsError(
            f"`batch_size` {settings.optim.batch_size} on {num_processes} processes; give a multiple of these"
        )
    if settings.skip_bad and num_processes > 1:
        raise SettingsError(
            f"`skip_bad` {settings.skip_bad} on {num_processes} processes, which must agree on every batch; "
            "train in one, or list the unreadable videos in a file for `exclude`"
        )


def _restore(run: Training, new: dict[str, Any], old: Mapping[str, Any], reporter: Reporter) -> None:
    """Load the state of a stopped run. The new description gets how the run was extended, now or before."""
    progress, epochs, planned = run.progress, run.settings.optim.epochs, old["epochs"]
    state = run.folder.load_state(run.accelerator)
    saved = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.stat().st_mtime))
    reporter.log(f"resuming from {state}, saved {saved} {progress} of {epochs}")
    new["extended"] = list(old.get("extended", ()))
    if epochs > planned:
        text, is_extended = plan_longer(
            run.settings.optim,
            planned,
            progress,
            updates_per_epoch=run.updates_per_epoch,
            extend=run.settings.extend,
        )
        reporter.log(text)
        if is_extended:
            new["extended"].append({"epochs": planned, "to": epochs, "at": str(progress)})
    if not run.accelerator.is_main_process:  # the saved sums are over all processes, and count once
        progress.so_far.loss = progress.so_far.hits = progress.so_far.videos = 0.0
    if progress.validated_on not in ("", new["val_videos"]):
        progress.best_accuracy = -1.0
        reporter.log("other validation videos than before: the best model is chosen anew from here on")


def _log_settings(run: Training, reversed_pairs: Pairs, reporter: Reporter) -> None:
    """Log what is trained on."""
    optim, accelerator, lists, config = run.settings.optim, run.accelerator, run.lists, run.model.config
    what = f"{len(run.clips)} training videos, {len(lists.val)} validation videos"
    if config.is_dense:
        what = (
            f"{len(run.clips)} clips an epoch of {config.num_segments} frames at {config.fps:g} a second, "
            f"{len(lists.train)} times something happens; {len(lists.val_recordings)} validation recordings"
        )
    devices = f"{accelerator.num_processes} process(es) on {accelerator.device.type}"
    reporter.log(f"{what}, {len(config.classes)} classes, {devices}")
    videos = optim.batch_size * optim.accumulate
    scaled = f": {optim.lr:g} x {videos}/{optim.lr_batch}" if optim.lr_batch not in (None, videos) else ""
    reporter.log(f"learning rate {optim.peak_lr:g} for {videos} videos per optimizer step{scaled}")
    flipped = run.settings.augment.mirror if run.clips.augmentation.may_mirror.any() else "none"
    reporter.log(f"flipped clips: {flipped}; classes that swap: {_listed(config.mirror_pairs)}")
    if reversed_pairs:
        reporter.log(f"reversed clips; classes that swap: {_listed(reversed_pairs)}")


def _listed(pairs: Pairs) -> str:
    return ", ".join(f"{first} = {second}" for first, second in pairs) or "none"


def _create(settings: TrainSettings, learned: Manifest, classes: list[str]) -> VideoClassifier:
    options, augment, frames = settings.model, settings.augment, settings.frames
    fps = frames.fps if frames.is_dense else None
    test = load_recipe(settings.recipe).test if settings.recipe else ProtocolOptions()
    return create_model(
        options.backbone,
        options.temporal,
        classes=classes,
        weights=options.start if options.start in WEIGHTS else options.weights,
        num_sites=options.num_sites,
        ratio=options.ratio,
        interleave=options.interleave,
        causal=options.causal,
        dropout=options.dropout,
        size_px=options.size,
        num_segments=options.segments,
        drop_path=options.drop_path,
        num_clips=test.clips or 1,
        num_crops=test.crops or 1,
        mirror_pairs=parse_pairs(augment.mirror_pairs, classes, kind="mirror") or learned.mirror_pairs(classes),
        multi_label=settings.multi_label,
        whole_frame=options.whole_frame,
        square_pixels=not options.keep_squashed,
        box=region_of(settings.box),
        task=frames.task,
        head=frames.head if frames.is_dense else None,
        fps=fps,
        look_ahead=_look_ahead(frames.look_ahead, fps) if fps and frames.head == "tcn" else None,
        displacement=max(round(frames.displacement * fps), 1) if fps and frames.displacement else 0,
    )


def _look_ahead(look_ahead_s: float, fps: float) -> int:
    """How many frames the head looks ahead.

    Raises:
        SettingsError: If it cannot look as far, as at a high rate.
    """
    num_frames = round(look_ahead_s * fps)
    if num_frames > MAX_LOOK_AHEAD:
        raise SettingsError(
            f"`look_ahead` {look_ahead_s:g} seconds are {num_frames} frames at {fps:g} a second, and at most "
            f"{MAX_LOOK_AHEAD} can be looked ahead; give up to {math.floor(1000 * MAX_LOOK_AHEAD / fps) / 1000:g}, or "
            "a lower `fps`"
        )
    return num_frames
