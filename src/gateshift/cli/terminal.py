"""How a run shows itself on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_reword: Callable[[str], str] = str


@contextmanager
def wording(reword: Callable[[str], str]) -> Iterator[None]:
    """Pass every line that is printed in this block through a function, as the command line does with its options.

    It holds for all threads: a program has one terminal.
    """
    global _reword
    before, _reword = _reword, reword
    try:
        yield
    finally:
        _reword = before


class ConsoleReporter:
    """Shows a training on the terminal: a line for each epoch, a bar within it."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def log(self, text: str) -> None:
        """Print a line."""
        self.console.print(_reword(text), highlight=False, soft_wrap=True, markup=False)

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
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


@contextmanager
def count_bar(task: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for a function that takes ``progress``: called with how many are done, and of all.

    Where that is no terminal, there is none.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    bar = make_bar(console)
    number = bar.add_task(task, total=None, note="")

    def show(done: int, total: int) -> None:
        bar.start()  # not before, so that a mistake in what was given is one line
        bar.update(number, completed=done, total=total)
        speed = bar.tasks[0].speed
        bar.update(number, note=f"{total} {unit}" + (f", {speed:.3g} a second" if speed else ""))

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


def print_line(text: str) -> None:
    """Write a line of a verb's answer to standard output."""
    sys.stdout.write(f"{_reword(text)}\n")


def print_note(text: str) -> None:
    """Write a line about how a verb goes, or why it does not, to standard error."""
    sys.stderr.write(f"gateshift: {_reword(text)}\n")


def is_main_process() -> bool:
    """Whether this is the one process of several that speaks and writes."""
    return int(os.environ.get("RANK", "0")) == 0  # set by torchrun and accelerate launch
