"""The start that knows motion against ImageNet's, on real clips of other people's: few of each class, and all.

    python benchmarks/own/motion_start.py DATA OUT [--kinds none probe train] [--sets ...] [--shots 5 all] [--seeds 0]

DATA has the folders egogestar, smart_home and topview, each with its lists (no clip of them is part of this project).
OUT receives the lists and the runs, and the CSV beside this file a row for each figure; rows that are there are kept.

    none    no real clip at all: what the start's own classifier of drawn movements calls EgoGestAR's gestures
    probe   features of 8 frames, frozen; their mean over time, their spread and their trend; logistic regression
    train   the same number of steps from each start, the same options, the last weights, one clip and the whole frame
"""

import argparse
import csv
import math
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import gateshift as gs
from gateshift.data.clips.sampling import segment_indices
from gateshift.data.lists.entries import Entry
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.video.files import open_video
from gateshift.evaluation.scores import load_scores
from gateshift.model.motion_start import FILE

RESULTS = Path(__file__).with_name("motion_start.csv")
BACKBONE, NUM_FRAMES, PROBE_PX = "tf_efficientnet_lite0", 8, 112
LISTS = {"egogestar": ("train", "val"), "smart_home": ("train", "val"), "topview": ("clips_train", "clips_val")}
# Classes that motion alone tells apart.
PAIRS = {
    "egogestar": (("swipe_left", "swipe_right"), ("swipe_up", "swipe_down")),
    "smart_home": (("lighton", "fanup"), ("lightoff", "fandown"), ("fanon", "fanoff")),
    "topview": (("sitdown", "standup"),),
}
DRAWN = {f"swipe_{way}": f"move_{way}" for way in ("left", "right", "up", "down")}
STEPS, BATCH = 60, 8
OPTIONS = {
    "recipe": "papers",
    "backbone": BACKBONE,
    "segments": NUM_FRAMES,
    "size": 80,
    "whole_frame": True,
    "dropout": 0.2,
    "schedule": "cosine-step",
    "batch_size": BATCH,
    "optimizer": "adamw",
    "lr": 5e-4,
    "new_layers_lr": 4.0,
    "gates_lr": 0.4,
    "weight_decay": 0.02,
    "label_smoothing": 0.1,
    "mirror": "pairs",
    "color_jitter": 0.3,
    "min_crop_scale": 0.875,
    "workers": 0,
}
Row = dict[str, str | int | float]


def lists(data: Path, name: str, shots: str, seed: int, out: Path) -> tuple[Path, Path]:
    """The training list with so many clips of each class, drawn by the seed, and the validation list."""
    train, val = (data / name / f"{split}.csv" for split in LISTS[name])
    with train.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    taken: dict[str, int] = {}
    chosen = []
    for row in (rows[i] for i in order):
        taken[row["label"]] = taken.get(row["label"], 0) + 1
        if shots == "all" or taken[row["label"]] <= int(shots):
            chosen.append({**row, "path": str(train.parent.resolve() / row["path"])})
    target = out / f"{name}_{shots}_seed{seed}.csv"
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)
    return target, val


def score(name: str, logits: NDArray[np.float64], labels: list[str], classes: list[str]) -> Row:
    """Right answers, and how many clips of the pairs have more of their class than of the other one of the pair."""
    truth = np.array([classes.index(label) for label in labels])
    other = {classes.index(a): classes.index(b) for pair in PAIRS[name] for a, b in (pair, pair[::-1])}
    paired = [i for i, label in enumerate(truth) if label in other]
    within = sum(logits[i, truth[i]] > logits[i, other[truth[i]]] for i in paired)
    right = int((logits.argmax(1) == truth).sum())
    return {
        "right": right,
        "of": len(truth),
        "top1": round(right / len(truth), 4),
        "within_pairs": int(within),
        "pair_clips": len(paired),
    }


def read_clip(entry: Entry, size_px: int) -> torch.Tensor:
    """The middle frames of 8 equal parts, squashed: [8, 3, S, S] uint8."""
    with open_video(entry.path, start_s=entry.start_s, end_s=entry.end_s) as video:
        frames = video.read(segment_indices(video.num_frames, NUM_FRAMES).tolist()).float()
    return (
        torch.nn.functional.interpolate(frames, (size_px, size_px), mode="bilinear", antialias=True)
        .round()
        .clamp(0, 255)
        .byte()
    )


def no_clips(data: Path) -> Row:
    """EgoGestAR's validation clips by the classifier of drawn movements."""
    model = gs.load_model(FILE)
    val = read_manifest(data / "egogestar" / "val.csv")
    classes = sorted({str(entry.label) for entry in val.entries})
    columns = [model.classes.index(f"drawn: {DRAWN.get(name, name)}") for name in classes]
    with torch.inference_mode():
        logits = torch.cat([model(read_clip(entry, model.config.size_px)[None]) for entry in val.entries])
    return score("egogestar", logits[:, columns].numpy(), [str(entry.label) for entry in val.entries], classes)


class Probe:
    """Frozen features of every clip, computed once for each start."""

    def __init__(self, model: gs.VideoClassifier) -> None:
        self.model, self.known = model.eval(), {}

    def features(self, entry: Entry) -> NDArray[np.float32]:
        """Mean over time, spread, and trend, of the features of 8 frames: [3 F]."""
        if entry.video_id not in self.known:
            with torch.inference_mode():
                frames = self.model.frame_features(read_clip(entry, PROBE_PX)[None])  # [8, F]
            trend = frames[NUM_FRAMES // 2 :].mean(0) - frames[: NUM_FRAMES // 2].mean(0)
            self.known[entry.video_id] = torch.cat([frames.mean(0), frames.std(0), trend]).numpy()
        return self.known[entry.video_id]

    def test(self, name: str, train: Path, val: Path) -> Row:
        """Fit on one list and test on the other."""
        sides = []
        for each in (train, val):
            entries = read_manifest(each).entries
            sides.append(
                (np.stack([self.features(entry) for entry in entries]), [str(entry.label) for entry in entries])
            )
        (x, y), (x_val, y_val) = sides
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(x, y)
        return score(name, fitted.decision_function(x_val), y_val, list(fitted.classes_))


def trained(name: str, train: Path, val: Path, run: Path, start: str, temporal: str, seed: int) -> Row:
    """The same number of steps from a start."""
    epochs = max(1, round(STEPS * BATCH / len(read_manifest(train).entries)))
    began = time.monotonic()
    options = {**OPTIONS, "start": start, "temporal": temporal}
    options |= {"epochs": epochs, "warmup_epochs": min(2, epochs - 1)}
    if temporal != "gsm":
        del options["gates_lr"]
    gs.train(train, val, out=run, seed=seed, validate_every=epochs, **options)
    minutes = (time.monotonic() - began) / 60
    gs.evaluate(run / "last.safetensors", val, scores=run / "val.npz", clips=1, workers=0)
    found = load_scores(run / "val.npz")
    classes = list(found.classes)
    labels = [classes[label] for label in found.labels]
    steps = epochs * math.ceil(len(read_manifest(train).entries) / BATCH)
    return {**score(name, found.logits, labels, classes), "steps": steps, "minutes": round(minutes, 1)}


FIELDS = (
    "kind",
    "set",
    "shots",
    "start",
    "temporal",
    "seed",
    "right",
    "of",
    "top1",
    "within_pairs",
    "pair_clips",
    "steps",
    "minutes",
)


def record(row: Row) -> None:
    """Append a row to the results."""
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=FIELDS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(" ".join(str(value) for value in row.values()), flush=True)


def is_done(key: Row) -> bool:
    """Whether there is a row with these values."""
    if not RESULTS.exists():
        return False
    with RESULTS.open(newline="", encoding="utf-8") as file:
        return any(all(row[name] == str(value) for name, value in key.items()) for row in csv.DictReader(file))


def main(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    if "none" in given.kinds:
        record({**key_of("none", "egogestar", 0, "motion", "gsm", 0), **no_clips(given.data)})
    for start in given.starts if "probe" in given.kinds else ():
        temporal = "gsm" if start == "motion" else "none"
        probe = Probe(gs.create_model(BACKBONE, temporal, num_classes=1, weights=start, size_px=PROBE_PX))
        for name, shots, seed in product(given.sets, given.shots, given.seeds):
            key = key_of("probe", name, shots, start, temporal, seed)
            if (shots != "all" or seed == given.seeds[0]) and not is_done(key):  # all clips can be drawn in one way
                record({**key, **probe.test(name, *lists(given.data, name, shots, seed, given.out))})
    rows = product(given.seeds, given.shots, given.sets, given.starts, given.temporal) if "train" in given.kinds else ()
    for seed, shots, name, start, temporal in rows:
        key = key_of("train", name, shots, start, temporal, seed)
        if not is_done(key):
            run = given.out / "_".join(str(value) for value in key.values())
            train, val = lists(given.data, name, shots, seed, given.out)
            record({**key, **trained(name, train, val, run, start, temporal, seed)})


def key_of(kind: str, name: str, shots: str | int, start: str, temporal: str, seed: int) -> Row:
    """What a row is of."""
    return {"kind": kind, "set": name, "shots": shots, "start": start, "temporal": temporal, "seed": seed}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["none", "probe", "train"])
    parser.add_argument("--sets", nargs="+", default=list(LISTS))
    parser.add_argument("--shots", nargs="+", default=["5", "all"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--starts", nargs="+", default=["imagenet", "motion"])
    parser.add_argument("--temporal", nargs="+", default=["gsm"])
    main(parser.parse_args())
