"""Progress of a training, line by line and batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


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
