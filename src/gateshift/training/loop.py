"""Train a video classifier: the loop from top to bottom."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from gateshift.data.clips.dataset import Sample
from gateshift.data.clips.loader import read_batches
from gateshift.data.clips.views import EvalProtocol
from gateshift.errors import VideoError
from gateshift.evaluation.metrics import Metrics, MultiLabelMetrics
from gateshift.evaluation.scoring import score_videos
from gateshift.training.optimizer import TrainingStep, freeze_backbone, freeze_batch_norms, set_rates
from gateshift.training.progress_page import draw_batch, openness_row, watched_clips, write_training_page
from gateshift.training.reporter import Reporter, Silent
from gateshift.training.run_folder import RunFolder
from gateshift.training.settings import TrainSettings
from gateshift.training.setup import Training, prepare
from gateshift.training.state import Checkpoints, EpochSoFar, StopRequest, total

READ_EVERY_S = 1.0  # losses, which have to be waited for


def train(settings: TrainSettings, reporter: Reporter | None = None, stop: StopRequest | None = None) -> RunFolder:
    """Train a network on labelled videos; see :class:`TrainSettings`.

    After each epoch the models, the log and the state to resume from are written, and the state also within an
    epoch, as ``save_minutes`` says; the network is validated, on one centre crop of one clip, after each epoch or as
    ``validate_every`` says, which changes no weight. A run that is resumed ends with the weights of one never stopped.

    Args:
        settings: What to train, on what, and how.
        reporter: Who is told how it goes.
        stop: Who may ask it to stop.

    Returns:
        The folder with ``best.safetensors`` (highest validation top-1, or mAP, the first of equals) and
        ``last.safetensors``.

    Raises:
        GateShiftError: If settings, lists, videos or weights cannot be used, or the disk is full.
        StoppedError: If it was asked to stop; RUN holds what it had done.
    """
    reporter = reporter or Silent()
    settings.check()
    folder = RunFolder(settings.out)
    settings = dataclasses.replace(settings, resume=folder.choose_start(settings.resume))
    run = prepare(settings, folder, reporter)
    watched = watched_clips(run.model, run.validation, settings.model.segments)
    saves = Checkpoints(
        folder, run.accelerator, run.progress, minutes=settings.save_minutes, stop=stop or StopRequest()
    )
    with _curves(run) as write_curves:
        for epoch in range(run.progress.epoch, settings.optim.epochs):
            row = _train_epoch(run, epoch, saves, reporter)
            if (epoch + 1) % settings.optim.validate_every == 0 or epoch + 1 == settings.optim.epochs:
                row |= _validate(run, saves)
            row["seconds"] = round(saves.epoch_seconds, 1)
            row |= openness_row(run.trained(), watched)
            _finish_epoch(run, epoch, row, write_curves, reporter)
            saves.after_epoch()
    if run.progress.skipped:
        reporter.say(f"{len(run.progress.skipped)} videos could not be read and were left out ({folder.skipped}):")
        for reason in run.progress.skipped.values():
            reporter.say(f"  {reason}")
    return folder


def _train_epoch(run: Training, epoch: int, saves: Checkpoints, reporter: Reporter) -> dict[str, Any]:
    """One pass over the training videos, or the rest of one. Returns its row of the log, without validation."""
    optim, so_far = run.settings.optim, run.progress.so_far
    run.clips.epoch = run.order.epoch = epoch
    run.wrapped.train()
    if optim.partial_bn:
        freeze_batch_norms(run.model)
    frozen = freeze_backbone(run.model) if epoch < optim.freeze_epochs else ()
    step = TrainingStep(
        run.accelerator,
        run.wrapped,
        run.optimizer,
        run.loss,
        clip_norm=optim.clip_norm,
        accumulate=optim.accumulate,
        accumulation=optim.accumulation,
    )
    read_s = time.monotonic()
    with reporter.epoch(epoch, optim.epochs, len(run.loader) - so_far.taken) as tell:
        for batch, taken, is_last in _readable_batches(run):
            so_far.batches += 1
            _set_rates(run, epoch, so_far.updates)
            clips, targets = run.mixing.mix(batch["clips"], batch["labels"], epoch=epoch, batch=so_far.batches)
            if epoch == 0 and so_far.batches == 1 and run.accelerator.is_main_process:
                draw_batch(clips, _labels_of(targets, run), run.folder.first_batch)
            is_update = so_far.batches % optim.accumulate == 0 or is_last
            loss, _, logits = step(clips, targets, update=is_update, frozen=frozen)
            run.progress.count(loss, run.loss.count_right(logits, targets), len(targets))
            if not so_far.videos or time.monotonic() - read_s >= READ_EVERY_S:
                run.progress.read()
                read_s = time.monotonic()
            tell(loss=so_far.mean_loss, accuracy=so_far.accuracy)
            if is_update:
                so_far.taken, so_far.updates = taken, so_far.updates + 1
                if run.average is not None:
                    run.average.update(run.model, epoch * _updates_per_epoch(run) + so_far.updates)
                saves.after_update()
    run.progress.read()
    together = total(so_far, run.accelerator)
    rate = _set_rates(run, epoch, so_far.updates - 1)
    return {"epoch": epoch + 1, "lr": rate, "loss": together.mean_loss, "accuracy": together.accuracy}


def _labels_of(targets: Tensor, run: Training) -> list[str]:
    """Class names of each clip of a batch; of a mixture, the larger part."""
    classes = run.model.classes
    if run.loss.multi_label:
        return [", ".join(classes[place] for place in row.gt(0.5).nonzero().flatten().tolist()) for row in targets]
    return [classes[label] for label in (targets if targets.dim() == 1 else targets.argmax(1)).tolist()]


def _updates_per_epoch(run: Training) -> int:
    return math.ceil(len(run.loader) / run.settings.optim.accumulate)


def _set_rates(run: Training, epoch: int, update: int) -> float:
    """Set the learning rates of an update, and return the first of them."""
    return set_rates(
        run.optimizer, run.settings.optim, epoch=epoch, update=update, updates_per_epoch=_updates_per_epoch(run)
    )


def _readable_batches(run: Training) -> Iterator[tuple[Sample, int, bool]]:
    """The batches that are left of an epoch, less the videos that may be skipped.

    Yields:
        A batch, how many the loader has given up to it, and whether it is the last.

    Raises:
        VideoError: If more videos than may be skipped cannot be read, or all.
    """
    limit, skipped, taken = run.settings.skip_bad, run.progress.skipped, run.progress.so_far.taken
    held: tuple[Sample, int] | None = None
    loader = run.accelerator.skip_first_batches(run.loader, taken) if taken else run.loader
    for number, batch in enumerate(read_batches(loader), start=taken + 1):
        for index, reason in zip(batch["failed"], batch["failures"], strict=True):
            if not limit:
                raise VideoError(reason)
            skipped.setdefault(index, reason)
            if len(skipped) > limit:
                raise VideoError(
                    f"--skip-bad {limit}: {len(skipped)} videos cannot be read, the last: {reason}; "
                    "raise it, or name them in a file for --exclude"
                )
        if "clips" not in batch:
            continue
        if held is not None:
            yield *held, False
        held = batch, number
    if held is not None:
        yield *held, True
    elif not run.progress.so_far.batches:
        raise VideoError(f"--skip-bad {limit}: none of the videos to learn from can be read; correct the list")


def _validate(run: Training, saves: Checkpoints) -> dict[str, float]:
    settings = run.settings
    found = score_videos(
        run.wrapped if run.average is None else run.average.model(),
        run.model.config,
        run.validation,
        EvalProtocol(settings.model.segments, short_videos=settings.short_videos),
        accelerator=run.accelerator,
        batch_size=settings.optim.batch_size,
        workers=settings.workers,
        on_batch=lambda _: saves.check_stop(),
    )
    return {f"val_{name}": value for name, value in found.scores.metrics().accuracies().items()}


def _finish_epoch(
    run: Training, epoch: int, row: dict[str, Any], write_curves: Callable[..., None], reporter: Reporter
) -> None:
    """Log the epoch and write what it leaves behind."""
    metrics: type[Metrics] | type[MultiLabelMetrics] = MultiLabelMetrics if run.loss.multi_label else Metrics
    accuracy = row.get(f"val_{metrics.FIRST}", -1.0)
    best = accuracy > run.progress.best_accuracy
    run.progress.epoch, run.progress.so_far = epoch + 1, EpochSoFar()
    run.progress.best_accuracy = max(accuracy, run.progress.best_accuracy)
    model = run.trained()  # in every process: they average together
    if run.accelerator.is_main_process:
        run.folder.log(row)
        run.folder.save_models(model, best=best)
        write_curves(row)
        write_training_page(run.folder, run.model.classes, run.clips.manifest, run.validation)
        if run.progress.skipped:
            entries = run.clips.manifest.entries
            run.folder.list_skipped({entries[index].video_id: why for index, why in run.progress.skipped.items()})
    text = f"epoch {row['epoch']}: loss {row['loss']:.3f}, accuracy {row['accuracy']:.1%}"
    if f"val_{metrics.FIRST}" in row:
        text += f", validation {metrics.FIRST_NAME} {accuracy:.2%} ({EvalProtocol(run.settings.model.segments)})"
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
