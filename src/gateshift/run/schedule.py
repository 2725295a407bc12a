"""The learning rate over a training: by epoch as in the papers, or by update in one cycle."""

from __future__ import annotations

import math

import torch

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
        if optim.schedule == "epochs":
            return learning_rate(epoch, peak=optim.peak_lr, warmup_epochs=warmup_epochs, num_epochs=optim.epochs)
        return one_cycle_rate(
            epoch * updates_per_epoch + update,
            peak=optim.peak_lr,
            warmup_updates=warmup_epochs * updates_per_epoch,
            num_updates=optim.epochs * updates_per_epoch,
        )

    for group in optimizer.param_groups:
        group["lr"] = rate(group["warmup_epochs"]) * group["lr_scale"]
    return rate(optim.warmup_epochs)
