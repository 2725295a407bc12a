"""Where the time of a training step on a CPU goes: python benchmarks/use/training_profile.py [--csv FILE].

A step is that of `train`: forward, loss, backward and SGD, channels-last, of 2 clips of 8 frames at the network's size,
with gate-shift and without. Given are the shares of the processor's time by torch.profiler, and what gate-shift adds.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections import Counter
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

import gateshift as gs

BACKBONES = ("bninception", "resnet50", "efficientnet_b0")
KINDS = {
    "convolutions": ("convolution", "mkldnn_convolution", "conv2d", "slow_conv", "thnn_conv", "_conv_depthwise"),
    "batch norms": ("batch_norm",),
    "pools": ("pool",),
    "activations": ("threshold", "relu", "silu", "clamp", "sigmoid", "tanh"),
    "sums and products": ("add", "mul", "sub", "sum", "mean", "neg", "div", "addcmul", "lerp"),
    "copies": ("copy", "cat", "contiguous", "clone", "to_copy", "fill", "zero", "pad", "select", "slice", "reorder"),
    "optimizer": ("foreach", "Optimizer", "sgd"),
}
CLIPS, SEGMENTS, ROUNDS = 2, 8, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    gs.keep_freed_memory()  # as the command line does
    rows = []
    for backbone in BACKBONES:
        programs = {temporal: step_of(backbone, temporal) for temporal in ("none", "gsm")}
        times: dict[str, list[float]] = {name: [] for name in programs}
        for number in range(-1, ROUNDS):  # the first warms up
            for name, step in programs.items():
                start_s = time.process_time()
                step()
                if number >= 0:
                    times[name].append(time.process_time() - start_s)
        base_s = statistics.median(times["none"])
        for name, step in programs.items():
            step_s = statistics.median(times[name])
            row = {"network": backbone, "temporal": name, "step_ms": f"{1e3 * step_s:.0f}"}
            rows.append(row | {"over_tsn": f"{step_s / base_s:.3f}"} | shares_of(step))
            print(rows[-1], flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def step_of(backbone: str, temporal: str):
    """A training step of a network with random weights."""
    torch.manual_seed(0)
    model = gs.create_model(backbone, temporal, num_classes=174).to(memory_format=torch.channels_last).train()
    side = model.config.size_px
    clips = torch.randint(0, 256, (CLIPS, SEGMENTS, 3, side, side), dtype=torch.uint8)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        torch.nn.functional.cross_entropy(model(clips), torch.arange(CLIPS)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def shares_of(step) -> dict[str, str]:
    """Shares of a step's time by kind of operator; operators inside others count once."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    times: Counter[str] = Counter()
    for event in found.key_averages():
        kind = next((kind for kind, names in KINDS.items() if any(name in event.key for name in names)), "others")
        times[kind] += event.self_cpu_time_total
    total = sum(times.values())
    return {kind: f"{times[kind] / total:.3f}" for kind in (*KINDS, "others")}


if __name__ == "__main__":
    main()
