"""Resize, crop and augment clips of uint8 frames [..., 3, H, W]: one draw for all frames of a clip.

torchvision, whose import takes as long as that of torch, is imported only in what training uses.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from gateshift.data.choices import CROP_SCALES
from gateshift.data.clips.seeds import seeded

_MAX_STEPS_APART = 1  # height and width of a crop, in CROP_SCALES
NUM_RANDOM_OPERATIONS = 2  # of RandAugment on each clip
_GRAY = 128


@dataclass(frozen=True)
class Box:
    """A rectangle of a frame, in pixels from its upper left corner."""

    left: int
    top: int
    width: int
    height: int


def resize_short_side(frames: Tensor, size_px: int) -> Tensor:
    """Resize so that the shorter side has ``size_px`` pixels: uint8 [..., 3, H, W], antialiased, bilinear."""
    short, long = sorted(frames.shape[-2:])
    long_px = int(size_px * long / short)
    return _resize(frames, size_px, long_px) if frames.shape[-2] == short else _resize(frames, long_px, size_px)


def resize_square(frames: Tensor, size_px: int) -> Tensor:
    """Resize to a square, whatever the shape was: uint8 [..., 3, H, W] -> [..., 3, size_px, size_px], antialiased."""
    return _resize(frames, size_px, size_px)


def _resize(frames: Tensor, height: int, width: int) -> Tensor:
    """As torchvision's ``v2.functional.resize``: uint8 [..., 3, H, W] -> [..., 3, height, width], the same values."""
    if frames.shape[-2:] == (height, width):
        return frames
    images = frames.reshape(-1, *frames.shape[-3:])  # [N, 3, H, W]
    if not _resizes_bytes(images.device.type):
        images = images.float()
    resized = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    if resized.is_floating_point():
        resized = resized.round_().to(frames.dtype)
    return resized.reshape(*frames.shape[:-2], height, width)


def _resizes_bytes(device: str) -> bool:
    """Whether torch has fast code for uint8 there; elsewhere it is missing, or slower than float32."""
    fast = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") or platform.machine() in ("aarch64", "arm64")
    return device == "cpu" and fast


def crop(frames: Tensor, box: Box) -> Tensor:
    """Cut a box out of every frame, as a view: [..., 3, H, W] -> [..., 3, box.height, box.width]."""
    return frames[..., box.top : box.top + box.height, box.left : box.left + box.width]


def mirror(frames: Tensor) -> Tensor:
    """Flip horizontally: [..., 3, H, W] -> [..., 3, H, W]."""
    return frames.flip(-1)


def reverse(frames: Tensor) -> Tensor:
    """Play a clip backwards: [T, 3, H, W] -> [T, 3, H, W]."""
    return frames.flip(0)


@lru_cache(maxsize=64)  # a data set has few sizes, and a box is drawn for each clip
def multi_scale_boxes(
    height: int, width: int, *, size_px: int, min_crop_scale: float = CROP_SCALES[-1], whole_frame: bool = False
) -> tuple[Box, ...]:
    """Every box of the random training crop (multi-scale cropping of TSN, "Towards Good Practices", 2015).

    Sides are 1, 0.875, 0.75 or 0.66 of the frame's short side, height and width at most one step apart,
    at 13 fixed positions. A side within 3 px of ``size_px`` becomes exactly that.

    Args:
        height: Of the frame.
        width: Of the frame.
        size_px: Side of the network's input.
        min_crop_scale: Smallest side of a box as a fraction of the short side, up to 1.
        whole_frame: For networks that see whole frames: fractions of the height and of the width instead.

    Returns:
        Boxes, repeated as often as several draws give them: drawing one uniformly is the published crop.
    """
    longest = (height, width) if whole_frame else (min(height, width),) * 2
    heights, widths = (_box_sides(side, size_px, min_crop_scale) for side in longest)
    boxes: list[Box] = []
    for i, box_height in enumerate(heights):
        for j, box_width in enumerate(widths):
            if abs(i - j) <= _MAX_STEPS_APART:
                boxes += _thirteen_places(height, width, max(box_height, 1), max(box_width, 1))
    return tuple(boxes)


def _box_sides(longest: int, size_px: int, min_crop_scale: float) -> list[int]:
    sides = [int(longest * scale) for scale in CROP_SCALES if scale >= min_crop_scale]
    return [size_px if abs(side - size_px) < 3 and size_px <= longest else side for side in sides]


def _thirteen_places(height: int, width: int, box_height: int, box_width: int) -> list[Box]:
    """Corners, edge middles, center and the four quarter points, in steps of a quarter of the room left."""
    across, down = (width - box_width) // 4, (height - box_height) // 4
    outer = [(i, j) for i in (0, 2, 4) for j in (0, 2, 4)]
    inner = [(i, j) for i in (1, 3) for j in (1, 3)]
    return [Box(i * across, j * down, box_width, box_height) for i, j in outer + inner]


def random_crop(frames: Tensor, boxes: Sequence[Box], *, size_px: int, generator: torch.Generator) -> Tensor:
    """Cut one of :func:`multi_scale_boxes` and resize it: uint8 [T, 3, H, W] -> [T, 3, size_px, size_px]."""
    box = boxes[int(torch.randint(len(boxes), (), generator=generator))]
    return resize_square(crop(frames, box), size_px)


def jitter_color(frames: Tensor, *, amount: float, generator: torch.Generator) -> Tensor:
    """Scale brightness and contrast of a whole clip by factors drawn from 1 - amount to 1 + amount."""
    from torchvision.transforms.v2 import functional as transforms

    brightness, contrast = (1 + amount * (2 * torch.rand(2, generator=generator) - 1)).tolist()
    return transforms.adjust_contrast(transforms.adjust_brightness(frames, brightness), contrast)


def random_operations(frames: Tensor, *, magnitude: int, generator: torch.Generator) -> Tensor:
    """RandAugment (Cubuk et al., 2020): two operations on colors or geometry, without flips.

    Args:
        frames: uint8 [T, 3, H, W].
        magnitude: How strong, from 1 to ``MAX_MAGNITUDE``.
        generator: Random numbers; the operations are drawn once for all frames.

    Returns:
        uint8 [T, 3, H, W].
    """
    from torchvision.transforms import v2

    change = v2.RandAugment(NUM_RANDOM_OPERATIONS, magnitude, interpolation=v2.InterpolationMode.BILINEAR)
    with seeded(_draw_seed(generator)):
        return change(frames)


def random_erasing(frames: Tensor, *, probability: float, generator: torch.Generator) -> Tensor:
    """Gray out a random rectangle (Zhong et al., AAAI 2020), the same of all frames: uint8 [T, 3, H, W], same shape."""
    from torchvision.transforms import v2

    with seeded(_draw_seed(generator)):
        return v2.RandomErasing(p=probability, value=_GRAY)(frames)


def _draw_seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))
