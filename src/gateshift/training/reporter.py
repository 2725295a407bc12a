"""Who is told how a training goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Reporter(Protocol):
    """Who is told how the training goes; the command line draws a progress bar with it."""

    def say(self, text: str) -> None:
        """One line about the run."""

    def epoch(self, number: int, num_epochs: int, num_batches: int) -> AbstractContextManager[Callable[..., None]]:
        """Enter an epoch; what it gives is called after each batch with ``loss`` and ``accuracy`` as last read."""


class Silent:
    """Tells nobody."""

    def say(self, text: str) -> None:
        """Nothing."""

    def epoch(self, number: int, num_epochs: int, num_batches: int) -> AbstractContextManager[Callable[..., None]]:  # noqa: ARG002
        """Nothing."""
        return nullcontext(lambda **_: None)
