"""What a network costs: parameters, and multiply-adds of a frame."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from gateshift.model.classifier import VideoClassifier


@dataclass(frozen=True)
class Cost:
    """Cost of a video classifier.

    Attributes:
        parameters: How many there are.
        macs: Multiply-adds of convolutions and matrix products for one frame, as torch counts them.
    """

    parameters: int
    macs: float


def count_cost(model: VideoClassifier, *, num_frames: int = 8, size_px: int | None = None) -> Cost:
    """Count a model's cost; nothing is computed.

    Args:
        model: Any; it is left as it is.
        num_frames: Length of the clip that is counted.
        size_px: Side of its frames; the model's own by default.
    """
    size_px = model.config.size_px if size_px is None else size_px
    # torch's counter fails on weights that want a gradient and go into a layer as its input, as in attention pools.
    shapes = copy.deepcopy(model).to("meta").eval().requires_grad_(False)
    clip = torch.empty(1, num_frames, 3, size_px, size_px, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes(clip)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, counter.get_total_flops() / 2 / num_frames)  # a multiply-add is two operations
