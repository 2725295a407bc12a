"""Train a video classifier: the loop from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gateshift.data.dataset import Sample
from gateshift.data.views import Protocol
from gateshift.errors import SettingsError, VideoError
from gateshift.run.evaluate import evaluate
from gateshift.run.optim import training_step
from gateshift.run.parameter_groups import freeze_backbone, freeze_batch_norms
from gateshift.run.reporter import Reporter, Silent
from gateshift.run.run_folder import RunFolder
from gateshift.run.schedule import set_rates
from gateshift.run.train_settings import TrainSettings
from gateshift.run.training import Training, prepare


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
    if run.progress.skipped:
        reporter.say(f"{len(run.progress.skipped)} videos could not be read and were left out ({folder.skipped}):")
        for reason in run.progress.skipped.values():
            reporter.say(f"  {reason}")
    return folder


def _train_epoch(run: Training, epoch: int, reporter: Reporter) -> dict[str, Any]:
    """One pass over the training videos. Returns the epoch's row of the log, without validation."""
    optim = run.settings.optim
    run.clips.epoch = run.order.epoch = epoch
    run.wrapped.train()
    if optim.partial_bn:
        freeze_batch_norms(run.model)
    frozen = freeze_backbone(run.model) if epoch < optim.freeze_epochs else ()
    sums = torch.zeros(3, dtype=torch.float64)  # loss, hits, videos
    updates_per_epoch, updates = math.ceil(len(run.loader) / optim.accumulate), 0
    with reporter.epoch(epoch, optim.epochs, len(run.loader)) as tell:
        for number, (batch, is_last) in enumerate(_readable_batches(run), start=1):
            rate = set_rates(run.optimizer, optim, epoch=epoch, update=updates, updates_per_epoch=updates_per_epoch)
            clips, targets = run.mixing.mix(batch["clips"], batch["labels"], epoch=epoch, batch=number)
            is_update = number % optim.accumulate == 0 or is_last
            loss, _, logits = training_step(
                run.accelerator,
                run.wrapped,
                run.optimizer,
                clips,
                targets,
                clip_norm=optim.clip_norm,
                accumulate=optim.accumulate,
                update=is_update,
                loss=run.loss,
                frozen=frozen,
            )
            if not torch.isfinite(loss):
                raise SettingsError(
                    f"the loss became {float(loss)} in epoch {epoch + 1}; start again with a lower --lr"
                )
            updates += is_update
            if is_update and run.average is not None:
                run.average.update(run.model, epoch * updates_per_epoch + updates)
            labels = targets if targets.dim() == 1 else targets.argmax(1)  # of a mixture, the larger part
            hits, videos = int((logits.argmax(1) == labels).sum()), len(labels)
            sums += torch.tensor([float(loss) * videos, hits, videos])
            tell(loss=float(sums[0] / sums[2]), accuracy=float(sums[1] / sums[2]))
    total = run.accelerator.reduce(sums.to(run.accelerator.device).float(), "sum").tolist()
    return {"epoch": epoch + 1, "lr": rate, "loss": total[0] / total[2], "accuracy": total[1] / total[2]}


def _readable_batches(run: Training) -> Iterator[tuple[Sample, bool]]:
    """The batches of an epoch, less the videos that may be skipped, each with whether it is the last.

    Raises:
        VideoError: If more videos than may be skipped cannot be read, or all.
    """
    limit, skipped, held = run.settings.skip_bad, run.progress.skipped, None
    for batch in run.loader:
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
            yield held, False
        held = batch
    if held is None:
        raise VideoError(f"--skip-bad {limit}: none of the videos to learn from can be read; correct the list")
    yield held, True


def _validate(run: Training) -> dict[str, float]:
    settings = run.settings
    scores = evaluate(
        run.wrapped if run.average is None else run.average.model(),
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
    model = run.model if run.average is None else run.average.model()
    if run.accelerator.is_main_process:
        run.folder.log(row)
        run.folder.save_models(model, best=best)
        write_curves(row)
        if run.progress.skipped:
            entries = run.clips.manifest.entries
            run.folder.list_skipped({entries[index].video_id: why for index, why in run.progress.skipped.items()})
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
