"""One image, in a file or in memory, as a frame."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gateshift.errors import VideoError, explain_system_error

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
IMAGE_FORMATS = ("_pipe", "image2")  # how FFmpeg's names end of what holds an image, whatever the file is called

_START, _BASELINE, _ADOBE, _EXIF, _SCAN = 0xD8, 0xC0, 0xEE, 0xE1, 0xDA  # markers of JPEG
_OTHER_KINDS = frozenset({*range(0xC1, 0xD0)} - {0xC4, 0xC8, 0xCC})  # progressive, lossless, arithmetic
_COMPONENTS = b"\x01\x02\x03"  # of Y, Cb, Cr; others may stand for R, G, B


def read_image(path: Path, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Read an image, turned upright as its camera noted.

    Args:
        path: An image that Pillow can read. 16-bit grays are scaled to 8 bits, transparency is left out.
        into: Memory [H, W, 3] to write the pixels to, if that is the image's size and it saves a copy.

    Returns:
        Pixels [H, W, 3], RGB: either ``into`` itself or new memory.

    Raises:
        VideoError: If the image is damaged, has no fixed range of values, or is several pictures in one file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VideoError(explain_system_error(error)) from error
    return decode_image(data, str(path), into)


def decode_image(data: bytes, name: str, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Decode the bytes of an image file; see :func:`read_image`.

    Plain JPEGs, as ffmpeg and Pillow write, are decoded by simplejpeg, in about half of Pillow's time and to the
    same pixels, as both have libjpeg-turbo inside.

    Args:
        data: What the file holds.
        name: What an error calls it.
        into: As for :func:`read_image`.
    """
    pixels = _decode_plain_jpeg(data, into)
    if pixels is not None:
        return pixels
    try:
        with _opened(io.BytesIO(data)) as image:
            count = _count(image)
            if count > 1:
                raise ValueError(f"{count} pictures in one file")
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise VideoError(
            f"{name}: is not an image that can be read ({error}), as every frame must be; write it again"
        ) from error


def count_pictures(path: Path) -> int:
    """How many pictures an image file holds, as an animation or as pages; 1 where it cannot be read."""
    try:
        with Image.open(path) as image:
            return _count(image)
    except Exception:  # as above
        return 1


def no_video(path: Path) -> VideoError:
    """What to say of an image file that is given as a video."""
    count = count_pictures(path)
    if count > 1:
        return VideoError(f"{path}: is an image file of {count} pictures, and no video; convert it to gif or mp4")
    return VideoError(f"{path}: is a single image; give the folder of images, or a video file")


def _count(image: Image.Image) -> int:
    # JPEGs of some cameras hold smaller copies of their picture.
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a baseline JPEG in color with nothing that says how to turn it or read its colors.

    None of other files, and of images above the limit of Pillow, which warns of and refuses these.
    """
    head, place, size = data[:4096], 2, None
    if head[:2] != bytes((0xFF, _START)):
        return None
    while place + 4 <= len(head) and head[place] == 0xFF:
        kind, length = head[place + 1], int.from_bytes(head[place + 2 : place + 4], "big")
        if kind == _SCAN:
            return size
        if kind in (_EXIF, _ADOBE) or kind in _OTHER_KINDS:
            return None
        if kind == _BASELINE:
            size = _plain_size(head[place + 4 : place + 2 + length])
        place += 2 + length
    return None


def _plain_size(header: bytes) -> tuple[int, int] | None:
    height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
    is_small = 0 < height * width <= (Image.MAX_IMAGE_PIXELS or 1 << 32)
    is_plain = header[:1] == b"\x08" and header[5:6] == b"\x03" and header[6::3] == _COMPONENTS
    return (height, width) if is_small and is_plain else None


def _decode_plain_jpeg(data: bytes, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8] | None:
    """Pixels [H, W, 3]; None where Pillow is to read the image, or to say what is wrong with it."""
    size = plain_jpeg_size(data)
    if size is None:
        return None
    into = into if into is not None and into.shape[:2] == size else np.empty((*size, 3), np.uint8)
    try:
        simplejpeg.decode_jpeg(data, buffer=into)
    except ValueError:  # also of what libjpeg-turbo only warns of
        return None
    return into


def _opened(file: IO[bytes]) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        raise ValueError("of no known format, or cut off in its first bytes") from None


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        gray = (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)  # [H, W]
        return np.repeat(gray[:, :, None], 3, axis=2)  # [H, W, 3]
    if image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of transparent colors
    return np.asarray(image.convert("RGB"))
