"""The actions of the drawn clips: the first of each pair, as frames in order."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gateshift.demo.pictures import (
    OVERSAMPLE,
    SIGNS,
    Canvas,
    Field,
    Rng,
    color,
    paste,
    set_stage,
    texture,
    textured_object,
)

# Both included. Lengths are odd: then the middle frame of each of any number of equal segments, counted
# from the front, is the middle frame counted from the back, and the reversed clip samples the same set.
MIN_FRAMES, MAX_FRAMES = 17, 47

Scene = Callable[[Image.Image, float], None]  # draws onto a picture what progress 0..1 looks like

_HANDS = ((236, 188, 158), (198, 134, 92), (120, 76, 52), (178, 184, 194), (84, 92, 104))


def film(scene: Callable[[Canvas], Scene], rng: Rng, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw a whole clip, still frames before and after the movement included: [T, H, W, 3]."""
    stage = set_stage(rng, size_px)
    draw = scene(stage)
    num_frames = int(rng.choice(range(MIN_FRAMES, MAX_FRAMES + 1, 2)))
    progress = _progress(rng, num_frames)
    shake_px = stage.margin * rng.uniform(0, 1) * sway(rng, np.arange(num_frames))  # [T, 2]
    look = Look.of(rng)
    frames = np.empty((num_frames, size_px[1], size_px[0], 3), np.uint8)
    for i in range(num_frames):
        picture = stage.background.copy()
        draw(picture, progress[i])
        frames[i] = shoot(stage, picture, shake_px[i], look, rng)
    return frames


class Look(NamedTuple):
    """How a camera sees."""

    contrast: float
    brightness: float
    noise: float

    @classmethod
    def of(cls, rng: Rng) -> "Look":
        return cls(rng.uniform(0.8, 1.15), rng.uniform(-14, 14), rng.uniform(1, 5))


def shoot(stage: Canvas, picture: Image.Image, shake_px: Field, look: Look, rng: Rng) -> NDArray[np.uint8]:
    """The frame [H, W, 3] that a camera makes of an enlarged picture, which it sees shifted by [2]."""
    x, y = (round(stage.margin + offset) for offset in shake_px)
    picture = picture.crop((x, y, x + stage.width, y + stage.height)).reduce(OVERSAMPLE)
    values = (np.asarray(picture, np.float32) - 128) * look.contrast + 128 + look.brightness
    values += look.noise * rng.standard_normal(values.shape, np.float32)
    return values.clip(0, 255).astype(np.uint8)


def _progress(rng: Rng, num_frames: int) -> Field:
    """Progress 0..1 of the movement at each frame: still, on the way at its own easing, still."""
    lead, tail = rng.integers(0, num_frames // 5 + 1, 2)
    u = ((np.arange(num_frames) - lead) / (num_frames - lead - tail - 1)).clip(0, 1)
    power, smooth = math.exp(rng.uniform(-0.5, 0.5)), rng.random()
    eased = u**power if rng.random() < 0.5 else 1 - (1 - u) ** power
    return np.asarray(smooth * u * u * (3 - 2 * u) + (1 - smooth) * eased)


def sway(rng: Rng, times: NDArray[np.number[Any]]) -> Field:
    """Smooth wandering in -1..1 along both axes, at times in 1/25 s [T]: [T, 2]."""
    waves = rng.uniform(0.05, 0.45, (3, 1, 2)) * times[:, None] + rng.uniform(0, 7, (3, 1, 2))
    return np.asarray(np.sin(waves).mean(0))


# Scenes: the first action of each pair, in the order of PAIRS.


def _move_left(stage: Canvas) -> Scene:
    rng = stage.rng
    item = textured_object(stage, rng.uniform(0.25, 0.45))
    span = rng.uniform(0.35, 0.8)
    left, y, drift, turn_deg = (
        rng.uniform(0.08, 0.92 - span),
        *rng.uniform((0.25, -0.12, -25), (0.75, 0.12, 25)),
    )

    def draw(picture: Image.Image, t: float) -> None:
        paste(picture, item, stage.at(left + (1 - t) * span, y + (t - 0.5) * drift), turn_deg=turn_deg)

    return draw


def _pick_up(stage: Canvas) -> Scene:
    """A hand or gripper comes from the top, closes, and takes the object off a table and away."""
    rng = stage.rng
    _lay_table(stage)
    item = textured_object(stage, rng.uniform(0.28, 0.42))
    item = item.crop(item.getbbox())  # it has to stand on the table with its own lowest point
    x, bottom = stage.at(rng.uniform(0.25, 0.75), rng.uniform(0.78, 0.92))
    rest_y = bottom - item.height / 2
    reach, grip = 0.3 * stage.height, max(item.width / 2, 0.15 * stage.height)
    rise = rest_y * rng.uniform(0.6, 1.1)  # ends in sight or outside
    start = np.array([rng.uniform(-0.15, 0.15) * stage.width, -rest_y * rng.uniform(0.6, 1.1)])
    grasp_at = rng.uniform(0.35, 0.55)
    hand = Hand(rng, stage.height)

    def draw(picture: Image.Image, t: float) -> None:
        come, lift = min(1, t / (grasp_at - 0.08)), max(0, (t - grasp_at) / (1 - grasp_at))
        opened = 1 + 0.6 * min(1, max(0, (grasp_at - t) / 0.08))
        y = rest_y - lift * rise
        paste(picture, item, (x, y))
        dx, dy = (1 - come) * start
        hand.draw(picture, (x + dx, y - item.height / 2 - 0.65 * reach + dy), grip * opened, reach)

    return draw


def _lay_table(stage: Canvas) -> None:
    edge = round(stage.at(0, stage.rng.uniform(0.55, 0.72))[1])
    size = (stage.background.width, stage.background.height - edge)
    stage.background.paste(texture(stage.rng, size, stage.luma, 0.6), (0, edge))
    shade = int(255 * stage.luma * 0.5)
    ImageDraw.Draw(stage.background).line((0, edge, size[0], edge), fill=(shade,) * 3, width=4)


class Hand:
    """An arm that hangs from the top and ends in two or three fingers."""

    def __init__(self, rng: Rng, height: int) -> None:
        self.num_fingers, self.lean = int(rng.integers(2, 4)), rng.uniform(-0.3, 0.3) * height
        self.thickness = height * rng.uniform(0.055, 0.08)
        self.skin, sleeve = _HANDS[rng.integers(len(_HANDS))], color(rng, rng.uniform(0.2, 0.8), 1)
        self.sleeve = (int(sleeve[0]), int(sleeve[1]), int(sleeve[2]))

    def draw(self, picture: Image.Image, palm: tuple[float, float], grip: float, reach: float) -> None:
        pen, (x, y), width = ImageDraw.Draw(picture), palm, self.thickness
        top, cuff = (x + 4 * self.lean, y - 8 * reach), (x + self.lean / 4, y - reach / 2)
        fingers = [f * grip for f in np.linspace(-1, 1, self.num_fingers)]
        for ink, sleeve, rim in (((30, 26, 26), (30, 26, 26), 2.5), (self.skin, self.sleeve, 0.0)):
            _stroke(pen, [palm, cuff], ink, 2.4 * width + rim)
            for dx in fingers:
                knuckle, tip = (x + 1.1 * dx, y + 0.3 * reach), (x + dx, y + reach)
                _stroke(pen, [(x + dx / 2, y), knuckle, tip], ink, width + rim)
            _stroke(pen, [(x - grip / 2, y), (x + grip / 2, y)], ink, 1.9 * width + rim)
            _stroke(pen, [cuff, top], sleeve, 3 * width + rim)


def _stroke(
    pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], color: tuple[int, int, int], width: float
) -> None:
    pen.line(points, fill=color, width=round(width), joint="curve")
    for x, y in (points[0], points[-1]):
        pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=color)


def _cover(stage: Canvas) -> Scene:
    """A cloth comes from one side and ends over the object."""
    rng = stage.rng
    item = textured_object(stage, rng.uniform(0.3, 0.45))
    x, y = stage.at(*rng.uniform(0.35, 0.65, 2))
    width, height = (round(item.width * factor) for factor in rng.uniform(1.35, 1.8, 2))
    folds = 0.8 + 0.2 * np.sin(np.linspace(0, rng.uniform(9, 30), width))[:, None]  # [width, 1]
    cloth = np.asarray(texture(rng, (width, height), rng.uniform(0.3, 0.75), 1.0)) * folds
    panel = Image.fromarray(cloth.astype(np.uint8)).convert("RGBA")
    ImageDraw.Draw(panel).rectangle((0, 0, width - 1, height - 1), outline=(25, 22, 22), width=3)
    side = ((1, 0), (-1, 0), (0, 1), (0, -1))[rng.integers(4)]
    clear = rng.uniform(1.05, 1.5)  # how far off it starts; at 1 it would touch the object
    start = [d * clear * (a + b) / 2 for d, a, b in zip(side, panel.size, item.size, strict=True)]

    def draw(picture: Image.Image, t: float) -> None:
        paste(picture, item, (x, y))
        paste(picture, panel, (x + (1 - t) * start[0], y + (1 - t) * start[1]))

    return draw


def _approach(stage: Canvas) -> Scene:
    rng = stage.rng
    near, growth = rng.uniform(0.6, 0.95), rng.uniform(2.2, 3.6)
    item = textured_object(stage, near)
    begin, end = rng.uniform(0.35, 0.65, (2, 2))
    turn_deg = rng.uniform(-30, 30)

    def draw(picture: Image.Image, t: float) -> None:
        x, y = begin + t * (end - begin)
        # the size grows by equal factors, as it does for something that comes closer
        paste(picture, item, stage.at(x, y), scale=growth ** (t - 1), turn_deg=turn_deg)

    return draw


def _turn_clockwise(stage: Canvas) -> Scene:
    rng = stage.rng
    item = textured_object(stage, rng.uniform(0.55, 0.85), tuple(SIGNS))
    begin_deg, swing_deg = rng.uniform(0, 360), rng.uniform(100, 200)
    center = stage.at(*rng.uniform(0.38, 0.62, 2))

    def draw(picture: Image.Image, t: float) -> None:
        paste(picture, item, center, turn_deg=begin_deg + t * swing_deg)

    return draw


SCENES = (_move_left, _pick_up, _cover, _approach, _turn_clockwise)
