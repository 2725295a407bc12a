"""Temporal modules for one clip, in tensors of four axes at most: what the accelerators of phones take.

The frames of the clip are the batch, and moving features in time is moving them along it: with one clip there is
nothing to tell apart in a fifth axis.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.model.deploy.folded_gate import FoldedGateShift
from gateshift.model.temporal.causal import CausalGateShift, CausalTemporalShift
from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalModule, TemporalShift


def put_one_clip_forms(net: nn.Module) -> nn.Module:
    """Put the forms for one clip in the place of a network's temporal modules, and return it."""
    for name, module in list(net.named_modules()):
        if isinstance(module, TemporalModule):
            net.set_submodule(name, _form(module))
    return net


class OneClipGateShift(nn.Module):
    """Gate-shift, or gate-shift-fuse, on the frames of one clip: [T, C, H, W] -> [T, C, H, W].

    Args:
        folded: Its gate, as it is computed in a deployed network.
        interleave: Whether channels are mixed behind it.
        causal: Whether it looks only back.
        fuse: The convolution of gate-shift-fuse over (channel, time).
    """

    scale: Tensor
    offset: Tensor
    shift: Tensor | None

    def __init__(self, folded: FoldedGateShift, *, interleave: bool, causal: bool, fuse: nn.Conv2d | None) -> None:
        super().__init__()
        self.interleave, self.causal, self.fuse = interleave, causal, fuse
        self.register_buffer("scale", folded.scale.clone())
        self.register_buffer("offset", folded.offset.clone())
        self.register_buffer("shift", folded.shift.clone() if folded.shift.any() else None)
        self.planes = nn.utils.skip_init(nn.Conv2d, folded.planes.in_channels, 6, 3, padding=1)
        # The two maps of a step in time beside each other; those of this frame bring the gates' bias.
        order = (0, 3, 1, 4, 2, 5)
        self.planes.weight = nn.Parameter(folded.planes.weight[list(order)])
        bias, now = torch.zeros(6), 4 if causal else 2
        bias[now : now + 2] = folded.gate_bias.flatten()
        self.planes.bias = nn.Parameter(bias)

    def forward(self, features: Tensor) -> Tensor:
        gates, half = self._gates(features), features.shape[1] // 2
        halves = []
        for group, channels in enumerate((slice(0, half), slice(half, None))):
            part = features[:, channels]  # [T, C/2, H, W]
            sent = part * gates[:, group : group + 1]
            to_previous = group == 0 and not self.causal
            kept, arriving = part - sent, _from_next(sent) if to_previous else _from_previous(sent)
            mixed = kept + arriving if self.fuse is None else self._fused(self.fuse, kept, arriving, group)
            halves.append(_interleaved(mixed) if self.interleave else mixed)
        result = torch.cat(halves, dim=1)
        return result if self.shift is None else result + self.shift

    def _gates(self, features: Tensor) -> Tensor:
        """In -1..1, one map for each half of the channels: [T, C, H, W] -> [T, 2, H, W]."""
        maps = self.planes(torch.relu(features * self.scale + self.offset))  # [T, 6, H, W]
        first, second, third = maps[:, :2], maps[:, 2:4], maps[:, 4:]
        if self.causal:  # two frames before, one before, now
            return torch.tanh(_from_previous(_from_previous(first) + second) + third)
        return torch.tanh(_from_previous(first) + second + _from_next(third))

    def _fused(self, fuse: nn.Conv2d, kept: Tensor, arriving: Tensor, group: int) -> Tensor:
        """Both parts [T, C/2, H, W] of a half of the channels, weighed for each channel and frame."""
        means = torch.stack((arriving.mean((2, 3)).t(), kept.mean((2, 3)).t())).unsqueeze(0)  # [1, 2, C/2, T]
        around = (2, 0) if self.causal else (1, 1)
        weight, bias = fuse.weight[group : group + 1], fuse.bias[group : group + 1]  # type: ignore[index]
        scores = F.conv2d(F.pad(means, (*around, 1, 1)), weight, bias)  # [1, 1, C/2, T]
        share = torch.sigmoid(scores)[0, 0].t()[:, :, None, None]  # [T, C/2, 1, 1]
        return kept + (arriving - kept) * share


class OneClipShift(nn.Module):
    """The temporal shift on the frames of one clip: [T, C, H, W] -> [T, C, H, W].

    Args:
        fold: How many channels are shifted each way.
        causal: Whether it looks only back.
    """

    def __init__(self, fold: int, *, causal: bool) -> None:
        super().__init__()
        self.fold, self.causal = fold, causal

    def forward(self, features: Tensor) -> Tensor:
        first, second = features[:, : self.fold], features[:, self.fold : 2 * self.fold]
        first = first if self.causal else _from_next(first)
        return torch.cat((first, _from_previous(second), features[:, 2 * self.fold :]), dim=1)


def _from_next(frames: Tensor) -> Tensor:
    """Frame t takes what is at t + 1, the last one zeros: [T, ...] -> [T, ...]."""
    # Zeros by a product: XNNPACK's parts of a network would end at each tensor that is made anew.
    return torch.cat((frames[1:], frames[:1] * 0.0))


def _from_previous(frames: Tensor) -> Tensor:
    """Frame t takes what is at t - 1, the first one zeros: [T, ...] -> [T, ...]."""
    return torch.cat((frames[:1] * 0.0, frames[:-1]))


def _interleaved(half: Tensor) -> Tensor:
    """a0 a1 .. b0 b1 .. to a0 b0 a1 b1 ..: [T, C/2, H, W] -> [T, C/2, H, W]."""
    T, channels, H, W = half.shape
    return half.reshape(T, 2, channels // 2, H * W).transpose(1, 2).reshape(T, channels, H, W)


def _form(module: TemporalModule) -> nn.Module:
    if isinstance(module, FoldedGateShift):
        return OneClipGateShift(module, interleave=False, causal=False, fuse=None)
    if isinstance(module, TemporalShift):
        return OneClipShift(module.fold, causal=isinstance(module, CausalTemporalShift))
    assert isinstance(module, GateShift)  # there are no others
    channels = torch.arange(module.channels)
    return OneClipGateShift(
        FoldedGateShift(module, torch.ones(len(channels)), torch.zeros(len(channels)), channels),
        interleave=module.interleave,
        causal=isinstance(module, CausalGateShift),
        fuse=module.fuse if isinstance(module, GateShiftFuse) else None,
    )
