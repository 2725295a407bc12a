"""What one test found, as lines of three CSV files: results, confusions within pairs, and curves."""

import csv
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from gateshift.evaluation.metrics import confusion, pair_accuracy
from gateshift.evaluation.scores import Scores

Line = dict[str, object]
Pairs = list[tuple[str, str]]
WHERE = ("cores", "cpu", "gpu", "torch")
FOUND = ("right", "of", "top1", "within_pairs", "pair_clips", "called_opposite", "protocol")
RESULTS = ["table", "row", "seed", "test", *FOUND, "train_minutes", *WHERE, "words"]
CONFUSIONS = ["table", "row", "seed", "test", "label", "called", "count"]
CURVES = ["table", "row", "seed", "epoch", "loss", "accuracy", "val_top1"]


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> Line:
    """Cores, processor, GPU and torch of this machine."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {"cores": num_cores(), "cpu": cpu, "gpu": gpu, "torch": torch.__version__}


def read_pairs(file: Path) -> Pairs:
    """The classes that are each other reversed, of a reversal_pairs.csv; none if there is no such file."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as opened:
        return [(row["class"], row["reversed"]) for row in csv.DictReader(opened)]


def measure(scores: Scores, pairs: Pairs) -> Line:
    """Counts and shares of one test; ``within_pairs`` looks at the two classes of a pair alone."""
    right = int((scores.logits.argmax(1) == scores.labels).sum())
    found: Line = {"right": right, "of": len(scores.ids), "top1": round(right / len(scores.ids), 4)}
    index = {name: i for i, name in enumerate(scores.classes)}
    partner = np.arange(len(index))
    for first, second in pairs:  # a class may be its own reversal
        partner[index[first]], partner[index[second]] = index[second], index[first]
    paired = partner[scores.labels] != scores.labels
    if paired.any():
        logits, labels = scores.logits[paired], scores.labels[paired]
        found["within_pairs"] = round(pair_accuracy(logits, labels, partner), 4)
        found["pair_clips"] = int(paired.sum())
        found["called_opposite"] = int((logits.argmax(1) == partner[labels]).sum())
    return {**found, "protocol": scores.protocol}


def pair_confusions(scores: Scores, pairs: Pairs) -> list[Line]:
    """How often each class of a pair was called itself, and the other."""
    counts = confusion(scores.logits, scores.labels)
    index = {name: i for i, name in enumerate(scores.classes)}
    return [
        {"label": label, "called": called, "count": int(counts[index[label], index[called]])}
        for pair in pairs
        if pair[0] != pair[1]
        for label in pair
        for called in pair
    ]


def read_lines(file: Path) -> list[dict[str, str]]:
    """The lines of a CSV; none if there is no such file."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def append_lines(file: Path, columns: list[str], lines: Iterable[Mapping[str, object]]) -> None:
    """Add lines to a CSV, and its first line if it is new."""
    is_new = not file.is_file()
    with file.open("a", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, fieldnames=columns, restval="", lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(lines)
