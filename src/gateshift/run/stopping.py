"""Stops that are asked for: a signal is noted, and the training ends where it can go on from."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
