"""A pointing hand as a head-worn camera sees it: a finger, a fist, and a forearm that leads out of the picture."""

import math

import numpy as np
from drawn_film import Rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SKINS = ((228, 184, 156), (205, 150, 118), (180, 120, 88), (150, 98, 70), (104, 68, 50), (236, 200, 180))
LARGER = 2  # pictures are drawn this much larger and reduced, which smooths edges and motion

Vector = NDArray[np.float64]


class Hand:
    """One person's hand, drawn onto one picture after another. Lengths are in pixels of the reduced picture."""

    def __init__(self, rng: Rng, size_px: tuple[int, int]) -> None:
        self.rng, self.size_px = rng, size_px
        width, height = size_px
        self.finger = rng.uniform(0.14, 0.32) * height
        self.thick = self.finger * rng.uniform(0.26, 0.4)
        self.fist = self.finger * rng.uniform(0.45, 0.65)
        self.arm = self.fist * rng.uniform(0.65, 0.95)
        right_handed = rng.random() < 0.85
        side = rng.uniform(-0.05, 0.65) * (1 if right_handed else -1)
        self.elbow = np.array([(0.5 + side) * width, rng.uniform(1.15, 1.9) * height])
        self.follows = rng.uniform(0.1, 0.6)  # how much of the finger's way the elbow makes
        self.upright = rng.uniform(0.35, 1.0)  # 1: the finger points up whatever the arm does
        self.lean = rng.normal(0.0, 0.18)
        self.thumb = rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
        self.skin = np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.5, 1.1) * rng.uniform(0.92, 1.08, 3)
        self.shade = rng.uniform(0.6, 0.9)
        self.lit_side = rng.choice((-1, 1))
        self.sleeve = rng.uniform(10, 235, 3) if rng.random() < 0.25 else None
        self.cuff = rng.uniform(0.2, 0.9)

    def draw(self, picture: Image.Image, tip: Vector) -> None:
        """Draw the hand onto an enlarged RGB picture, with the tip of its finger at a place [2]."""
        centre = np.array(self.size_px) / 2
        elbow = self.elbow + self.follows * (tip - centre)
        towards = _unit(tip - elbow)
        angle = math.atan2(towards[0], -towards[1]) * (1 - self.upright) + self.lean
        finger = np.array([math.sin(angle), -math.cos(angle)])
        knuckle = tip - finger * self.finger
        fist = knuckle - finger * self.fist * 0.7
        colour = _colour(self.skin + self.rng.normal(0, 1.5))
        pen = ImageDraw.Draw(picture)
        dark = _colour(self.skin * self.shade)
        wrist = fist + _unit(elbow - fist) * self.fist * 0.8
        self._limb(pen, wrist, elbow, self.arm, 1.7 * self.arm, self.skin)
        if self.sleeve is not None:
            self._limb(pen, wrist + self.cuff * (elbow - wrist), elbow, 1.6 * self.arm, 2.2 * self.arm, self.sleeve)
        across = np.array([-finger[1], finger[0]])
        _disc(pen, fist, self.fist, dark)
        _disc(pen, fist + across * self.lit_side * 0.15 * self.fist, 0.9 * self.fist, colour)
        thumb = fist + across * self.thumb * self.fist + finger * 0.5 * self.fist
        _disc(pen, thumb, 0.45 * self.fist, colour)
        self._limb(pen, tip, knuckle, 0.42 * self.thick, 0.55 * self.thick, self.skin)
        _disc(pen, tip, 0.42 * self.thick, colour)

    def _limb(
        self, pen: ImageDraw.ImageDraw, start: Vector, end: Vector, half_start: float, half_end: float, colour: Vector
    ) -> None:
        """A tapered strip, with its unlit side in the shade."""
        along = _unit(end - start)
        across = np.array([-along[1], along[0]])
        corners = [start - across * half_start, start + across * half_start, end + across * half_end]
        pen.polygon(_enlarged([*corners, end - across * half_end]), fill=_colour(colour))
        side = -self.lit_side * across
        edge = [start + side * half_start, end + side * half_end]
        inner = [end + side * 0.35 * half_end, start + side * 0.35 * half_start]
        pen.polygon(_enlarged([*edge, *inner]), fill=_colour(colour * self.shade))


def _unit(vector: Vector) -> Vector:
    return vector / max(float(np.hypot(*vector)), 1e-6)


def _enlarged(points: list[Vector]) -> list[tuple[float, float]]:
    return [(float(x) * LARGER, float(y) * LARGER) for x, y in points]


def _disc(pen: ImageDraw.ImageDraw, centre: Vector, radius: float, colour: tuple[int, int, int]) -> None:
    pen.ellipse(_enlarged([centre - radius, centre + radius]), fill=colour)


def _colour(values: Vector) -> tuple[int, int, int]:
    red, green, blue = values.clip(0, 255).astype(int).tolist()
    return red, green, blue
