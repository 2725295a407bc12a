"""Gate-shift in the order of operations of the released code: what exactness and speed are compared with.

The released module works in 5D: it copies the features to [B, C, T, H, W], normalises and convolves in 3D, shifts,
permutes, and copies everything back.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from gateshift.model.backbones.conv_bn import AveragePool
from gateshift.model.temporal.modules import GateShift, TemporalModule

Net = TypeVar("Net", bound=nn.Module)


class ReleasedOrder(TemporalModule):
    """A gate-shift module that computes in 5D as the release does, with the weights of one of ours.

    It mixes channels, as the release always does, where ours does.
    """

    def __init__(self, ours: GateShift) -> None:
        super().__init__(ours.num_frames)
        channels, dtype = ours.bn.num_features, ours.weight.dtype
        self.bn = nn.BatchNorm3d(channels, dtype=dtype)
        self.bn.load_state_dict(ours.bn.state_dict())
        self.conv = nn.Conv3d(channels, 2, 3, padding=1, groups=2, dtype=dtype)
        kernel = ours.weight.detach().unflatten(0, (2, 3)).transpose(1, 2)  # [2, C/2, 3, 3, 3]
        self.conv.load_state_dict({"weight": kernel, "bias": ours.bias.detach()})
        self.interleave = ours.interleave
        self.train(ours.training)

    def forward(self, frames: Tensor) -> Tensor:
        channels, height, width = frames.shape[1:]
        clips = frames.view(-1, self.num_frames, channels, height, width).transpose(1, 2).contiguous()
        gates = torch.tanh(self.conv(torch.relu(self.bn(clips))))  # [B, 2, T, H, W]
        outputs = []
        for group, half in enumerate(clips.chunk(2, dim=1)):
            sent = gates[:, group : group + 1] * half
            kept = half - sent
            nothing = torch.zeros_like(sent[:, :, :1])
            order = (sent[:, :, 1:], nothing) if group == 0 else (nothing, sent[:, :, :-1])
            moved = torch.cat(order, dim=2) + kept
            outputs.append(moved.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2) if self.interleave else moved)
        return torch.cat(outputs, dim=1).transpose(1, 2).contiguous().view_as(frames)


def in_released_order(net: Net) -> Net:
    """A copy of a network with every gate-shift module, and every average pool, computing as the release does."""
    other = copy.deepcopy(net)
    for name, module in list(other.named_modules()):
        if type(module) is GateShift:
            other.set_submodule(name, ReleasedOrder(module))
        elif isinstance(module, AveragePool):
            other.set_submodule(name, nn.AvgPool2d(3, stride=1, padding=1))
    return other
