"""One image file as a frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gateshift.errors import VideoError


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image, turned upright as its camera noted.

    Args:
        path: An image that Pillow can read. 16-bit greys are scaled to 8 bits, transparency is left out.

    Returns:
        Pixels [H, W, 3], RGB.

    Raises:
        VideoError: If the image is damaged or has no fixed range of values.
    """
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise VideoError(
            f"{path}: is not an image that can be read ({error}), as every frame of a folder must be; write it again"
        ) from error


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        grey = (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)  # [H, W]
        return np.repeat(grey[:, :, None], 3, axis=2)  # [H, W, 3]
    if image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of transparent colours
    return np.asarray(image.convert("RGB"))
