"""What is trained, at which rate, and one step of it.

The recipe is the papers': SGD with one rate and one weight decay for every parameter, linear warm-up and
cosine decay by epoch, and the norm of the gradients gathered so far clipped after every backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.model.classifier import VideoClassifier
from gateshift.model.gates import TemporalModule


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


def batch_norms(model: nn.Module) -> Iterator[tuple[bool, nn.Module]]:
    """Every batch norm of a model, with whether it is inside a temporal module."""
    inside = {id(m) for gate in model.modules() if isinstance(gate, TemporalModule) for m in gate.modules()}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield id(module) in inside, module


def freeze_batch_norms(model: nn.Module) -> None:
    """Partial batch norm of TSN: all but the first keep their statistics, scale and shift.

    Call it after every ``model.train()``. As in the release, batch norms inside temporal modules go on
    normalising by the batch; see :func:`trained_parameters` for their scale and shift.
    """
    backbone = [module for inside, module in batch_norms(model) if not inside]
    for module in backbone[1:]:
        module.eval().requires_grad_(False)


def trained_parameters(model: nn.Module, *, partial_bn: bool) -> list[nn.Parameter]:
    """The parameters given to the optimiser.

    With ``partial_bn`` the scale and shift of batch norms inside temporal modules are left out too: the
    release gives them to no group of its optimiser, so they count in the gradients' norm but do not move.
    """
    still: set[int] = set()
    if partial_bn:
        still = {id(p) for inside, module in batch_norms(model) if inside for p in module.parameters()}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in still]


def new_parameters(model: VideoClassifier) -> set[int]:
    """Ids of the parameters that no published backbone has: temporal modules and the classifier."""
    modules = [module for module in model.modules() if isinstance(module, TemporalModule)]
    return {id(p) for module in (*modules, model.head) for p in module.parameters()}


def training_step(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    clips: Tensor,
    labels: Tensor,
    *,
    clip_norm: float,
    accumulate: int = 1,
    update: bool = True,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """One forward and backward pass, and the update where it is due.

    Args:
        accelerator: Runs the backward pass in its precision and on its devices.
        model: In train mode.
        optimizer: Over :func:`trained_parameters`.
        clips: [B, T, 3, H, W].
        labels: [B] int64.
        clip_norm: Largest norm of the gradients gathered so far.
        accumulate: Over how many passes gradients are gathered; the loss is divided by it.
        update: Whether this pass ends such a group, so that the optimiser steps.
        label_smoothing: Share of the target spread over all classes, in 0..1.

    Returns:
        Mean cross-entropy of the batch (not divided), norm of all gradients before clipping, logits [B, K].
    """
    with accelerator.autocast():
        logits = model(clips)
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    accelerator.backward(loss / accumulate)
    # A gradient scaler (fp16) may be undone once an update only, so there the norm is clipped once.
    if update or accelerator.scaler is None:
        norm = accelerator.clip_grad_norm_(model.parameters(), clip_norm)
    else:
        norm = torch.zeros(())
    if update:
        optimizer.step()
        model.zero_grad()
    return loss.detach(), norm.detach(), logits.detach()
