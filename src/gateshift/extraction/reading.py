"""What is read of a video for its features: the clips of windows, or frames, few of them at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gateshift.data.clips.frame_rates import seen_frames
from gateshift.data.clips.recordings import frame_times
from gateshift.data.clips.remote import local_video, unforeseen
from gateshift.data.processes import in_processes
from gateshift.data.regions import Region
from gateshift.data.video.files import Video, VideoFile, mean_rate, open_video, with_end
from gateshift.errors import VideoError
from gateshift.evaluation.protocol import choose_box
from gateshift.model.config import ModelConfig
from gateshift.prediction.cluster import told_boxes
from gateshift.prediction.frames import STREAMED_AT_ONCE, frame_crops
from gateshift.prediction.windows import Windows, frames_in, in_batches, window_clips

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Wanted:
    """What a network is shown of each video, and which row of features comes of it.

    Attributes:
        config: Of the model: what its frames are like.
        per_clip: Whether a row is of a window, and not of a frame.
        num_segments: T, frames of a window's clip; 1 for frames.
        window_s: Length of a window; None for all of the video.
        stride_s: Time from one row to the next; None for every frame that the network sees.
        fps: Frames a second of images, and of files that say another rate.
        batch_size: Windows that go through the network at once.
        base: Where relative paths start.
        box: The region of the picture; None for the model's own.
        boxes: That of videos whose list has one.
    """

    config: ModelConfig
    per_clip: bool
    num_segments: int
    window_s: float | None
    stride_s: float | None
    fps: float | None
    batch_size: int
    base: Path
    box: Region | None = None
    boxes: Mapping[str, Region] = field(default_factory=dict)

    def __str__(self) -> str:
        return self._rows() + told_boxes(self.box, self.boxes)

    def _rows(self) -> str:
        rate = "" if self.fps is None else f", at {self.fps:g} frames a second"
        if not self.per_clip:
            every_s = self.stride_s or (None if self.config.fps is None else 1 / self.config.fps)
            return f"frames, {'all' if every_s is None else f'one every {every_s:g} s'}{rate}"
        window = (
            "whole videos" if self.window_s is None else f"windows of {self.window_s:g} s every {self.stride_s:g} s"
        )
        return f"{window}, {self.num_segments} segments{rate}"


@dataclass(frozen=True, eq=False)
class Outline:
    """What is known of a video before it is decoded.

    Attributes:
        num_frames: Of the video.
        fps: Its frames a second, on average; None where nothing says.
        times_s: Per clip when each row begins and ends, [rows, 2]; per frame when it is shown, [rows]; None of images
            without a rate.
        num_rows: How many rows there are.
        window_frames: Frames of a window; of frames 1.
        stride_frames: Frames from the start of a window to the start of the next one; the last one ends with the video,
            and may begin earlier. None of frames.
    """

    num_frames: int
    fps: float | None
    times_s: NDArray[np.float64] | None
    num_rows: int
    window_frames: int = 1
    stride_frames: int | None = None


Part = tuple[Outline | None, Pixels]  # the first one of a video has the outline; pixels are [n, s, s, 3]


def read_parts(video: str, wanted: Wanted) -> Iterator[Part]:
    """What the network is shown of a video, from its start to its end: of B windows B * T frames, or some frames.

    Args:
        video: A path or an address.
        wanted: What of it.

    Raises:
        VideoError: If the video cannot be read, or nothing says when its frames are shown.
    """
    path, box = wanted.base / video, wanted.boxes.get(video, choose_box(wanted.config, wanted.box))
    try:
        with (
            local_video(video, wanted.base, None) as path,
            open_video(path, square_pixels=wanted.config.square_pixels, box=box) as opened,
        ):
            outline, frames, at_once = (_clips if wanted.per_clip else _frames)(opened, video, wanted)
            parts = (torch.stack(part).movedim(1, -1).contiguous().numpy() for part in in_batches(frames, at_once))
            yield from zip(chain((outline,), repeat(None)), parts, strict=False)
    except VideoError as error:
        raise VideoError(str(error).replace(str(path), video)) from None


def _clips(video: Video, name: str, wanted: Wanted) -> tuple[Outline, Iterator[Tensor], int]:
    config, num_frames, rate = wanted.config, video.num_frames, wanted.fps
    if rate is None and isinstance(video, VideoFile):
        rate = video.rate
    if wanted.window_s is None or wanted.stride_s is None or num_frames == 1:
        windows = Windows(num_frames, num_frames, wanted.num_segments)
    elif rate is None:
        raise VideoError(f"{name}: nothing says how many frames a second it has; give `fps`, or `window=None`")
    else:
        size, hop = frames_in("window", wanted.window_s, rate), frames_in("stride", wanted.stride_s, rate)
        windows = Windows(size, hop, wanted.num_segments)
    spans, times_s = windows.covering(num_frames), None
    if rate is not None or isinstance(video, VideoFile):
        ends_s = with_end(frame_times(video, name, rate))
        times_s = np.array([(ends_s[span.start], ends_s[span.stop]) for span in spans])
    clips = window_clips(video, windows, size_px=config.size_px, resize_px=config.resize_px)
    outline = Outline(num_frames, rate, times_s, len(spans), windows.size, windows.hop)
    return outline, chain.from_iterable(clips), wanted.batch_size * wanted.num_segments


def _frames(video: Video, name: str, wanted: Wanted) -> tuple[Outline, Iterator[Tensor], int]:
    shown_s = frame_times(video, name, wanted.fps)
    numbers = seen_frames(shown_s, wanted.config.fps if wanted.stride_s is None else 1 / wanted.stride_s)
    rate = mean_rate(shown_s) or wanted.fps
    outline = Outline(video.num_frames, rate, shown_s[numbers], len(numbers))
    return outline, frame_crops(video, numbers, wanted.config), STREAMED_AT_ONCE


_begun: dict[int, Iterator[Part]] = {}  # in a process of its own: the video that it is at, by its turn


def _next_part(task: tuple[int, str, Wanted]) -> Part | VideoError | None:
    torch.set_num_threads(1)  # as many processes as there are cores do this side by side
    turn, video, wanted = task
    if turn not in _begun:
        _begun.clear()
        _begun[turn] = read_parts(video, wanted)
    try:
        return next(_begun[turn], None)
    except VideoError as error:
        return error
    except Exception as error:  # one video of millions must not end the work on the others
        return unforeseen(video, error)


class WatchedReader:
    """Reads videos, one after the other, by a process that may crash or hang, which a damaged video may cause.

    It reads the next part of a video while the last one is used.

    Args:
        wanted: What is read of each video.
        timeout_s: How long one part may take.
    """

    def __init__(self, wanted: Wanted, *, timeout_s: float) -> None:
        self._wanted, self._timeout_s = wanted, timeout_s
        self._turn, self._video = 0, ""
        self._asked: deque[int] = deque()  # for which turns parts are still to come
        self._answers: Any = in_processes(_next_part, self._tasks(), workers=1, timeout_s=timeout_s)

    def close(self) -> None:
        """End the process."""
        self._answers.close()

    def _tasks(self) -> Iterator[tuple[int, str, Wanted]]:
        while True:
            self._asked.append(self._turn)
            own = self._wanted.boxes.get(self._video, self._wanted.box)  # and not those of all videos
            yield self._turn, self._video, replace(self._wanted, box=own, boxes={})

    def parts(self, video: str) -> Iterator[Part]:
        """What the network is shown of a video, as of :func:`read_parts`. No other may be read until this one is done.

        Raises:
            VideoError: As of :func:`read_parts`, and if the process crashed, or took too long.
        """
        self._turn, self._video = self._turn + 1, video
        for _, part in self._answers:
            if self._asked.popleft() != self._turn:  # what was read ahead of the video before
                continue
            if part is None:
                return
            if isinstance(part, VideoError):
                raise part
            if part == "time-out":
                raise VideoError(
                    f"{video}: nothing more was decoded in {self._timeout_s:g} s; write it again, or raise `timeout`"
                )
            if part == "crash":
                raise VideoError(f"{video}: ended the process that decoded it; write it again")
            yield part


class WatchedReaders:
    """As many of these as read side by side, kept for the next videos: to start a process takes seconds.

    Args:
        wanted: What is read of each video.
        timeout_s: How long one part may take.
    """

    def __init__(self, wanted: Wanted, *, timeout_s: float) -> None:
        self._wanted, self._timeout_s = wanted, timeout_s
        self._free: deque[WatchedReader] = deque()

    def parts(self, video: str) -> Iterator[Part]:
        """What the network is shown of a video; several may be read at once."""
        reader = self._free.pop() if self._free else WatchedReader(self._wanted, timeout_s=self._timeout_s)
        try:
            yield from reader.parts(video)
        finally:
            self._free.append(reader)


class _Ahead(Iterator[Part]):
    """Parts of a video, of which a thread reads the next one while the last one is used."""

    def __init__(self, parts: Iterator[Part], threads: Executor) -> None:
        self._parts, self._threads = parts, threads
        self._coming = threads.submit(next, parts, None)

    def __next__(self) -> Part:
        part = self._coming.result()
        if part is None:
            raise StopIteration
        self._coming = self._threads.submit(next, self._parts, None)
        return part


def read_each(
    videos: Iterable[Any], read: Callable[[Any], Iterator[Part]], *, workers: int
) -> Iterator[tuple[Any, Iterator[Part]]]:
    """Each video with its parts, in order; of as many videos as there are threads a part is read before it is due.

    Args:
        videos: Whatever ``read`` takes.
        read: Gives the parts of a video.
        workers: Threads; with 0 all is read when it is due.
    """
    if workers == 0:
        yield from ((video, read(video)) for video in videos)
        return
    waiting: deque[tuple[Any, Iterator[Part]]] = deque()
    threads = ThreadPoolExecutor(workers, thread_name_prefix="gateshift-decoder")
    try:
        for video in videos:
            waiting.append((video, _Ahead(read(video), threads)))
            if len(waiting) > workers:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        threads.shutdown(cancel_futures=True)
