"""What a video may be given as: whatever ``open_video`` opens, or its frames in memory; and the videos of folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gateshift.data.regions import Region
from gateshift.data.video.files import open_video
from gateshift.data.video.folders import FolderSearch
from gateshift.data.video.protocol import Video
from gateshift.data.video.sources import Data, is_source, name_of
from gateshift.errors import EmptyVideoError, VideoError

VideoInput = str | PathLike[str] | Data | IO[bytes] | NDArray[Any] | Tensor
TAKEN = "a video in memory is uint8 RGB [T, H, W, 3], or float in 0..1"


def is_video_input(value: object) -> TypeGuard[VideoInput]:
    """Whether a value is one video, and not several; a str is a path."""
    return isinstance(value, np.ndarray | Tensor) or is_source(value)


def name_of_input(video: VideoInput) -> str:
    """What a video is called in errors and records."""
    if isinstance(video, np.ndarray | Tensor):
        return f"a video of shape {list(video.shape)} and {_dtype_of(video)}"
    return name_of(video)


def open_input(video: VideoInput, *, square_pixels: bool, box: Region | None = None) -> Video:
    """Open a video, or take its frames as one.

    Args:
        video: See :func:`gateshift.prediction.predict.predict_with`.
        square_pixels: As for ``open_video``; frames in memory have square pixels.
        box: As for ``open_video``.

    Raises:
        VideoError: If it cannot be opened, or is no such array.
    """
    if isinstance(video, np.ndarray | Tensor):
        frames = FramesInMemory(video)
        frames.box = box
        return frames
    return open_video(video, square_pixels=square_pixels, box=box)


class FramesInMemory(Video):
    """An array [T, H, W, 3], uint8 RGB or float in 0..1, as a :class:`Video`.

    Raises:
        VideoError: If it has another shape, type or range.
    """

    def __init__(self, frames: NDArray[Any] | Tensor) -> None:
        if not isinstance(frames, np.ndarray | Tensor):
            raise VideoError(f"frames of type {type(frames).__name__}; {TAKEN}, as an array or a tensor; convert them")
        super().__init__(name_of_input(frames))
        self._frames = frames if isinstance(frames, np.ndarray) else frames.detach()
        self._is_uint8 = _dtype_of(frames) == "uint8"
        self._check(name_of_input(frames), tuple(frames.shape))
        self.num_frames = len(frames)

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        if len(shape) == 5:
            raise VideoError(f"{name}; {TAKEN}; give several videos as a list, such as list(videos)")
        if len(shape) != 4 or shape[-1] != 3:
            is_turned = len(shape) == 4 and shape[1] == 3
            how = "put the channels last, as [T, H, W, 3]" if is_turned else "reshape it"
            raise VideoError(f"{name}; {TAKEN}; {how}")
        if 0 in shape:
            raise EmptyVideoError(f"{name}: is empty; {TAKEN}, with at least 1 frame; check how it was made")
        if self._is_uint8:
            return
        if "float" not in _dtype_of(self._frames):
            raise VideoError(f"{name}; {TAKEN}; convert it")
        lowest, highest = float(self._frames.min()), float(self._frames.max())
        if not 0 <= lowest <= highest <= 1:  # also where one is not a number
            is_scaled = lowest >= 0 and 1 < highest <= 255
            how = "divide it by 255, or convert it to uint8" if is_scaled else "scale or clip it"
            raise VideoError(f"{name}, from {lowest:.4g} to {highest:.4g}; {TAKEN}; {how}")

    def _pixels(self, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        for number in numbers:
            frame: Any = self._frames[number]  # [H, W, 3]
            if isinstance(frame, Tensor):
                frame = (frame if self._is_uint8 else frame.double()).cpu().numpy()  # NumPy has no bfloat16
            if not self._is_uint8:
                frame = (frame * 255).round()
            yield frame.astype(np.uint8)


def _dtype_of(frames: NDArray[Any] | Tensor) -> str:
    """The name of a type of numbers, such as uint8."""
    return frames.dtype.name if isinstance(frames, np.ndarray) else str(frames.dtype).removeprefix("torch.")


def collect_videos(
    paths: Iterable[str | PathLike[str]], search: FolderSearch | None = None
) -> list[str | PathLike[str]]:
    """The videos meant by files, frame folders, folders of videos and addresses, in the order given.

    A path that is nothing, or a folder without videos or that may not be read, stands for itself: reading it says what
    is wrong. ``search`` keeps in mind what in the folders is no video.
    """
    search = FolderSearch() if search is None else search
    videos: list[str | PathLike[str]] = []
    for path in paths:
        found: Sequence[Path] = []
        with suppress(VideoError):
            found = search.videos(path) if os.path.isdir(path) else []  # noqa: PTH112 - Path.is_dir raises
        videos += found or [path]
    return videos
