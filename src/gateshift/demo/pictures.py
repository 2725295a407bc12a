"""What the drawn clips consist of: textures, backgrounds, objects."""

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

OVERSAMPLE = 2  # pictures are drawn this much larger and reduced, which smooths edges and motion


Rng = np.random.Generator
Field = NDArray[np.float64]

# Outlines inside the unit circle, y down. None looks like itself after less than a whole turn.
SIGNS: dict[str, list[tuple[float, float]]] = {
    "arrow": [(-0.9, -0.2), (0.1, -0.2), (0.1, -0.6), (0.95, 0), (0.1, 0.6), (0.1, 0.2), (-0.9, 0.2)],
    "flag": [(-0.5, 0.85), (-0.5, -0.85), (-0.3, -0.85), (0.75, -0.4), (-0.3, 0.0), (-0.3, 0.85)],
    "F": [
        (-0.5, 0.85), (-0.5, -0.85), (0.5, -0.85), (0.5, -0.5), (-0.1, -0.5),
        (-0.1, -0.2), (0.3, -0.2), (0.3, 0.15), (-0.1, 0.15), (-0.1, 0.85),
    ],
    "L": [(-0.5, -0.85), (-0.1, -0.85), (-0.1, 0.45), (0.6, 0.45), (0.6, 0.8), (-0.5, 0.8)],
}  # fmt: skip
_SHAPES = (*SIGNS, "polygon", "star", "ellipse", "ring")


@dataclass(frozen=True)
class Canvas:
    """What a scene is drawn on: all lengths in pixels of the enlarged picture."""

    rng: Rng
    width: int
    height: int
    margin: int  # around the visible picture, room for the camera to shake
    background: Image.Image
    luma: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel position of the point at fractions ``x`` of the width and ``y`` of the height."""
        return self.margin + x * self.width, self.margin + y * self.height


def set_stage(rng: Rng, size_px: tuple[int, int]) -> Canvas:
    width, height = size_px[0] * OVERSAMPLE, size_px[1] * OVERSAMPLE
    margin, luma = max(2, height // 30), rng.uniform(0.12, 0.45)
    full = (width + 2 * margin, height + 2 * margin)
    stage = Canvas(rng, width, height, margin, texture(rng, full, luma, 0.35, contrast=0.04), luma)
    if rng.random() < 0.2:  # something that lies about and takes no part
        still = textured_object(stage, rng.uniform(0.12, 0.22))
        paste(stage.background, still, stage.at(rng.uniform(0.05, 0.95), rng.uniform(0.05, 0.95)))
    return stage


def color(rng: Rng, luma: float, vividness: float) -> Field:
    """A random hue of about the brightness ``luma`` 0..1: [3] in 0..255."""
    hue = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.4, 1) * vividness, 1.0))
    own = float(hue @ (0.3, 0.59, 0.11))
    mixed = hue * luma / own if luma < own else 1 - (1 - hue) * (1 - luma) / (1 - own)  # with black or white
    return np.asarray(255 * mixed)


def texture(rng: Rng, size: tuple[int, int], luma: float, vividness: float, *, contrast: float = 0.09) -> Image.Image:
    """Two colors of similar brightness in a random pattern, a third one in large soft stains."""
    first, second, stain = (color(rng, luma + rng.uniform(-contrast, contrast), vividness) for _ in range(3))
    mixed = first + (second - first) * _pattern(rng, size)[..., None]  # [H, W, 3]
    mixed += (stain - mixed) * 0.6 * _smooth_noise(rng, size, 3)[..., None]
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def _smooth_noise(rng: Rng, size: tuple[int, int], cells: int) -> Field:
    coarse = Image.fromarray(rng.random((cells, cells), np.float32))
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float64).clip(0, 1)


def _pattern(rng: Rng, size: tuple[int, int]) -> Field:
    """One of five patterns, values 0..1: [H, W]."""
    x, y = np.meshgrid(np.arange(size[0]) / size[1], np.arange(size[1]) / size[1])
    angle, density = rng.uniform(0, math.pi), rng.uniform(3, 9)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kind = rng.integers(5)
    if kind == 0:  # mist
        return _smooth_noise(rng, size, int(density))
    if kind == 1:  # gradient
        return np.asarray((along - along.min()) / np.ptp(along))
    if kind == 2:  # wood
        return np.asarray(0.5 + 0.5 * np.sin(6 * density * along + 7 * _smooth_noise(rng, size, 5)))
    if kind == 3:  # checker
        return np.asarray((np.floor(along * density) + np.floor(across * density)) % 2)
    blobs = Image.new("L", size)
    for _ in range(12):
        (cx, cy), radius = rng.random(2) * size, rng.uniform(0.05, 0.25) * size[1]
        box = (cx - radius, cy - radius, cx + radius, cy + radius)
        ImageDraw.Draw(blobs).ellipse(box, fill=int(rng.integers(256)))
    return np.asarray(blobs.filter(ImageFilter.GaussianBlur(size[1] * rng.uniform(0.005, 0.04)))) / 255


def _outline(rng: Rng, shape: str) -> Field:
    """Corners of a shape inside the unit circle: [points, 2]."""
    if shape in SIGNS:
        return np.array(SIGNS[shape]) * (rng.uniform(0.85, 1), 1)
    num_points = {"polygon": int(rng.integers(3, 7)), "star": 2 * int(rng.integers(4, 8))}.get(shape, 40)
    radii = np.ones(num_points)
    if shape == "star":
        radii[::2] = rng.uniform(0.4, 0.6)
    angles = np.arange(num_points) * 2 * math.pi / num_points + rng.uniform(0, 7)
    stretch = (1, rng.uniform(0.65, 1)) if shape in ("ellipse", "polygon") else (1, 1)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1) * 0.95 * stretch


def textured_object(stage: Canvas, height: float, shapes: tuple[str, ...] = _SHAPES) -> Image.Image:
    """A textured shape [S, S] RGBA that stands out from the background; S in fractions of the picture."""
    rng, side = stage.rng, round(height * stage.height)
    shape = shapes[rng.integers(len(shapes))]
    corners = [(float(x), float(y)) for x, y in (_outline(rng, shape) + 1) * side]  # at twice the size
    mask = Image.new("L", (2 * side, 2 * side))
    pen = ImageDraw.Draw(mask)
    pen.polygon(corners, fill=255)
    if shape == "ring":
        pen.ellipse((0.6 * side, 0.6 * side, 1.4 * side, 1.4 * side), fill=0)
    luma = stage.luma + rng.uniform(0.3, 0.45) * (1 if stage.luma < 0.5 else -1)
    skin = texture(rng, (2 * side, 2 * side), luma, 1.0)
    if rng.random() < 0.5:  # an outline
        edge = 0.9 if stage.luma < 0.5 else 0.1
        ink = tuple(int(v) for v in color(rng, edge, 0.3))
        ImageDraw.Draw(skin).line([*corners, corners[0]], fill=ink, width=max(2, side // 7), joint="curve")
    skin.putalpha(mask)
    return skin.reduce(2)


def paste(
    picture: Image.Image, item: Image.Image, at: tuple[float, float], *, scale: float = 1, turn_deg: float = 0
) -> None:
    """Put ``item`` with its center at a pixel position, turned clockwise."""
    if scale != 1:
        item = item.resize((round(item.width * scale), round(item.height * scale)))
    if turn_deg:
        item = item.rotate(-turn_deg, Image.Resampling.BICUBIC)
    picture.paste(item, (round(at[0] - item.width / 2), round(at[1] - item.height / 2)), item)
