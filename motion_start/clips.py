"""Drawn clips with what moved how in them: frames and labels, each from one number.

    python motion_start/clips.py OUT.png [--seed 0]      # a page of examples

A clip is eight frames, one from each of eight equal parts of a movement that is drawn at those times alone.
Half of the movements are played backwards: then drawn at the mirrored times, and labelled as what they are then.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from actions import ACTIONS, HANDS, PAIRS, PEOPLE, POINTERS, THINGS, Motion, draw_pair, plan
from actors import Actor, Hand, Person, Pointer, Pose, Thing
from numpy.typing import NDArray
from PIL import Image
from scenery import MARGIN, Camera, Field, Look, Rng, background, wander

NUM_FRAMES = 8
FIRST_CLASS = tuple(ACTIONS.index(pair[0]) for pair in PAIRS)
BACKWARDS = tuple(ACTIONS.index(name) for pair in PAIRS for name in pair[::-1])
ACTORS = ("hand", "pointing hand", *(f"thing: {shape}" for shape in Thing.SHAPES), "person")
# Velocities in picture heights, doublings, half turns, ... of one of the eight parts; scaled to about 1.
RATES = ("x", "y", "log size", "angle", "stretch", "fingers", "seen", "camera x", "camera y")
_SCALES = np.array([8, 8, 5, 3, 5, 3, 3, 20, 20])


@dataclass
class Clip:
    """One drawn clip and its factors.

    Attributes:
        frames: [T, S, S, 3] uint8.
        action: Class out of ``ACTIONS``.
        actor: Class out of ``ACTORS``.
        rates: What moves how fast at each frame, see ``RATES``: [T, 9], about -2..2.
        state: Place (x, y in -1..1), log size: [T, 3].
        span: When the movement begins and ends, in 0..1: [2].
        fingers: Which fingers are out at each frame, 0..1: [T, 5]; -1 where no finger is to be seen.
        heading: Sine and cosine of a hand's angle: [T, 2]; of others 0.
    """

    frames: NDArray[np.uint8]
    action: int
    actor: int
    rates: Field
    state: Field
    span: Field
    fingers: Field
    heading: Field


def draw_clip(seed: int, number: int, size_px: int) -> Clip:
    """Draw one clip; the same numbers give the same clip."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    pair = draw_pair(rng)
    is_reversed = len(PAIRS[pair]) == 2 and bool(rng.random() < 0.5)
    times = (
        np.arange(NUM_FRAMES) + rng.uniform(*((0, 1) if rng.random() < 0.6 else (0.35, 0.65)), NUM_FRAMES)
    ) / NUM_FRAMES
    if is_reversed:
        times = 1 - times
    size = _canvas(rng, size_px)
    wide = size[0] / size[1]
    motion = plan(rng, pair, times, wide)
    camera = Camera(rng, times)
    actor = _cast(rng, motion.cast, size)
    frames = _film(rng, motion, actor, camera, times, size, size_px)
    action = FIRST_CLASS[pair] + is_reversed
    if motion.cast == THINGS:
        assert isinstance(actor, Thing)
        who = ACTORS.index(f"thing: {Thing.SHAPES[actor.shape]}")
    else:
        who = {HANDS: 0, POINTERS: 1, PEOPLE: len(ACTORS) - 1}[motion.cast]
    span = np.array(motion.span)
    return Clip(
        frames,
        action,
        who,
        rates=_rates(motion, camera, times),
        state=np.concatenate([2 * motion.place / (wide, 1) - 1, 1 + motion.log_size[:, None]], 1),
        span=1 - span[::-1] if is_reversed else span,
        fingers=motion.fingers if motion.cast in (HANDS, POINTERS) else np.full((NUM_FRAMES, 5), -1.0),
        heading=np.stack([np.sin(motion.angle), np.cos(motion.angle)], 1) * (motion.cast == HANDS),
    )


def backwards(clip: Clip) -> Clip:
    """The same clip played backwards, with the labels that it then has."""
    return Clip(
        np.ascontiguousarray(clip.frames[::-1]),
        BACKWARDS[clip.action],
        clip.actor,
        rates=-clip.rates[::-1],
        state=clip.state[::-1],
        span=1 - clip.span[::-1],
        fingers=clip.fingers[::-1],
        heading=clip.heading[::-1],
    )


def _canvas(rng: Rng, size_px: int) -> tuple[int, int]:
    """A picture upright or across, half as large again as what becomes of it: width, height."""
    wide = float(np.exp(rng.uniform(np.log(0.6), np.log(1.8))))
    side = 1.5 * size_px
    return round(side * wide**0.5), round(side / wide**0.5)


def _cast(rng: Rng, cast: int, size: tuple[int, int]) -> Actor:
    if cast == HANDS:
        return Hand(rng, mirrored=bool(rng.random() < 0.5))
    if cast == POINTERS:
        return Pointer(rng, size)
    return Thing(rng) if cast == THINGS else Person(rng)


def _rates(motion: Motion, camera: Camera, times: Field) -> Field:
    """How fast everything changes at each frame, per part of the clip: [T, 9]."""
    values = [
        motion.place,
        motion.log_size,
        motion.angle,
        np.log(motion.stretch),
        motion.fingers.mean(1),
        motion.seen,
        camera.path,
    ]
    series = np.concatenate([value.reshape(len(times), -1) for value in values], 1)  # [T, 9]
    step = np.abs(np.gradient(times))[:, None] * NUM_FRAMES
    return np.asarray((np.gradient(series, axis=0) / np.maximum(step, 0.3) * _SCALES).clip(-3, 3))


def _film(
    rng: Rng, motion: Motion, actor: Actor, camera: Camera, times: Field, size: tuple[int, int], size_px: int
) -> NDArray[np.uint8]:
    scene = background(rng, tuple(round(side * (1 + 2 * MARGIN)) for side in size))  # type: ignore[arg-type]
    for _ in range(rng.integers(0, 4) if rng.random() < 0.5 else 0):  # things that lie about
        x, y = rng.uniform(0, 1, 2) * (size[0] / size[1] + 2 * MARGIN, 1 + 2 * MARGIN)
        Thing(rng).draw(
            scene,
            Pose(x * size[1] / scene.height, y * size[1] / scene.height, rng.uniform(0.08, 0.25), rng.uniform(-3, 3)),
        )
    passers = [_passer(rng, times, size) for _ in range(rng.integers(1, 3) if rng.random() < 0.15 else 0)]
    others = _second(rng, motion)
    post = _post(rng, size) if rng.random() < 0.1 else None
    follow = rng.uniform(0, 0.5)
    look = Look(rng, times)
    still = camera.frame(scene, size, 0) if camera.still else None
    frames = np.empty((len(times), size_px, size_px, 3), np.uint8)
    for i in range(len(times)):
        picture = still.copy() if still is not None else camera.frame(scene, size, i)
        for thing, poses in passers:
            thing.draw(picture, poses[i])
        pose = _pose(motion, i)
        pose.x -= follow * camera.path[i, 0]
        pose.y -= follow * camera.path[i, 1]
        if motion.seen[i] > 0:
            actor.draw(picture, pose)
        if others is not None:
            others.draw(picture, _second_pose(motion, i, follow * camera.path[i]))
        if post is not None:
            picture.paste(*post)
        frames[i] = picture.resize((size_px, size_px), Image.Resampling.BOX)
    return look(frames)


def _pose(motion: Motion, i: int) -> Pose:
    return Pose(
        float(motion.place[i, 0]),
        float(motion.place[i, 1]),
        float(np.exp(motion.log_size[i])),
        float(motion.angle[i]),
        float(motion.stretch[i]),
        motion.fingers[i],
        float(motion.seen[i]),
    )


def _passer(rng: Rng, times: Field, size: tuple[int, int]) -> tuple[Thing, list[Pose]]:
    """A small thing that wanders for itself."""
    drift = (times - 0.5)[:, None] * rng.uniform(-0.8, 0.8, 2)
    places = rng.uniform(0.1, 0.9, 2) + drift + 0.12 * wander(rng, times, 12.0)
    side = rng.uniform(0.06, 0.16)
    return Thing(rng), [Pose(x * size[0] / size[1], y, side, 0.0) for x, y in places]


def _second(rng: Rng, motion: Motion) -> Actor | None:
    name = PAIRS[motion.pair][0]
    if name == "pick_up":
        return Hand(rng, mirrored=bool(rng.random() < 0.5))
    if name in ("cover", "meet"):
        return Person(rng) if motion.cast == PEOPLE else Thing(rng)
    return None


def _second_pose(motion: Motion, i: int, shift: Field) -> Pose:
    x, y = motion.second["place"][i] - shift
    size = float(np.exp(motion.log_size[i]))
    if "open" in motion.second:
        fingers = np.full(5, motion.second["open"][i])
        return Pose(x, y, max(0.14, 0.7 * size), float(motion.second["angle"][i]), fingers=fingers)
    is_cover = PAIRS[motion.pair][0] == "cover"
    return Pose(x, y, size * (1.35 if is_cover else 0.9), 0.3, 1.15 if is_cover else 1.0)


def _post(rng: Rng, size: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
    """A post or a rail in front of everything."""
    thick = max(3, round(rng.uniform(0.05, 0.15) * size[1]))
    strip = (size[0], thick) if rng.random() < 0.5 else (thick, size[1])
    left, top = (round(float(rng.uniform(0, 1)) * (a - b)) for a, b in zip(size, strip, strict=True))
    return background(rng, strip), (left, top)


def write_page(out: Path, seed: int, rows: int = 26) -> None:
    """A picture of clips, one a row, with their classes in the order that is printed."""
    strips = []
    for number in range(rows * 2):
        clip = draw_clip(seed, number, 112)
        print(number, ACTIONS[clip.action], "|", ACTORS[clip.actor], clip.span.round(2))
        strips.append(np.concatenate(list(clip.frames), 1))
    halves = [np.concatenate(strips[i::2]) for i in range(2)]
    Image.fromarray(np.concatenate(halves, 1)).save(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_page(given.out, given.seed)
