"""A full /dev/shm ends in one line and exit code 2 within seconds, with no process left."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

SMALL = ["--backbone", "test_resnet", "--size", "64", "--segments", "8", "--batch-size", "4", "--epochs", "1"]
LONGEST_S = 60  # most of which is the import of torch


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


@pytest.mark.parametrize("kib", [4, 64, 220, 700])
def test_training_with_too_little_shared_memory_is_one_line(clips: Path, tmp_path: Path, kib: int) -> None:
    lists = [str(clips / "train.csv"), str(clips / "val.csv")]
    words = ["-m", "gateshift", "train", *lists, "--out", str(tmp_path / "run"), *SMALL, "--warmup-epochs", "0"]
    ended = run_with_shared_memory(kib, [*words, "--workers", "2"])
    assert ended.returncode == 2, ended.stderr
    *_, last = ended.stderr.splitlines()
    assert last.startswith("gateshift: the memory that processes share is full")
    assert "MB free in /dev/shm; " in last and ("--workers 0" in last or "`workers=0`" in last)
    assert "Traceback" not in ended.stderr and "ignored" not in ended.stderr


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
