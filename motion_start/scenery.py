"""What lies behind the drawn movements: photographs and textures, a camera held by hand, and light that changes.

Photographs are those inside two packages of PyPI, so that anybody has the same ones:

    scikit-image   astronaut, moon, hubble_deep_field, rocket (public domain); camera, chelsea, coffee, brick, grass,
                   gravel, retina (CC0)
    scikit-learn   china, flower (CC BY 2.0: danielbuechele and vultilion, Flickr)
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gateshift.demo.pictures import color, texture

Rng = np.random.Generator
Field = NDArray[np.float64]

# A photograph is as often taken as it is named: skies and close-ups say less than rooms and things.
PHOTOS = (
    *("astronaut", "camera", "chelsea", "coffee", "rocket", "china.jpg", "flower.jpg") * 2,
    *("brick", "grass", "gravel", "retina", "moon", "hubble_deep_field"),
)
NUM_PAINTINGS = 600
MARGIN = 0.2  # of the picture's sides: room for the camera to move


@cache
def photograph(name: str) -> Image.Image:
    """One photograph, at most 512 px wide."""
    if name.endswith(".jpg"):
        from sklearn.datasets import load_sample_image

        pixels = load_sample_image(name)
    else:
        from skimage import data

        pixels = getattr(data, name)()
    picture = Image.fromarray(pixels).convert("RGB")
    picture.thumbnail((512, 512))
    return picture


@cache
def _painting(number: int) -> Image.Image:
    """One of NUM_PAINTINGS walls and textures, which take longer to make than to use."""
    rng = np.random.default_rng(np.random.SeedSequence(2023, spawn_key=(number,)))
    if number % 2:
        return _wall(rng, (192, 192))
    return texture(rng, (192, 192), rng.uniform(0.1, 0.85), rng.uniform(0.1, 0.8), contrast=rng.uniform(0.02, 0.2))


def background(rng: Rng, size: tuple[int, int]) -> Image.Image:
    """A wall, a texture or a part of a photograph [H, W], with other colors each time."""
    is_photo = rng.random() < 0.6
    photo = photograph(PHOTOS[rng.integers(len(PHOTOS))]) if is_photo else _painting(int(rng.integers(NUM_PAINTINGS)))
    share = rng.uniform(0.3, 1.0)
    width, height = photo.width * share, photo.height * share
    left, top = rng.uniform(0, 1, 2) * (photo.width - width, photo.height - height)
    part = photo.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    gains, lift = rng.uniform(0.5, 1.2) * rng.uniform(0.8, 1.2, 3), rng.uniform(0, 50)
    table = gains[:, None] * np.arange(256) + lift
    return part.point(table.clip(0, 255).astype(int).ravel().tolist())


def _wall(rng: Rng, size: tuple[int, int]) -> Image.Image:
    """One color, lit from a side, perhaps with a floor or a board on it."""
    ground = color(rng, rng.uniform(0.15, 0.9), rng.uniform(0, 0.35))
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    angle = rng.uniform(0, 2 * math.pi)
    light = 1 + rng.uniform(0, 0.35) * (x * math.cos(angle) + y * math.sin(angle))
    light -= rng.uniform(0, 0.15) * (x * x + y * y)
    wall = ground * light[..., None]
    if rng.random() < 0.4:
        a, b = rng.uniform(-1, 1, 2)
        board = (x * a + y * b) > rng.uniform(0, 0.6)
        wall[board] = color(rng, rng.uniform(0.1, 0.9), 0.5) * light[board][:, None]
    return Image.fromarray(wall.clip(0, 255).astype(np.uint8))


def wander(rng: Rng, times: Field, speed: float) -> Field:
    """Smooth wandering in -1..1 along both axes at times of a clip [T], as likely backwards as forwards: [T, 2]."""
    waves = rng.uniform(0.1, 1, (3, 1, 2)) * speed * times[:, None] + rng.uniform(0, 7, (3, 1, 2))
    return np.asarray(np.sin(waves).mean(0))


class Camera:
    """Where the camera looks at each time of a clip: still, swaying, panning or zooming.

    Attributes:
        path: Its place [T, 2] in shares of the picture.
        log_zoom: [T].
    """

    def __init__(self, rng: Rng, times: Field) -> None:
        kind, steps = rng.random(), len(times)
        self.still = kind < 0.45
        sway = 0.0 if self.still else rng.uniform(0, 0.035)
        self.path = sway * wander(rng, times, 12.0)
        if not self.still:
            self.path += rng.normal(0, rng.uniform(0, 0.006), (steps, 2))
        self.log_zoom = np.zeros(steps)
        if kind > 0.85:  # as far to both sides of the middle, so that the clip backwards is as likely
            self.path += (times[:, None] - 0.5) * rng.uniform(-0.2, 0.2, 2)
        if kind > 0.95:
            self.log_zoom = (times - 0.5) * rng.uniform(-0.3, 0.3)
        self.path = self.path.clip(-0.9 * MARGIN, 0.9 * MARGIN)

    def frame(self, scene: Image.Image, size: tuple[int, int], i: int) -> Image.Image:
        """What it sees of a scene that is larger by MARGIN at each side, at the clip's time i."""
        if not self.log_zoom.any():
            left, top = ((MARGIN + self.path[i]) * size).round().astype(int).tolist()
            return scene.crop((left, top, left + size[0], top + size[1]))
        middle = (0.5 + self.path[i] / (1 + 2 * MARGIN)) * scene.size
        half = np.array(size) * math.exp(-self.log_zoom[i]) / 2
        left, top = np.maximum(middle - half, 0)
        right, bottom = np.minimum(middle + half, scene.size)
        return scene.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom))


class Look:
    """How a clip's camera sees: exposure that drifts, flickers or jumps, a tint, and noise."""

    def __init__(self, rng: Rng, times: Field) -> None:
        self.rng = rng
        contrast, brightness = rng.uniform(0.7, 1.25), rng.uniform(-25, 25)
        level = brightness + rng.uniform(0, 4) * rng.standard_normal(len(times))
        if rng.random() < 0.2:
            level += rng.uniform(-30, 30) * (times - 0.5)
        if rng.random() < 0.08:  # a light goes on or off
            level += rng.uniform(-40, 40) * (times > rng.random())
        tint = rng.normal(0, 5, 3)
        self.offset = level[:, None] + tint + 128 * (1 - contrast)  # [T, 3]
        self.contrast, self.grain, self.gray = contrast, rng.uniform(0.5, 7), rng.random() < 0.06

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Of frames [T, H, W, 3]."""
        values = frames.astype(np.float32)
        if self.gray:
            values = values.mean(3, keepdims=True).repeat(3, 3)
        values *= np.float32(self.contrast)
        values += self.offset[:, None, None].astype(np.float32)
        height, width = frames.shape[1:3]
        # Each frame gets another part of one field: fresh noise would take longer than all else.
        field = np.float32(self.grain) * self.rng.standard_normal((height + 16, width + 16, 3), np.float32)
        for frame, (x, y) in zip(values, self.rng.integers(0, 17, (len(values), 2)), strict=True):
            frame += field[y : y + height, x : x + width]
        return values.clip(0, 255).astype(np.uint8)
