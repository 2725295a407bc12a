"""One step of a training. The norm of the gradients gathered so far is clipped after every backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F


def training_step(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    clips: Tensor,
    targets: Tensor,
    *,
    clip_norm: float,
    accumulate: int = 1,
    update: bool = True,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    frozen: Sequence[nn.Parameter] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """One forward and backward pass, and the update where it is due.

    Args:
        accelerator: Runs the backward pass in its precision and on its devices.
        model: In train mode.
        optimizer: Over :func:`gateshift.run.parameter_groups.trained_parameters`.
        clips: [B, T, 3, H, W].
        targets: [B] int64, or shares of the classes [B, K].
        clip_norm: Largest norm of the gradients gathered so far.
        accumulate: Over how many passes gradients are gathered; the loss is divided by it.
        update: Whether this pass ends such a group, so that the optimiser steps.
        loss: Mean loss of a batch from logits [B, K] and targets.
        frozen: Parameters that get no gradient. (To turn ``requires_grad`` off instead would change the graph that
            several processes have agreed on.)

    Returns:
        Mean loss of the batch (not divided), norm of all gradients before clipping, logits [B, K].
    """
    with accelerator.autocast():
        logits = model(clips)
        value = loss(logits, targets)
    accelerator.backward(value / accumulate)
    for parameter in frozen:
        parameter.grad = None
    # A gradient scaler (fp16) may be undone once an update only, so there the norm is clipped once.
    if update or accelerator.scaler is None:
        norm = accelerator.clip_grad_norm_(model.parameters(), clip_norm)
    else:
        norm = torch.zeros(())
    if update:
        optimizer.step()
        model.zero_grad()
    return value.detach(), norm.detach(), logits.detach()
