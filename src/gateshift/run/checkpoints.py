"""When a training saves its state within an epoch, and how it stops."""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator

from gateshift.errors import StoppedError
from gateshift.run.progress import EpochSoFar, Progress
from gateshift.run.run_folder import RunFolder
from gateshift.run.stopping import StopRequest


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
