"""Small trainings for tests: their options, stops at a chosen batch, and comparison of two runs."""

import csv
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from gateshift.training.reporter import Silent
from gateshift.training.run_folder import RunFolder
from gateshift.training.state import StopRequest
from gateshift.training.train import TrainResult, train

SMALL: dict[str, Any] = {
    "recipe": "papers",
    "backbone": "test_resnet",
    "size": 32,
    "segments": 2,
    "epochs": 1,
    "warmup_epochs": 0,
    "batch_size": 4,
    "workers": 0,
    "save_minutes": 1000.0,
}


def train_small(folder: Path, out: Path, reporter: Any = None, **options: Any) -> TrainResult:
    """Train on the two lists of a folder, with ``SMALL`` for defaults."""
    return train(folder / "train.csv", folder / "val.csv", out=out, reporter=reporter, **SMALL | options)


def few_to_validate(clips: Path, folder: Path) -> Path:
    """A copy of clips and their lists, of which two are to validate on."""
    shutil.copytree(clips, folder, dirs_exist_ok=True)
    rows = (folder / "val.csv").read_text().splitlines(keepends=True)
    (folder / "val.csv").write_text("".join(rows[:3]))
    return folder


class Log(Silent):
    """Remembers what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class StopAt(Silent):
    """Asks a training to stop after so many batches; like a signal, at a moment that the training did not choose."""

    def __init__(self, batches: int) -> None:
        self.batches, self.request = batches, StopRequest()

    @contextmanager
    def epoch(self, number: int, num_epochs: int, num_batches: int) -> Iterator[Callable[..., None]]:  # noqa: ARG002
        def update(**_: float) -> None:
            self.batches -= 1
            if self.batches == 0:
                self.request.signal = signal.SIGTERM

        yield update


class InterruptIn(Silent):
    """Ends a training in the middle of an epoch as Ctrl-C would, without a save."""

    def __init__(self, epoch: int) -> None:
        self.stop_in = epoch

    @contextmanager
    def epoch(self, number: int, num_epochs: int, num_batches: int) -> Iterator[Callable[..., None]]:  # noqa: ARG002
        def update(**_: float) -> None:
            if number == self.stop_in:
                raise KeyboardInterrupt

        yield update


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def logged(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's log, without how long they took."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in RunFolder(folder).read_log()]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = load_file(first), load_file(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def assert_same_run(first: Path, second: Path) -> None:
    """The same weights bit for bit, the best and the last, and the same log."""
    for name in ("last.safetensors", "best.safetensors"):
        assert_same_weights(first / name, second / name)
    assert logged(first) == logged(second)


def start_process(function: Callable[..., None], *arguments: Any) -> Any:
    """A process of its own that calls a function of a module; what takes long to import is imported for all once."""
    context = multiprocessing.get_context("forkserver")
    imports = ["gateshift.cli.main", "gateshift.training.loop", "gateshift.training.progress_page", "trainings"]
    context.set_forkserver_preload([*imports, "torch.utils.tensorboard", "matplotlib.backends.backend_agg"])
    process = context.Process(target=function, args=arguments)
    process.start()
    return process
