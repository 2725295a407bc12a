"""Work that may crash or never end, done by processes that are watched.

Each has a pipe of its own. Where all share one, as in the pool of ``pebble``, a process that is killed while it sends
its result keeps the others waiting for ever.
"""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from gateshift.errors import SettingsError

Task = TypeVar("Task")
Result = TypeVar("Result")
Broken = Literal["time-out", "crash"]

SHARED_MEMORY = "/dev/shm"  # on Linux; others have no place that could be looked at
LONGEST_TEMP_CHARS = 70  # a socket's address has at most 104, and /pymp-12345678/listener-12345678 follows


def in_processes(
    work: Callable[[Task], Result], tasks: Iterable[Task], *, workers: int, timeout_s: float
) -> Iterator[tuple[int, Result | Broken]]:
    """Results of tasks, in the order in which they are done.

    A process that takes too long for a task is killed, and another one goes on with the next.

    Args:
        work: A function of a module, which each process imports.
        tasks: What it is called with, in turn. Tasks and results travel between processes.
        workers: How many processes work side by side, at least 1.
        timeout_s: How long one task may take.

    Yields:
        The number of a task, from 0, and its result, or ``"time-out"`` or ``"crash"``.

    Raises:
        Exception: What ``work`` raises.
        RuntimeError: If a process cannot start.
    """
    waiting = enumerate(tasks)
    pool: list[_Worker[Task, Result]] = []
    try:
        while True:
            while len(pool) < workers and (following := next(waiting, None)) is not None:
                pool.append(_Worker(work, *following))
            if not pool:
                return
            soonest_s = min(worker.deadline_s for worker in pool) - time.monotonic()
            ready = wait([worker.connection for worker in pool], None if math.isinf(soonest_s) else max(soonest_s, 0))
            for worker in [*pool]:
                number, answer = worker.number, worker.answer(worker.connection in ready, timeout_s)
                if answer is None:
                    continue
                following = None if isinstance(answer, str) else next(waiting, None)
                if following is None:
                    pool.remove(worker)
                    worker.end()
                else:
                    worker.give(*following, timeout_s)
                yield number, answer if isinstance(answer, str) else answer[0]
    finally:
        for worker in pool:
            worker.end()


def check_sockets() -> None:
    """Raise SettingsError if the folder for temporary files is too deep for torch's loading processes.

    They hand over tensors by sockets in it, and wait for ever where there can be none.
    """
    folder = tempfile.gettempdir()
    if os.name == "posix" and len(folder) > LONGEST_TEMP_CHARS:
        raise SettingsError(
            f"TMPDIR {folder} has {len(folder)} characters; processes that load videos need one of at most "
            f"{LONGEST_TEMP_CHARS}; set a shorter one, or load without them (`workers=0`)"
        )


def check_shared_memory(workers: int) -> None:
    """Raise SettingsError if there is no room for the locks of so many loading processes."""
    try:
        for _ in range(workers + 1):
            multiprocessing.Queue()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise full_shared_memory() from None


def full_shared_memory() -> SettingsError:
    """What to say where there is no memory left that processes could share: most often in a container."""
    left = ""
    if Path(SHARED_MEMORY).is_dir():
        usage = shutil.disk_usage(SHARED_MEMORY)
        left = f", {usage.free / 1e6:.1f} of {usage.total / 1e6:.1f} MB free in {SHARED_MEMORY}"
    return SettingsError(
        f"the memory that processes share is full{left}; processes that load videos hand them over in it: enlarge it "
        "(docker run --shm-size 8g), lower `workers` or `batch_size`, or load without them (`workers=0`)"
    )


def _process_context(preloaded: str) -> Any:
    """How processes are started. A fork of a process that has threads may hang."""
    kinds = multiprocessing.get_all_start_methods()
    # The fork server listens at a socket, too.
    if "forkserver" not in kinds or len(tempfile.gettempdir()) > LONGEST_TEMP_CHARS:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preloaded])  # each process need not import it then
    return context


class _Worker(Generic[Task, Result]):
    """A process and the task that it is at. Its time runs once it has started, which takes seconds."""

    def __init__(self, work: Callable[[Task], Result], number: int, task: Task) -> None:
        context = _process_context(work.__module__)
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._is_up = False
        self.give(number, task, math.inf)

    def give(self, number: int, task: Task, timeout_s: float) -> None:
        self.number = number
        self.deadline_s = time.monotonic() + timeout_s
        with suppress(ConnectionError):  # of a process that is gone; that is told where its answer is read
            self.connection.send(task)

    def answer(self, has_spoken: bool, timeout_s: float) -> tuple[Result] | Broken | None:
        """What has become of the task; None if it is still under way."""
        if not has_spoken:
            return "time-out" if time.monotonic() >= self.deadline_s else None
        try:
            said = self.connection.recv()
        except (EOFError, ConnectionError):
            if not self._is_up:
                self._process.join(1)
                raise RuntimeError(
                    f"a process could not start, and ended with {self._process.exitcode}; a program that starts some "
                    "needs `if __name__ == '__main__':` before what it does"
                ) from None
            return "crash"
        if isinstance(said, Exception):
            raise said
        if said is None:
            self._is_up, self.deadline_s = True, time.monotonic() + timeout_s
        result: tuple[Result] | None = said
        return result

    def end(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.join()


def _serve(work: Callable[[Task], Result], connection: Connection) -> None:
    """What a process does: say None once, then for each task its result, alone in a tuple, or what it raised."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    connection.send(None)
    while True:
        try:
            task = connection.recv()
        except EOFError:  # the parent is gone
            return
        try:
            said: object = (work(task),)
        except Exception as error:
            said = error
        connection.send(said)
