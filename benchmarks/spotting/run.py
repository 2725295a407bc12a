"""Event spotting on drawn videos: networks, heads and contexts at equal steps, on unseen videos, over seeds.

    python benchmarks/spotting/run.py --out spotting_results
    python benchmarks/spotting/run.py --out quick --train 4 --test 2 --duration 12 --epochs 4 --rows gsm-gru none-none

Videos are those of ``gateshift.demo.spot_videos``: six of their eight classes are in pairs that are each other
backwards, so that a network that averages frames cannot tell them. Each row is a training with ``gs.train`` by its own
defaults but for what is named here; what is stopped goes on where it was. ``results.json`` in the folder has for each
row and seed the mAP within 0, 1, 2 and 4 frames, after and before suppression; ``pairs``, of the events that have an
answer of their pair within a frame the share whose likeliest one is of the right class; and the mAP within 40 ms of
the same videos at 12.5 and 60 frames a second and at a varying rate.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import gateshift as gs
from gateshift.demo.spot_scenes import SPOT_PAIRS
from gateshift.demo.spot_videos import write_at_rate, write_spot_videos

# Network and head, and the context in seconds.
ROWS: dict[str, dict[str, Any]] = {
    "none-none": {"temporal": "none", "head": "none"},
    "none-gru": {"temporal": "none", "head": "gru"},
    "tsm-gru": {"temporal": "tsm", "head": "gru"},
    "gsm-none": {"temporal": "gsm", "head": "none"},
    "gsm-gru": {"temporal": "gsm", "head": "gru"},
    "gsm-forward": {"temporal": "gsm", "head": "gru-forward"},
    "gsm-tcn": {"temporal": "gsm", "head": "tcn"},
    "gsf-gru": {"temporal": "gsf", "head": "gru"},
    "gsm-gru-1s": {"temporal": "gsm", "head": "gru", "context": 1.0},
    # As E2E-Spot trains: clips drawn anywhere, labels of one frame, random crops of the full height.
    "e2e-spot": {"temporal": "gsm", "head": "gru", "background": 1.0, "min_crop_scale": 1.0, "color_jitter": 0.2},
}
RATES = {"12.5": 12.5, "60": 60.0, "variable": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", type=int, default=24)
    parser.add_argument("--test", type=int, default=8)
    parser.add_argument("--duration", type=float, default=60.0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--epoch-clips", type=int, default=400)
    parser.add_argument("--backbone", default="regnety_002")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--precision", default="no")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    videos = options.out / "videos"
    if not videos.exists():
        write_spot_videos(videos, train=options.train, val=options.test, test=options.test, duration_s=options.duration)
    for name, fps in RATES.items():
        if not (options.out / f"videos_{name}").exists():
            write_at_rate(videos / "test.csv", options.out / f"videos_{name}", fps=fps)
    results = {}
    for row in options.rows:
        for seed in options.seeds:
            results[f"{row}, seed {seed}"] = measure(options, videos, row, seed)
            (options.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        print_row(row, [results[f"{row}, seed {seed}"] for seed in options.seeds])


def measure(options: argparse.Namespace, videos: Path, row: str, seed: int) -> dict[str, float]:
    """Train a row with a seed, and test it."""
    run = options.out / f"{row}-{seed}"
    trained = gs.train(
        videos / "train.csv",
        videos / "val.csv",
        out=run,
        task="spot",
        backbone=options.backbone,
        weights=options.weights,
        size=options.size,
        whole_frame=row != "e2e-spot",
        epochs=options.epochs,
        warmup_epochs=options.epochs // 10,
        epoch_clips=options.epoch_clips,
        workers=options.workers,
        precision=options.precision,
        seed=seed,
        resume="auto",
        **{"context": 4.0, **ROWS[row]},
    )
    found = gs.evaluate_frames(trained.model, videos / "test.csv")
    assert found.unsuppressed is not None
    figures = found.figures()
    figures |= {f"unsuppressed_{each:g}": value for each, value in found.unsuppressed["mAP"].items()}
    figures["pairs"] = right_of_pairs(found.unsuppressed)
    for name in RATES:
        other = gs.evaluate_frames(
            trained.model, options.out / f"videos_{name}" / "test.csv", fps=1000.0, tolerances=(40,)
        )
        figures[f"within_40_ms_{name}"] = other.figures()["map_40"]
    figures["within_40_ms_25"] = gs.evaluate_frames(
        trained.model, videos / "test.csv", fps=1000.0, tolerances=(40,)
    ).figures()["map_40"]
    return figures


def right_of_pairs(scores: gs.EventScores) -> float:
    """Of events with an answer of their pair within a frame, the share whose likeliest one is of their class."""
    other = {one: two for pair in SPOT_PAIRS for one, two in (pair, pair[::-1])}
    answers = scores.compared.answers.by_video()
    right, total = 0, 0
    for event in scores.compared.truth.events:
        if event.label not in other:
            continue
        near = [
            answer
            for answer in answers.get(event.video, [])
            if answer.label in (event.label, other[event.label]) and abs(answer.frame - event.frame) <= 1
        ]
        if near:
            total += 1
            right += max(near, key=lambda answer: answer.score or 0).label == event.label
    return right / max(total, 1)


def print_row(row: str, results: list[dict[str, float]]) -> None:
    """The means over seeds."""
    means = {name: statistics.mean(each[name] for each in results) for name in results[0]}
    print(f"{row}: " + ", ".join(f"{name} {value:.1%}" for name, value in means.items()), flush=True)


if __name__ == "__main__":
    main()
