"""Train a video classifier: the loop from top to bottom."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Interface

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

from gateshift.data.dataset import Augmentation, EpochShuffle, Sample, TrainingClips, make_loader
from gateshift.data.manifest import Manifest, read_manifest
from gateshift.data.mirror import may_mirror, mirror_map, parse_mirror_pairs
from gateshift.data.views import Protocol
from gateshift.errors import SettingsError, VideoError
from gateshift.model.checkpointing import checkpoint_blocks
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.run.evaluate import create_accelerator, evaluate
from gateshift.run.optim import freeze_batch_norms, learning_rate, new_parameters, trained_parameters, training_step
from gateshift.run.recipes import TestOptions, load_recipe
from gateshift.run.run_folder import Progress, RunFolder, describe
from gateshift.run.train_settings import OptimOptions, TrainSettings


class Reporter(Interface):
    """Who is told how the training goes; the command line draws a progress bar with it."""

    def say(self, text: str) -> None:
        """One line about the run."""

    def epoch(self, number: int, num_epochs: int, num_batches: int) -> AbstractContextManager[Callable[..., None]]:
        """Enter an epoch; what it gives is called after each batch with ``loss`` and ``accuracy`` so far."""


class Silent:
    """Tells nobody."""

    def say(self, text: str) -> None:
        """Nothing."""

    def epoch(self, number: int, num_epochs: int, num_batches: int) -> AbstractContextManager[Callable[..., None]]:  # noqa: ARG002
        """Nothing."""
        return nullcontext(lambda **_: None)


@dataclass
class Training:
    """The parts of one training, ready to run."""

    settings: TrainSettings
    accelerator: Accelerator
    folder: RunFolder
    model: VideoClassifier
    wrapped: torch.nn.Module
    optimizer: torch.optim.Optimizer
    clips: TrainingClips
    order: EpochShuffle
    loader: DataLoader[Sample]
    validation: Manifest
    progress: Progress


def train(settings: TrainSettings, reporter: Reporter | None = None) -> RunFolder:
    """Train a network on labelled videos; see :class:`TrainSettings`.

    After each epoch the models, the log and the state to resume from are written; the network is validated,
    on one centre crop of one clip, after each epoch or as ``validate_every`` says, which changes no weight.
    A run that is resumed ends with the weights of one never stopped.

    Returns:
        The folder with ``best.safetensors`` (highest validation top-1, the first of equals) and
        ``last.safetensors``.

    Raises:
        GateShiftError: If settings, lists, videos or weights cannot be used.
    """
    reporter = reporter or Silent()
    settings.check()
    folder = RunFolder(settings.out)
    folder.check(resume=settings.resume)
    run = prepare(settings, folder, reporter)
    with _curves(run) as write_curves:
        for epoch in range(run.progress.epoch, settings.optim.epochs):
            started = time.monotonic()
            row = _train_epoch(run, epoch, reporter)
            if (epoch + 1) % settings.optim.validate_every == 0 or epoch + 1 == settings.optim.epochs:
                row |= _validate(run)
            row["seconds"] = round(time.monotonic() - started, 1)
            _finish_epoch(run, epoch, row, write_curves, reporter)
    return folder


def prepare(settings: TrainSettings, folder: RunFolder, reporter: Reporter) -> Training:
    """Read the lists, build the network, and put both on this machine's devices."""
    optim = settings.optim
    accelerator = create_accelerator(settings.precision)
    if optim.batch_size % accelerator.num_processes:
        raise SettingsError(
            f"--batch-size {optim.batch_size} on {accelerator.num_processes} processes; give a multiple of these"
        )
    learned, validation = (read_manifest(path, root=settings.root) for path in (settings.train, settings.val))
    for manifest in (learned, validation):
        manifest.check_files()
    validation.check_unique()
    classes = learned.class_names()
    description = describe(settings, classes, learned, validation)
    if settings.resume:
        folder.check_description(description)
    validation.label_indices(classes)  # a label that is not learned is found before the training, not after
    set_seed(settings.seed)
    model = _create(settings, learned, classes)
    clips = TrainingClips(learned, classes, _augmentation(settings, model), seed=settings.seed)
    order = EpochShuffle(len(clips), seed=settings.seed)
    loader = make_loader(clips, batch_size=optim.batch_size, workers=settings.workers, sampler=order)

    # 2D convolutions are faster with the channels of a pixel side by side, on CPUs and on GPUs.
    model.to(accelerator.device).to(memory_format=torch.channels_last).train()
    if optim.partial_bn:
        freeze_batch_norms(model)
    optimizer = _optimizer(settings, model)
    if settings.checkpointing:
        checkpoint_blocks(model.backbone)
    called = torch.compile(model) if settings.compile else model
    wrapped, optimizer, loader = accelerator.prepare(called, optimizer, loader)
    progress = Progress()
    accelerator.register_for_checkpointing(progress)
    if settings.resume:
        folder.load_state(accelerator)
        reporter.say(f"going on after epoch {progress.epoch} of {optim.epochs}")
    accelerator.wait_for_everyone()  # until every process has seen that the folder is new
    if accelerator.is_main_process and not settings.resume:
        folder.create(description)
    reporter.say(
        f"{len(learned)} videos to learn from, {len(validation)} to validate on, {len(classes)} classes, "
        f"{accelerator.num_processes} process(es) on {accelerator.device.type}"
    )
    reporter.say(_describe_rate(optim))
    pairs = ", ".join(f"{a} = {b}" for a, b in model.config.mirror_pairs) or "none"
    reporter.say(f"mirrored clips: {settings.augment.mirror}; classes that swap: {pairs}")
    return Training(
        settings, accelerator, folder, model, wrapped, optimizer, clips, order, loader, validation, progress
    )


def _describe_rate(optim: OptimOptions) -> str:
    real = optim.batch_size * optim.accumulate
    told = f"learning rate {optim.peak_lr:g} for {real} videos between two updates"
    scaled = optim.lr_batch not in (None, real)
    return f"{told}: {optim.lr:g} x {real}/{optim.lr_batch}, as it is meant for {optim.lr_batch}" if scaled else told


def _create(settings: TrainSettings, learned: Manifest, classes: list[str]) -> VideoClassifier:
    options, augment = settings.model, settings.augment
    model = create_model(
        options.backbone,
        options.temporal,
        classes=classes,
        weights=options.weights,
        ratio=options.ratio,
        interleave=options.interleave,
        causal=options.causal,
        dropout=options.dropout,
        size_px=options.size,
        num_segments=options.segments,
    )
    test = load_recipe(settings.recipe).test if settings.recipe else TestOptions()
    protocol = Protocol(options.segments, test.clips or 1, test.crops or 1)
    given = parse_mirror_pairs(augment.mirror_pairs, classes)
    model.config = dataclasses.replace(
        model.config,
        num_clips=protocol.num_clips,
        num_crops=protocol.num_crops,
        mirror_pairs=given or learned.mirror_pairs(classes),
    )
    return model


def _augmentation(settings: TrainSettings, model: VideoClassifier) -> Augmentation:
    config = model.config
    return Augmentation(
        size_px=config.size_px,
        num_segments=settings.model.segments,
        mirror_map=mirror_map(config.classes, config.mirror_pairs),
        may_mirror=may_mirror(config.classes, config.mirror_pairs, settings.augment.mirror),
        brightness=settings.augment.brightness,
    )


def _optimizer(settings: TrainSettings, model: VideoClassifier) -> torch.optim.Optimizer:
    """SGD or AdamW over two groups: the backbone, and the layers that are new to it."""
    optim = settings.optim
    new = new_parameters(model)
    trained = trained_parameters(model, partial_bn=optim.partial_bn)
    groups = [
        {"params": [p for p in trained if id(p) not in new], "lr_scale": 1.0},
        {"params": [p for p in trained if id(p) in new], "lr_scale": optim.new_layers_lr},
    ]
    if optim.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=0.9, weight_decay=optim.weight_decay)
    return torch.optim.AdamW(groups, lr=optim.lr, weight_decay=optim.weight_decay)


def _train_epoch(run: Training, epoch: int, reporter: Reporter) -> dict[str, Any]:
    """One pass over the training videos. Returns the epoch's row of the log, without validation."""
    optim = run.settings.optim
    rate = learning_rate(epoch, peak=optim.peak_lr, warmup_epochs=optim.warmup_epochs, num_epochs=optim.epochs)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    run.clips.epoch = run.order.epoch = epoch
    run.wrapped.train()
    if optim.partial_bn:
        freeze_batch_norms(run.model)
    sums = torch.zeros(3, dtype=torch.float64)  # loss, hits, videos
    num_batches = len(run.loader)
    with reporter.epoch(epoch, optim.epochs, num_batches) as tell:
        for number, batch in enumerate(run.loader, start=1):
            if batch["failures"]:
                raise VideoError(batch["failures"][0])
            loss, _, logits = training_step(
                run.accelerator,
                run.wrapped,
                run.optimizer,
                batch["clips"],
                batch["labels"],
                clip_norm=optim.clip_norm,
                accumulate=optim.accumulate,
                update=number % optim.accumulate == 0 or number == num_batches,
                label_smoothing=optim.label_smoothing,
            )
            if not torch.isfinite(loss):
                raise SettingsError(
                    f"the loss became {float(loss)} in epoch {epoch + 1}; start again with a lower --lr"
                )
            hits, videos = int((logits.argmax(1) == batch["labels"]).sum()), len(batch["labels"])
            sums += torch.tensor([float(loss) * videos, hits, videos])
            tell(loss=float(sums[0] / sums[2]), accuracy=float(sums[1] / sums[2]))
    total = run.accelerator.reduce(sums.to(run.accelerator.device).float(), "sum").tolist()
    return {"epoch": epoch + 1, "lr": rate, "loss": total[0] / total[2], "accuracy": total[1] / total[2]}


def _validate(run: Training) -> dict[str, float]:
    settings = run.settings
    scores = evaluate(
        run.wrapped,
        run.model.config,
        run.validation,
        Protocol(settings.model.segments, short_videos=settings.short_videos),
        run.accelerator,
        batch_size=settings.optim.batch_size,
        workers=settings.workers,
    )
    metrics = scores.metrics()
    return {"val_top1": metrics.top1, "val_top5": metrics.top5, "val_mean_class": metrics.mean_class}


def _finish_epoch(
    run: Training, epoch: int, row: dict[str, Any], write_curves: Callable[..., None], reporter: Reporter
) -> None:
    """Log the epoch and write what it leaves behind."""
    top1 = row.get("val_top1", -1.0)
    best = top1 > run.progress.best_top1
    run.progress.epoch = epoch + 1
    run.progress.best_top1 = max(top1, run.progress.best_top1)
    if run.accelerator.is_main_process:
        run.folder.log(row)
        run.folder.save_models(run.model, best=best)
        write_curves(row)
    run.folder.save_state(run.accelerator)
    text = f"epoch {row['epoch']}: loss {row['loss']:.3f}, accuracy {row['accuracy']:.1%}"
    if "val_top1" in row:
        text += f", validation top-1 {top1:.2%} ({Protocol(run.settings.model.segments)})"
    reporter.say(text + (", best so far" if best else ""))


@contextmanager
def _curves(run: Training) -> Iterator[Callable[[dict[str, Any]], None]]:
    """TensorBoard curves of a run, written by its main process: what it gives takes a row of the log."""
    if not run.accelerator.is_main_process:
        yield lambda _: None
        return
    from torch.utils.tensorboard import SummaryWriter

    curves = str(run.folder.path / "tensorboard")
    with SummaryWriter(curves, purge_step=run.progress.epoch + 1) as writer:

        def write(row: dict[str, Any]) -> None:
            for name, value in row.items():
                writer.add_scalar(name, value, row["epoch"])
            writer.flush()

        yield write
