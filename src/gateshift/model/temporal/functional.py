"""Sending gated features between the frames of a clip, without weights of its own.

Axes: ``N = B * T`` frames folded into the batch (clip after clip), ``C`` channels, ``H``, ``W``. Results have the
memory format of the features: behind a convolution in channels-last memory the next one finds it again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gateshift.errors import ModelError
from gateshift.model.temporal.clip_length import is_transformed, runs_plainly
from gateshift.model.temporal.kernels import fused_gate_shift, kernels_run_on, register_double_backward


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


def gate_shift(features: Tensor, gates: Tensor, *, num_frames: int, interleave: bool = True) -> Tensor:
    """Send the gated part of each channel group one frame along and keep the rest (GSM, equations 2-5).

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

    Raises:
        ModelError: If the channels cannot be split, or N is not a whole number of clips.

    >>> x = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 4, 1, 1)  # frame i holds i; T = 3
    >>> gate_shift(x, torch.ones(3, 2, 1, 1), num_frames=3).flatten(1).tolist()
    [[1.0, 1.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """
    check_channels(features.shape[1], interleave=interleave)
    gates = gates.to(features.dtype)  # under autocast a float32 bias makes float32 gates of bf16 features
    if kernels_run_on(features) and not is_transformed():
        split_clips(features, num_frames)  # an error if it is not whole clips
        return fused_gate_shift(features, gates, num_frames=num_frames, interleave=interleave)
    if runs_plainly():
        return _GateShift.apply(features, gates, num_frames, interleave)
    return gate_shift_in_steps(features, gates, num_frames=num_frames, interleave=interleave)


def gate_shift_in_steps(features: Tensor, gates: Tensor, *, num_frames: int, interleave: bool = True) -> Tensor:
    """:func:`gate_shift` as one expression, for compilers and transforms; what runs elsewhere is tested against it."""
    kept, moved = _kept_and_moved(features, gates, num_frames)
    mixed = torch.cat([kept[:, :, group] + moved[group] for group in (0, 1)], dim=2).flatten(0, 1)  # [N, C, H, W]
    return mix_halves(mixed) if interleave else mixed


def _gradients_in_steps(
    features: Tensor, gates: Tensor, upstream: Tensor, num_frames: int, interleave: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of :func:`gate_shift`, which can be differentiated in their turn."""

    def compute(features: Tensor, gates: Tensor) -> Tensor:
        return gate_shift_in_steps(features, gates, num_frames=num_frames, interleave=interleave)

    return torch.func.vjp(compute, features, gates)[1](upstream)


register_double_backward(_gradients_in_steps)


class _GateShift(torch.autograd.Function):
    """:func:`gate_shift` in place where it can be: a third of the passes over memory, forward and backward."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, gates: Tensor, num_frames: int, interleave: bool) -> Tensor:
        ctx.save_for_backward(features, gates)
        ctx.num_frames, ctx.interleave = num_frames, interleave
        source, open_to = _halves(features, num_frames), _halves(gates, num_frames)
        mixed = source * (1 - open_to)  # [B, T, 2, C/2, H, W]
        mixed[:, :-1, 0].addcmul_(source[:, 1:, 0], open_to[:, 1:, 0])
        mixed[:, 1:, 1].addcmul_(source[:, :-1, 1], open_to[:, :-1, 1])
        mixed = mixed.flatten(2, 3).flatten(0, 1)
        return _shuffle_halves(mixed, 2) if interleave else mixed

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        features, gates = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradients of these are wanted, and what is changed in place has none
            return *_gradients_in_steps(features, gates, upstream, ctx.num_frames, ctx.interleave), None, None
        if ctx.interleave:
            upstream = _shuffle_halves(upstream, features.shape[1] // 4)  # back to the order before
        arrived = _halves(upstream, ctx.num_frames)
        sent = -arrived  # the gradient of what was sent: how it did where it arrived, over how it did where it was
        sent[:, 1:, 0] += arrived[:, :-1, 0]
        sent[:, :-1, 1] += arrived[:, 1:, 1]
        grad_gates = (sent * _halves(features, ctx.num_frames)).sum(3)
        grad_features = sent.mul_(_halves(gates, ctx.num_frames)).add_(arrived)
        return grad_features.flatten(2, 3).flatten(0, 1), grad_gates.flatten(0, 1), None, None


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
    kept, moved = _kept_and_moved(features, gates.to(features.dtype), num_frames)
    outputs = []
    for group, arriving in enumerate(moved):
        staying = kept[:, :, group]  # [B, T, C/2, H, W]
        means = torch.stack((arriving.mean((3, 4)), staying.mean((3, 4))), dim=1)  # [B, 2, T, C/2]
        scores = F.conv2d(means.transpose(2, 3), weight[group : group + 1], bias[group : group + 1], padding=1)
        share = torch.sigmoid(scores).squeeze(1).transpose(1, 2)[..., None, None]  # [B, T, C/2, 1, 1]
        outputs.append(torch.lerp(staying, arriving, share))
    mixed = torch.cat(outputs, dim=2).flatten(0, 1)  # [N, C, H, W]
    mixed = mix_halves(mixed) if interleave else mixed
    return mixed.contiguous(memory_format=memory_format(features))


def temporal_shift(features: Tensor, *, num_frames: int, fold: int | None = None) -> Tensor:
    """Shift some channels by a frame, each way, and keep the others (TSM: arXiv 1811.08383, section 4).

    The first ``fold`` channels come from the next frame, as many after them from the previous one; beyond the
    ends of a clip there are zeros.

    Args:
        features: [N, C, H, W].
        num_frames: T; N is a whole number of clips of T frames.
        fold: How many channels are shifted each way, up to C / 2; by default an eighth of them, rounded down.

    Returns:
        [N, C, H, W].

    Raises:
        ModelError: If more channels are to be shifted than there are.

    >>> x = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 8, 1, 1)  # frame i holds i; T = 3
    >>> temporal_shift(x, num_frames=3).flatten(1)[:, :4].tolist()
    [[1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 1.0, 1.0], [0.0, 1.0, 2.0, 2.0]]
    """
    channels = features.shape[1]
    fold = channels // 8 if fold is None else fold
    if not 0 <= 2 * fold <= channels:
        raise ModelError(f"fold={fold} of {channels} channels; from 0 to {channels // 2} can be shifted each way")
    clips = split_clips(features, num_frames)  # [B, T, C, H, W]
    if runs_plainly():
        return _TemporalShift.apply(features, num_frames, fold)
    first, second, rest = clips.split((fold, fold, channels - 2 * fold), dim=2)
    return torch.cat((shift_from_next(first), shift_from_previous(second), rest), dim=2).flatten(0, 1)  # [N, C, H, W]


class _TemporalShift(torch.autograd.Function):
    """:func:`temporal_shift` as one copy of the features, changed in place; the gradient is the shift back."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, num_frames: int, fold: int) -> Tensor:
        ctx.num_frames, ctx.fold = num_frames, fold
        return _shift_copy(features, num_frames, slice(0, fold), slice(fold, 2 * fold))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        fold = ctx.fold
        return _shift_copy(upstream, ctx.num_frames, slice(fold, 2 * fold), slice(0, fold)), None, None


def _shift_copy(frames: Tensor, num_frames: int, from_next: slice, from_previous: slice) -> Tensor:
    """A copy of [N, C, H, W] in which these channels are those of the frames beside."""
    result = frames.clone()
    source, target = split_clips(frames, num_frames), split_clips(result, num_frames)  # [B, T, C, H, W]
    target[:, :-1, from_next] = source[:, 1:, from_next]
    target[:, -1, from_next] = 0
    target[:, 1:, from_previous] = source[:, :-1, from_previous]
    target[:, 0, from_previous] = 0
    return result


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


def _halves(frames: Tensor, num_frames: int) -> Tensor:
    """[N, C, H, W] -> [B, T, 2, C/2, H, W], a view."""
    return split_clips(frames, num_frames).unflatten(2, (2, -1))


def _shuffle_halves(frames: Tensor, groups: int) -> Tensor:
    """:func:`mix_halves` by torch's kernel with 2 groups, and its inverse with C / 4.

    Both halves are shown to torch's kernel as one tensor twice as wide, or twice as long, with half the channels.
    """
    N, C, H, W = frames.shape
    if memory_format(frames) == torch.channels_last:
        rows = frames.permute(0, 2, 3, 1).reshape(N, H, 2 * W, C // 2).permute(0, 3, 1, 2)
        return F.channel_shuffle(rows, groups).permute(0, 2, 3, 1).reshape(N, H, W, C).permute(0, 3, 1, 2)
    return F.channel_shuffle(frames.reshape(2 * N, C // 2, H, W), groups).reshape(N, C, H, W)


def memory_format(frames: Tensor) -> torch.memory_format:
    """Channels-last where channels follow each other in memory; a part of the channels of such a tensor counts too."""
    return torch.channels_last if frames.stride(1) == 1 and frames.shape[1] > 1 else torch.contiguous_format


def mix_halves(frames: Tensor) -> Tensor:
    """Interleave each half of the channels, a0 a1 .. b0 b1 .. to a0 b0 a1 b1 ..: [N, C, H, W] -> [N, C, H, W]."""
    return frames.unflatten(1, (2, 2, -1)).transpose(2, 3).flatten(1, 3)


def part_means(kept: Tensor, arriving: Tensor) -> Tensor:
    """Means over space of both parts [N, C, H, W], arriving and kept of the first half, then of the second.

    Returns:
        [N, 4, C/2], the channels of the fuse convolution.
    """
    means = torch.stack((arriving, kept), dim=1).mean((3, 4)).unflatten(2, (2, -1))  # [N, 2 parts, 2 halves, C/2]
    return means.transpose(1, 2).flatten(1, 2)
