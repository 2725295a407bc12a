"""Peak memory of a training step in the release's order, in ours, and with activation checkpointing; see README.md."""

import argparse
import csv
import itertools
import os
import subprocess
import sys
from pathlib import Path

import torch
from run import NETWORKS, in_released_order, network, random_clips

from gateshift.model.classifier import VideoClassifier
from gateshift.model.stand_ins.activation_checkpointing import checkpoint_blocks

CLIPS = 4
KINDS = ("release", "ours", "checkpointed")
FIELDS = ["network", "kind", "malloc_threshold", "mb", "share_of_release"]
# glibc keeps freed memory in pieces of up to 32 MB, and what lies between tensors then counts as used.
MALLOC = {"default": {}, "4 MB": {"MALLOC_MMAP_THRESHOLD_": "4000000"}}


def peak_bytes() -> int:
    """The most memory that this process had at once since the last ``start_again``."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def start_again() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def growth_of_a_step(name: str, kind: str) -> int:
    """By how much a second step grows the memory over what the process has before its forward pass."""
    model = network(name)
    model = in_released_order(model) if kind == "release" else model.to(memory_format=torch.channels_last)
    if kind == "checkpointed":
        checkpoint_blocks(model.backbone)
    model.train()
    step(model, 1)  # gradients have their place
    start_again()
    before = peak_bytes()
    step(model, CLIPS)
    return peak_bytes() - before


def step(model: VideoClassifier, count: int) -> None:
    torch.nn.functional.cross_entropy(model(random_clips(model, count)), torch.arange(count)).backward()


def in_a_process(name: str, kind: str, variables: dict[str, str]) -> int:
    """:func:`growth_of_a_step` in a process of its own, as an allocator keeps what it has had."""
    code = f"import memory; print(memory.growth_of_a_step({name!r}, {kind!r}))"
    environment, folder = {**os.environ, **variables}, Path(__file__).parent
    command = [sys.executable, "-c", code]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, cwd=folder).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.csv")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    given = parser.parse_args()
    with given.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for name, (malloc, variables) in itertools.product(given.networks, MALLOC.items()):
            sizes = {kind: in_a_process(name, kind, variables) for kind in KINDS}
            for kind, size in sizes.items():
                writer.writerow([name, kind, malloc, f"{size / 1e6:.0f}", f"{size / sizes['release']:.2f}"])
            file.flush()


if __name__ == "__main__":
    main()
