"""The temporal modules: what moves features between the frames of a clip.

Axes: ``N = B * T`` frames folded into the batch (clip after clip), ``C`` channels, ``H``, ``W``.
Everything stays in ``[N, C, H, W]``, the layout of the 2D network around it.

The gate-shift module (GSM) is from "Gate-Shift Networks for Video Action Recognition"
(Sudhakaran, Escalera, Lanz; CVPR 2020), gate-shift-fuse (GSF) from "Gate-Shift-Fuse for Video Action
Recognition" (the same; TPAMI 2023, arXiv 2203.08897).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.errors import ModelError


def split_clips(frames: Tensor, num_frames: int) -> Tensor:
    """View frames folded into the batch as clips: [N, ...] -> [B, T, ...] with T = ``num_frames``.

    Raises:
        ModelError: If the batch is not a whole number of clips. A wrong T would mix videos in silence.
    """
    if num_frames < 1 or frames.shape[0] % num_frames:
        raise ModelError(
            f"batch of {frames.shape[0]} frames is not a whole number of clips of num_frames={num_frames}; "
            "call set_num_frames(model, T) with the T of your clips"
        )
    return frames.unflatten(0, (-1, num_frames))  # [B, T, ...]


def gate_planes(features: Tensor, weight: Tensor, bias: Tensor, *, num_frames: int) -> Tensor:
    """Compute the gates of both channel groups, in -1..1 (paper, section 3.2).

    A 3x3x3 convolution with one output for each of two channel groups. It is done as one 2D convolution
    to 6 maps, one for each (group, step in time), and a shift-and-add of the maps over time, so that the
    features need not be copied to [B, C, T, H, W] and back.

    Args:
        features: Normalised, rectified features [N, C, H, W].
        weight: Kernel [6, C/2, 3, 3]: of the first group what it takes from the previous frame, from
            this one and from the next, then the same of the second group.
        bias: [2].
        num_frames: T.

    Returns:
        Gates [N, 2, H, W].
    """
    maps = F.conv2d(features, weight, padding=1, groups=2)  # [N, 6, H, W]
    maps = split_clips(maps, num_frames).unflatten(2, (2, 3))  # [B, T, 2, 3, H, W]
    before, now, after = maps.unbind(3)  # each [B, T, 2, H, W]
    summed = shift_from_previous(before) + now + shift_from_next(after)
    return torch.tanh(summed + bias.view(2, 1, 1)).flatten(0, 1)  # [N, 2, H, W]


def gate_shift(features: Tensor, gates: Tensor, *, num_frames: int, interleave: bool = True) -> Tensor:
    """Send the gated part of each channel group one frame along and keep the rest (paper, equations 2-5).

    The first half of the channels takes its gated part from the next frame, the second half from the
    previous one; beyond the ends of a clip there are zeros.

    Args:
        features: [N, C, H, W]; C even, and a multiple of 4 with ``interleave``.
        gates: [N, 2, H, W] in -1..1, one map for each half of the channels.
        num_frames: T; N is a whole number of clips of T frames.
        interleave: Mix the two quarters of each half channel by channel, as the released networks do.
            With it, closed gates give a fixed permutation of the channels; without it, the input.

    Returns:
        [N, C, H, W].

    >>> x = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 4, 1, 1)  # frame i holds i; T = 3
    >>> gate_shift(x, torch.ones(3, 2, 1, 1), num_frames=3).flatten(1).tolist()
    [[1.0, 1.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """
    check_channels(features.shape[1], interleave=interleave)
    kept, moved = _kept_and_moved(features, gates, num_frames)
    first, second = (kept[:, :, group] + moved[group] for group in (0, 1))  # each [B, T, C/2, H, W]
    if interleave:
        first, second = _interleave(first), _interleave(second)
    return torch.cat((first, second), dim=2).flatten(0, 1)  # [N, C, H, W]


def gate_shift_fuse(
    features: Tensor, gates: Tensor, weight: Tensor, bias: Tensor, *, num_frames: int, interleave: bool = True
) -> Tensor:
    """Gate and shift as :func:`gate_shift`, but weigh what arrives against what was kept (GSF, section 3.2).

    For each channel and frame the means over space of both parts go through a 3x3 convolution over
    (channel, time) and a sigmoid: the weight of what arrives. What was kept gets the rest to 1.

    Args:
        features: [N, C, H, W]; C even, and a multiple of 4 with ``interleave``.
        gates: [N, 2, H, W] in -1..1, one map for each half of the channels.
        weight: [2, 2, 3, 3]: axes (half of the channels; arriving, kept; channel; time).
        bias: [2].
        num_frames: T; N is a whole number of clips of T frames.
        interleave: As in :func:`gate_shift`.

    Returns:
        [N, C, H, W].
    """
    check_channels(features.shape[1], interleave=interleave)
    kept, moved = _kept_and_moved(features, gates, num_frames)
    outputs = []
    for group, arriving in enumerate(moved):
        staying = kept[:, :, group]  # [B, T, C/2, H, W]
        means = torch.stack((arriving.mean((3, 4)), staying.mean((3, 4))), dim=1)  # [B, 2, T, C/2]
        scores = F.conv2d(means.transpose(2, 3), weight[group : group + 1], bias[group : group + 1], padding=1)
        share = torch.sigmoid(scores).squeeze(1).transpose(1, 2)[..., None, None]  # [B, T, C/2, 1, 1]
        outputs.append(torch.lerp(staying, arriving, share))
    if interleave:
        outputs = [_interleave(output) for output in outputs]
    return torch.cat(outputs, dim=2).flatten(0, 1)  # [N, C, H, W]


def check_channels(channels: int, *, interleave: bool) -> None:
    """Raise ModelError unless a gate-shift module can split this many channels."""
    divisor = 4 if interleave else 2
    if channels < 1 or channels % divisor:
        raise ModelError(
            f"gate-shift got {channels} channels; it needs a positive multiple of {divisor} "
            f"(interleave={interleave}); choose another site"
            + (", or pass interleave=False" if channels > 0 and channels % 2 == 0 else "")
        )


def _kept_and_moved(features: Tensor, gates: Tensor, num_frames: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Both parts of a gate-shift: what stays [B, T, 2, C/2, H, W], and what arrives in each half of the channels."""
    halves = features.unflatten(1, (2, -1))  # [N, 2, C/2, H, W]
    sent = halves * gates.unsqueeze(2)  # [N, 2, C/2, H, W]
    kept = split_clips(halves - sent, num_frames)  # [B, T, 2, C/2, H, W]
    to_previous, to_next = split_clips(sent, num_frames).unbind(2)  # each [B, T, C/2, H, W]
    return kept, (shift_from_next(to_previous), shift_from_previous(to_next))


def shift_from_next(clips: Tensor) -> Tensor:
    """Frame t takes what is at t + 1, the last one zeros: [B, T, ...] -> [B, T, ...]."""
    # torch.cat: slice assignment breaks tracing, and F.pad is miscompiled by inductor on the CPU.
    return torch.cat((clips[:, 1:], torch.zeros_like(clips[:, :1])), dim=1)


def shift_from_previous(clips: Tensor) -> Tensor:
    """Frame t takes what is at t - 1, the first one zeros: [B, T, ...] -> [B, T, ...]."""
    return torch.cat((torch.zeros_like(clips[:, :1]), clips[:, :-1]), dim=1)


def _interleave(clips: Tensor) -> Tensor:
    """Channels a0 a1 .. b0 b1 .. become a0 b0 a1 b1 ..: [B, T, C, H, W] -> [B, T, C, H, W]."""
    return clips.unflatten(2, (2, -1)).transpose(2, 3).flatten(2, 3)


class TemporalModule(nn.Module):
    """A module that mixes the frames of a clip inside a network that sees frames [N, C, H, W].

    Attributes:
        num_frames: T, how many frames in a row of the batch belong to one clip.
    """

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames


class GateShift(TemporalModule):
    """The gate-shift module, GSM: [N, C, H, W] -> [N, C, H, W].

    The gate looks at batch-normalised, rectified features through a 3x3x3 convolution that starts at
    zero: a new module sends nothing, and is the identity up to the fixed channel order of ``interleave``.

    Args:
        channels: C, a multiple of 4 (of 2 without ``interleave``).
        num_frames: T of the clips; see :func:`gateshift.set_num_frames`.
        interleave: Mix channels as the released networks do; their weights need it.

    Raises:
        ModelError: If the number of channels cannot be split.
    """

    def __init__(self, channels: int, num_frames: int = 8, *, interleave: bool = True) -> None:
        super().__init__(num_frames)
        check_channels(channels, interleave=interleave)
        self.interleave = interleave
        self.bn = nn.BatchNorm2d(channels)
        # 4D, so that a whole network can be put in channels-last memory format.
        self.weight = nn.Parameter(torch.zeros(6, channels // 2, 3, 3))
        self.bias = nn.Parameter(torch.zeros(2))

    def gates(self, features: Tensor) -> Tensor:
        """How much of each place is sent along, in -1..1: [N, C, H, W] -> [N, 2, H, W]."""
        return gate_planes(F.relu(self.bn(features)), self.weight, self.bias, num_frames=self.num_frames)

    def forward(self, features: Tensor) -> Tensor:
        gates = self.gates(features)
        return gate_shift(features, gates, num_frames=self.num_frames, interleave=self.interleave)

    def extra_repr(self) -> str:
        return f"channels={self.bn.num_features}, num_frames={self.num_frames}, interleave={self.interleave}"


class GateShiftFuse(GateShift):
    """The gate-shift-fuse module, GSF: [N, C, H, W] -> [N, C, H, W].

    A gate-shift module whose two parts are weighed against each other for each channel and frame. A new one
    sends nothing and scales what it keeps by about a half, which the batch norm behind it takes out again.

    Arguments and errors are those of :class:`GateShift`.
    """

    def __init__(self, channels: int, num_frames: int = 8, *, interleave: bool = True) -> None:
        super().__init__(channels, num_frames, interleave=interleave)
        self.fuse = nn.Conv2d(4, 2, 3, padding=1, groups=2)

    def forward(self, features: Tensor) -> Tensor:
        gates = self.gates(features)
        return gate_shift_fuse(
            features,
            gates,
            self.fuse.weight,
            self.fuse.bias,  # type: ignore[arg-type]  # there is one
            num_frames=self.num_frames,
            interleave=self.interleave,
        )
