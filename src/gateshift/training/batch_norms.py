"""Batch norms in training: which are frozen, and whether each batch is large enough for the others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gateshift.errors import SettingsError
from gateshift.model.classifier import VideoClassifier
from gateshift.model.temporal.modules import TemporalModule
from gateshift.recipes.options import OptimOptions
from gateshift.training.settings import TrainSettings


def batch_norms(model: nn.Module) -> Iterator[tuple[bool, nn.Module]]:
    """Every batch norm of a model, with whether it is inside a temporal module."""
    inside = {id(m) for gate in model.modules() if isinstance(gate, TemporalModule) for m in gate.modules()}
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            yield id(module) in inside, module


def freeze_wanted(model: nn.Module, optim: OptimOptions) -> None:
    """Freeze what the options say. Call it after every ``model.train()``."""
    if optim.partial_bn:
        freeze_batch_norms(model)
    if optim.frozen_bn:
        for _, module in batch_norms(model):
            module.eval()


def freeze_batch_norms(model: nn.Module) -> None:
    """Partial batch norm of TSN: freeze statistics, scale and shift of all batch norms but the first.

    As in the release, batch norms inside temporal modules still normalize by
    the batch; for their scale and shift see :func:`gateshift.training.optimizer.trained_parameters`.
    """
    backbone = [module for inside, module in batch_norms(model) if not inside]
    for module in backbone[1:]:
        module.eval().requires_grad_(False)


def check_small_batches(model: VideoClassifier, settings: TrainSettings, *, num_videos: int, processes: int) -> None:
    """Raise SettingsError if some batch would give a trained batch norm a single value per channel.

    Args:
        model: In train mode, its frozen batch norms in eval mode; left as it was.
        settings: Of the training.
        num_videos: Training videos of an epoch.
        processes: Processes that share each batch.
    """
    batch_size, skip_bad = settings.optim.batch_size, settings.skip_bad
    smallest = smallest_batch(num_videos, batch_size, processes=processes, skip_bad=skip_bad)
    if smallest > 1:
        return
    if batch_size // processes == 1:
        reason = "the epoch has batches of 1 video" + (" in each process" if processes > 1 else "")
    elif smallest_batch(num_videos, batch_size, processes=processes, skip_bad=0) == 1:
        reason = f"the last batch of an epoch, of {num_videos} videos in batches of {batch_size}, has 1 video"
    else:
        reason = f"`skip_bad` {skip_bad} may leave 1 video in a batch"
    starved = _starved_norm(model, num_segments=settings.model.segments)
    if starved is not None:
        raise SettingsError(
            f"{reason}, so a batch norm ({starved}) gets 1 value per channel and needs 2; "
            "change `batch_size`, or raise `segments` or `size`"
        )


def smallest_batch(num_videos: int, batch_size: int, *, processes: int, skip_bad: int) -> int:
    """Videos of the smallest batch of an epoch in one process, if up to ``skip_bad`` videos are skipped."""
    if processes > 1:  # the last batch is filled up
        return batch_size // processes
    return max(1, min(num_videos % batch_size or batch_size, num_videos) - skip_bad)


def _starved_norm(model: VideoClassifier, *, num_segments: int) -> str | None:
    """The name of the first trained batch norm that gets one value per channel from a clip."""
    starved: list[str] = []
    modes = {module: module.training for module in model.modules()}
    norms: dict[nn.Module, str] = {
        module: name for name, module in model.named_modules() if isinstance(module, _BatchNorm)
    }

    def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if modes[norm] and inputs[0].numel() == inputs[0].shape[1]:
            starved.append(norms[norm])

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    size_px, device = model.config.size_px, next(model.parameters()).device
    try:
        model.eval()  # nothing random, no statistics changed
        with torch.no_grad():
            model(torch.zeros((1, num_segments, 3, size_px, size_px), dtype=torch.uint8, device=device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return starved[0] if starved else None
