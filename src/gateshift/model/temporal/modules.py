"""The temporal modules: what moves features between the frames of a clip.

Axes: ``N = B * T`` frames folded into the batch (clip after clip), ``C`` channels, ``H``, ``W``.
Everything stays in ``[N, C, H, W]``, the layout of the 2D network around it.

The gate-shift module (GSM) is from "Gate-Shift Networks for Video Action Recognition"
(Sudhakaran, Escalera, Lanz; CVPR 2020), gate-shift-fuse (GSF) from "Gate-Shift-Fuse for Video Action
Recognition" (the same; TPAMI 2023, arXiv 2203.08897), the temporal shift module (TSM) from "TSM: Temporal Shift Module
for Efficient Video Understanding" (Lin, Gan, Han; ICCV 2019, arXiv 1811.08383).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.errors import ModelError
from gateshift.model.temporal.clip_length import current_num_frames
from gateshift.model.temporal.functional import (
    check_channels,
    gate_shift,
    gate_shift_fuse,
    shift_from_next,
    shift_from_previous,
    split_clips,
    temporal_shift,
)


def gate_maps(gate: GateShift, features: Tensor) -> Tensor:
    """What each group's gate takes through each of the three steps in time: [N, C, H, W] -> [N, 6, H, W].

    A 3x3x3 convolution with one output for each of two channel groups is done as one 2D convolution to 6 maps, one for
    each (group, step in time), and a shift-and-add of the maps over time (:func:`gate_planes`), so that the features
    need not be copied to [B, C, T, H, W] and back.
    """
    return F.conv2d(F.relu(gate.bn(features)), gate.weight, padding=1, groups=2)


def gate_planes(maps: Tensor, bias: Tensor, *, num_frames: int) -> Tensor:
    """The gates of both channel groups, in -1..1 (paper, section 3.2).

    Args:
        maps: [N, 6, H, W]: what the first group takes from the previous frame, from this one and from the next, then
            the same of the second group.
        bias: Two numbers.
        num_frames: T.

    Returns:
        Gates [B, T, 2, H, W].
    """
    before, now, after = split_clips(maps, num_frames).unflatten(2, (2, 3)).unbind(3)  # each [B, T, 2, H, W]
    summed = shift_from_previous(before) + now + shift_from_next(after)
    return torch.tanh(summed + bias.view(2, 1, 1))


class TemporalModule(nn.Module):
    """A module that mixes the frames of a clip inside a network that sees frames [N, C, H, W].

    Args:
        num_frames: T, where the model that is called does not tell it.
    """

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.own_num_frames = num_frames

    @property
    def num_frames(self) -> int:
        """T, how many frames in a row of the batch belong to one clip: in the call under way, or as it was set."""
        current = current_num_frames()
        return self.own_num_frames if current is None else current

    @num_frames.setter
    def num_frames(self, num_frames: int) -> None:
        self.own_num_frames = num_frames


class GateShift(TemporalModule):
    """The gate-shift module, GSM (CVPR 2020, arXiv 1912.00381, section 3.2): [N, C, H, W] -> [N, C, H, W].

    Each half x of the channels has a gate: g = tanh(conv3x3x3(relu(bn(x)))) in -1..1. The part g * x moves to the
    previous frame (first half) or to the next (second half) and is added to what stayed there, x - g * x. The
    convolution starts at zero: a new module sends nothing, and is the identity up to the order of ``interleave``.

    Args:
        channels: C, a multiple of 4 (of 2 without ``interleave``).
        num_frames: T of the clips; see :func:`gateshift.set_num_frames`.
        interleave: Mix channels as the released networks do; their weights need it.

    Raises:
        ModelError: If the number of channels cannot be split.

    >>> GateShift(64, num_frames=8)(torch.zeros(16, 64, 7, 7)).shape  # two clips
    torch.Size([16, 64, 7, 7])
    """

    def __init__(self, channels: int, num_frames: int = 8, *, interleave: bool = True) -> None:
        super().__init__(num_frames)
        check_channels(channels, interleave=interleave)
        self.channels = channels
        self.interleave = interleave
        self.bn = nn.BatchNorm2d(channels)
        # 4D, so that a whole network can be put in channels-last memory format.
        self.weight = nn.Parameter(torch.zeros(6, channels // 2, 3, 3))
        self.bias = nn.Parameter(torch.zeros(2))

    def gates(self, features: Tensor) -> Tensor:
        """How much of each place is sent along, in -1..1: [N, C, H, W] -> [N, 2, H, W]."""
        return gate_planes(gate_maps(self, features), self.bias, num_frames=self.num_frames).flatten(0, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Gate, shift and add: [N, C, H, W] -> [N, C, H, W], N a whole number of clips of ``num_frames``."""
        gates = self.gates(features)
        return gate_shift(features, gates, num_frames=self.num_frames, interleave=self.interleave)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_frames={self.num_frames}, interleave={self.interleave}"


class GateShiftFuse(GateShift):
    """The gate-shift-fuse module, GSF (TPAMI 2023, arXiv 2203.08897, section 3.2): [N, C, H, W] -> [N, C, H, W].

    A gate-shift module whose two parts are weighed against each other for each channel and frame:
    w * arriving + (1 - w) * kept, see :func:`gate_shift_fuse`. A new one sends nothing and scales what it keeps by
    about a half, which the batch norm behind it takes out again.

    Args:
        channels: C, a multiple of 4 (of 2 without ``interleave``).
        num_frames: T of the clips; see :func:`gateshift.set_num_frames`.
        interleave: Mix channels as the released networks do; their weights need it.

    Raises:
        ModelError: If the number of channels cannot be split.

    >>> GateShiftFuse(64, num_frames=8)(torch.zeros(16, 64, 7, 7)).shape  # two clips
    torch.Size([16, 64, 7, 7])
    """

    def __init__(self, channels: int, num_frames: int = 8, *, interleave: bool = True) -> None:
        super().__init__(channels, num_frames, interleave=interleave)
        self.fuse = nn.Conv2d(4, 2, 3, padding=1, groups=2)

    def forward(self, features: Tensor) -> Tensor:
        """Gate, shift and fuse: [N, C, H, W] -> [N, C, H, W], N a whole number of clips of ``num_frames``."""
        gates = self.gates(features)
        return gate_shift_fuse(
            features,
            gates,
            self.fuse.weight,
            self.fuse.bias,  # type: ignore[arg-type]  # there is one
            num_frames=self.num_frames,
            interleave=self.interleave,
        )


class TemporalShift(TemporalModule):
    """The temporal shift module, TSM (ICCV 2019, arXiv 1811.08383, section 4): [N, C, H, W] -> [N, C, H, W].

    An eighth of the channels comes from the next frame, the eighth after it from the previous one; the rest stays.
    It has no weights.

    Args:
        channels: C; with fewer than 8 nothing would be shifted.
        num_frames: T of the clips; see :func:`gateshift.set_num_frames`.

    Attributes:
        fold: How many channels are shifted each way: C / 8, rounded down.

    Raises:
        ModelError: If there are fewer than 8 channels.

    >>> TemporalShift(64, num_frames=8)(torch.zeros(16, 64, 7, 7)).shape  # two clips
    torch.Size([16, 64, 7, 7])
    """

    def __init__(self, channels: int, num_frames: int = 8) -> None:
        super().__init__(num_frames)
        if channels < 8:
            raise ModelError(f"tsm got {channels} channels; it shifts an eighth of at least 8; choose another site")
        self.channels = channels
        self.fold = channels // 8

    def forward(self, features: Tensor) -> Tensor:
        """Shift: [N, C, H, W] -> [N, C, H, W], N a whole number of clips of ``num_frames``."""
        return temporal_shift(features, num_frames=self.num_frames, fold=self.fold)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_frames={self.num_frames}, fold={self.fold}"
