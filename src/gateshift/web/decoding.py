"""An uploaded video, decoded in a process with limits on memory and time that cannot write files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gateshift.data.clips.views import EvalProtocol
from gateshift.data.processes import in_processes
from gateshift.data.regions import Region
from gateshift.data.video.files import VideoFile
from gateshift.data.video.index import PacketSource
from gateshift.errors import VideoError
from gateshift.model.config import ModelConfig
from gateshift.prediction.frames import video_crop
from gateshift.prediction.spotting import Seen
from gateshift.prediction.windows import Windows
from gateshift.web.settings import ServeSettings


class Upload(NamedTuple):
    """A file, and what is wanted of it: one clip, and the windows of a timeline if asked for; or every frame."""

    path: Path
    timeline: bool
    protocol: EvalProtocol | None  # None of a model that answers for each frame
    config: ModelConfig
    settings: ServeSettings
    box: Region | None = None


class Decoded(NamedTuple):
    """What was wanted of a video."""

    times_s: Sequence[float]  # when each frame of the video is shown, and when the last one ends: [num_frames + 1]
    numbers: Sequence[int]  # the clip's frames: [T]; of a model that answers for each frame all that it sees
    windows: Sequence[range]  # of the timeline
    clips: NDArray[np.uint8]  # of the video, then of each window: [1 + windows, T, 3, size_px, size_px]
    seen: Seen | None = None  # of a model that answers for each frame: when these are shown


def decode(upload: Upload) -> Decoded:
    """Decode a video in a process of its own.

    Raises:
        VideoError: If it cannot be decoded, or not within the limits. The message does not name the file.
    """
    try:
        ((_, answer),) = in_processes(_decode, [upload], workers=1, timeout_s=upload.settings.timeout)
    except VideoError as error:
        raise VideoError(str(error).replace(f"{upload.path}: ", "the file ").replace(str(upload.path), "it")) from None
    if isinstance(answer, str):
        raise _beyond_limits(upload.settings)
    return answer


def _beyond_limits(settings: ServeSettings) -> VideoError:
    return VideoError(
        f"the video was not decoded in {settings.timeout:g} s with {settings.decoder_mb} MB of memory; send a shorter "
        "or smaller one, or write it again as mp4 with H.264"
    )


def _decode(upload: Upload) -> Decoded:
    settings, config = upload.settings, upload.config
    _limit_this_process(settings)
    torch.set_num_threads(1)
    try:
        with VideoFile(upload.path, square_pixels=config.square_pixels) as video:
            video.box = upload.box
            with closing(PacketSource(upload.path)) as source:  # before any frame is decoded
                width, height = source.stream.width, source.stream.height
            times_s = video.ends_s()
            limit = ""
            if max(width, height) > settings.max_side:
                limit = f"has frames of {width} × {height} pixels; a side is at most {settings.max_side}"
            elif times_s[-1] > settings.max_duration:
                limit = f"lasts {times_s[-1]:.1f} s; the longest is {settings.max_duration:g} s"
            if limit:
                raise VideoError(f"the video {limit}; send a smaller one, or a part of it")
            windows: list[range] = []
            seen = None
            if upload.protocol is None:
                seen = Seen.of(video.clock_s(), config)
                wanted = [seen.frames.tolist()]
            else:
                wanted = upload.protocol.frame_indices(video.num_frames)
            if upload.timeline and upload.protocol is not None:
                size, hop = (
                    max(round(length_s * (video.rate or 0)), 1) for length_s in (settings.window, settings.hop)
                )
                sliding = Windows(size, hop, upload.protocol.num_segments)
                windows = sliding.covering(video.num_frames)
                wanted += [sliding.frames_of(window) for window in windows]
            numbers = np.array(wanted)  # [1 + windows, T]
            clips = np.empty((*numbers.shape, 3, config.size_px, config.size_px), np.uint8)
            for number in np.unique(numbers).tolist():
                clips[numbers == number] = video_crop(video, number, config).numpy()
    except MemoryError:
        raise _beyond_limits(settings) from None
    return Decoded(times_s, wanted[0], windows, clips, seen)


def _limit_this_process(settings: ServeSettings) -> None:
    """Whatever a file makes FFmpeg do: no more memory or time than this, and no byte written."""
    if sys.platform == "win32":  # which has no such limits; the process is still ended after its time
        return
    import resource

    kinds = {resource.RLIMIT_CPU: int(settings.timeout) + 1, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    if sys.platform == "linux":
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        kinds[resource.RLIMIT_AS] = taken + settings.decoder_mb * 1_000_000
    for kind, most in kinds.items():
        resource.setrlimit(kind, (most, most))
