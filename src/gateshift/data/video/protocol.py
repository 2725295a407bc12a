"""What every kind of video does alike: frames by number, in the order asked for, all of one size."""

from __future__ import annotations

import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gateshift.data.regions import Region, cut_region
from gateshift.data.video.pixels import cut_frame
from gateshift.errors import VideoError

Own = TypeVar("Own", bound="Video")


class Video(ABC):
    """A video as numbered frames; also a context manager that closes it.

    Attributes:
        num_frames: How many frames there are, at least 1.
        box: The region of each frame that is read; None for whole frames.
    """

    num_frames: int
    box: Region | None = None

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        self._size: tuple[int, ...] | None = None  # of all frames, known once one was read
        self._shown_px: tuple[int, int] | None = None  # width and height that players show, where these are others
        self._spare: NDArray[np.uint8] | None = None  # where the next frame may be written, if it has this shape
        self._copy = ExitStack()  # of what was no path, removed when the video is closed
        self._name: str | None = None  # what such a video is called

    @abstractmethod
    def _pixels(self, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Get frames [H, W, 3], RGB; their numbers rise."""

    def read(self, frame_indices: Sequence[int]) -> Tensor:
        """Read frames in the order asked for; one may be asked for more than once.

        Args:
            frame_indices: n frame numbers, each in 0..num_frames - 1; n is at least 1.

        Returns:
            Frames [n, 3, H, W], uint8 RGB, in channels-last memory, which is how decoders write.

        Raises:
            ValueError: If ``frame_indices`` is empty or has a number outside 0..num_frames - 1.
            VideoError: If a wanted frame cannot be decoded, frames differ in size, or the box is not in them.
        """
        with renamed(self._path, self._name):
            return self._read(frame_indices)

    def keep(self, copy: ExitStack, name: str) -> None:
        """Remove a temporary copy when the video is closed, and call the video by its own name in errors."""
        self._copy, self._name = copy, name

    def _read(self, frame_indices: Sequence[int]) -> Tensor:
        wanted = [operator.index(index) for index in frame_indices]
        if not wanted or min(wanted) < 0 or max(wanted) >= self.num_frames:
            raise ValueError(
                f"frame_indices={wanted} of {self._name or self._path}: at least one is needed, each in "
                f"0..{self.num_frames - 1}; sample them from num_frames={self.num_frames}"
            )
        slots: dict[int, list[int]] = {}
        for slot, number in enumerate(wanted):
            slots.setdefault(number, []).append(slot)
        frames = np.empty((0, 0, 0, 3), np.uint8)
        numbers = sorted(slots)  # forward, so that nothing is decoded twice
        self._spare = None
        for number, whole, following in zip(numbers, self._pixels(numbers), [*numbers[1:], None], strict=True):
            self._check_size(number, whole.shape)
            pixels = self._cut(whole)
            if not frames.size:
                frames = np.empty((len(wanted), *pixels.shape), np.uint8)
            for slot in slots[number]:
                if pixels is not self._spare or slot != slots[number][0]:
                    frames[slot] = pixels
            self._spare = None if following is None else frames[slots[following][0]]
        return torch.from_numpy(frames).permute(0, 3, 1, 2)  # [n, 3, H, W]

    def fault_of_box(self, box: Region) -> str | None:
        """What is wrong with a region of these frames, of which one was read; None if nothing is."""
        assert self._size is not None
        try:
            cut_region(box, self._size[1], self._size[0], shown_px=self._shown_px)
        except ValueError as error:
            return str(error)
        return None

    def _cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.box is None:
            return pixels
        return cut_frame(pixels, self.box, shown_px=self._shown_px, name=str(self._path))

    def _check_size(self, number: int, size: tuple[int, ...]) -> None:
        self._size = self._size or size
        if size != self._size:
            raise VideoError(
                f"{self._path}: frame {number} is {size[1]} x {size[0]} px, but others are {self._size[1]} x "
                f"{self._size[0]}, and all must have one size; resize them or split the video"
            )

    def close(self) -> None:
        """Free the decoder and the file. Closing twice is harmless."""
        self._copy.close()

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def renamed(path: Path, name: str | None) -> Iterator[None]:
    """Errors about a path say a name instead, if there is one."""
    try:
        yield
    except VideoError as error:
        if name is None:
            raise
        raise type(error)(str(error).replace(str(path), name)) from None


def count_kept(path: Path, num_available: int, num_frames: int | None) -> int:
    """How many frames a video has of which only the first ``num_frames`` are wanted, if that is not None.

    Raises:
        VideoError: If there are not as many.
    """
    if num_frames is None:
        return num_available
    if not 1 <= num_frames <= num_available:
        raise VideoError(
            f"{path}: num_frames={num_frames} was given, but it must be in 1..{num_available}, the "
            "frames that are there; correct the length in the list"
        )
    return num_frames


def natural_order(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names by the numbers in them.

    >>> sorted(["img_10.jpg", "img_2.jpg"], key=natural_order)
    ['img_2.jpg', 'img_10.jpg']
    """
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
