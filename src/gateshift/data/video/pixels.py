"""A decoded frame as pixels: RGB, upright, of one size."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from gateshift.data.regions import Region, cut_region
from gateshift.errors import VideoError


def _kind_without_a_name(kinds: type[SideDataType], number: Any) -> SideDataType:
    kind = object.__new__(kinds)
    kind._name_, kind._value_ = f"KIND_{number}", number
    return kind


# FFmpeg knows kinds of side data for which PyAV has no name, such as EXIF and that of videos in 3D. Of a frame that has
# one, PyAV would give none at all, and so not how the frame is turned.
SideDataType._missing_ = classmethod(_kind_without_a_name)  # type: ignore[method-assign, assignment]


def to_pixels(
    frame: VideoFrame, reformatter: VideoReformatter, size_px: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Convert a frame to RGB, as its file says that it is to be shown: turned, mirrored, or both.

    Args:
        frame: As decoded.
        reformatter: Kept from frame to frame, which saves time.
        size_px: Width and height to resize to before it is turned; None to keep the frame's own.

    Returns:
        Pixels [H, W, 3].
    """
    width, height = size_px or (frame.width, frame.height)
    converted = reformatter.reformat(frame, width, height, format="rgb24", threads=1)
    rgb = cast("NDArray[np.uint8]", converted.to_ndarray())  # [H, W, 3]
    matrix = display_matrix(frame)
    return rgb if matrix is None else _apply(matrix, rgb)


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """What a file says of how to turn and mirror a frame, if it does.

    Returns:
        a, b, c, d of ISO 14496-12: a pixel at (x, y) is shown at (a x + c y, b x + d y), but for an offset.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(cast(Buffer, data)))
    return a, b, c, d


def is_mirrored(frame: VideoFrame) -> bool:
    """Whether a file says that a frame is to be shown as in a mirror, turned or not."""
    a, b, c, d = display_matrix(frame) or (1, 0, 0, 1)
    return a * d - b * c < 0


def cut_frame(
    frame: NDArray[np.uint8], region: Region, *, shown_px: tuple[int, int] | None = None, name: str = "a frame"
) -> NDArray[np.uint8]:
    """The region of a frame [H, W, 3], as a view of it; ``shown_px`` is as of :func:`cut_region`.

    Raises:
        VideoError: If the region is beyond the frame, or too small; ``name`` says whose frame it is.
    """
    height, width = frame.shape[:2]
    try:
        rows, columns = cut_region(region, width, height, shown_px=shown_px)
    except ValueError as error:
        raise VideoError(f"{name}: {error}") from None
    return frame[rows, columns]


def shown_size(frame: VideoFrame, size_px: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a frame of this size once it is upright."""
    a, b, c, d = display_matrix(frame) or (1, 0, 0, 1)
    return size_px[::-1] if _lies(a, b, c, d) else size_px


def _lies(a: int, b: int, c: int, d: int) -> bool:
    """Whether a matrix turns what is stored as a row into a column."""
    return abs(b) + abs(c) > abs(a) + abs(d)


def _apply(matrix: tuple[int, int, int, int], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn and mirror pixels [H, W, 3], by the nearest multiple of 90 degrees."""
    a, b, c, d = matrix
    if _lies(a, b, c, d):
        a, d, pixels = c, b, pixels.swapaxes(0, 1)
    rows, columns = (slice(None, None, -1 if each < 0 else 1) for each in (d, a))
    return pixels[rows, columns]


def square_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """The size at which pixels that are wider or higher than they should be become square: the short side grows.

    >>> square_size(720, 576, Fraction(16, 15)), square_size(720, 480, Fraction(8, 9))
    ((768, 576), (720, 540))
    """
    aspect = pixel_aspect or Fraction(1)
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))
