"""What a plan has to know of the videos: how many, how long, of what shape, and where in the picture things move."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from torch import Tensor

from gateshift.data.choices import CROP_SCALES
from gateshift.data.clips.dataset import open_entry
from gateshift.data.clips.sampling import segment_indices
from gateshift.data.lists.labels import LABEL_SEPARATOR
from gateshift.data.lists.manifest import Manifest
from gateshift.errors import VideoError

SAMPLED = 16  # videos that are looked at
SEEN = CROP_SCALES[1]  # side of the center crop of a test, as a share of a frame's short side


@dataclass(frozen=True)
class Videos:
    """What a plan is made for.

    Attributes:
        num_train: Training videos.
        num_val: Validation videos.
        num_classes: K.
        per_class: Training videos of the median class.
        frames: Length of the median video, in frames.
        size_px: Width and height of the median video; None where none could be read.
        mixed_shapes: Whether upright videos and wide ones are among them.
        moves_outside: Share of the movement that the center crop of a test does not show, in 0..1.
        read_s: Seconds to read the frames of a clip.
    """

    num_train: int
    num_val: int
    num_classes: int
    per_class: int
    frames: int = 0
    size_px: tuple[int, int] | None = None
    mixed_shapes: bool = False
    moves_outside: float = 0.0
    read_s: float = 0.0

    def __str__(self) -> str:
        size = "" if self.size_px is None else f", {self.frames} frames of {self.size_px[0]} x {self.size_px[1]} px"
        return f"{self.num_train} videos of {self.num_classes} classes, {self.per_class} of each{size}"


def look_at(train_list: Manifest, val_list: Manifest, classes: Sequence[str], *, num_segments: int) -> Videos:
    """Look at both lists, and at a few training videos, evenly from the list; unreadable ones are passed over."""
    counts = Counter(str(label) for entry in train_list.entries for label in str(entry.label).split(LABEL_SEPARATOR))
    videos = Videos(len(train_list), len(val_list), len(classes), int(median(counts.values())))
    lengths, sizes, outside, seconds = [], [], [], []
    for place in range(0, len(train_list), -(-len(train_list) // SAMPLED)):
        began_s = time.perf_counter()
        try:
            with open_entry(train_list.entries[place], square_pixels=True) as video:
                frames = video.read(segment_indices(video.num_frames, num_segments).tolist())  # [T, 3, H, W]
                lengths.append(video.num_frames)
        except VideoError:  # the training will say so
            continue
        seconds.append(time.perf_counter() - began_s)
        sizes.append((frames.shape[3], frames.shape[2]))
        outside.append(movement_outside(frames))
    if not sizes:
        return videos
    return replace(
        videos,
        frames=int(median(lengths)),
        size_px=sorted(sizes, key=lambda size: size[0] * size[1])[len(sizes) // 2],
        mixed_shapes=any(width > height for width, height in sizes) and any(width < height for width, height in sizes),
        moves_outside=median(outside),
        read_s=median(seconds),
    )


def movement_outside(frames: Tensor) -> float:
    """The share of the movement in a clip that the center crop of a test does not show.

    Movement is how much pixels change from frame to frame, beyond what the median pixel does, as that is noise or the
    camera.

    Args:
        frames: uint8 [T, 3, H, W].

    Returns:
        A share in 0..1; 0 where nothing moves.

    >>> import torch
    >>> frames = torch.zeros(4, 3, 8, 16, dtype=torch.uint8)
    >>> frames[1, :, :, :2], frames[2, :, 3:5, 7:9] = 200, 200  # at the left edge, and less of it in the middle
    >>> round(movement_outside(frames), 2)
    0.8
    """
    gray = frames.float().mean(1)  # [T, H, W]
    change = (gray[1:] - gray[:-1]).abs()
    change = (change - change.flatten(1).median(1).values[:, None, None]).clamp(min=0).sum(0)  # [H, W]
    height, width = change.shape
    side = round(SEEN * min(height, width))
    top, left = (height - side) // 2, (width - side) // 2
    whole = float(change.sum())
    return 1 - float(change[top : top + side, left : left + side].sum()) / whole if whole else 0.0
