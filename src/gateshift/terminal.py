"""How a run shows itself on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ConsoleReporter:
    """Shows a training on the terminal: a line for each epoch, a bar within it."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def log(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    @contextmanager
    def epoch(self, number: int, num_epochs: int, num_batches: int) -> Iterator[Callable[..., None]]:
        """Draw a bar with loss, accuracy and the time left of this epoch."""
        with make_bar(self.console) as bar:
            task = bar.add_task(f"epoch {number + 1}/{num_epochs}", total=num_batches, note="")

            def update(*, loss: float, accuracy: float) -> None:
                bar.update(task, advance=1, note=f"loss {loss:.3f}  accuracy {accuracy:.1%}")

            yield update


def make_bar(console: Console) -> Progress:
    """A progress bar with a note and the time left, that leaves no trace."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def print_line(text: str) -> None:
    """Write a line of a verb's answer to standard output."""
    sys.stdout.write(f"{text}\n")


def is_main_process() -> bool:
    """Whether this is the one process of several that speaks and writes."""
    return int(os.environ.get("RANK", "0")) == 0  # set by torchrun and accelerate launch
