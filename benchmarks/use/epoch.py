"""An epoch over clips listed in long recordings, beside the same clips cut out: python benchmarks/use/epoch.py FOLDER.

FOLDER receives 20 recordings of 30 minutes, 100 clips of 2 s listed in each, the same clips as 2,000 files, and
epoch.csv. The epochs are those of a training: 8 random frames of each clip, augmented to 224 px, in a random order, by
one worker. Times are those of the processor, of both processes, so that other work on the machine counts little. The
worker's memory (PSS, what is its own and its share of the rest) is taken after each tenth
of an epoch. Then a small network is trained from the recordings, with the index that is kept and without, and from the
clips cut out; its weights are compared bit for bit.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import statistics
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch
from recordings import CLIP_S, cut_out, key_frames_s, repeat, write_minute

import gateshift as gs
from gateshift.data.clips.dataset import Augmentation, TrainingClips
from gateshift.data.clips.loader import EpochShuffle, make_loader, read_batches
from gateshift.data.lists.index_folder import INDEX_FOLDER
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.prepare.frames import find_frames

RECORDINGS, MINUTES, PER_RECORDING = 20, 30, 100
NAME = "b-frames.mp4"
SMALL = {
    "recipe": "papers",
    "backbone": "test_resnet",
    "size": 64,
    "segments": 4,
    "epochs": 1,
    "warmup_epochs": 0,
    "batch_size": 8,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lists = write_lists(options.folder)
    seconds: dict[str, list[float]] = {name: [] for name in lists}
    memory: dict[str, list[int]] = {}
    for number in range(options.rounds):
        for name, source in lists.items():
            taken_s, memory[name] = run_epoch(source, number)
            seconds[name].append(taken_s)
            print(name, f"{taken_s:.1f} s, MB: {memory[name]}", flush=True)
    rows = []
    for name in lists:
        ratios = [one / other for one, other in zip(seconds[name], seconds["cut out"], strict=True)]
        row = {"clips": name, "epoch_cpu_s": f"{statistics.median(seconds[name]):.1f}"}
        row |= {"over_cut_out": f"{statistics.median(ratios):.3f}"}
        rows.append(row | {"worker_mb_first": memory[name][0], "worker_mb_last": memory[name][-1]})
    weights = {name: train_small(options.folder, name, source) for name, source in lists.items()}
    for row in rows:
        row["same_weights"] = all(map(torch.equal, weights[row["clips"]], weights["cut out"]))
        print(row)
    with (options.folder / "epoch.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_lists(folder: Path) -> dict[str, Path]:
    """The lists of the same clips: in files of their own, in recordings with their indices kept, and without."""
    lists = {name: folder / name.replace(" ", "_") for name in ("cut out", "recordings", "recordings, no index kept")}
    for place in lists.values():
        place.mkdir(parents=True, exist_ok=True)
    minute = write_minute(folder / f"1-{NAME}")
    keys = key_frames_s(minute)
    starts = [start_s for start_s in keys if start_s < 60 - CLIP_S]
    cuts = [cut_out(minute, folder / f"cut-{number}-{NAME}", start_s) for number, start_s in enumerate(starts)]
    rows: dict[str, list[str]] = {name: [] for name in lists}
    index = lists["recordings"] / INDEX_FOLDER
    for recording in range(RECORDINGS):
        path = repeat(minute, folder / f"{recording}-{MINUTES}-{NAME}", MINUTES)
        all_keys = key_frames_s(path)
        for number in range(PER_RECORDING):
            place, which = 7 * number % MINUTES, (3 * number + recording) % len(starts)
            start_s, label = all_keys[place * len(keys) + which], f"class{which % 4}"
            row = f"{path.resolve()},{label},{start_s:.3f},{start_s + CLIP_S:.3f}"
            for name in ("recordings", "recordings, no index kept"):
                rows[name].append(row)
            alone = lists["cut out"] / f"{recording}-{number}.mp4"
            if not alone.exists():
                shutil.copy(cuts[which], alone)
            rows["cut out"].append(f"{alone.name},{label},0,{CLIP_S:.3f}")
        if not index.is_dir() or len(list(index.iterdir())) < RECORDINGS:
            find_frames(path, [(0.0, 1.0)], index_folder=index)  # as prepare does
    for name, place in lists.items():
        text = "\n".join(["path,label,start,end", *rows[name], ""])
        lists[name] = place / "list.csv"
        lists[name].write_text(text)
    return lists


def run_epoch(source: Path, number: int) -> tuple[float, list[int]]:
    """Processor seconds of an epoch, and the megabytes of its worker after each tenth."""
    manifest = read_manifest(source)
    classes = manifest.class_names()
    augmentation = Augmentation(224, 8, torch.arange(len(classes)), torch.ones(len(classes), dtype=torch.bool))
    clips = TrainingClips(manifest, classes, augmentation, seed=0)
    order = EpochShuffle(len(clips), seed=0)
    clips.epoch = order.epoch = number
    loader = make_loader(clips, batch_size=8, workers=1, sampler=order)
    tenth, memory = len(loader) // 10, []
    start_s = sum(os.times()[:4])
    for place, batch in enumerate(read_batches(loader), start=1):
        assert not batch["failures"], batch["failures"]
        if place % tenth == 0 and place < len(loader):  # then the worker is still there
            memory.append(worker_mb())
    return sum(os.times()[:4]) - start_s, memory  # that of the worker counts now that it has ended


def worker_mb() -> int:
    return round(sum(child.memory_full_info().pss for child in psutil.Process().children()) / 2**20)


def train_small(folder: Path, name: str, source: Path) -> Iterable[torch.Tensor]:
    """The weights of a small training on some of the clips."""
    place = source.parent
    lines = source.read_text().splitlines()
    for part, taken in (("train", lines[1::40]), ("val", lines[2::200])):
        (place / f"{part}.csv").write_text("\n".join([lines[0], *taken, ""]))
    run = folder / f"run-{re.sub('[^a-z]', '', name)}"
    shutil.rmtree(run, ignore_errors=True)
    result = gs.train(place / "train.csv", place / "val.csv", out=run, workers=1, **SMALL)
    return result.model.state_dict().values()


if __name__ == "__main__":
    main()
