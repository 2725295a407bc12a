"""Task 1: drawn clips of seven pairs of actions, each the other played backwards, harder than those of the demo.

    python benchmarks/accuracy/reversal_pairs.py OUT [--train-per-class 140] [--val-per-class 40] [--packed DIR]

With --packed the frames go to DIR too, as gateshift prepare folder --pack writes them, which train faster.

Clutter, a shaking camera, things that move for themselves, something in front of the picture, movements that hesitate
and turn round for a while, and 11 to 119 frames. A clip of the second class of a pair is drawn as one of the first and
then reversed, frame for frame, so the two classes differ in nothing but order.
"""

import argparse
import csv
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from drawn_film import Look, shake, wander
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gateshift.data.lists.manifest import CLASSES_FILE, REVERSAL_FILE
from gateshift.demo.pictures import Canvas, Rng, paste, texture, textured_object
from gateshift.demo.reversal_clips import PAIRS as DEMO_PAIRS
from gateshift.demo.reversal_clips import write_mp4
from gateshift.demo.scenes import SCENES, Scene

# Without the demo's turns, which networks this small hardly learn in minutes: see README.md.
PAIRS = (
    *DEMO_PAIRS[:4],
    ("open", "close"),
    ("left then right", "right then left"),
    ("warm then cold", "cold then warm"),
)
NAMES = tuple(name for pair in PAIRS for name in pair)
SIZE_PX = (112, 84)  # width, height
PACKED_PX = 72  # the short side
# Both included. Lengths are odd, so that the middle frames of equal segments are the same set in both directions.
MIN_FRAMES, MAX_FRAMES = 11, 119


def _open(stage: Canvas) -> Scene:
    """Two doors slide apart and show what is behind them; drawn over the middle of the scene."""
    rng = stage.rng
    item = textured_object(stage, rng.uniform(0.25, 0.4))
    x, y = stage.at(*rng.uniform(0.35, 0.65, 2))
    width, height = (round(item.width * factor) for factor in rng.uniform((0.6, 1.2), (0.9, 1.7)))
    doors = texture(rng, (2 * width, height), rng.uniform(0.3, 0.75), 1.0)
    ImageDraw.Draw(doors).rectangle((0, 0, 2 * width - 1, height - 1), outline=(25, 22, 22), width=2)
    left, right = (doors.crop((i * width, 0, (i + 1) * width, height)).convert("RGBA") for i in range(2))
    way, upright = rng.uniform(0.7, 1.1) * width, rng.random() < 0.3

    def draw(picture: Image.Image, t: float) -> None:
        paste(picture, item, (x, y))
        for door, sign in ((left, -1), (right, 1)):
            off = sign * (width / 2 + t * way)
            if upright:
                paste(picture, door.rotate(90, expand=True), (x, y - off))
            else:
                paste(picture, door, (x + off, y))

    return draw


def _left_then_right(stage: Canvas) -> Scene:
    """Two lamps that shine one after the other: nothing moves, and only the order of two events counts."""
    rng = stage.rng
    y, drop = rng.uniform(0.35, 0.65), rng.uniform(-0.15, 0.15)
    # Near enough that a square cut out of the picture shows both.
    left, right = stage.at(rng.uniform(0.28, 0.4), y - drop), stage.at(rng.uniform(0.6, 0.72), y + drop)
    radius = rng.uniform(0.09, 0.15) * stage.height
    colours = [tuple(int(v) for v in rng.integers(150, 256, 3)) for _ in range(2)]
    # Each shines for a part of the way; they may overlap, or leave a dark while between them.
    ends = rng.uniform((0.02, 0.35, 0.4, 0.8), (0.15, 0.6, 0.65, 0.98))

    def draw(picture: Image.Image, t: float) -> None:
        pen = ImageDraw.Draw(picture)
        for (x, y), lit, begin, end in zip((left, right), colours, ends[::2], ends[1::2], strict=True):
            shines = begin <= t <= end
            pen.ellipse(
                (x - radius, y - radius, x + radius, y + radius),
                fill=lit if shines else (40, 40, 44),
                outline=(90, 88, 84),
                width=2,
            )

    return draw


def _warm_then_cold(stage: Canvas) -> Scene:
    """One lamp that shines in two colours, with a dark while between them."""
    rng = stage.rng
    x, y = stage.at(*rng.uniform(0.35, 0.65, 2))
    radius = rng.uniform(0.1, 0.18) * stage.height
    warm = tuple(int(v) for v in rng.uniform((200, 40, 10), (255, 140, 60)))
    cold = tuple(int(v) for v in rng.uniform((10, 80, 180), (80, 170, 255)))
    ends = rng.uniform((0.02, 0.32, 0.52, 0.82), (0.14, 0.46, 0.66, 0.98))

    def draw(picture: Image.Image, t: float) -> None:
        lit = warm if ends[0] <= t <= ends[1] else cold if ends[2] <= t <= ends[3] else (40, 40, 44)
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(picture).ellipse(box, fill=lit, outline=(90, 88, 84), width=2)

    return draw


FIRST_OF_PAIR: tuple[Callable[[Canvas], Scene], ...] = (*SCENES[:4], _open, _left_then_right, _warm_then_cold)


def film(scene: Callable[[Canvas], Scene], rng: Rng, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw a whole clip: [T, H, W, 3] with T odd, in 11..119."""
    stage = _cluttered_stage(rng, size_px)
    draw = scene(stage)
    num_frames = 2 * round(math.exp(rng.uniform(math.log(MIN_FRAMES), math.log(MAX_FRAMES))) / 2 - 0.5) + 1
    passers = [_Passer(stage, num_frames) for _ in range(rng.integers(0, 3))]
    cover = _occluder(stage)
    progress = _progress(rng, num_frames)
    window = stage.margin + shake(rng, num_frames, stage.margin)  # [T, 2]
    look = Look(rng, size_px)
    frames = np.empty((num_frames, size_px[1], size_px[0], 3), np.uint8)
    for i in range(num_frames):
        picture = stage.background.copy()
        for passer in passers[::2]:  # some pass behind the action, some in front of it
            passer.draw(picture, i)
        draw(picture, float(progress[i]))
        for passer in passers[1::2]:
            passer.draw(picture, i)
        if cover is not None:
            paste(picture, cover[0], cover[1])
        x, y = (int(v) for v in window[i])
        frames[i] = look(picture.crop((x, y, x + size_px[0], y + size_px[1])))
    return frames


def _cluttered_stage(rng: Rng, size_px: tuple[int, int]) -> Canvas:
    """A textured ground with things lying about, none of which takes part."""
    width, height = size_px
    margin, luma = max(2, height // 14), rng.uniform(0.12, 0.45)
    ground = texture(rng, (width + 2 * margin, height + 2 * margin), luma, 0.5, contrast=0.1)
    stage = Canvas(rng, width, height, margin, ground, luma)
    for _ in range(rng.integers(0, 5)):
        still = textured_object(stage, rng.uniform(0.1, 0.25))
        paste(ground, still, stage.at(*rng.uniform(-0.05, 1.05, 2)), turn_deg=rng.uniform(0, 360))
    return stage


class _Passer:
    """A small thing that wanders and drifts in a direction of its own, whatever the action."""

    def __init__(self, stage: Canvas, num_frames: int) -> None:
        rng = stage.rng
        self.item = textured_object(stage, rng.uniform(0.08, 0.18))
        drift = np.linspace(-0.5, 0.5, num_frames)[:, None] * rng.uniform(-0.8, 0.8, 2)
        places = rng.uniform(0.1, 0.9, 2) + drift + 0.15 * wander(rng, num_frames)  # [T, 2]
        self.places = [stage.at(x, y) for x, y in places]

    def draw(self, picture: Image.Image, frame: int) -> None:
        paste(picture, self.item, self.places[frame])


def _occluder(stage: Canvas) -> tuple[Image.Image, tuple[float, float]] | None:
    """In half of the clips, a post or a rail in front of everything, and its centre."""
    rng = stage.rng
    if rng.random() < 0.5:
        return None
    full = max(stage.background.size)
    thick = max(3, round(rng.uniform(0.08, 0.2) * stage.height))
    size = (full, thick) if rng.random() < 0.5 else (thick, full)
    strip = texture(rng, size, rng.uniform(0.1, 0.8), 1.0).convert("RGBA")
    return strip, stage.at(*rng.uniform(0.2, 0.8, 2))


def _progress(rng: Rng, num_frames: int) -> NDArray[np.float64]:
    """Progress 0..1 at each frame: still, on the way with halts and turns for a while, still."""
    lead, tail = rng.integers(0, num_frames // 4 + 1, 2)
    u = ((np.arange(num_frames) - lead) / (num_frames - lead - tail - 1)).clip(0, 1)
    power = math.exp(rng.uniform(-0.5, 0.5))
    eased = u**power if rng.random() < 0.5 else 1 - (1 - u) ** power
    turns, depth = rng.integers(1, 4), rng.uniform(0, 0.12)
    back_and_forth = depth * np.sin(2 * math.pi * turns * u) * np.sin(math.pi * u)
    return np.asarray((eased + back_and_forth).clip(0, 1))


def draw_clip(label: str, *, rng: Rng, size_px: tuple[int, int] = SIZE_PX) -> NDArray[np.uint8]:
    """Draw the frames of one clip of a class out of ``NAMES``: [T, H, W, 3] uint8, T odd, in 11..119.

    The same ``rng`` state gives the same frames in opposite order for the two classes of a pair.
    """
    pair, is_reversed = divmod(NAMES.index(label), 2)
    frames = film(FIRST_OF_PAIR[pair], rng, size_px)
    return np.ascontiguousarray(frames[::-1]) if is_reversed else frames


def plan(train_per_class: int, val_per_class: int) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """Yield each file's path, its label, and the key that its random draws grow from.

    Training clips have keys of their own; validation clips come with their exact reversal, under one key.
    """
    for number, label in enumerate(NAMES):
        for i in range(train_per_class):
            yield f"train/{label}/{i:05d}.mp4", label, (0, number, i)
        for i in range(val_per_class):
            yield f"val/{label}/{i:05d}.mp4", label, (1, number // 2, i)


def write_clips(
    folder: Path, *, train_per_class: int, val_per_class: int, seed: int, size_px: tuple[int, int] = SIZE_PX
) -> None:
    """Write the clips, the lists train.csv and val.csv, classes.txt and reversal_pairs.csv; the lists last.

    A clip that is there already is left as it is, so a run that was stopped goes on.
    """
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "val": []}
    for path, label, key in plan(train_per_class, val_per_class):
        if not (folder / path).exists():
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
            write_mp4(folder / path, draw_clip(label, rng=rng, size_px=size_px))
        rows[path.split("/")[0]].append((path, label))
    (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in NAMES))
    write_table(folder / REVERSAL_FILE, ("class", "reversed"), PAIRS)
    for split, listed in rows.items():
        write_table(folder / f"{split}.csv", ("path", "label"), listed)


def write_table(path: Path, header: tuple[str, ...], rows: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> None:
    """Write a CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def pack(folder: Path, packed: Path) -> None:
    """Write the frames of all clips to ``packed`` by the command line, with the pairs beside their lists."""
    words = ["prepare", "folder", folder, "--out", packed, "--pack", PACKED_PX, "--overwrite"]
    subprocess.run([sys.executable, "-m", "gateshift", *map(str, words)], check=True)
    shutil.copy(folder / REVERSAL_FILE, packed / REVERSAL_FILE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--train-per-class", type=int, default=140)
    parser.add_argument("--val-per-class", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packed", type=Path)
    given = parser.parse_args()
    write_clips(given.out, train_per_class=given.train_per_class, val_per_class=given.val_per_class, seed=given.seed)
    if given.packed:
        pack(given.out, given.packed)
