"""An uploaded video decoded in a process that may take only so much memory and time, and write nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gateshift.data.clips.views import EvalProtocol, crop_frame
from gateshift.data.processes import in_processes
from gateshift.data.video.files import VideoFile
from gateshift.data.video.index import PacketSource
from gateshift.errors import VideoError
from gateshift.prediction.windows import Windows
from gateshift.web.settings import Limits


@dataclass(frozen=True)
class Wanted:
    """Which frames of a video, and what it may take to get them.

    Attributes:
        path: A file.
        protocol: One clip, one crop.
        size_px: Side of the crop.
        resize_px: Short side that frames are resized to first; None for whole frames, made square.
        square_pixels: As for ``open_video``.
        timeline_s: Length and hop of the windows whose frames are wanted too; None for none.
        limits: Of the video, and of the process.
    """

    path: Path
    protocol: EvalProtocol
    size_px: int
    resize_px: int | None
    square_pixels: bool
    timeline_s: tuple[float, float] | None
    limits: Limits


@dataclass(frozen=True, eq=False)
class Decoded:
    """The frames that were wanted, cropped.

    Attributes:
        times_s: When each frame of the video is shown, and when the last one ends: [num_frames + 1].
        numbers: Of the frames that are here, rising: [n].
        frames: uint8 [n, 3, size_px, size_px].
        clip: Frame numbers of the clip: [T].
        windows: Of the timeline, if it was wanted.
    """

    times_s: Sequence[float]
    numbers: Sequence[int]
    frames: NDArray[np.uint8]
    clip: Sequence[int]
    windows: Windows | None


def decode_apart(wanted: Wanted) -> Decoded:
    """Decode a video in a process of its own.

    Raises:
        VideoError: If it cannot be decoded, or not within the limits. The message does not name the file.
    """
    limits = wanted.limits
    try:
        ((_, answer),) = in_processes(_decode, [wanted], workers=1, timeout_s=limits.timeout)
    except VideoError as error:
        raise VideoError(str(error).replace(f"{wanted.path}: ", "the file ").replace(str(wanted.path), "it")) from None
    if answer == "time-out":
        raise VideoError(
            f"the video was not decoded in {limits.timeout:g} s, the longest time; send a shorter or smaller one"
        )
    if isinstance(answer, str):
        raise VideoError(
            f"the video ended the process that decoded it, which may take {limits.decoder_mb} MB of memory and "
            f"{limits.timeout:g} s; send a smaller one, or write it again as mp4 with H.264"
        )
    return answer


def _decode(wanted: Wanted) -> Decoded:
    _limit_this_process(wanted.limits)
    torch.set_num_threads(1)
    try:
        with closing(VideoFile(wanted.path, square_pixels=wanted.square_pixels)) as video:
            _check_size(wanted)
            return _read(video, wanted)
    except MemoryError:
        raise VideoError(
            f"the video takes more than {wanted.limits.decoder_mb} MB of memory to decode; send a smaller one"
        ) from None


def _check_size(wanted: Wanted) -> None:
    """Refuse frames that are too large before any is decoded."""
    source = PacketSource(wanted.path)
    width, height = source.stream.width, source.stream.height
    source.close()
    if max(width, height) > wanted.limits.max_side:
        raise VideoError(
            f"the video has frames of {width} × {height} pixels; a side is at most {wanted.limits.max_side}; send a "
            "smaller one"
        )


def _read(video: VideoFile, wanted: Wanted) -> Decoded:
    times_s = video.ends_s()
    duration_s = times_s[-1]
    if duration_s > wanted.limits.max_duration:
        raise VideoError(
            f"the video lasts {duration_s:.1f} s; the longest is {wanted.limits.max_duration:g} s; send a part of it"
        )
    clip = wanted.protocol.frame_indices(video.num_frames)[0]
    windows = None
    numbers = set(clip)
    if wanted.timeline_s is not None:
        size, hop = (max(round(time_s * (video.rate or 0.0)), 1) for time_s in wanted.timeline_s)
        windows = Windows(size, hop, wanted.protocol.num_segments)
        numbers.update(number for window in windows.covering(video.num_frames) for number in windows.frames_of(window))
    side = wanted.size_px
    frames = np.empty((len(numbers), 3, side, side), np.uint8)
    for place, number in enumerate(sorted(numbers)):
        frames[place] = crop_frame(video.read([number]), size_px=side, resize_px=wanted.resize_px).numpy()
    return Decoded(times_s, sorted(numbers), frames, clip, windows)


def _limit_this_process(limits: Limits) -> None:
    """Whatever a file makes FFmpeg do: no more memory or time than this, and no byte written."""
    if sys.platform == "win32":  # which has no such limits; the process is still ended after its time
        return
    import resource

    kinds = {resource.RLIMIT_CPU: int(limits.timeout) + 1, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    if sys.platform == "linux":
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        kinds[resource.RLIMIT_AS] = taken + limits.decoder_mb * 1_000_000
    for kind, most in kinds.items():
        resource.setrlimit(kind, (most, most))
