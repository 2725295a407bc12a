"""Your clips, one line: what `gateshift train` without options makes of few clips, beside what else can be had.

    python benchmarks/own/run.py OUT DIR ... [--clips 5 10 all] [--seeds 0 1 2] [--methods default probe ...]

Each DIR is a data set: train.csv and val.csv, or clips_train.csv and clips_val.csv, with path,label[,start,end]. OUT
receives the runs and results.csv, a row for each data set, method, number of clips and seed; rows that are there are
not computed again, so the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gateshift as gs
from gateshift.data.clips.dataset import open_entry
from gateshift.data.clips.sampling import segment_indices
from gateshift.data.clips.transforms import resize_square
from gateshift.data.lists.manifest import Manifest, read_manifest
from gateshift.evaluation.metrics import pair_accuracy

BACKBONE = "tf_efficientnet_lite0"
# Classes that motion alone tells apart, where a data set has them.
PAIRS = (
    ("sitdown", "standup"),
    ("lighton", "fanup"),
    ("lightoff", "fandown"),
    ("fanon", "fanoff"),
    ("swipe_left", "swipe_right"),
    ("swipe_up", "swipe_down"),
)
README = f"--recipe papers --backbone {BACKBONE} --size 112 --optimizer adamw --lr 0.0005 --epochs 20 --warmup-epochs 2"
TRAININGS = {
    "default": "",
    "default, imagenet": "--start imagenet",
    "default, motion": "--start motion",
    "default, tsn": "--temporal none",
    "default, tsm": "--temporal tsm",
    "readme": f"{README} --weights imagenet",
    "papers": "--recipe papers --minutes 30",
}
COLUMNS = ("set", "method", "per_class", "seed", "top1", "videos", "in_pairs", "pair_videos", "minutes")


def draw_list(source: Path, per_class: str, seed: int, path: Path) -> Path:
    """A list of so many clips of each class of another one, with whole paths."""
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = []
    for name in sorted({row["label"] for row in rows}):
        own = [row for row in rows if row["label"] == name]
        order = np.random.default_rng((seed, zlib.crc32(name.encode()))).permutation(len(own))
        kept += [own[place] for place in order[: None if per_class == "all" else int(per_class)]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", *(name for name in ("start", "end") if name in rows[0])])
        writer.writeheader()
        for row in kept:
            writer.writerow({name: row[name] for name in writer.fieldnames} | {"path": source.parent / row["path"]})
    return path


def lists_of(folder: Path) -> tuple[Path, Path]:
    """The lists of a data set."""
    kinds = [tuple(folder / f"{start}{part}.csv" for part in ("train", "val")) for start in ("", "clips_")]
    return next((train, val) for train, val in kinds if train.is_file() and val.is_file())


def in_pairs(logits: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """How often a video of a class in a pair is called that rather than the other one."""
    partner = np.arange(len(classes))
    for first, second in (pair for pair in PAIRS if {*pair} <= {*classes}):
        partner[classes.index(first)], partner[classes.index(second)] = classes.index(second), classes.index(first)
    kept = partner[labels] != labels
    if not kept.any():
        return {"in_pairs": "", "pair_videos": 0}
    right = pair_accuracy(logits[kept], labels[kept], partner)
    return {"in_pairs": round(right, 4), "pair_videos": int(kept.sum())}


def train_and_test(words: str, train: Path, val: Path, run: Path, seed: int) -> dict[str, Any]:
    """The figures of the last weights, which nothing was chosen for."""
    gateshift("train", train, val, "--out", run, "--seed", seed, "--resume", "auto", "--probe", "False", *words.split())
    gateshift("test", run / "last.safetensors", val, "--clips", 2, "--scores", run / "val.npz", "--overwrite")
    found = json.loads((run / "val.json").read_text())
    scores = np.load(run / "val.npz")
    pairs = in_pairs(scores["logits"], scores["labels"], scores["classes"].tolist())
    return {"top1": round(found["top1"], 4), "videos": found["num_videos"], **pairs}


def gateshift(*words: object) -> None:
    """Run the command line."""
    subprocess.run([sys.executable, "-m", "gateshift", *map(str, words)], check=True)


def probe(train: Path, val: Path) -> dict[str, Any]:
    """Frozen ImageNet features and a logistic regression."""
    found = gs.probe(train, val, backbone=BACKBONE, size=192)
    return {"top1": round(found.accuracy, 4), "videos": found.num_videos, "in_pairs": "", "pair_videos": ""}


def nearest_neighbor(train: Path, val: Path) -> dict[str, Any]:
    """No learning: gradients of the mean frame, and of the second half less the first, of the nearest clip."""
    lists = [read_manifest(each) for each in (train, val)]
    classes = lists[0].class_names()
    learned, tested = (np.stack([gradients(videos, place) for place in range(len(videos))]) for videos in lists)
    labels, truth = (videos.targets(classes) for videos in lists)
    likeness = tested @ learned.T
    logits = np.stack([likeness[:, labels == index].max(1) for index in range(len(classes))], 1)
    top1 = float((logits.argmax(1) == truth).mean())
    return {"top1": round(top1, 4), "videos": len(truth), **in_pairs(logits, truth, classes)}


def gradients(videos: Manifest, place: int) -> np.ndarray:
    """Histograms of oriented gradients of a clip, of length 1."""
    with open_entry(videos.entries[place], square_pixels=True) as video:
        frames = video.read(segment_indices(video.num_frames, 8).tolist())  # [T, 3, H, W]
    gray = resize_square(frames, 64).float().mean(1).numpy() / 255  # [T, 64, 64]
    both = [oriented(each) for each in (gray.mean(0), gray[4:].mean(0) - gray[:4].mean(0))]
    return np.concatenate(both) / np.sqrt(2)


def oriented(picture: np.ndarray, cell: int = 8, bins: int = 9) -> np.ndarray:
    """How much of each orientation there is in each cell of a picture [H, W], of length 1."""
    down, right = np.gradient(picture)
    strength, angle = np.hypot(down, right), np.arctan2(down, right) % np.pi
    masks = [strength * (np.floor(angle / np.pi * bins).clip(max=bins - 1) == each) for each in range(bins)]
    cells = [mask.reshape(len(picture) // cell, cell, -1, cell).sum((1, 3)) for mask in masks]
    whole = np.sqrt(np.stack(cells)).ravel()
    return whole / (np.linalg.norm(whole) or 1)


def main() -> None:
    """Compute the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--clips", nargs="+", default=["5", "10", "all"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["neighbor", "probe", *TRAININGS])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "results.csv"
    done = set()
    if table.exists():
        with table.open(newline="") as file:
            done = {tuple(row[name] for name in COLUMNS[:4]) for row in csv.DictReader(file)}
    else:
        table.write_text(",".join(COLUMNS) + "\n")
    for folder, per_class, seed, method in (
        (folder, per_class, seed, method)
        for folder in options.folders
        for per_class in options.clips
        for seed in options.seeds
        for method in options.methods
        if (folder.name, method, per_class, str(seed)) not in done
    ):
        train, val = lists_of(folder)
        train = draw_list(train, per_class, seed, options.out / "lists" / folder.name / f"train_{per_class}_{seed}.csv")
        run = options.out / folder.name / f"{method.replace(', ', '_')}_{per_class}_{seed}"
        methods: dict[str, Callable[[], dict[str, Any]]] = {
            "neighbor": lambda train=train, val=val: nearest_neighbor(train, val),
            "probe": lambda train=train, val=val: probe(train, val),
        }
        began = time.monotonic()
        found = methods[method]() if method in methods else train_and_test(TRAININGS[method], train, val, run, seed)
        row = {"set": folder.name, "method": method, "per_class": per_class, "seed": seed, **found}
        with table.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row | {"minutes": round((time.monotonic() - began) / 60, 1)})
        print(row, flush=True)


if __name__ == "__main__":
    main()
