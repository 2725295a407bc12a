"""How far a training has come, when that is saved, and how it is stopped."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from gateshift.errors import SettingsError, StoppedError
from gateshift.training.run_folder import RunFolder


@dataclass
class EpochSoFar:
    """The finished part of an epoch.

    Attributes:
        taken: Batches that the loader gave, unreadable ones too.
        batches: Batches that were trained on.
        updates: Optimizer steps.
        loss: Sum of the losses of all videos.
        hits: Correctly classified videos; with several labels per video, each counts by its fraction of correct ones.
        videos: Videos that were trained on.
        seconds: Time that this took, interruptions excluded.
    """

    taken: int = 0
    batches: int = 0
    updates: int = 0
    loss: float = 0.0
    hits: float = 0.0
    videos: float = 0.0
    seconds: float = 0.0

    @property
    def mean_loss(self) -> float:
        """Of the videos so far."""
        return self.loss / self.videos

    @property
    def accuracy(self) -> float:
        """Of the videos so far, in 0..1."""
        return self.hits / self.videos

    def over_processes(self, accelerator: Accelerator) -> EpochSoFar:
        """The sum over all processes, which must call this at the same time."""
        sums = torch.tensor([self.loss, self.hits, self.videos], device=accelerator.device, dtype=torch.float32)
        loss, hits, videos = accelerator.reduce(sums, "sum").tolist()
        return dataclasses.replace(self, loss=loss, hits=hits, videos=videos)


class Progress:
    """How far a training has come; saved and restored with the weights.

    Attributes:
        epoch: Finished epochs.
        so_far: The epoch after these, as far as this process has come.
        saved: What is saved of it: the sum over all processes.
        best_accuracy: Highest validation accuracy so far, in 0..1; -1 before the first.
        validated_on: Digest of the validation videos of that accuracy; empty before the first.
        skipped: Why videos were unreadable and skipped, by their index in the list.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.so_far = self.saved = EpochSoFar()
        self.best_accuracy = -1.0
        self.validated_on = ""
        self.skipped: dict[int, str] = {}
        self._unread: list[tuple[Tensor, int]] = []

    def count(self, loss: Tensor, hits: Tensor, videos: int) -> None:
        """Note the mean loss and the hits of a batch, to be added to the epoch's once they are read."""
        self._unread.append((torch.stack([loss.float(), hits.float()]), videos))

    def read(self) -> None:
        """Add what was noted. Only this waits for the device, so that steps need not.

        Raises:
            SettingsError: If a loss is not finite.
        """
        if not self._unread:
            return
        numbers = torch.stack([both for both, _ in self._unread]).tolist()
        for (loss, hits), (_, videos) in zip(numbers, self._unread, strict=True):
            if not math.isfinite(loss):
                raise SettingsError(f"the loss became {loss} in epoch {self.epoch + 1}; start again with a lower `lr`")
            self.so_far.loss += loss * videos
            self.so_far.hits += hits
            self.so_far.videos += videos
        self._unread.clear()

    def state_dict(self) -> dict[str, Any]:
        """For accelerate's state saving."""
        best = {"best_accuracy": self.best_accuracy, "validated_on": self.validated_on}
        return {"epoch": self.epoch, "so_far": dataclasses.asdict(self.saved), **best, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """For accelerate's state saving."""
        self.epoch, self.best_accuracy = int(state["epoch"]), float(state["best_accuracy"])
        self.validated_on = str(state.get("validated_on", ""))  # missing in older states
        self.so_far = EpochSoFar(**state["so_far"])
        self.skipped = dict(state["skipped"])

    def __str__(self) -> str:
        """Where it is, for people."""
        if not self.so_far.taken:
            return f"after epoch {self.epoch}"
        return f"after batch {self.so_far.taken} of epoch {self.epoch + 1}"


class StopRequest:
    """Asks a training to save its state and stop.

    Attributes:
        signal: Set it to stop the training; the signal decides the exit code.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM, as schedulers send it, into a request. A second one has its usual effect."""
    request = StopRequest()

    def note(number: int, _frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        restore()

    def restore() -> None:
        for each, handler in usual.items():
            signal.signal(each, handler)

    usual = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for each in usual:
        signal.signal(each, note)
    try:
        yield request
    finally:
        restore()


class Checkpoints:
    """Saves the state of a run at intervals, and when it is asked to stop.

    Args:
        folder: Of the run.
        accelerator: Holds everything that is saved.
        progress: How far the run has come.
        minutes: Time between two saves.
        stop: Asks the run to stop.
    """

    def __init__(
        self, folder: RunFolder, accelerator: Accelerator, progress: Progress, *, minutes: float, stop: StopRequest
    ) -> None:
        self._folder, self._accelerator, self._progress = folder, accelerator, progress
        self._interval_s = minutes * 60
        self._stop = stop
        self._saved_s = self._resumed_s = time.monotonic()
        self._seconds_before = progress.so_far.seconds

    def after_epoch(self) -> None:
        """Save, and measure the time of the next epoch from now."""
        self._resumed_s, self._seconds_before = time.monotonic(), 0.0
        self.save()

    @property
    def epoch_seconds(self) -> float:
        """Duration of this epoch so far."""
        return self._seconds_before + time.monotonic() - self._resumed_s

    def after_update(self) -> None:
        """Save if it is time: right after an update, gradients are no part of the state.

        Raises:
            StoppedError: If the run is to stop; its state is saved then.
        """
        is_due = time.monotonic() - self._saved_s >= self._interval_s
        stop, is_due = self._agree(is_due)
        if stop or is_due:
            self.save()
        if stop:
            self._end(stop)

    def check_stop(self) -> None:
        """Stop during validation, which changes nothing. Several processes wait for each other, and finish it.

        Raises:
            StoppedError: If the run is to stop; its state is saved then.
        """
        if self._stop.signal is not None and self._accelerator.num_processes == 1:
            self.save()
            self._end(self._stop.signal)

    def save(self) -> None:
        """Save the state of the run, in every process.

        Raises:
            SettingsError: If a loss is not finite, so that there is nothing worth saving; or if the disk is full.
        """
        progress = self._progress
        progress.read()
        progress.so_far.seconds = self.epoch_seconds
        # The first process writes the sum over all.
        several = self._accelerator.num_processes > 1
        progress.saved = progress.so_far.over_processes(self._accelerator) if several else progress.so_far
        self._folder.save_state(self._accelerator)
        self._saved_s = time.monotonic()

    def _agree(self, is_due: bool) -> tuple[int, bool]:
        """The signal that any process got, or 0, and whether a save is due in the first one."""
        signal = int(self._stop.signal or 0)
        if self._accelerator.num_processes == 1:
            return signal, is_due
        own = torch.tensor([signal, is_due], device=self._accelerator.device)
        gathered = self._accelerator.gather(own).view(-1, 2)
        return int(gathered[:, 0].max()), bool(gathered[0, 1])

    def _end(self, signal: int) -> None:
        raise StoppedError(
            f"stopped {self._progress}, saved in {self._folder.state}; resume with the same command and `resume=True`",
            signal=signal,
        )
