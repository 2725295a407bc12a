"""What models run on: memory that a process keeps for the tensors that follow."""

import os
import platform
import subprocess
import sys

import pytest

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
