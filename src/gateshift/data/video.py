"""Videos as numbered frames, from a file or from a folder of images, behind one small protocol.

Frame ``i`` is the ``i``-th frame that a player shows, whatever the container, the frame rate or the order in
which the frames are stored. Pixels are uint8 RGB, upright.
"""

from __future__ import annotations

import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from gateshift.data.decoding import FrameDecoder, frames_between
from gateshift.data.images import read_image
from gateshift.errors import VideoError

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".apng", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# fmt: on


class Video(Protocol):
    """A video as numbered frames; also a context manager that closes it.

    Attributes:
        num_frames: How many frames there are, at least 1.
    """

    num_frames: int

    def read(self, frame_indices: Sequence[int]) -> Tensor:
        """Read frames in the order asked for; one may be asked for more than once.

        Args:
            frame_indices: n frame numbers, each in 0..num_frames - 1; n is at least 1.

        Returns:
            Frames [n, 3, H, W], uint8 RGB, in channels-last memory, which is how decoders write.

        Raises:
            ValueError: If ``frame_indices`` is empty or has a number outside 0..num_frames - 1.
            VideoError: If a wanted frame cannot be decoded, or frames differ in size.
        """

    def close(self) -> None:
        """Free the decoder and the file. Closing twice is harmless."""

    def __enter__(self) -> Video: ...

    def __exit__(self, *exception: object) -> None: ...


def open_video(
    path: str | PathLike[str],
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    num_frames: int | None = None,
) -> Video:
    """Open a video file, or a folder of images as a video.

    Args:
        path: A file that FFmpeg can decode, or a folder that directly holds images.
        start_s: Keep the frames from this time on, in seconds after the first frame. Files only.
        end_s: Keep the frames before this time, in seconds after the first frame. Files only.
        num_frames: Of the frames left by then, keep only the first ones, this many.

    Returns:
        The video. Its frame numbers count the frames that were kept.

    Raises:
        VideoError: If there is nothing at ``path``, it is not a video, it has no frame in the times given
            or fewer than ``num_frames``, or times are given for a folder, which has no clock.
    """
    path = Path(path)
    if not path.is_dir():
        return VideoFile(path, start_s=start_s, end_s=end_s, num_frames=num_frames)
    if start_s is not None or end_s is not None:
        raise VideoError(
            f"{path}: start_s={start_s} and end_s={end_s} were given for a folder of images, which has no "
            "clock; give num_frames, or the video file that the images came from"
        )
    return FrameFolder(path, num_frames=num_frames)


def find_videos(folder: str | PathLike[str]) -> list[Path]:
    """Find all videos in a folder and below it. Hidden files and folders are ignored.

    A folder that directly holds images is one video, and nothing below it is searched. If there are video
    files beside the images, these are the videos, and the images are taken for their covers.

    Args:
        folder: Where to search.

    Returns:
        Video files and folders of images, sorted; ``[folder]`` if it is itself a folder of images.

    Raises:
        VideoError: If ``folder`` is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VideoError(f"{folder} is not a folder; give an existing folder to search for videos")
    seen: set[Path] = set()

    def search(place: Path) -> Iterator[Path]:
        if place.resolve() in seen:  # links may lead round in a circle
            return
        seen.add(place.resolve())
        files = _visible_files(place, VIDEO_SUFFIXES)
        if not files and _visible_files(place, IMAGE_SUFFIXES):
            yield place
            return
        yield from files
        for entry in place.iterdir():
            if entry.is_dir() and not entry.name.startswith("."):
                yield from search(entry)

    return sorted(search(folder))


class _Reader(ABC):
    """What both kinds of video share: frames in the order asked for, all of one size."""

    num_frames: int

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        self._size: tuple[int, ...] | None = None  # of all frames, known once one was read

    @abstractmethod
    def _pixels(self, number: int) -> NDArray[np.uint8]:
        """Get one frame [H, W, 3], RGB."""

    def read(self, frame_indices: Sequence[int]) -> Tensor:
        """Read frames [n, 3, H, W]; see ``Video.read``."""
        wanted = [operator.index(index) for index in frame_indices]
        if not wanted or min(wanted) < 0 or max(wanted) >= self.num_frames:
            raise ValueError(
                f"frame_indices={wanted} of {self._path}: at least one is needed, each in "
                f"0..{self.num_frames - 1}; sample them from num_frames={self.num_frames}"
            )
        slots: dict[int, list[int]] = {}
        for slot, number in enumerate(wanted):
            slots.setdefault(number, []).append(slot)
        frames = np.empty((0, 0, 0, 3), np.uint8)
        for number in sorted(slots):  # forward, so that nothing is decoded twice
            pixels = self._pixels(number)  # [H, W, 3]
            self._check_size(number, pixels.shape)
            if not frames.size:
                frames = np.empty((len(wanted), *pixels.shape), np.uint8)
            frames[slots[number]] = pixels
        return torch.from_numpy(frames).permute(0, 3, 1, 2)  # [n, 3, H, W]

    def _check_size(self, number: int, size: tuple[int, ...]) -> None:
        self._size = self._size or size
        if size != self._size:
            raise VideoError(
                f"{self._path}: frame {number} is {size[1]} x {size[0]} px, but others are {self._size[1]} x "
                f"{self._size[0]}, and all must have one size; resize them or split the video"
            )

    def close(self) -> None:  # noqa: B027 - a folder has nothing to free
        """Free what the video holds. Closing twice is harmless."""

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class VideoFile(_Reader):
    """A video file as a ``Video``, decoded by FFmpeg in one thread and turned upright."""

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        start_s: float | None = None,
        end_s: float | None = None,
        num_frames: int | None = None,
    ) -> None:
        """Open and index the file; arguments and errors are those of ``open_video``."""
        super().__init__(path)
        _check_file(self._path)
        self._to_rgb = VideoReformatter()
        self._decoder = FrameDecoder(self._path)
        try:
            kept = self._kept_frames(start_s, end_s)
            self._first = kept.start
            self.num_frames = _num_kept(self._path, len(kept), num_frames)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the decoder and the file. Closing twice is harmless."""
        self._decoder.close()

    def _kept_frames(self, start_s: float | None, end_s: float | None) -> range:
        if start_s is None and end_s is None:
            return range(self._decoder.num_frames)
        start_s = 0.0 if start_s is None else start_s
        end_s = math.inf if end_s is None else end_s
        if not 0 <= start_s < end_s:  # also when either is not a number
            raise VideoError(
                f"{self._path}: start_s={start_s}, end_s={end_s}: the start must be at least 0 and below the "
                "end; correct the times"
            )
        times_s = self._decoder.times_s()
        kept = frames_between(times_s, start_s, end_s)
        if not kept:
            raise VideoError(
                f"{self._path}: no frame has a time in start_s={start_s} to end_s={end_s}, as there are "
                f"{len(times_s)} from 0 to {times_s[-1]:.3f} s; correct the times"
            )
        return kept

    def _pixels(self, number: int) -> NDArray[np.uint8]:
        frame = self._decoder.decode(self._first + number)
        rgb = self._to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()  # [H, W, 3]
        # Both count counter-clockwise.
        return np.rot90(rgb, round(frame.rotation / 90)).astype(np.uint8, copy=False)


class FrameFolder(_Reader):
    """A folder of images as a ``Video``, in the natural order of their names: img_2 before img_10."""

    def __init__(self, path: str | PathLike[str], *, num_frames: int | None = None) -> None:
        """Open the folder; arguments and errors are those of ``open_video``."""
        super().__init__(path)
        if not self._path.is_dir():
            raise VideoError(f"{self._path} is not a folder; give an existing folder of images")
        self._images = sorted(_visible_files(self._path, IMAGE_SUFFIXES), key=_natural_order)
        if not self._images:
            raise VideoError(
                f"{self._path}: no image lies directly in this folder; put the frames there, as "
                f"{' '.join(sorted(IMAGE_SUFFIXES))}, or give a video file"
            )
        self.num_frames = _num_kept(self._path, len(self._images), num_frames)

    def _pixels(self, number: int) -> NDArray[np.uint8]:
        return read_image(self._images[number])


def _check_file(path: Path) -> None:
    if not path.exists():
        raise VideoError(f"{path}: there is no such file; check the path")
    if not path.is_file():
        raise VideoError(f"{path}: is not a file; give a video file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: is empty, with 0 bytes; write or download the video again")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoError(f"{path}: is a single image; give the folder of images, or a video file")


def _num_kept(path: Path, num_available: int, num_frames: int | None) -> int:
    if num_frames is None:
        return num_available
    if not 1 <= num_frames <= num_available:
        raise VideoError(
            f"{path}: num_frames={num_frames} was given, but it must be in 1..{num_available}, the "
            "frames that are there; correct the length in the list"
        )
    return num_frames


def _visible_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name
