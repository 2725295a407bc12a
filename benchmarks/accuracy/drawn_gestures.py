"""Task 2: real finger paths drawn as clips of a pointing hand over photographs.

    pip install scikit-image
    python benchmarks/accuracy/drawn_gestures.py OUT --paths DIR [--copies 1] [--seed 0] [--backgrounds LIST.csv]

DIR holds train.jsonl and test.jsonl, a path a line: {"label", "index", "points": [[x, y], ...]}, x and y in a picture
of 640 x 480, as EgoGestAR's paths (GitHub ILab-AR/EgoGestAR; their licence is unclear, so they are no part of this
project). Each becomes an mp4 file, or several by --copies, with another hand, place, camera and background each time.
OUT receives the files, train.csv, test.csv, classes.txt and reversal_pairs.csv. With --backgrounds, half of the
training clips have the scenes of a list's videos behind them: the median of each, from which what moves is gone.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from drawn_film import Look, Rng, shake, wander
from drawn_hand import LARGER, Hand
from numpy.typing import NDArray
from PIL import Image
from reversal_pairs import write_table

from gateshift.data.lists.manifest import CLASSES_FILE, REVERSAL_FILE, read_manifest
from gateshift.data.video.files import open_video
from gateshift.demo.pictures import texture
from gateshift.demo.reversal_clips import write_mp4

SIZE_PX = (128, 96)  # width, height
PATH_SIZE = (640, 480)
REVERSE_PAIRS = (("swipe_left", "swipe_right"), ("swipe_down", "swipe_up"))
MIN_FRAMES, MAX_FRAMES = 15, 33  # both included, odd
PHOTOS = ("astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel", "rocket")


def photographs() -> list[Image.Image]:
    """The photographs that come with scikit-image itself, none of which is downloaded."""
    from skimage import data

    pictures = [getattr(data, name)() for name in PHOTOS] + list(data.stereo_motorcycle()[:2])  # type: ignore[no-untyped-call]
    return [Image.fromarray(picture).convert("RGB").resize((512, 384)) for picture in pictures]


def still_pictures(videos: Path) -> list[Image.Image]:
    """The median of a few frames of each video of a list: its scene, mostly without the hand."""
    pictures = []
    for entry in read_manifest(videos).entries:
        with open_video(entry.path) as video:
            frames = video.read(np.linspace(0, video.num_frames - 1, 7).round().astype(int).tolist())
        median = frames.median(0).values.permute(1, 2, 0)  # [H, W, 3]
        pictures.append(Image.fromarray(median.numpy()).resize((256, 192)))
    return pictures


def background(rng: Rng, pictures: list[Image.Image], margin: int) -> Image.Image:
    """A part of a photograph, or a drawn texture: larger than a frame by ``margin`` at each side, and then enlarged."""
    size = (LARGER * (SIZE_PX[0] + 2 * margin), LARGER * (SIZE_PX[1] + 2 * margin))
    if rng.random() < 0.2:
        return texture(rng, size, rng.uniform(0.1, 0.8), 0.4)
    photo = pictures[rng.integers(len(pictures))]
    share = rng.uniform(0.45, 1.0)
    width, height = photo.width * share, photo.height * share
    left, top = rng.uniform(0, 1, 2) * (photo.width - width, photo.height - height)
    part = photo.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    gains, lift = rng.uniform(0.55, 1.2) * rng.uniform(0.85, 1.15, 3), rng.uniform(0, 40)
    table = [min(255, int(value * gain + lift)) for gain in gains for value in range(256)]
    return part.point(table)


def place(rng: Rng, points: NDArray[np.float64], num_frames: int) -> NDArray[np.float64]:
    """Where the finger tip is at each frame, in pixels: a path [points, 2], put somewhere, turned a little: [T, 2].

    The hand rests before and after the gesture, and never quite.
    """
    lead, tail = rng.uniform(0, 0.16, 2) * len(points)
    when = np.linspace(-lead, len(points) - 1 + tail, num_frames).clip(0, len(points) - 1)
    path = np.stack([np.interp(when, np.arange(len(points)), axis) for axis in points.T], 1)
    path = path / PATH_SIZE - 0.5  # in shares of the picture
    turn = rng.normal(0, 0.09)
    turned = path @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    scaled = turned * rng.uniform(0.5, 1.0) * rng.uniform(0.85, 1.15, 2)
    centre = np.array([0.5, 0.45]) + rng.uniform((-0.14, -0.1), (0.14, 0.14)) - scaled.mean(0) * rng.uniform(0, 1)
    drift = rng.uniform(0, 0.03) * wander(rng, num_frames)
    tremble = rng.normal(0, rng.uniform(0.0, 0.006), (num_frames, 2))
    return np.asarray((scaled + centre + drift + tremble) * SIZE_PX)


def draw_gesture(points: NDArray[np.float64], pictures: list[Image.Image], rng: Rng) -> NDArray[np.uint8]:
    """Draw one clip of a path [points, 2] in a picture of 640 x 480: [T, H, W, 3] uint8, T odd, in 15..33."""
    num_frames = 2 * int(rng.integers(MIN_FRAMES // 2, MAX_FRAMES // 2 + 1)) + 1
    tips = place(rng, points, num_frames)
    margin = int(rng.integers(2, 24))
    scene = background(rng, pictures, margin)
    camera = shake(rng, num_frames, margin)
    tips += rng.uniform(0, 0.4) * camera  # the hand moves with the head, the scene does more so
    hand, look = Hand(rng, SIZE_PX), Look(rng, SIZE_PX)
    frames = np.empty((num_frames, SIZE_PX[1], SIZE_PX[0], 3), np.uint8)
    for i in range(num_frames):
        x, y = (LARGER * (margin + camera[i])).round().astype(int).tolist()
        picture = scene.crop((x, y, x + LARGER * SIZE_PX[0], y + LARGER * SIZE_PX[1]))
        hand.draw(picture, tips[i])
        frames[i] = look(picture.reduce(LARGER))
    return frames


def read_paths(file: Path) -> list[dict[str, Any]]:
    """The paths of a .jsonl file, in its order, each gesture once."""
    paths = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [{**path, "points": once(path["points"])} for path in paths]


def once(points: list[list[float]]) -> list[list[float]]:
    """A path whose second half is its first half again, point for point, is one gesture that was written twice.

    So are all 500 of test.jsonl and 45 carets of train.jsonl, and a swipe that goes back is no swipe.
    """
    half = len(points) // 2
    return points[:half] if points[:half] == points[half:] else points


def _first_of_each(paths: list[dict[str, Any]], limit: int | None) -> list[tuple[int, dict[str, Any]]]:
    """Paths with their line numbers from 0, and so many of each class alone."""
    taken: Counter[str] = Counter()
    kept = []
    for line, path in enumerate(paths):
        taken[path["label"]] += 1
        if limit is None or taken[path["label"]] <= limit:
            kept.append((line, path))
    return kept


def write_clips(
    out: Path, paths: Path, *, copies: int, seed: int, limit: int | None = None, backgrounds: Path | None = None
) -> None:
    """Write the clips of both splits and their lists; the lists last.

    A clip that is there already is left as it is, so a run that was stopped goes on. The test split has one copy
    of each path, and photographs alone behind it.
    """
    photos = photographs()
    others = still_pictures(backgrounds) if backgrounds else []
    for number, split in enumerate(("train", "test")):
        rows = []
        found = _first_of_each(read_paths(paths / f"{split}.jsonl"), limit)
        for copy in range(copies if split == "train" else 1):
            for line, path in found:
                name = f"{split}/{path['label']}/{line:05d}_{copy}.mp4"
                rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, copy, line)))
                pictures = others if split == "train" and others and rng.random() < 0.5 else photos
                if not (out / name).exists():
                    write_mp4(out / name, draw_gesture(np.array(path["points"], float), pictures, rng))
                rows.append((name, path["label"]))
        write_table(out / f"{split}.csv", ("path", "label"), rows)
    (out / CLASSES_FILE).write_text("".join(f"{label}\n" for label in sorted({label for _, label in rows})))
    write_table(out / REVERSAL_FILE, ("class", "reversed"), REVERSE_PAIRS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--paths", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="paths of each class and split")
    parser.add_argument("--backgrounds", type=Path)
    given = parser.parse_args()
    write_clips(
        given.out,
        given.paths,
        copies=given.copies,
        seed=given.seed,
        limit=given.limit,
        backgrounds=given.backgrounds,
    )
