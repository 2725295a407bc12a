"""What both drawn tasks do to their frames: a hand-held camera, exposure, and noise."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rng = np.random.Generator


def wander(rng: Rng, num_frames: int) -> NDArray[np.float64]:
    """Smooth wandering in -1..1 along both axes, as likely backwards as forwards: [T, 2]."""
    waves = rng.uniform(0.03, 0.45, (3, 1, 2)) * np.arange(num_frames)[:, None] + rng.uniform(0, 7, (3, 1, 2))
    return np.asarray(np.sin(waves).mean(0))


def shake(rng: Rng, num_frames: int, most_px: float) -> NDArray[np.float64]:
    """Offsets of a camera held by hand, within ``most_px`` to each side: [T, 2]."""
    sway = rng.uniform(0, 1) * most_px * wander(rng, num_frames)
    tremble = rng.normal(0, rng.uniform(0, 0.08) * most_px, (num_frames, 2))
    return np.asarray((sway + tremble).clip(-most_px, most_px))


class Look:
    """How one clip's camera sees: brightness, contrast, a flicker, and noise; called on one picture after another."""

    def __init__(self, rng: Rng, size_px: tuple[int, int]) -> None:
        self.rng, (self.width, self.height) = rng, size_px
        self.contrast, self.brightness = rng.uniform(0.75, 1.2), rng.uniform(-20, 20)
        self.flicker = rng.uniform(0, 4)
        # Each frame gets another part of one field: fresh noise would take longer than all else.
        field = rng.uniform(1, 6) * rng.standard_normal((self.height + 32, self.width + 32, 3), np.float32)
        self.noise = field.astype(np.int16)

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Frame [H, W, 3] of an RGB picture."""
        shift = 128 * (1 - self.contrast) + self.brightness + self.flicker * self.rng.standard_normal()
        table = (self.contrast * np.arange(256) + shift).astype(np.int16)
        levels = table[np.asarray(picture)]
        x, y = self.rng.integers(0, 33, 2)
        levels += self.noise[y : y + self.height, x : x + self.width]
        return np.asarray(levels.clip(0, 255), np.uint8)
