"""What moves in the drawn clips: hands, things, and people seen from the ceiling. Lengths are shares of the height."""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scenery import Field, Rng, background

from gateshift.demo.pictures import color

sys.path.append(str(Path(__file__).parents[1] / "benchmarks/accuracy"))
from drawn_hand import SKINS
from drawn_hand import Hand as PointingHand

Ink = tuple[int, int, int]
# Fingers from the thumb: where they leave the palm, their direction from upright in degrees, and their length.
ROOTS = np.array([(-0.40, 0.05), (-0.33, -0.42), (-0.11, -0.48), (0.11, -0.46), (0.33, -0.36)])
LEANS = np.array([-58.0, -10.0, -2.0, 5.0, 14.0])
LENGTHS = np.array([0.62, 0.80, 0.92, 0.85, 0.66])


@dataclass
class Pose:
    """One actor at one time: its place, size and angle, and how far it is stretched, unfolded and to be seen."""

    x: float
    y: float
    size: float
    angle: float
    stretch: float = 1.0
    fingers: NDArray[np.float64] = field(default_factory=lambda: np.ones(5))
    seen: float = 1.0


class Actor(Protocol):
    """Something that can be drawn in a pose."""

    def draw(self, picture: Image.Image, pose: Pose) -> None: ...


class Pointer:
    """A pointing hand as a head-worn camera sees it; the place is that of its finger tip."""

    def __init__(self, rng: Rng, size: tuple[int, int]) -> None:
        self.hand = PointingHand(rng, (size[0] // 2, size[1] // 2))
        self.own = self.hand.finger, self.hand.thick, self.hand.fist, self.hand.arm
        self.height = size[1] / 2

    def draw(self, picture: Image.Image, pose: Pose) -> None:
        """Onto a picture."""
        factor = pose.size / 0.35
        hand = self.hand
        hand.finger, hand.thick, hand.fist, hand.arm = (value * factor for value in self.own)
        hand.draw(picture, np.array([pose.x, pose.y]) * self.height)


class Hand:
    """A hand with five fingers that fold one by one, and the arm that leads out of the picture."""

    def __init__(self, rng: Rng, mirrored: bool) -> None:
        self.mirror = -1.0 if mirrored else 1.0
        skin = np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.5, 1.1) * rng.uniform(0.92, 1.08, 3)
        self.skin, self.dark = _ink(skin), _ink(skin * rng.uniform(0.55, 0.85))
        self.fold = _ink(skin * rng.uniform(0.75, 0.95))
        self.leans = LEANS * rng.uniform(0.5, 1.6) + rng.normal(0, 3, 5)
        self.lengths = LENGTHS * rng.uniform(0.8, 1.15) * rng.uniform(0.94, 1.06, 5)
        self.thick = rng.uniform(0.16, 0.23)
        self.arm, self.bend = rng.uniform(0.45, 0.75), math.radians(rng.normal(0, 15))
        self.sleeve = _ink(rng.uniform(10, 235, 3)) if rng.random() < 0.35 else None
        self.cuff = rng.uniform(0.9, 2.5)
        self.shows_palm = rng.random() < 0.5
        self.shadow = rng.uniform(0.05, 0.35, 2) * rng.choice((-1, 1), 2) if rng.random() < 0.35 else None

    def draw(self, picture: Image.Image, pose: Pose) -> None:
        """Onto a picture; the place is the palm's middle, the size the palm's length."""
        if self.shadow is not None:
            shade = _darker_below(picture, *(picture.height * (np.array([pose.x, pose.y]) + self.shadow * pose.size)))
            moved = Pose(
                **{**vars(pose), "x": pose.x + self.shadow[0] * pose.size, "y": pose.y + self.shadow[1] * pose.size}
            )
            self._draw(ImageDraw.Draw(picture), picture.height, moved, shade, shade, shade, shade)
        self._draw(ImageDraw.Draw(picture), picture.height, pose, self.skin, self.dark, self.fold, self.sleeve)

    def _draw(
        self, pen: ImageDraw.ImageDraw, height: int, pose: Pose, skin: Ink, dark: Ink, fold: Ink, sleeve: Ink | None
    ) -> None:
        unit = pose.size * height
        cos, sin = math.cos(pose.angle), math.sin(pose.angle)

        def at(x: float, y: float) -> tuple[float, float]:
            x *= self.mirror * pose.stretch
            return pose.x * height + unit * (x * cos - y * sin), pose.y * height + unit * (x * sin + y * cos)

        rim = max(2.0, 0.05 * unit)
        elbow = at(9 * math.sin(self.bend), 9 * math.cos(self.bend))
        closed = 1 - pose.fingers[1:].mean()
        wide, tall = 0.46 - 0.04 * closed, 0.5 - 0.08 * closed
        corners = [
            at(x * wide, y * tall)
            for x, y in (
                (-0.8, 1),
                (-1, 0.3),
                (-0.95, -0.75),
                (-0.4, -1),
                (0.5, -0.98),
                (1, -0.7),
                (0.95, 0.4),
                (0.7, 1),
            )
        ]
        for ink, more in ((dark, rim), (skin, 0.0)):
            _stroke(pen, [at(0, 0.35), elbow], ink, self.arm * unit + more)
            for finger in range(5):
                if finger == 0 or pose.fingers[finger] > 0.25:
                    self._finger(pen, at, finger, pose.fingers[finger], ink, self.thick * unit, more)
            pen.polygon(corners, fill=ink)
            pen.line([*corners, corners[0]], fill=ink, width=round(0.12 * unit + more), joint="curve")
        for finger in range(1, 5):
            if pose.fingers[finger] <= 0.5:  # folded onto the palm, or knuckles seen from behind
                x, y = ROOTS[finger]
                ends = [at(x * 0.95, y * 0.85), at(x * 0.9, y * (0.1 if self.shows_palm else 0.55))]
                _stroke(pen, ends, dark, self.thick * unit + 0.7 * rim)
                _stroke(pen, ends, fold, self.thick * unit - 0.3 * rim)
        if self.shows_palm and pose.fingers[0] <= 0.3:
            ends = [at(-0.36, 0.1), at(0.1, -0.05)]
            _stroke(pen, ends, dark, self.thick * unit + rim)
            _stroke(pen, ends, skin, self.thick * unit)
        if sleeve is not None:
            x, y = at(self.cuff * math.sin(self.bend), self.cuff * math.cos(self.bend))
            _stroke(pen, [(x, y), elbow], sleeve, 1.3 * self.arm * unit)

    def _finger(
        self, pen: ImageDraw.ImageDraw, at: object, finger: int, out: float, ink: Ink, width: float, rim: float
    ) -> None:
        lean = math.radians(self.leans[finger] * (0.35 + 0.65 * out))
        length = self.lengths[finger] * (0.12 + 0.88 * out)
        x, y = ROOTS[finger]
        points = [
            at(x + share * length * math.sin(lean), y - share * length * math.cos(lean)) for share in (-0.2, 0.5, 1)
        ]  # type: ignore[operator]
        _stroke(pen, points, ink, width * (1.1 if finger == 0 else 1.0) + rim)


class Thing:
    """A shape of one pattern: textured, or a piece of a photograph, with its shape as a class."""

    SHAPES = ("ellipse", "polygon", "star", "bar")

    def __init__(self, rng: Rng) -> None:
        self.shape = int(rng.integers(len(self.SHAPES)))
        side = 80
        name = self.SHAPES[self.shape]
        num_points = {"ellipse": 32, "star": 2 * int(rng.integers(4, 8))}.get(name, int(rng.integers(3, 7)))
        angles = np.arange(num_points) * 2 * math.pi / num_points + rng.uniform(0, 7)
        radii = np.ones(num_points)
        if name == "star":
            radii[::2] = rng.uniform(0.35, 0.6)
        outline = np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
        if name == "bar":
            outline = np.array([(-1, -0.3), (0.6, -0.3), (0.6, -0.6), (1, -0.6), (1, 0.3), (-1, 0.3)]) * (
                1,
                rng.uniform(0.5, 1),
            )
        elif name != "star":
            outline *= (1, rng.uniform(0.55, 1))
        corners = [(float(x), float(y)) for x, y in (outline * 0.96 + 1) * side]
        mask = Image.new("L", (2 * side, 2 * side))
        ImageDraw.Draw(mask).polygon(corners, fill=255)
        self.item = background(rng, (side, side))
        if rng.random() < 0.5:
            ink = _ink(color(rng, rng.choice((0.1, 0.9)), 0.3))
            inner = [(x / 2, y / 2) for x, y in [*corners, corners[0]]]
            ImageDraw.Draw(self.item).line(inner, fill=ink, width=side // 14, joint="curve")
        self.item.putalpha(mask.reduce(2))

    def draw(self, picture: Image.Image, pose: Pose) -> None:
        """Onto a picture; the size is that of its whole height."""
        side = max(4, round(pose.size * picture.height))
        item = self.item.resize((max(4, round(side * pose.stretch)), side), Image.Resampling.BILINEAR)
        item = item.rotate(-math.degrees(pose.angle), Image.Resampling.BILINEAR, expand=True)
        if pose.seen < 1:
            item.putalpha(item.getchannel("A").point([int(value * pose.seen) for value in range(256)]))
        corner = round(pose.x * picture.height - item.width / 2), round(pose.y * picture.height - item.height / 2)
        picture.paste(item, corner, item)


class Person:
    """Somebody seen from the ceiling: head, shoulders, and arms and legs that show when lying (stretch above 1)."""

    def __init__(self, rng: Rng) -> None:
        self.hair, self.shirt, self.legs = (_ink(color(rng, rng.uniform(0.05, 0.9), 0.7)) for _ in range(3))
        self.skin = _ink(np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.5, 1.1))
        self.pace, self.swing = rng.uniform(20, 60), rng.uniform(0, 0.15)
        self.wide = rng.uniform(0.8, 1.2)

    def draw(self, picture: Image.Image, pose: Pose) -> None:
        """Onto a picture; the size is that of the shoulders. The stretch of 1 stands and 2.5 lies."""
        unit, height, pen = pose.size * picture.height, picture.height, ImageDraw.Draw(picture)
        cos, sin = math.cos(pose.angle), math.sin(pose.angle)
        lying = min(1.0, max(0.0, (pose.stretch - 1) / 1.5))

        def at(x: float, y: float) -> tuple[float, float]:
            return pose.x * height + unit * (x * cos - y * sin), pose.y * height + unit * (x * sin + y * cos)

        step = self.swing * math.sin(self.pace * (pose.x + pose.y)) * (1 - lying)
        for side in (-1, 1):
            reach = 0.15 + 1.5 * lying + side * step
            _stroke(pen, [at(0.18 * side, 0.1 + 0.4 * lying), at(0.24 * side, 0.2 + reach)], self.legs, 0.24 * unit)
            hand = at(0.55 * side * (1 + 0.3 * lying), 0.1 - side * step + 0.6 * lying)
            _stroke(pen, [at(0.42 * side, -0.05), hand], self.skin, 0.15 * unit)
        body = [at(0.5 * self.wide * x, (0.26 + 0.4 * lying) * y + 0.3 * lying) for x, y in _circle()]
        pen.polygon(body, fill=self.shirt)
        x, y = at(0, -0.08 - 0.45 * lying)
        radius = 0.2 * unit
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=self.hair)


def _circle() -> Field:
    angles = np.linspace(0, 2 * math.pi, 20, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _stroke(pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], ink: Ink, width: float) -> None:
    pen.line(points, fill=ink, width=max(1, round(width)), joint="curve")
    for x, y in (points[0], points[-1]):
        pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)


def _darker_below(picture: Image.Image, x: float, y: float) -> Ink:
    """The color of a shadow at a place: two thirds of what is there."""
    place = min(max(0, int(x)), picture.width - 1), min(max(0, int(y)), picture.height - 1)
    pixel = picture.getpixel(place)
    return _ink(0.66 * np.array(pixel))


def _ink(values: Field) -> Ink:
    red, green, blue = np.asarray(values).clip(0, 255).astype(int).tolist()
    return red, green, blue
