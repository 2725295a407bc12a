"""Event spotting on drawn videos: networks, heads and contexts at equal steps, on unseen videos, over seeds.

    python benchmarks/spotting/run.py --out spotting_results            # all rows, 3 seeds: for a GPU
    python benchmarks/spotting/run.py --out quick_results --quick       # four rows, 1 seed, small: for a CPU core
    python benchmarks/spotting/run.py --out planned_results --quick --rows planned    # what it is without options

Videos are those of ``gateshift.demo.spot_videos``: six of their eight classes are in pairs that are each other
backwards, so that a network that averages frames cannot tell them. Each row is a training with ``gs.train`` by its own
defaults but for what is named here; what is stopped goes on where it was. ``results.csv`` in the folder has for each
row and seed, of the last weights, the mAP within 0, 1, 2 and 4 frames, after and before suppression; ``pairs``, of the
events that have an answer of their pair within a frame the share whose likeliest one is of the right class; and the mAP
within 40 ms of the same videos, and of them at 12.5 and 60 frames a second and at varying rates (``rates.py``).
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import time
from pathlib import Path
from typing import Any

from rates import score_rates

import gateshift as gs
from gateshift.demo.spot_demo import all_answers, right_of_pairs
from gateshift.demo.spot_videos import write_spot_videos

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
    "e2e-spot": {
        "temporal": "gsm",
        "head": "gru",
        "background": 1.0,
        "rate_jitter": 0.0,
        "whole_frame": False,
        "min_crop_scale": 1.0,
        "color_jitter": 0.2,
        "gates_lr": None,
    },
}
PLANNED = "planned"  # `gateshift train` without options: network, start, size and length are its own
# Videos and trainings of the two sizes of this benchmark.
FULL: dict[str, Any] = {
    "videos": {"train": 24, "val": 8, "test": 8, "duration_s": 60.0},
    "rows": list(ROWS),
    "seeds": [0, 1, 2],
    "training": {"backbone": "regnety_002", "size": 96, "epochs": 30, "warmup_epochs": 3, "epoch_clips": 400},
}
QUICK: dict[str, Any] = {
    "videos": {"train": 24, "val": 1, "test": 6, "duration_s": 30.0},
    "rows": ["none-none", "none-gru", "gsm-none", "gsm-gru"],
    "seeds": [0],
    "training": {
        "backbone": "test_resnet",
        "size": 64,
        "epochs": 24,
        "warmup_epochs": 1,
        "epoch_clips": 128,
        "validate_every": 24,
        "context": 1.28,
        "background": 0.25,
        "lr": 0.004,
        "dropout": 0.0,
        "mixup": 0.0,
        "mirror": "none",
        "min_crop_scale": 1.0,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="few rows, small videos, a small network")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, PLANNED])
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--epoch-clips", type=int)
    parser.add_argument("--backbone")
    parser.add_argument("--weights")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--precision")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    given = ("epochs", "epoch_clips", "backbone", "weights", "workers", "precision")
    training = plan["training"] | {name: getattr(options, name) for name in given if getattr(options, name) is not None}
    options.out.mkdir(parents=True, exist_ok=True)
    videos = options.out / "videos"
    if not videos.exists():
        write_spot_videos(videos, **plan["videos"])
    results: list[dict[str, Any]] = []
    for row in options.rows or plan["rows"]:
        for seed in options.seeds or plan["seeds"]:
            began_s = time.perf_counter()
            found = measure(options.out, training, row, seed)
            minutes = round((time.perf_counter() - began_s) / 60, 1)
            results.append({"row": row, "seed": seed, **found, "minutes": minutes, "cores": num_cores()})
            write_results(results, options.out / "results.csv")
        print_row(row, [each for each in results if each["row"] == row])


def measure(out: Path, training: dict[str, Any], row: str, seed: int) -> dict[str, float]:
    """Train a row with a seed, and test its last weights."""
    videos = out / "videos"
    common = {"whole_frame": True, "context": 4.0, "gates_lr": "auto"}
    given = {} if row == PLANNED else {**common, **training, **ROWS[row]}
    trained = gs.train(
        videos / "train.csv",
        videos / "val.csv",
        out=out / f"{row}-{seed}",
        task="spot",
        seed=seed,
        resume="auto",
        **given,
    )
    model = gs.load_model(trained.folder / "last.safetensors").eval()
    found = gs.evaluate_frames(model, videos / "test.csv")
    before = all_answers(found)
    figures = found.figures()
    figures |= {f"unsuppressed_{each:g}": value for each, value in before["mAP"].items()}
    figures["pairs"] = right_of_pairs(before)
    by_rate = score_rates(model, videos / "test.csv", out)
    figures |= {f"within_40_ms_{name.replace(' ', '_')}": value for name, value in by_rate.items()}
    return figures


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_results(results: list[dict[str, Any]], path: Path) -> None:
    """One line for each training."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(results[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: round(value, 4) if isinstance(value, float) else value for name, value in each.items()}
            for each in results
        )


def print_row(row: str, results: list[dict[str, Any]]) -> None:
    """The means over seeds."""
    names = [name for name in results[0] if name not in ("row", "seed", "minutes", "cores")]
    means = {name: statistics.mean(each[name] for each in results) for name in names}
    print(f"{row}: " + ", ".join(f"{name} {value:.1%}" for name, value in means.items()), flush=True)


if __name__ == "__main__":
    main()
