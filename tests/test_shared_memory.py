"""A full /dev/shm ends in one line and exit code 2 within seconds, with no process left."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = ["--backbone", "test_resnet", "--size", "64", "--segments", "8", "--batch-size", "4", "--epochs", "1"]
SMALL += ["--recipe", "papers"]
SIZES_KIB = (4, 64, 220, 700)
LONGEST_S = 240  # on a busy machine; most of which is the import of torch


def run_with_shared_memory(kib: int, words: list[str]) -> subprocess.CompletedProcess[str]:
    """A command where /dev/shm has so many KiB, for itself alone; fails if it leaves a process behind."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("no mount namespaces here")
    mount = f"mount -t tmpfs -o size={kib}k tmpfs /dev/shm"
    tried = subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no small /dev/shm can be mounted here: {tried.stderr.strip()}")
    command = f"{mount} && exec {shlex.join([sys.executable, *words])}"
    started = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = started.communicate(timeout=LONGEST_S)
        with pytest.raises(ProcessLookupError):  # the group is empty
            os.killpg(started.pid, 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(words, started.returncode, out, err)


# One process for all sizes, as starting torch takes longest.
EVERY_SIZE = """
import json, subprocess, sys
from gateshift.cli.main import main

if __name__ == "__main__":  # loading processes import this file
    for kib, words in json.loads(sys.argv[1]):
        code = 0
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", "/dev/shm"], check=True)
        try:
            main(words)
        except SystemExit as end:
            code = end.code
        print(f"{kib} KiB: {code}", file=sys.stderr, flush=True)
"""


def test_training_with_too_little_shared_memory_is_one_line(clips: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(EVERY_SIZE)
    lists = [str(clips / "train.csv"), str(clips / "val.csv")]
    words = ["train", *lists, *SMALL, "--warmup-epochs", "0", "--workers", "2", "--out"]
    commands = [(kib, [*words, str(tmp_path / f"run{kib}")]) for kib in SIZES_KIB]
    ended = run_with_shared_memory(max(SIZES_KIB), [str(program), json.dumps(commands)])
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr and "ignored" not in ended.stderr
    lines = ended.stderr.splitlines()
    for kib in SIZES_KIB:
        assert f"{kib} KiB: 2" in lines, ended.stderr
        last = lines[lines.index(f"{kib} KiB: 2") - 1]
        assert last.startswith("gateshift: the memory that processes share is full")
        assert "MB free in /dev/shm; " in last and ("--workers 0" in last or "`workers=0`" in last)


def test_an_error_in_a_loading_process_ends_the_program_and_its_processes(tmp_path: Path) -> None:
    """Whatever the error is, a defect of ours or of a user's data set, and though another process hangs."""
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "from gateshift.data.clips.loader import make_loader, read_batches\n"
        "class Broken:\n"
        "    def __len__(self):\n"
        "        return 10\n"
        "    def __getitem__(self, index):\n"
        "        if index:\n"
        "            time.sleep(3600)\n"
        "        raise ValueError('an error of its own')\n"
        "for batch in read_batches(make_loader(Broken(), batch_size=1, workers=2)):\n"
        "    pass\n"
    )
    ended = run_with_shared_memory(100_000, [str(program)])
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("ValueError: an error of its own")
