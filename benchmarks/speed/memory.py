"""Peak memory of a training step, with activation checkpointing and without. Usage: memory.py [NETWORK ...]"""

import subprocess
import sys
from pathlib import Path

import torch
from run import NETWORKS, network, random_clips

from gateshift.model.checkpointing import checkpoint_blocks

CLIPS = 4


def peak_bytes() -> int:
    """The most memory that this process had at once since the last ``start_again``."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def start_again() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def growth_of_a_step(name: str, *, checkpointed: bool) -> int:
    """By how much a second step grows the memory over what the process has before its forward pass."""
    model = network(name).to(memory_format=torch.channels_last).train()
    if checkpointed:
        checkpoint_blocks(model.backbone)
    clips, labels = random_clips(model, CLIPS), torch.arange(CLIPS)
    torch.nn.functional.cross_entropy(
        model(random_clips(model, 1)), labels[:1]
    ).backward()  # gradients have their place
    start_again()
    before = peak_bytes()
    torch.nn.functional.cross_entropy(model(clips), labels).backward()
    return peak_bytes() - before


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(growth_of_a_step(sys.argv[2], checkpointed=sys.argv[3] == "checkpointed"))
        return
    for name in sys.argv[1:] or NETWORKS:
        sizes = {}
        for kind in ("plain", "checkpointed"):  # each in a process of its own, as an allocator keeps what it has had
            command = [sys.executable, __file__, "--one", name, kind]
            sizes[kind] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        share = sizes["checkpointed"] / sizes["plain"]
        print(f"{name}: {sizes['plain'] / 1e6:.0f} MB, checkpointed {sizes['checkpointed'] / 1e6:.0f} MB, {share:.2f}")


if __name__ == "__main__":
    main()
