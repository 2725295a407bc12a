"""Which frames of a video make a clip: arithmetic only, no video is opened here.

A video of n frames is cut into T equal parts, its *segments*, and a clip takes one frame of each
("Temporal Segment Networks", ECCV 2016). With n = 12 and T = 4, a middle frame (m) of each segment::

    |--m--|--m--|--m--|--m--|        frames 1, 4, 7, 10
"""

from __future__ import annotations

import torch
from torch import Tensor

from gateshift.data.choices import ShortVideos


def segment_indices(
    num_frames: int,
    num_segments: int,
    *,
    place: float = 0.5,
    jitter: torch.Generator | None = None,
    short_videos: ShortVideos = "spread",
) -> Tensor:
    """Pick one frame from each of ``num_segments`` equal parts of a video.

    Without ``jitter``, the frame at ``place`` of each part is taken; with it, a uniformly random one. A video with
    fewer frames than segments repeats frames.

    Args:
        num_frames: n, the length of the video, at least 1.
        num_segments: T, how many indices to return, at least 1.
        place: Where in each part, from 0 (its start) up to, not including, 1.
        jitter: Random numbers, for training.
        short_videos: "first-frame" takes T copies of frame 0 from a video of at most T frames, as the
            released GSM code does while it validates during training: a defect, kept so that the
            published validation curves can be reproduced. Otherwise "spread".

    Returns:
        Frame indices [T] int64, each in 0..n - 1, never decreasing.

    Raises:
        ValueError: If a count is below 1 or ``place`` is outside 0..1.

    >>> segment_indices(10, 4).tolist()
    [1, 3, 6, 8]
    >>> segment_indices(2, 4).tolist()
    [0, 0, 1, 1]
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}: is the video empty?")
    if num_segments < 1:
        raise ValueError(f"num_segments must be at least 1, got {num_segments}")
    if not 0 <= place < 1:
        raise ValueError(f"place must be from 0 up to, not including, 1, got {place}")
    if short_videos == "first-frame" and num_frames <= num_segments:
        return torch.zeros(num_segments, dtype=torch.int64)
    part = num_frames / num_segments
    starts = torch.arange(num_segments, dtype=torch.float64) * part  # [T]
    if jitter is None:
        offsets = torch.full((num_segments,), place, dtype=torch.float64)
    else:
        offsets = torch.rand(num_segments, generator=jitter, dtype=torch.float64)
    return (starts + offsets * part).long().clamp_(max=num_frames - 1)


def clip_places(num_clips: int) -> list[float]:
    """Where in each segment the clips of a video take their frame, in 0..1, excluding 1.

    One clip takes the middle. Several are spread evenly from the start of the segment; two take its
    start and its middle, as in the published protocol.

    >>> clip_places(1), clip_places(2)
    ([0.5], [0.0, 0.5])

    Raises:
        ValueError: If there is not at least one clip.
    """
    if num_clips < 1:
        raise ValueError(f"num_clips must be at least 1, got {num_clips}")
    return [0.5] if num_clips == 1 else [clip / num_clips for clip in range(num_clips)]
