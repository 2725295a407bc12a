"""Where and when a network sends features to another frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.model.classifier import ClipClassifier, DeployedClassifier, VideoClassifier
from gateshift.model.temporal.causal import CausalGateShift
from gateshift.model.temporal.functional import split_clips
from gateshift.model.temporal.modules import GateShift

DIRECTIONS = ("to previous", "to next")
CAUSAL_DIRECTIONS = ("to next, first half", "to next, second half")


@torch.inference_mode()
def gate_maps(model: VideoClassifier, clips: Tensor) -> dict[str, Tensor]:
    """The gates of every gate-shift layer while a model looks at clips.

    A gate g sends g times the features of its place along and keeps 1 - g times: 0 is closed, 1 sends all, -1 sends all
    with the sign turned. What the first frame sends to the previous one, and the last to the next, is lost.

    Args:
        model: In eval mode; gate-shift-fuse counts, by its gates alone.
        clips: [B, T, 3, H, W], as the model takes them.

    Returns:
        Layer name -> gates [B, T, 2, h, w] in -1..1, in the order of the layers. The axis of 2 is the half of the
        channels, and where it is sent :func:`gate_directions` says: the first to the previous frame, the second
        to the next. Empty for a model without gate-shift.

    Raises:
        ModelError: If the model is deployed, or does not take the clips.
    """
    return _at_gates(model, clips, lambda module, features: split_clips(module.gates(features), clips.shape[1]))


@torch.inference_mode()
def exchange_maps(model: VideoClassifier, clips: Tensor) -> dict[str, Tensor]:
    """How much the features of every gate-shift layer change by what they send to other frames and get from these.

    Where nothing moves, what arrives is what was sent, and nothing changes, however far the gates are open. So these
    maps show what moves where.

    Args:
        model: In eval mode; gate-shift-fuse counts, by its gates alone.
        clips: [B, T, 3, H, W], as the model takes them.

    Returns:
        Layer name -> [B, T, 2, h, w], at least 0: the mean change of the channels of each half, as in
        :func:`gate_maps`. At the ends of the clip, where nothing arrives, it is 0.
    """

    def change(module: GateShift, features: Tensor) -> Tensor:
        sent = split_clips(features.unflatten(1, (2, -1)) * module.gates(features).unsqueeze(2), clips.shape[1])
        to_previous = torch.cat((sent[:, 1:], sent[:, -1:]), 1)  # what arrives; at an end, what was sent
        to_next = torch.cat((sent[:, :1], sent[:, :-1]), 1)
        both_forward = isinstance(module, CausalGateShift)
        arriving = torch.stack(((to_next if both_forward else to_previous)[:, :, 0], to_next[:, :, 1]), 2)
        return (arriving - sent).abs().mean(3)

    return _at_gates(model, clips, change)


def _at_gates(
    model: VideoClassifier, clips: Tensor, compute: Callable[[GateShift, Tensor], Tensor]
) -> dict[str, Tensor]:
    """What is computed of every gate-shift layer and the features that enter it, by its name."""
    check_not_deployed(model)
    found: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(module, GateShift)
            found[name] = compute(module, inputs[0])

        return hook

    hooks = [
        module.register_forward_pre_hook(record(name.removesuffix(".temporal")))
        for name, module in model.backbone.named_modules()
        if isinstance(module, GateShift)
    ]
    try:
        model(clips)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def gate_directions(model: VideoClassifier) -> tuple[str, str]:
    """Where each half of the channels is sent: to the previous and the next frame; in causal models, to the next."""
    causal = any(isinstance(module, CausalGateShift) for module in model.modules())
    return CAUSAL_DIRECTIONS if causal else DIRECTIONS


def gate_openness(model: VideoClassifier, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """How far the gates of each layer are open on a data set: the mean of their absolute values.

    Args:
        model: In eval mode.
        batches: Clips [B, T, 3, H, W], batch after batch; each clip counts the same.

    Returns:
        Layer name -> [2] float64 in 0..1, for each half of the channels as in :func:`gate_maps`. Empty for a model
        without gate-shift, or without any batch.
    """
    totals: dict[str, Tensor] = {}
    num_clips = 0
    for clips in batches:
        num_clips += len(clips)
        for name, maps in gate_maps(model, clips).items():
            of_clips = maps.double().abs().mean((1, 3, 4)).sum(0).cpu()  # [2]
            totals[name] = totals.get(name, torch.zeros(2, dtype=torch.float64)) + of_clips
    return {name: total / num_clips for name, total in totals.items()}


def most_varied(gates: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """The layers worth a look: those whose gates differ most from place to place and frame to frame, summed over these.

    Args:
        gates: Layer name -> [T, 2, h, w], as of :func:`gate_maps` for one clip.
        count: How many to keep.

    Returns:
        These, in the order of the layers.
    """
    # A sum, as a mean would prefer the last layers, whose few places say little of where.
    spread = {name: float((maps - maps.mean((0, 2, 3), keepdim=True)).square().sum()) for name, maps in gates.items()}
    kept = sorted(spread, key=lambda name: spread[name], reverse=True)[:count]
    return {name: maps for name, maps in gates.items() if name in kept}


def check_not_deployed(model: ClipClassifier) -> None:
    """Raise ModelError if a model is folded for inference, its layers no longer those that were trained, or is none."""
    if not isinstance(getattr(model, "backbone", None), nn.Module):
        raise ModelError(f"a {type(model).__name__} cannot be looked into; give a VideoClassifier")
    if isinstance(model, DeployedClassifier):
        raise ModelError("a deployed model cannot be looked into; give the model that it was made of")
