"""The views of a video in a test: clips in time x crops in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from gateshift.data.choices import ShortVideos
from gateshift.data.clips.sampling import clip_places, segment_indices
from gateshift.data.clips.transforms import Box, crop, mirror, resize_short_side, resize_square
from gateshift.errors import SettingsError, check_choice, check_whole

CROP_COUNTS = (1, 3, 5, 10)


@dataclass(frozen=True)
class EvalProtocol:
    """How a video is tested; every accuracy names it.

    Attributes:
        num_segments: T, frames of a clip.
        num_clips: Clips of a video.
        num_crops: Crops of each clip: 1 (center), 3 (along the long side, full height), 5 (corners and
            center) or 10 (those and their horizontal flips).
        short_videos: See :func:`gateshift.data.clips.sampling.segment_indices`.
    """

    num_segments: int
    num_clips: int = 1
    num_crops: int = 1
    short_videos: ShortVideos = "spread"

    def __post_init__(self) -> None:
        check_whole("segments", self.num_segments, least=1, advice="a clip has at least 1 frame; try `segments=8`")
        check_whole("clips", self.num_clips, least=1, advice="a test takes at least 1; try `clips=1`")
        if self.num_crops not in CROP_COUNTS:
            raise SettingsError(f"`crops` {self.num_crops!r}; choose one of {', '.join(map(str, CROP_COUNTS))}")
        check_choice("short_videos", self.short_videos, get_args(ShortVideos))

    @property
    def num_views(self) -> int:
        """V = clips x crops."""
        return self.num_clips * self.num_crops

    @property
    def mirrored(self) -> tuple[bool, ...]:
        """For each of the V views, whether it is flipped horizontally."""
        crops = tuple(i % 2 == 1 for i in range(10)) if self.num_crops == 10 else (False,) * self.num_crops
        return crops * self.num_clips

    def __str__(self) -> str:
        return f"{self.num_segments} segments × {self.num_clips} clips × {self.num_crops} crops"

    def frame_indices(self, num_frames: int) -> list[list[int]]:
        """Frames of each clip of a video: ``num_clips`` lists of T indices."""
        return [
            segment_indices(num_frames, self.num_segments, place=place, short_videos=self.short_videos).tolist()
            for place in clip_places(self.num_clips)
        ]

    def crops(self, frames: Tensor, *, size_px: int, resize_px: int | None) -> Tensor:
        """Cut the test crops of a clip.

        Args:
            frames: uint8 [T, 3, H, W].
            size_px: Side of the crops.
            resize_px: Short side that frames are resized to first; ``size_px`` with 3 crops, which cover the whole
                frame. None to resize the whole frame to a square, without a crop.

        Returns:
            uint8 [crops, T, 3, size_px, size_px].
        """
        if resize_px is None:
            return resize_square(frames, size_px).unsqueeze(0)
        resized = resize_short_side(frames, size_px if self.num_crops == 3 else resize_px)
        height, width = resized.shape[-2:]
        cut = [crop(resized, box) for box in crop_boxes(height, width, size_px=size_px, count=self.num_crops)]
        if self.num_crops == 10:
            cut = [view for part in cut for view in (part, mirror(part))]
        return torch.stack(cut)


def crop_frame(frame: Tensor, *, size_px: int, resize_px: int | None) -> Tensor:
    """The center crop of one frame, as in a test with one crop: uint8 [1, 3, H, W] -> [3, size_px, size_px]."""
    return EvalProtocol(1).crops(frame, size_px=size_px, resize_px=resize_px)[0, 0]


def crop_boxes(height: int, width: int, *, size_px: int, count: int) -> list[Box]:
    """The test crops without flips: 1, 3 or 5 boxes of ``size_px`` squared.

    The order of five is upper left, upper right, lower left, lower right, center.
    """
    right, down = width - size_px, height - size_px
    center = (round(right / 2), round(down / 2))
    if count == 1:
        places = [center]
    elif count == 3:
        places = [(0, 0), center, (right, down)]
    else:
        right_step, down_step = right // 4, down // 4
        places = [(x * right_step, y * down_step) for x, y in ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2))]
    return [Box(left, top, size_px, size_px) for left, top in places]


def merge_views(logits: Tensor, protocol: EvalProtocol, mirror_map: Tensor) -> Tensor:
    """Average the logits of a video's views, as published: [B, V, K] -> [B, K]; see :func:`turn_mirrored`."""
    return turn_mirrored(logits, protocol, mirror_map).mean(1)  # [B, K]


def turn_mirrored(logits: Tensor, protocol: EvalProtocol, mirror_map: Tensor) -> Tensor:
    """Reorder the logits of flipped views, so that each votes for the class of the video as it is.

    Args:
        logits: [B, V, K].
        protocol: Says which of the V views are flipped.
        mirror_map: [K], the class that each class becomes by a horizontal flip.

    Returns:
        Logits [B, V, K] that can be averaged over views.
    """
    mirrored = torch.tensor(protocol.mirrored, device=logits.device).view(1, -1, 1)  # [1, V, 1]
    return torch.where(mirrored, logits[..., mirror_map], logits)  # [B, V, K]
