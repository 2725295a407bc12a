"""Several processes on a CPU: they train and test as one process does, and the death of one ends the run."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gateshift.cli.main import main
from gateshift.evaluation.scores import load_scores
from gateshift.training.run_folder import RunFolder

pytestmark = pytest.mark.slow

COUNTS = (1, 3, 5, 7)  # videos of a test; none is a multiple of 2 or 4 processes
SMALL = [
    "--size",
    "32",
    "--segments",
    "4",
    "--batch-size",
    "4",
    "--workers",
    "0",
    "--warmup-epochs",
    "0",
    "--dropout",
    "0",
    "--recipe",
    "papers",
]
TRAININGS = {
    # Without batch norm, every update is that of one process.
    "plain": "--backbone test_convnext --temporal tsm --epochs 3 --lr 0.1 --ema 0.5",
    # With batch norm, every update for as long as it is frozen.
    "frozen": "--backbone test_resnet --temporal tsm --epochs 2 --lr 0.5 --freeze-epochs 1",
    # Batch norms, in the gates too, that see the clips of their own process.
    "gates": "--backbone test_resnet --temporal gsm --epochs 1 --partial-bn",
}
# Starting torch in each process takes longest, so that one launch does all commands.
EVERY_COMMAND = """
import json, sys
from gateshift.cli.main import main

for words in json.loads(sys.argv[1]):
    main(words)
"""


@dataclass(frozen=True)
class Outcome:
    """What the commands of :func:`commands_for` wrote, and what they said on stderr."""

    folder: Path
    said: str

    def epochs(self, training: str) -> list[dict[str, float]]:
        return RunFolder(self.folder / training).read_log()


def commands_for(lists: Path, clips: Path, folder: Path, model: Path) -> list[list[str]]:
    """Command lines that train each of ``TRAININGS``, and test a model on each number of videos."""
    root = ["--root", str(clips)]
    files = [str(lists / "train.csv"), str(lists / "val.csv")]
    commands = [
        ["train", *files, *root, "--out", str(folder / name), *SMALL, *words.split()]
        for name, words in TRAININGS.items()
    ]
    for count in COUNTS:
        tested = [str(model), str(lists / f"{count}.csv"), *root]
        scores = ["--scores", str(folder / f"{count}.npz")]
        commands.append(["test", *tested, "--clips", "2", "--batch-size", "4", "--workers", "0", *scores])
    return commands


@pytest.fixture(scope="module")
def lists(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of the videos of eight classes: two whole batches to learn from, a number of others to test."""
    folder = tmp_path_factory.mktemp("lists")

    def write(name: str, source: str, count: int) -> None:
        with (clips / source).open(newline="") as file:
            rows = list(csv.reader(file))[: 1 + count]
        (folder / name).write_text("".join(f"{path},{label}\n" for path, label in rows))

    write("train.csv", "train.csv", 8)
    for count in COUNTS:
        write(f"{count}.csv", "val.csv", count)
    write("val.csv", "val.csv", COUNTS[-1])
    return folder


@pytest.fixture(scope="module")
def alone(lists: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What one process does."""
    folder = tmp_path_factory.mktemp("alone")
    for words in commands_for(lists, clips, folder, folder / "gates" / "last.safetensors"):
        main(words)
    return Outcome(folder, "")


@pytest.fixture(scope="module", params=[2, 4])
def together(
    request: pytest.FixtureRequest, alone: Outcome, lists: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """What as many processes do."""
    folder = tmp_path_factory.mktemp("together")
    script = folder / "every_command.py"
    script.write_text(EVERY_COMMAND)
    commands = commands_for(lists, clips, folder, alone.folder / "gates" / "last.safetensors")
    launch = [*torchrun(request.param), str(script), json.dumps(commands)]
    done = subprocess.run(launch, env=environment(), timeout=280, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"{request.param} process(es) on cpu") == len(TRAININGS)
    return Outcome(folder, done.stderr)


def torchrun(num_processes: int) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_network_without_batch_norm_learns_as_in_one_process(alone: Outcome, together: Outcome) -> None:
    for one, several in zip(alone.epochs("plain"), together.epochs("plain"), strict=True):
        assert several["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert several["accuracy"] == one["accuracy"]
        assert several["lr"] == one["lr"]
    first, second = (load_file(outcome.folder / "plain" / "last.safetensors") for outcome in (alone, together))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=0, atol=1e-5, msg=name)


def test_with_frozen_batch_norms_the_loss_is_that_of_one_process(alone: Outcome, together: Outcome) -> None:
    one, several = (outcome.epochs("frozen") for outcome in (alone, together))
    assert several[0]["loss"] == pytest.approx(one[0]["loss"], abs=1e-5)
    assert abs(several[1]["loss"] - one[1]["loss"]) > 1e-3  # then each process normalises by clips of its own


def test_each_video_is_tested_once_with_the_scores_of_one_process(alone: Outcome, together: Outcome) -> None:
    for count in COUNTS:
        one, several = (load_scores(outcome.folder / f"{count}.npz") for outcome in (alone, together))
        assert len(set(several.ids)) == count
        assert several.ids == one.ids
        np.testing.assert_array_equal(several.labels, one.labels)
        np.testing.assert_allclose(several.logits, one.logits, rtol=1e-4, atol=1e-5)
        assert json.loads((together.folder / f"{count}.json").read_text())["num_videos"] == count


def test_one_process_alone_writes_and_tells(together: Outcome) -> None:
    assert together.said.count("epoch 1:") == len(TRAININGS)
    for name in TRAININGS:
        epochs = [row["epoch"] for row in together.epochs(name)]
        assert epochs == list(range(1, len(epochs) + 1))
        assert not list((together.folder / name).glob(".partial-*"))


def processes_below(pid: int) -> list[int]:
    """The direct children of a process, in the order of their numbers."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return sorted(found)


@contextmanager
def training(launch: list[str], words: list[str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A training in processes of a launcher, killed at the end if it is still there."""
    with said.open("w") as file:
        running = subprocess.Popen([*launch, "-m", "gateshift", *words], env=environment(), stdout=file, stderr=file)
        try:
            yield running
        finally:
            for pid in [*processes_below(running.pid), running.pid] if running.poll() is None else []:
                os.kill(pid, signal.SIGKILL)


def wait_for_epochs(
    number: int, folder: RunFolder, running: subprocess.Popen[bytes], *, timeout_s: float = 200
) -> None:
    end = time.monotonic() + timeout_s
    while len(folder.read_log()) < number:
        assert running.poll() is None, "the training ended on its own"
        assert time.monotonic() < end, f"no {number} epochs in {timeout_s} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def endless(lists: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command line of a training that does not end on its own."""
    out = tmp_path_factory.mktemp("endless") / "run"
    files = [str(lists / "train.csv"), str(lists / "val.csv"), "--root", str(clips), "--out", str(out)]
    return ["train", *files, *SMALL, "--backbone", "test_resnet", "--epochs", "10000", "--resume", "auto"]


def folder_of(words: list[str]) -> Path:
    return Path(words[words.index("--out") + 1])


@pytest.fixture(scope="module")
def stopped(endless: list[str]) -> tuple[int, str]:
    """It is asked to stop, as schedulers do, through the launcher: exit code, and what was said."""
    said = folder_of(endless).with_name("said.txt")
    with training(torchrun(2), endless, said) as running:
        wait_for_epochs(1, RunFolder(folder_of(endless)), running)
        running.send_signal(signal.SIGTERM)
        code = running.wait(timeout=60)
    return code, said.read_text()


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="finds the processes by /proc, as on Linux"
)


@needs_proc
def test_a_training_that_is_asked_to_stop_saves_what_every_process_needs(
    stopped: tuple[int, str], endless: list[str]
) -> None:
    code, said = stopped
    assert code != 0
    assert "gateshift: stopped after " in said
    names = {path.name for path in (folder_of(endless) / "state").iterdir()}
    assert {"random_states_0.pkl", "random_states_1.pkl"} <= names


@needs_proc
def test_a_process_that_dies_ends_the_training_that_went_on_and_is_named(
    stopped: tuple[int, str], endless: list[str], tmp_path: Path
) -> None:
    del stopped  # it is what this goes on with
    run = RunFolder(folder_of(endless))
    before = len(run.read_log())
    # On a CPU accelerate starts one process, unless it is told of GPUs, which gateshift then looks for in vain.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    with training(launch, endless, tmp_path / "said.txt") as running:
        wait_for_epochs(before + 1, run, running)
        victim = processes_below(running.pid)[-1]
        os.kill(victim, signal.SIGKILL)
        code = running.wait(timeout=60)  # those that wait for it would wait for half an hour
    said = (tmp_path / "said.txt").read_text()
    assert "resuming from " in said
    assert code != 0
    assert f"Signal 9 (SIGKILL) received by PID {victim}" in said
