"""The training loop from top to bottom."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from accelerate.utils import broadcast
from torch import Tensor

from gateshift.data.clips.dataset import Sample
from gateshift.data.clips.loader import read_batches
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.manifest import Manifest
from gateshift.errors import StoppedError, VideoError
from gateshift.evaluation.metrics import Metrics, MultiLabelMetrics
from gateshift.evaluation.scoring import score_videos
from gateshift.probing.probe import Features, Labels, fit_classifier, fit_probe, labelled_features
from gateshift.probing.report import save_probe
from gateshift.spotting.evaluate import score_recordings
from gateshift.training.batch_norms import freeze_wanted
from gateshift.training.optimizer import TrainingStep, freeze_backbone
from gateshift.training.progress_page import draw_batch, openness_row, watched_clips, write_training_page
from gateshift.training.reporter import Reporter, Silent, curves
from gateshift.training.run_folder import RunFolder
from gateshift.training.schedule import set_rates
from gateshift.training.settings import TrainSettings
from gateshift.training.setup import Training, set_up
from gateshift.training.state import Checkpoints, EpochSoFar, StopRequest

READ_EVERY_S = 1.0  # losses: reading them waits for the device
DRAW_EVERY_S = 5.0  # the page: drawing it takes longer than the epochs of a few small clips


def run_training(
    settings: TrainSettings, reporter: Reporter | None = None, stop: StopRequest | None = None
) -> RunFolder:
    """Train as the settings say; :func:`gateshift.training.train.train` does so by options.

    After each epoch, models, log and state are written, and the state also within an epoch, as ``save_minutes`` says.
    Validation, on the center crop of one clip, changes no weight. A resumed run ends with the weights of one that was
    never stopped.

    Args:
        settings: All options.
        reporter: Receives the progress.
        stop: Asks the training to stop.

    Returns:
        The folder with ``best.safetensors`` (highest validation top-1, or mAP, the first of equals) and
        ``last.safetensors``.

    Raises:
        GateShiftError: If settings, lists, videos or weights cannot be used, or the disk is full.
        StoppedError: If it was asked to stop; the state is saved.
    """
    reporter = reporter or Silent()
    settings.check()
    folder = RunFolder(settings.out)
    settings = dataclasses.replace(settings, resume=folder.choose_start(settings.resume))
    run = set_up(settings, folder, reporter)
    if not settings.resume and (settings.probe or settings.model.fit_classifier):
        _probe(run, reporter)
    watched = None if run.lists.val_recordings else watched_clips(run.model, run.lists.val, settings.model.segments)
    saves = Checkpoints(
        folder, run.accelerator, run.progress, minutes=settings.save_minutes, stop=stop or StopRequest()
    )
    with curves(run.accelerator, folder, settings, epoch=run.progress.epoch) as write_curves, _page(run) as update_page:
        for epoch in range(run.progress.epoch, settings.optim.epochs):
            row = _train_epoch(run, epoch, saves, reporter)
            if (epoch + 1) % settings.optim.validate_every == 0 or epoch + 1 == settings.optim.epochs:
                row |= _validate(run, saves)
            row["seconds"] = round(saves.epoch_seconds, 1)
            row |= openness_row(run.synchronize(), watched)
            _finish_epoch(run, epoch, row, write_curves, update_page, reporter)
            saves.after_epoch()
    if run.progress.skipped:
        reporter.log(f"{len(run.progress.skipped)} unreadable videos were skipped ({folder.skipped}):")
        for reason in run.progress.skipped.values():
            reporter.log(f"  {reason}")
    return folder


def _probe(run: Training, reporter: Reporter) -> None:
    """What a linear classifier makes of the network as it starts, and the network's classifier that begins with it."""
    settings, model = run.settings, run.model.eval()

    def features(videos: Manifest) -> tuple[Features, Labels]:
        optim, segments = settings.optim, settings.model.segments
        return labelled_features(
            model, videos, num_segments=segments, batch_size=optim.batch_size, workers=settings.workers
        )

    if run.accelerator.is_main_process:
        learned = features(run.lists.train)
        if settings.probe:
            found = fit_probe(learned, features(run.lists.val), classes=model.classes)
            save_probe(found, run.folder.probe)
            reporter.log(f"before the training, {found}")
        if settings.model.fit_classifier:
            fit_classifier(model.head, learned)
    if settings.model.fit_classifier:
        broadcast(list(model.head.parameters()))


def _train_epoch(run: Training, epoch: int, saves: Checkpoints, reporter: Reporter) -> dict[str, Any]:
    """One epoch, or the rest of one. Returns its row of the log, without validation."""
    optim, so_far = run.settings.optim, run.progress.so_far
    run.clips.epoch = run.order.epoch = epoch
    run.wrapped.train()
    freeze_wanted(run.model, optim)
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
    with reporter.epoch(epoch, optim.epochs, len(run.loader) - so_far.taken) as update_bar:
        for batch, taken, is_last in _readable_batches(run):
            so_far.batches += 1
            _set_rates(run, epoch, so_far.updates)
            clips, targets = run.mixing.mix(batch["clips"], batch["labels"], epoch=epoch, batch=so_far.batches)
            if epoch == 0 and so_far.batches == 1 and run.accelerator.is_main_process:
                draw_batch(clips, _class_names(targets, run), run.folder.first_batch)
            is_update = so_far.batches % optim.accumulate == 0 or is_last
            loss, _, logits = step(clips, targets, update=is_update, frozen=frozen)
            run.progress.count(loss, run.loss.num_correct(logits, targets), len(targets))
            if not so_far.videos or time.monotonic() - read_s >= READ_EVERY_S:
                run.progress.read()
                read_s = time.monotonic()
            update_bar(loss=so_far.mean_loss, accuracy=so_far.accuracy)
            if is_update:
                so_far.taken, so_far.updates = taken, so_far.updates + 1
                if run.average is not None:
                    run.average.update(run.model, epoch * run.updates_per_epoch + so_far.updates)
                saves.after_update()
    run.progress.read()
    total = so_far.over_processes(run.accelerator)
    rate = _set_rates(run, epoch, so_far.updates - 1)
    return {"epoch": epoch + 1, "lr": rate, "loss": total.mean_loss, "accuracy": total.accuracy}


def _set_rates(run: Training, epoch: int, update: int) -> float:
    optim, per_epoch = run.settings.optim, run.updates_per_epoch
    return set_rates(run.optimizer, optim, epoch=epoch, update=update, updates_per_epoch=per_epoch)


def _class_names(targets: Tensor, run: Training) -> list[str]:
    """The classes of each clip of a batch; of a mixture, the larger part."""
    classes = run.model.classes
    if targets.dim() == 3:  # [B, T, A]
        shown = targets[..., 1 : len(classes) + 1].amax(1) > 0.5
        return [", ".join(classes[k] for k in row.nonzero().flatten().tolist()) or "nothing" for row in shown]
    if run.loss.multi_label:
        return [", ".join(classes[index] for index in row.gt(0.5).nonzero().flatten().tolist()) for row in targets]
    return [classes[label] for label in (targets if targets.dim() == 1 else targets.argmax(1)).tolist()]


def _readable_batches(run: Training) -> Iterator[tuple[Sample, int, bool]]:
    """The remaining batches of an epoch, without the unreadable videos that may be skipped.

    Yields:
        A batch, how many the loader has given up to it, and whether it is the last.

    Raises:
        VideoError: If too many videos are unreadable, or all.
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
                    f"`skip_bad` {limit}: {len(skipped)} unreadable videos, the last: {reason}; "
                    "raise it, or list them in a file for `exclude`"
                )
        if "clips" not in batch:
            continue
        if held is not None:
            yield *held, False
        held = batch, number
    if held is not None:
        yield *held, True
    elif not run.progress.so_far.batches:
        raise VideoError(f"`skip_bad` {limit}: none of the training videos is readable; correct the list")


def _validate(run: Training, saves: Checkpoints) -> dict[str, float]:
    settings = run.settings
    if run.lists.val_recordings:
        return _validate_recordings(run, saves)
    found = score_videos(
        run.wrapped if run.average is None else run.average.synchronize(),
        run.model.config,
        run.lists.val,
        EvalProtocol(settings.model.segments, short_videos=settings.short_videos),
        accelerator=run.accelerator,
        batch_size=settings.optim.batch_size,
        workers=settings.workers,
        on_batch=lambda _: saves.check_stop(),
    )
    return {f"val_{name}": value for name, value in found.scores.metrics().accuracies().items()}


def _validate_recordings(run: Training, saves: Checkpoints) -> dict[str, float]:
    """All of each validation recording, each of its frames."""
    tolerance_s = run.settings.frames.tolerance
    counting: dict[str, Any] = {"fps": run.model.config.fps}
    if tolerance_s is not None:
        counting = {"fps": 1000.0, "tolerances": (1000 * tolerance_s,)}
    model = run.synchronize().eval()
    with run.accelerator.autocast():
        found = score_recordings(
            model,
            run.lists.val_recordings,
            keep_all=False,
            accelerator=run.accelerator,
            progress=lambda _done, _total: saves.check_stop(),
            **counting,
        )
    return {f"val_{name}": value for name, value in found.figures().items()}


def _first_figure(run: Training) -> tuple[str, str, str]:
    """What the best epoch is chosen by: its name in the log, its name, and how it is measured."""
    if run.lists.val_recordings:
        by = {"spot": ("val_mean_ap", "mAP"), "segment": ("val_frame_accuracy", "frame accuracy")}
        return *by[run.model.config.task], f"{len(run.lists.val_recordings)} recordings"
    metrics: type[Metrics] | type[MultiLabelMetrics] = MultiLabelMetrics if run.loss.multi_label else Metrics
    return f"val_{metrics.FIRST}", metrics.FIRST_NAME, str(EvalProtocol(run.settings.model.segments))


def _finish_epoch(
    run: Training,
    epoch: int,
    row: dict[str, Any],
    write_curves: Callable[..., None],
    update_page: Callable[[], None],
    reporter: Reporter,
) -> None:
    """Log the epoch, and write models, curves and page."""
    first, name, how = _first_figure(run)
    accuracy = row.get(first, -1.0)
    best = accuracy > run.progress.best_accuracy
    run.progress.epoch, run.progress.so_far = epoch + 1, EpochSoFar()
    run.progress.best_accuracy = max(accuracy, run.progress.best_accuracy)
    row["best"] = int(best)
    model = run.synchronize()
    if run.accelerator.is_main_process:
        run.folder.log(row)
        run.folder.save_models(model, best=best)
        write_curves(row)
        update_page()
        if run.progress.skipped:
            run.folder.list_skipped({run.clips.name_of(index): why for index, why in run.progress.skipped.items()})
    text = f"epoch {row['epoch']}: loss {row['loss']:.3f}, accuracy {row['accuracy']:.1%}"
    if first in row:
        text += f", validation {name} {accuracy:.2%} ({how})"
    reporter.log(text + (", best so far" if best else ""))


@contextmanager
def _page(run: Training) -> Iterator[Callable[[], None]]:
    """The page of a run: yields a function that the main process calls after an epoch.

    It is drawn again if the last time is a few seconds ago, after the last epoch, and when the run is stopped.
    """
    drawn_s, is_old = time.monotonic(), False

    def draw() -> None:
        nonlocal drawn_s, is_old
        write_training_page(run.folder, run.model.classes, run.lists.train, run.lists.val)
        drawn_s, is_old = time.monotonic(), False

    def update() -> None:
        nonlocal is_old
        is_old = True
        if time.monotonic() - drawn_s >= DRAW_EVERY_S or run.progress.epoch == run.settings.optim.epochs:
            draw()

    try:
        yield update
    except StoppedError:
        if is_old:
            draw()
        raise
