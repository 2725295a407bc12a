"""Progress of a training: line by line, batch by batch, and as curves for TensorBoard and other programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from gateshift.errors import SettingsError, one_line

if TYPE_CHECKING:
    from accelerate import Accelerator

    from gateshift.training.run_folder import RunFolder
    from gateshift.training.settings import TrainSettings

PROJECT = "gateshift"  # what runs are filed under
WriteRow = Callable[[Mapping[str, Any]], None]


class Reporter(Protocol):
    """Receives the progress of a training; the command line draws a progress bar with it."""

    def log(self, text: str) -> None:
        """One line about the run."""

    def epoch(self, number: int, num_epochs: int, num_batches: int) -> AbstractContextManager[Callable[..., None]]:
        """Enter an epoch, numbered from 0. The result is called after each batch with ``loss`` and ``accuracy``."""


class Silent:
    """Reports nothing."""

    def log(self, text: str) -> None:
        """Nothing."""

    def epoch(self, number: int, num_epochs: int, num_batches: int) -> AbstractContextManager[Callable[..., None]]:  # noqa: ARG002
        """Nothing."""
        return nullcontext(lambda **_: None)


@contextmanager
def curves(accelerator: Accelerator, folder: RunFolder, settings: TrainSettings, *, epoch: int) -> Iterator[WriteRow]:
    """Curves of a run, written by the main process: TensorBoard's, and those of the program that it logs with.

    Args:
        accelerator: Of the run.
        folder: Of the run.
        settings: Of the run.
        epoch: How many epochs are done, of a run that is resumed.

    Yields:
        A function that takes a row of the log.
    """
    if not accelerator.is_main_process:
        yield lambda _: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with (
        SummaryWriter(str(folder.path / "tensorboard"), purge_step=epoch + 1) as writer,
        _tracker(accelerator, folder, settings, epoch) as track,
    ):

        def write(row: Mapping[str, Any]) -> None:
            for name, value in row.items():
                writer.add_scalar(name, value, row["epoch"])
            writer.flush()
            track(row)

        yield write


@contextmanager
def _tracker(accelerator: Accelerator, folder: RunFolder, settings: TrainSettings, epoch: int) -> Iterator[WriteRow]:
    """The program of ``log_with``, if any. One of a resumed run is given the epochs of before, so that it has all."""
    if settings.log_with is None:
        yield lambda _: None
        return
    name = folder.path.absolute().name
    own = {
        # Nothing leaves this machine unless that is asked for.
        "wandb": {"name": name, "dir": str(folder.path), "mode": os.environ.get("WANDB_MODE", "offline")},
        "mlflow": {"run_name": name},
        "trackio": {"name": name},
    }
    config = {key: value if isinstance(value, int | float) else str(value) for key, value in settings.options().items()}
    try:
        accelerator.init_trackers(PROJECT, config, own)
    except Exception as error:  # each program has its own
        raise SettingsError(
            f"`log_with={settings.log_with}`: it cannot begin a run: {one_line(error)}; correct its settings"
        ) from error

    def track(row: Mapping[str, Any]) -> None:
        accelerator.log(dict(row), step=row["epoch"])

    try:
        for row in folder.read_log():
            if row["epoch"] <= epoch:
                track(row)
        yield track
    finally:
        for tracker in accelerator.trackers:  # Accelerator.end_training would end the group of processes as well
            tracker.finish()
