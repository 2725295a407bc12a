"""Training in bf16 on CPUs: depthwise convolutions stay in float32, in which their backward pass is fast."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def keep_depthwise_float32(net: nn.Module) -> int:
    """Make a network's depthwise convolutions compute in float32 where autocast on a CPU asks for less, in place.

    Only where gradients are wanted: the bf16 backward pass of most of them takes several times as long as the float32
    one (torch 2.15), so that bf16 made an EfficientNet's training slower; the forward pass is not.

    Args:
        net: Any network; its copies made afterwards would compute with its weights.

    Returns:
        How many there are.
    """
    found: list[nn.Module] = [
        layer for layer in net.modules() if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
    ]
    for layer in found:
        layer.forward = _in_float32(layer.forward)
    return len(found)


def _in_float32(compute: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(features: Tensor) -> Tensor:
        if not (torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()):
            return compute(features)
        with torch.autocast("cpu", enabled=False):
            result = compute(features.float())
        return result.to(torch.get_autocast_dtype("cpu"))  # as autocast would have given it

    return forward
