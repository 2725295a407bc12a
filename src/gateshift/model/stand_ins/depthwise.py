"""Training in bf16 on CPUs: depthwise convolutions stay in float32, in which their backward pass is fast."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gateshift.model.stand_ins.stand_in import StandIn


def keep_depthwise_float32(net: nn.Module) -> int:
    """Make a network's depthwise convolutions compute in float32 where autocast on a CPU asks for less, in place.

    Only where gradients are wanted: the bf16 backward pass of most of them takes several times as long as the float32
    one (torch 2.15), so that bf16 made an EfficientNet's training slower; the forward pass is not.

    Args:
        net: Any network. The keys of its state_dict stay as they are.

    Returns:
        How many there are.
    """
    found: dict[nn.Module, Float32] = {}
    for name, layer in list(net.named_modules(remove_duplicate=False)):  # a layer may stand in several places
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:
            net.set_submodule(name, found.setdefault(layer, Float32(layer)))
    return len(found)


class Float32(StandIn):
    """A convolution that computes in float32 where gradients are wanted under autocast on a CPU."""

    def forward(self, features: Tensor) -> Tensor:
        if not (torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()):
            return self.layer(features)
        with torch.autocast("cpu", enabled=False):
            result: Tensor = self.layer(features.float())
        return result.to(torch.get_autocast_dtype("cpu"))  # as autocast would have given it
