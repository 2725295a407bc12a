"""The learning rate of every update: warm-up, cosine decay, and runs that are made longer."""

from __future__ import annotations

import dataclasses
import math

import torch

from gateshift.errors import SettingsError
from gateshift.recipes.options import OptimOptions
from gateshift.training.state import Progress


def epoch_rate(epoch: int, *, peak: float, warmup_epochs: int, num_epochs: int) -> float:
    """``cosine-epoch``: linear from a tenth of the peak, then half a cosine down to 1e-7 of it.

    Args:
        epoch: From 0 to ``num_epochs`` - 1.
        peak: Reached after the warm-up.
        warmup_epochs: Length of the warm-up, below ``num_epochs``.
        num_epochs: Length of the training.

    >>> [round(epoch_rate(e, peak=0.01, warmup_epochs=2, num_epochs=4), 4) for e in range(4)]
    [0.001, 0.0055, 0.01, 0.005]
    """
    if epoch < warmup_epochs:
        return peak * (0.1 + 0.9 * epoch / warmup_epochs)
    progress = (epoch - warmup_epochs) / (num_epochs - warmup_epochs)
    floor = peak * 1e-7
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def step_rate(update: int, *, peak: float, warmup_updates: int, num_updates: int) -> float:
    """``cosine-step``: linear up to the peak, then half a cosine down towards 0.

    Args:
        update: From 0 to ``num_updates`` - 1.
        peak: Reached by update ``warmup_updates``.
        warmup_updates: Length of the warm-up, below ``num_updates``.
        num_updates: Length of the training.

    >>> [round(step_rate(u, peak=0.04, warmup_updates=3, num_updates=7), 4) for u in range(7)]
    [0.01, 0.02, 0.03, 0.04, 0.0341, 0.02, 0.0059]
    """
    if update < warmup_updates:
        return peak * (update + 1) / (warmup_updates + 1)
    progress = (update - warmup_updates) / (num_updates - warmup_updates)
    return peak * (1 + math.cos(math.pi * progress)) / 2


def set_rates(
    optimizer: torch.optim.Optimizer, optim: OptimOptions, *, epoch: int, update: int, updates_per_epoch: int
) -> float:
    """Set the learning rate of each parameter group for one update.

    Args:
        optimizer: Its groups have an ``lr_scale`` and their own ``warmup_epochs``.
        optim: Options of the training.
        epoch: From 0.
        update: Number of the update in its epoch, from 0.
        updates_per_epoch: How many there are.

    Returns:
        The unscaled rate after the warm-up of ``optim``.
    """

    def rate(warmup_epochs: int) -> float:
        return _rate(optim, warmup_epochs, epoch=epoch, update=update, updates_per_epoch=updates_per_epoch)

    for group in optimizer.param_groups:
        group["lr"] = rate(group["warmup_epochs"]) * group["lr_scale"]
    return rate(optim.warmup_epochs)


def _rate(optim: OptimOptions, warmup_epochs: int, *, epoch: int, update: int, updates_per_epoch: int) -> float:
    if optim.schedule == "cosine-epoch":
        return epoch_rate(epoch, peak=optim.peak_lr, warmup_epochs=warmup_epochs, num_epochs=optim.epochs)
    return step_rate(
        epoch * updates_per_epoch + update,
        peak=optim.peak_lr,
        warmup_updates=warmup_epochs * updates_per_epoch,
        num_updates=optim.epochs * updates_per_epoch,
    )


def plan_longer(
    optim: OptimOptions, planned_epochs: int, progress: Progress, *, updates_per_epoch: int, extend: bool
) -> tuple[str, bool]:
    """Resume a run with more epochs than it was planned with.

    Where its rates so far are those of the longer run, as within the warm-up, it simply is the longer run. Otherwise
    it may be extended: from here on it has the rates of the longer run, which are higher.

    Args:
        optim: Options with the new number of epochs.
        planned_epochs: The number before.
        progress: How far the run has come.
        updates_per_epoch: How many there are.
        extend: Whether the rate may jump.

    Returns:
        A line for the log, and whether the run is extended.

    Raises:
        SettingsError: If the rate would jump, and may not.
    """
    before = dataclasses.replace(optim, epochs=planned_epochs)
    done = progress.epoch * updates_per_epoch + progress.so_far.updates

    def rates(options: OptimOptions, number: int) -> list[float]:
        epoch, update = divmod(number, updates_per_epoch)
        warmups = (optim.warmup_epochs, optim.gates_warmup)
        return [
            _rate(options, each, epoch=epoch, update=update, updates_per_epoch=updates_per_epoch) for each in warmups
        ]

    if not done or rates(before, done - 1) == rates(optim, done - 1):  # then all earlier ones are the same, too
        return f"{optim.epochs} epochs instead of {planned_epochs}: the learning rate so far is the same", False
    (last, *_), (following, *_) = rates(before, done - 1), rates(optim, done)
    if not extend:
        raise SettingsError(
            f"`epochs` {optim.epochs}, but the learning rate was planned for {planned_epochs} epochs and has come to "
            f"{last:.3g} {progress}; add `extend=True` to continue at {following:.3g}, the schedule of a run of "
            f"{optim.epochs} epochs, or start a new run"
        )
    return (
        f"extended from {planned_epochs} to {optim.epochs} epochs {progress}: the learning rate rises from {last:.3g} "
        f"to {following:.3g}, the schedule of a run of {optim.epochs} epochs"
    ), True
