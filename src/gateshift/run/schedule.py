"""The learning rate over a training: by epoch as in the papers, or by update in one cycle."""

from __future__ import annotations

import dataclasses
import math

import torch

from gateshift.errors import SettingsError
from gateshift.run.progress import Progress
from gateshift.run.train_settings import OptimOptions


def learning_rate(epoch: int, *, peak: float, warmup_epochs: int, num_epochs: int) -> float:
    """The rate of an epoch: linear from a tenth of the peak, then half a cosine down to 1e-7 of it.

    Args:
        epoch: From 0 to ``num_epochs`` - 1.
        peak: Reached after the warm-up.
        warmup_epochs: Length of the warm-up, below ``num_epochs``.
        num_epochs: Length of the training.

    >>> [round(learning_rate(e, peak=0.01, warmup_epochs=2, num_epochs=4), 4) for e in range(4)]
    [0.001, 0.0055, 0.01, 0.005]
    """
    if epoch < warmup_epochs:
        return peak * (0.1 + 0.9 * epoch / warmup_epochs)
    progress = (epoch - warmup_epochs) / (num_epochs - warmup_epochs)
    floor = peak * 1e-7
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def one_cycle_rate(update: int, *, peak: float, warmup_updates: int, num_updates: int) -> float:
    """The rate of an update: linear up to the peak, then half a cosine down towards 0.

    Args:
        update: From 0 to ``num_updates`` - 1.
        peak: Reached by update ``warmup_updates``.
        warmup_updates: Length of the warm-up, below ``num_updates``.
        num_updates: Length of the training.

    >>> [round(one_cycle_rate(u, peak=0.04, warmup_updates=3, num_updates=7), 4) for u in range(7)]
    [0.01, 0.02, 0.03, 0.04, 0.0341, 0.02, 0.0059]
    """
    if update < warmup_updates:
        return peak * (update + 1) / (warmup_updates + 1)
    progress = (update - warmup_updates) / (num_updates - warmup_updates)
    return peak * (1 + math.cos(math.pi * progress)) / 2


def set_rates(
    optimizer: torch.optim.Optimizer, optim: OptimOptions, *, epoch: int, update: int, updates_per_epoch: int
) -> float:
    """Give each group of parameters its learning rate for one update.

    Args:
        optimizer: Its groups have an ``lr_scale``, a factor, and ``warmup_epochs``, their own length of warm-up.
        optim: Options of the training.
        epoch: From 0.
        update: Number of the update in its epoch, from 0.
        updates_per_epoch: How many there are.

    Returns:
        The rate of a group with neither.
    """

    def rate(warmup_epochs: int) -> float:
        return _rate(optim, warmup_epochs, epoch=epoch, update=update, updates_per_epoch=updates_per_epoch)

    for group in optimizer.param_groups:
        group["lr"] = rate(group["warmup_epochs"]) * group["lr_scale"]
    return rate(optim.warmup_epochs)


def _rate(optim: OptimOptions, warmup_epochs: int, *, epoch: int, update: int, updates_per_epoch: int) -> float:
    """The rate of an update after a warm-up of so many epochs."""
    if optim.schedule == "epochs":
        return learning_rate(epoch, peak=optim.peak_lr, warmup_epochs=warmup_epochs, num_epochs=optim.epochs)
    return one_cycle_rate(
        epoch * updates_per_epoch + update,
        peak=optim.peak_lr,
        warmup_updates=warmup_epochs * updates_per_epoch,
        num_updates=optim.epochs * updates_per_epoch,
    )


def plan_longer(
    optim: OptimOptions, planned_epochs: int, progress: Progress, *, updates_per_epoch: int, extend: bool
) -> tuple[str, bool]:
    """Let a run go on with more epochs than it was planned with.

    Where its rates so far are those of the longer run, as within the warm-up, it is the longer run. Else it may be
    extended: from here on it has the rates of the longer run, which are higher than those that it came to.

    Args:
        optim: Options with the new number of epochs.
        planned_epochs: The number before.
        progress: How far the run has come.
        updates_per_epoch: How many there are.
        extend: Whether rates may change.

    Returns:
        What to say of it, and whether the run is extended.

    Raises:
        SettingsError: If rates would change, and may not.
    """
    before = dataclasses.replace(optim, epochs=planned_epochs)
    done = progress.epoch * updates_per_epoch + progress.so_far.updates

    def rates(options: OptimOptions, number: int) -> list[float]:
        epoch, update = divmod(number, updates_per_epoch)
        gates = optim.warmup_epochs if optim.gates_warmup_epochs is None else optim.gates_warmup_epochs
        warmups = (optim.warmup_epochs, gates)
        return [
            _rate(options, each, epoch=epoch, update=update, updates_per_epoch=updates_per_epoch) for each in warmups
        ]

    if not done or rates(before, done - 1) == rates(optim, done - 1):  # what was before that is the same, too
        return f"{optim.epochs} epochs in place of {planned_epochs}: no learning rate so far depends on it", False
    (last, *_), (following, *_) = rates(before, done - 1), rates(optim, done)
    if not extend:
        raise SettingsError(
            f"--resume with --epochs {optim.epochs}, but the run's learning rate was planned over {planned_epochs}, "
            f"and has come to {last:.3g} {progress}; add --extend to go on with {following:.3g}, the rates of a run of "
            f"{optim.epochs} epochs from here on, or start a new run"
        )
    text = f"extended from {planned_epochs} to {optim.epochs} epochs {progress}: the learning rate is {following:.3g} "
    return text + f"from here, that of a run of {optim.epochs} epochs, where it was {last:.3g}", True
