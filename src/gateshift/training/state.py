"""How far a training has come, when it saves that, and how it stops."""

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
    """The part of an epoch that is done.

    Attributes:
        taken: Batches that the loader gave, bad ones too.
        batches: Batches that were learned from.
        updates: Times that the weights changed.
        loss: Sum of the losses of all videos.
        hits: Videos whose class was found; where a video may have several, each counts by the share of right answers.
        videos: Videos that were learned from.
        seconds: Time that this took, over all programs that took part.
    """

    taken: int = 0
    batches: int = 0
    updates: int = 0
    loss: float = 0.0
    hits: float = 0.0
    videos: float = 0.0
    seconds: float = 0.0

    def forget_counts(self) -> None:
        """Count losses, hits and videos from 0 again."""
        self.loss = self.hits = self.videos = 0.0

    @property
    def mean_loss(self) -> float:
        """Of the videos so far."""
        return self.loss / self.videos

    @property
    def accuracy(self) -> float:
        """Share of the videos so far whose class was found, or of right answers, in 0..1."""
        return self.hits / self.videos


class Progress:
    """How far a training has come; saved and restored with the weights.

    Attributes:
        epoch: Epochs that are finished.
        so_far: Of the epoch after these.
        best_accuracy: Highest validation accuracy so far, in 0..1; -1 before the first.
        validated_on: Digest of the videos that the best accuracy is of; empty before the first.
        skipped: Why videos could not be read and were left out, by their place in the list.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.so_far = EpochSoFar()
        self.best_accuracy = -1.0
        self.validated_on = ""
        self.skipped: dict[int, str] = {}
        self._unread: list[tuple[Tensor, int]] = []

    def count(self, loss: Tensor, hits: Tensor, videos: int) -> None:
        """Add what came out of a batch to what came out of the epoch, once it is read: mean loss, and right answers."""
        self._unread.append((torch.stack([loss.float(), hits.float()]), videos))

    def read(self) -> None:
        """Read what was counted. Only this waits for the device, so that steps need not.

        Raises:
            SettingsError: If a loss is no finite number.
        """
        if not self._unread:
            return
        numbers = torch.stack([both for both, _ in self._unread]).tolist()
        for (loss, hits), (_, videos) in zip(numbers, self._unread, strict=True):
            if not math.isfinite(loss):
                raise SettingsError(f"the loss became {loss} in epoch {self.epoch + 1}; start again with a lower --lr")
            self.so_far.loss += loss * videos
            self.so_far.hits += hits
            self.so_far.videos += videos
        self._unread.clear()

    def state_dict(self) -> dict[str, Any]:
        """For accelerate's state saving."""
        so_far = dataclasses.asdict(self.so_far)
        best = {"best_accuracy": self.best_accuracy, "validated_on": self.validated_on}
        return {"epoch": self.epoch, "so_far": so_far, **best, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """For accelerate's state saving."""
        self.epoch, self.best_accuracy = int(state["epoch"]), float(state["best_accuracy"])
        self.validated_on = str(state.get("validated_on", ""))  # older states do not say
        self.so_far = EpochSoFar(**state["so_far"])
        self.skipped = dict(state["skipped"])

    def __str__(self) -> str:
        """Where it is, for people."""
        if not self.so_far.taken:
            return f"after epoch {self.epoch}"
        return f"after batch {self.so_far.taken} of epoch {self.epoch + 1}"


class StopRequest:
    """Whether a training is to stop.

    Attributes:
        signal: The signal that asks for it; None until then.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Note Ctrl-C, and SIGTERM, as schedulers send it. The second one of them does what it always does."""
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
    """Saves the state of a run every so many minutes, and when it is asked to stop.

    Args:
        folder: Of the run.
        accelerator: With everything that is saved.
        progress: How far the run has come.
        minutes: From one save to the next.
        stop: Whether the run is to stop.
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
        """Save, and count the time of the next epoch from now."""
        self._resumed_s, self._seconds_before = time.monotonic(), 0.0
        self.save()

    @property
    def epoch_seconds(self) -> float:
        """Time that this epoch has taken."""
        return self._seconds_before + time.monotonic() - self._resumed_s

    def after_update(self) -> None:
        """Save if it is time; between two updates there is nothing that a state does not hold.

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
        """Stop while validating, which changes nothing. Several processes, which wait for each other, go on to its end.

        Raises:
            StoppedError: If the run is to stop; its state is saved then.
        """
        if self._stop.signal is not None and self._accelerator.num_processes == 1:
            self.save()
            self._end(self._stop.signal)

    def save(self) -> None:
        """Save the state of the run as it is, in every process.

        Raises:
            SettingsError: If a loss became no number, so that nothing more is worth saving; or for want of space.
        """
        self._progress.read()
        own, accelerator = self._progress.so_far, self._accelerator
        own.seconds = self.epoch_seconds
        if accelerator.num_processes > 1:  # the first process writes what all have seen
            self._progress.so_far = total(own, accelerator)
        self._folder.save_state(accelerator)
        self._progress.so_far = own
        self._saved_s = time.monotonic()

    def _agree(self, is_due: bool) -> tuple[int, bool]:
        """The signal that any process got, or 0, and whether the first one has to save."""
        signal = int(self._stop.signal or 0)
        if self._accelerator.num_processes == 1:
            return signal, is_due
        told = torch.tensor([signal, is_due], device=self._accelerator.device)
        gathered = self._accelerator.gather(told).view(-1, 2)
        return int(gathered[:, 0].max()), bool(gathered[0, 1])

    def _end(self, signal: int) -> None:
        raise StoppedError(
            f"stopped {self._progress}, which {self._folder.state} holds; the same command with --resume goes on",
            signal=signal,
        )


def total(part: EpochSoFar, accelerator: Accelerator) -> EpochSoFar:
    """What all processes have done of an epoch."""
    sums = torch.tensor([part.loss, part.hits, part.videos], device=accelerator.device, dtype=torch.float32)
    loss, hits, videos = accelerator.reduce(sums, "sum").tolist()
    return EpochSoFar(part.taken, part.batches, part.updates, loss, hits, videos, part.seconds)
