"""Gate, shift and residual in one pass over memory on a GPU: Triton kernels, forward and backward.

They compute what :func:`gateshift.model.temporal.functional.gate_shift` does in PyTorch wherever they are not used.
Each program of a kernel owns some pixels of one frame and one half of the channels. Programs of one place in
neighbouring frames start together, so that the second reading of a frame is answered by the cache. Numbers are added in
float32 (float64 for float64), each in a fixed order: results are the same from run to run.

Triton is imported when a kernel is first needed: not every system has it, and the CPU does not need it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.library import custom_op

if TYPE_CHECKING:
    import triton.language as tl

TRITON_INSTALLED = find_spec("triton") is not None
FIRST_CAPABILITY = 8  # the oldest generation of NVIDIA GPUs that Triton supports: Ampere
PLACES = 1024  # numbers that a program holds of each tensor: 8 a thread


def kernels_run_on(features: Tensor) -> bool:
    """Whether :func:`fused_gate_shift` is to be used for these features: on a GPU, and not for an exported file."""
    return (
        features.is_cuda
        and TRITON_INSTALLED
        and not torch.compiler.is_exporting()
        and torch.cuda.get_device_properties(features.device).major >= FIRST_CAPABILITY
    )


def fused_gate_shift(features: Tensor, gates: Tensor, *, num_frames: int, interleave: bool) -> Tensor:
    """Do what :func:`gateshift.model.temporal.functional.gate_shift` does in one kernel, and its gradients in another.

    Args:
        features: [N, C, H, W] on a GPU, of any strides; C a multiple of 4, of 2 without ``interleave``. Copied first
            if rows do not follow each other evenly in memory.
        gates: [N, 2, H, W], or what broadcasts to it, of the same type.
        num_frames: T, of which N is a multiple.
        interleave: Mix the two quarters of each half channel by channel.

    Returns:
        [N, C, H, W] in the memory format and the type of the features.
    """
    frames, _, height, width = features.shape
    return _gate_shift(features, gates.expand(frames, 2, height, width), num_frames, interleave)


def tile_shape(half: int, pixels: int, *, channels_last: bool) -> tuple[int, int]:
    """How many channels and pixels a program looks at together, long in the direction that is contiguous in memory.

    >>> tile_shape(96, 784, channels_last=False), tile_shape(96, 784, channels_last=True)
    ((8, 128), (64, 16))
    """
    if channels_last:
        channels = min(64, _next_power_of_2(half))
        return channels, min(PLACES // channels, _next_power_of_2(pixels))
    places = min(128, _next_power_of_2(pixels))
    return min(PLACES // places, _next_power_of_2(half)), places


def _next_power_of_2(number: int) -> int:
    return 1 << (number - 1).bit_length()


@custom_op("gateshift::gate_shift", mutates_args=())
def _gate_shift(features: Tensor, gates: Tensor, num_frames: int, interleave: bool) -> Tensor:
    result = _empty_like(features)
    _launch(_forward_kernel, features, gates, result, num_frames=num_frames, interleave=interleave)
    return result


@custom_op("gateshift::gate_shift_backward", mutates_args=())
def _gate_shift_backward(
    features: Tensor, gates: Tensor, upstream: Tensor, num_frames: int, interleave: bool
) -> tuple[Tensor, Tensor]:
    grads = _empty_like(features), _empty_like(gates)
    _launch(_backward_kernel, features, gates, upstream, *grads, num_frames=num_frames, interleave=interleave)
    return grads


@_gate_shift.register_fake
def _(features: Tensor, gates: Tensor, num_frames: int, interleave: bool) -> Tensor:  # noqa: ARG001
    return _empty_like(features)


@_gate_shift_backward.register_fake
def _(
    features: Tensor,
    gates: Tensor,
    upstream: Tensor,  # noqa: ARG001
    num_frames: int,  # noqa: ARG001
    interleave: bool,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    return _empty_like(features), _empty_like(gates)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    features, gates, ctx.num_frames, ctx.interleave = inputs
    ctx.save_for_backward(features, gates)


def register_double_backward(gradients: Callable[[Tensor, Tensor, Tensor, int, bool], tuple[Tensor, Tensor]]) -> None:
    """Say how the gradients are computed where they are to be differentiated again, which the kernels cannot be.

    Args:
        gradients: Of features, gates, upstream gradient, T and interleave: the gradients of features and gates.
    """

    def differentiate(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        features, gates = ctx.saved_tensors
        compute = gradients if torch.is_grad_enabled() else _gate_shift_backward
        return *compute(features, gates, upstream, ctx.num_frames, ctx.interleave), None, None

    _gate_shift.register_autograd(differentiate, setup_context=_remember)


def _empty_like(tensor: Tensor) -> Tensor:
    """Memory for [N, C, H, W] in the format of a tensor that may be a part of a larger one."""
    memory_format = torch.channels_last if tensor.stride(1) == 1 else torch.contiguous_format
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device, memory_format=memory_format)


def _launch(kernel: Callable[..., None], *tensors: Tensor, num_frames: int, interleave: bool) -> None:
    """Run a kernel on features, gates and more tensors, [N, C or 2, H, W]."""
    compiled = _compiled(kernel)
    channels_last = tensors[0].stride(1) == 1
    planes = [tensor.flatten(2) for tensor in tensors]  # [N, C, H * W]: views, but of inputs with uneven rows
    frames, channels, pixels = planes[0].shape
    half = channels // 2
    block_channels, block_pixels = tile_shape(half, pixels, channels_last=channels_last)
    # The gradient of the gates is a sum over channels: all of them in one program.
    channel_blocks = -(-half // block_channels) if kernel is _forward_kernel else 1
    with torch.cuda.device_of(tensors[0]):  # Triton runs on the current device
        compiled[frames * -(-pixels // block_pixels), 2, channel_blocks](
            *planes,
            *(stride for plane in planes for stride in plane.stride()),
            frames,
            num_frames,
            pixels,
            half=half,  # known to the compiler, which then sees what it can read in one piece
            interleave=interleave,
            channels_last=channels_last,
            dtype=tl.float64 if planes[0].dtype == torch.float64 else tl.float32,
            block_channels=block_channels,
            block_pixels=block_pixels,
            enable_fp_fusion=False,  # products are rounded as PyTorch rounds them
        )


@functools.cache
def _compiled(kernel: Callable[..., None]) -> Any:
    """A kernel that can be launched; it is compiled for each kind of input when it meets the first one."""
    import triton
    import triton.language

    globals()["tl"] = triton.language  # where the names in a kernel are looked up
    return triton.jit(kernel)


def _forward_kernel(  # type: ignore[no-untyped-def]
    features, gates, result,
    f_frame, f_channel, f_pixel, g_frame, g_group, g_pixel, r_frame, r_channel, r_pixel,
    frames, num_frames, pixels, half: tl.constexpr,
    interleave: tl.constexpr, channels_last: tl.constexpr, dtype: tl.constexpr,
    block_channels: tl.constexpr, block_pixels: tl.constexpr,
):  # fmt: skip
    frame = (tl.program_id(0) % frames).to(tl.int64)
    pixel = tl.program_id(0) // frames * block_pixels + tl.arange(0, block_pixels)
    group = tl.program_id(1)
    line = tl.program_id(2) * block_channels + tl.arange(0, block_channels)
    if channels_last:  # the last axis of a tile is the contiguous one
        pixel, line = pixel[:, None], line[None, :]
    else:
        pixel, line = pixel[None, :], line[:, None]
    source, channel, exists = line, line, line < half  # of this half: which in the features, which in the result
    if interleave:  # a tile holds as many channels of each quarter, one quarter after the other
        quarter = line % block_channels // (block_channels // 2)
        place = line // block_channels * (block_channels // 2) + line % (block_channels // 2)
        source, channel, exists = quarter * (half // 2) + place, 2 * place + quarter, place < half // 2
    step = 1 - 2 * group  # the first half takes from the next frame, the second from the previous one
    neighbour = frame % num_frames + step
    reach = tl.where((neighbour >= 0) & (neighbour < num_frames), pixels, 0)  # nothing arrives from outside the clip

    gates += frame * g_frame + group * g_group + pixel * g_pixel
    features += frame * f_frame + (group * half + source) * f_channel + pixel * f_pixel
    gate = tl.load(gates, mask=pixel < pixels, other=0.0).to(dtype)
    own = tl.load(features, mask=(pixel < pixels) & exists, other=0.0).to(dtype)
    other_gate = tl.load(gates + step * g_frame, mask=pixel < reach, other=0.0).to(dtype)
    other = tl.load(features + step * f_frame, mask=(pixel < reach) & exists, other=0.0).to(dtype)
    mixed = own - own * gate + other * other_gate
    if interleave and channels_last:  # put into the result's order here, as memory is faster at long pieces
        mixed = tl.permute(tl.reshape(mixed, (block_pixels, 2, block_channels // 2)), (0, 2, 1))
        mixed, channel, exists = tl.reshape(mixed, (block_pixels, block_channels)), line, line < half
    result += frame * r_frame + (group * half + channel) * r_channel + pixel * r_pixel
    tl.store(result, mixed, mask=(pixel < pixels) & exists)


def _backward_kernel(  # type: ignore[no-untyped-def]
    features, gates, upstream, grad_features, grad_gates,
    f_frame, f_channel, f_pixel, g_frame, g_group, g_pixel, u_frame, u_channel, u_pixel,
    gf_frame, gf_channel, gf_pixel, gg_frame, gg_group, gg_pixel,
    frames, num_frames, pixels, half: tl.constexpr,
    interleave: tl.constexpr, channels_last: tl.constexpr, dtype: tl.constexpr,
    block_channels: tl.constexpr, block_pixels: tl.constexpr,
):  # fmt: skip
    frame = (tl.program_id(0) % frames).to(tl.int64)
    row = tl.program_id(0) // frames * block_pixels + tl.arange(0, block_pixels)
    group = tl.program_id(1)
    pixel, lane = row[None, :], tl.arange(0, block_channels)[:, None]
    if channels_last:
        pixel, lane = row[:, None], tl.arange(0, block_channels)[None, :]
    step = 2 * group - 1  # what the first half sent is in the previous frame, what the second sent in the next one
    neighbour = frame % num_frames + step
    reach = tl.where((neighbour >= 0) & (neighbour < num_frames), pixels, 0)

    gates += frame * g_frame + group * g_group + pixel * g_pixel
    features += frame * f_frame + group * half * f_channel + pixel * f_pixel
    upstream += frame * u_frame + group * half * u_channel + pixel * u_pixel
    grad_features += frame * gf_frame + group * half * gf_channel + pixel * gf_pixel
    gate = tl.load(gates, mask=pixel < pixels, other=0.0).to(dtype)
    total = tl.zeros((lane + pixel).shape, dtype)
    for start in range(0, half, block_channels):
        line = start + lane
        source, channel, exists = line, line, line < half
        if interleave:
            quarter, place = lane // (block_channels // 2), start // 2 + lane % (block_channels // 2)
            source, channel, exists = quarter * (half // 2) + place, 2 * place + quarter, place < half // 2
        column = line if channels_last else channel  # the gradient arrives in the result's order
        known = line < half if channels_last else exists
        kept = tl.load(upstream + column * u_channel, mask=(pixel < pixels) & known, other=0.0).to(dtype)
        moved = upstream + step * u_frame + column * u_channel
        moved = tl.load(moved, mask=(pixel < reach) & known, other=0.0).to(dtype)
        if interleave and channels_last:
            kept = tl.permute(tl.reshape(kept, (block_pixels, block_channels // 2, 2)), (0, 2, 1))
            moved = tl.permute(tl.reshape(moved, (block_pixels, block_channels // 2, 2)), (0, 2, 1))
            kept, moved = tl.reshape(kept, total.shape), tl.reshape(moved, total.shape)
        sent = moved - kept  # the gradient of own * gate
        wanted = (pixel < pixels) & exists
        own = tl.load(features + source * f_channel, mask=wanted, other=0.0).to(dtype)
        tl.store(grad_features + source * gf_channel, kept + sent * gate, mask=wanted)
        total += own * sent
    grad_gates += frame * gg_frame + group * gg_group + row * gg_pixel
    tl.store(grad_gates, tl.sum(total, axis=1 if channels_last else 0), mask=row < pixels)
