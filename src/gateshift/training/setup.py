"""One training put together: lists read, network built, and both on this machine's devices."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

from gateshift.data.clips.dataset import Sample, TrainingClips
from gateshift.data.clips.loader import EpochShuffle, make_loader
from gateshift.data.clips.mixing import Mixing
from gateshift.data.lists.class_pairs import Pairs, parse_pairs
from gateshift.data.lists.labels import check_agreement, check_several
from gateshift.data.lists.manifest import Manifest
from gateshift.devices import create_accelerator
from gateshift.errors import SettingsError
from gateshift.model.activation_checkpointing import checkpoint_blocks
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.depthwise import keep_depthwise_float32
from gateshift.model.warm_start import start_from
from gateshift.recipes.options import OptimOptions
from gateshift.recipes.recipe import ProtocolOptions, load_recipe
from gateshift.training.ema import WeightAverage
from gateshift.training.inputs import choose_reversal_pairs, create_augmentation, create_order, read_lists
from gateshift.training.losses import Loss, balancing_weights
from gateshift.training.optimizer import create_optimizer, freeze_batch_norms, plan_longer
from gateshift.training.reporter import Reporter
from gateshift.training.run_folder import RunFolder, describe
from gateshift.training.settings import TrainSettings
from gateshift.training.small_batches import check_small_batches
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
    loss: Loss
    clips: TrainingClips
    order: EpochShuffle
    mixing: Mixing
    loader: DataLoader[Sample]
    validation: Manifest
    progress: Progress

    def trained(self) -> VideoClassifier:
        """The network that is validated and saved: as it is, or averaged."""
        return self.model if self.average is None else self.average.model()


def prepare(settings: TrainSettings, folder: RunFolder, reporter: Reporter) -> Training:
    """Read the lists, build the network, and put both on this machine's devices."""
    optim, augment = settings.optim, settings.augment
    accelerator = create_accelerator(settings.precision)
    _check_processes(settings, accelerator.num_processes)
    learned, validation = read_lists(settings, reporter)
    classes = learned.class_names()
    if not settings.multi_label:
        check_several(classes, learned.source)
    backwards = choose_reversal_pairs(augment, learned, classes)
    description = describe(settings, classes, learned, validation, backwards)
    begun = folder.check_description(description) if settings.resume else None
    # A label that is not learned is found before the training, not after.
    check_agreement([(each.source, each.entries, each.targets(classes)) for each in (learned, validation)])
    for note in learned.describe_numbers(train=True):
        reporter.say(note)
    model = _begin(settings, learned, classes, accelerator.process_index, reporter)
    rule = create_augmentation(augment, model.config, backwards, num_segments=settings.model.segments)
    clips = TrainingClips(learned, classes, rule, seed=settings.seed)
    order = create_order(settings, clips)
    loader = make_loader(clips, batch_size=optim.batch_size, workers=settings.workers, sampler=order)

    # 2D convolutions are faster with the channels of a pixel side by side, on CPUs and on GPUs.
    model.to(accelerator.device).to(memory_format=torch.channels_last).train()
    average = WeightAverage(model, optim.ema, accelerator) if optim.ema else None  # of the network as it is, unwrapped
    if optim.partial_bn:
        freeze_batch_norms(model)
    check_small_batches(model, settings, num_videos=len(order), processes=accelerator.num_processes)
    optimizer = create_optimizer(model, optim)
    _rearrange(model, settings, accelerator)
    called = torch.compile(model) if settings.compile else model
    wrapped, optimizer, loader = accelerator.prepare(called, optimizer, loader)
    updates_per_epoch = math.ceil(len(loader) / optim.accumulate)
    progress = _enter_folder(settings, folder, accelerator, description, begun, updates_per_epoch, reporter)
    mixing = Mixing(len(classes), augment.mixup, augment.cutmix, settings.seed)
    run = Training(
        settings,
        accelerator,
        folder,
        model,
        wrapped,
        average,
        optimizer,
        _create_loss(settings, clips, len(classes)),
        clips,
        order,
        mixing,
        loader,
        validation,
        progress,
    )
    _describe(run, backwards, reporter)
    return run


def _rearrange(model: VideoClassifier, settings: TrainSettings, accelerator: Accelerator) -> None:
    """Make the network's own layers compute the same in less time or memory; copies of it are made before."""
    if accelerator.device.type == "cpu" and settings.precision == "bf16":
        keep_depthwise_float32(model.backbone)
    if settings.checkpointing:
        checkpoint_blocks(model.backbone)


def _enter_folder(
    settings: TrainSettings,
    folder: RunFolder,
    accelerator: Accelerator,
    description: dict[str, Any],
    begun: Mapping[str, Any] | None,
    updates_per_epoch: int,
    reporter: Reporter,
) -> Progress:
    """Make the folder, or restore what a stopped run left in it. Returns how far the run has come."""
    progress = Progress()
    accelerator.register_for_checkpointing(progress)
    if begun is not None:
        state = folder.load_state(accelerator)
        saved = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.stat().st_mtime))
        reporter.say(f"going on from {state}, saved {saved} {progress} of {settings.optim.epochs}")
        description["extended"] = _extensions(settings, begun, progress, updates_per_epoch, reporter)
        if not accelerator.is_main_process:
            progress.so_far.forget_counts()  # those saved are of all processes together, and count once
        if progress.validated_on not in ("", description["val_videos"]):
            progress.best_accuracy = -1.0
            reporter.say("validated on other videos than before: the best model is chosen anew from here on")
    progress.validated_on = description["val_videos"]
    accelerator.wait_for_everyone()  # until every process has seen that the folder is new
    if accelerator.is_main_process:
        (folder.describe if settings.resume else folder.create)(description)
    return progress


def _extensions(
    settings: TrainSettings, begun: Mapping[str, Any], progress: Progress, updates_per_epoch: int, reporter: Reporter
) -> list[dict[str, Any]]:
    """How a run that goes on has been extended, now or before."""
    planned, epochs, extended = begun["epochs"], settings.optim.epochs, list(begun.get("extended", ()))
    if epochs > planned:
        said, is_extended = plan_longer(
            settings.optim, planned, progress, updates_per_epoch=updates_per_epoch, extend=settings.extend
        )
        reporter.say(said)
        if is_extended:
            extended.append({"epochs": planned, "to": epochs, "at": str(progress)})
    return extended


def _check_processes(settings: TrainSettings, num_processes: int) -> None:
    if settings.optim.batch_size % num_processes:
        raise SettingsError(
            f"--batch-size {settings.optim.batch_size} on {num_processes} processes; give a multiple of these"
        )
    if settings.skip_bad and num_processes > 1:
        raise SettingsError(
            f"--skip-bad {settings.skip_bad} on {num_processes} processes, which must agree on every batch; "
            "train in one, or name the bad videos in a file for --exclude"
        )


def _create_loss(settings: TrainSettings, clips: TrainingClips, num_classes: int) -> Loss:
    weights = balancing_weights(clips.labels, num_classes) if settings.skew.class_weights else None
    return Loss(settings.optim.label_smoothing, settings.skew.focal_gamma, weights, settings.multi_label)


def _describe(run: Training, backwards: Pairs, reporter: Reporter) -> None:
    """Say what is trained on."""
    accelerator, augment = run.accelerator, run.settings.augment
    reporter.say(
        f"{len(run.clips)} videos to learn from, {len(run.validation)} to validate on, "
        f"{len(run.model.classes)} classes, {accelerator.num_processes} process(es) on {accelerator.device.type}"
    )
    reporter.say(_describe_rate(run.settings.optim))
    mirrored = augment.mirror if run.clips.augmentation.may_mirror.any() else "none"
    reporter.say(f"mirrored clips: {mirrored}; classes that swap: {_listed(run.model.config.mirror_pairs)}")
    if backwards:
        reporter.say(f"clips played backwards; classes that swap: {_listed(backwards)}")


def _listed(pairs: Pairs) -> str:
    return ", ".join(f"{first} = {second}" for first, second in pairs) or "none"


def _describe_rate(optim: OptimOptions) -> str:
    real = optim.batch_size * optim.accumulate
    told = f"learning rate {optim.peak_lr:g} for {real} videos between two updates"
    scaled = optim.lr_batch not in (None, real)
    return f"{told}: {optim.lr:g} x {real}/{optim.lr_batch}, as it is meant for {optim.lr_batch}" if scaled else told


def _begin(
    settings: TrainSettings, learned: Manifest, classes: list[str], process_index: int, reporter: Reporter
) -> VideoClassifier:
    """The network as it is before the first step, the same in every process."""
    set_seed(settings.seed)
    model = _create(settings, learned, classes)
    if settings.model.start is not None and not settings.resume:
        new = start_from(model, settings.model.start)
        reporter.say(f"starting from {settings.model.start}; classes that are new to it: {', '.join(new) or 'none'}")
    if process_index:  # each drops features of its own
        set_seed((settings.seed + process_index) % 2**32)
    return model


def _create(settings: TrainSettings, learned: Manifest, classes: list[str]) -> VideoClassifier:
    options, augment = settings.model, settings.augment
    test = load_recipe(settings.recipe).test if settings.recipe else ProtocolOptions()
    return create_model(
        options.backbone,
        options.temporal,
        classes=classes,
        weights=options.weights,
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
    )
