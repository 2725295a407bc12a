"""What models run on: memory that a process keeps for the tensors that follow."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import resource, sys
import torch
import gateshift as gs

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

print(gs.keep_freed_memory() if sys.argv[1] == "keep" else None)
before = pages()
for number in range(100):  # 40 MB each, which is more than the C library keeps by itself
    torch.empty(10_000_000).fill_(1.0)
print(pages() - before)
"""


def run(way: str, **environment: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, way]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUN"))}
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_a_tensor_finds_the_memory_that_the_one_before_it_left() -> None:
    pages = {}
    for way in ("keep", "plain"):
        was_kept, pages[way] = run(way)
        assert was_kept == ("True" if way == "keep" else "None")
    assert run("keep", MALLOC_MMAP_THRESHOLD_="4000000")[0] == "False"  # who says how, has it
    assert int(pages["keep"]) < int(pages["plain"]) / 3


LOADING = """
import torch
import gateshift as gs
from gateshift.data.clips.loader import make_loader, read_batches

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 // 10**6

class Resident(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return {"clips": torch.zeros(1, 1, 1, 1), "indices": resident_mb()}

print(gs.keep_freed_memory())
loader = make_loader(Resident(), batch_size=1, workers=1)
for _ in range(2):
    print(*(batch["indices"].item() for batch in read_batches(loader)))
    tensors = [torch.empty(10_000_000).fill_(1.0) for _ in range(10)]  # what a training step leaves
    tensors = []
print(resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_processes_that_load_do_not_hold_on_to_the_memory_of_the_steps_before() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUN"))}
    ended = subprocess.run([sys.executable, "-c", LOADING], env=kept, capture_output=True, text=True, check=True)
    was_kept, first, second, own = ended.stdout.split()
    assert was_kept == "True"
    assert int(second) < int(first) + 100 < int(own)
