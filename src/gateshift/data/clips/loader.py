"""Clips and views on their way to a network: their order, batches of them, and the processes that load them."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gateshift.data.clips.dataset import Sample
from gateshift.data.clips.seeds import spread_seed
from gateshift.data.processes import check_shared_memory, check_sockets, full_shared_memory
from gateshift.errors import SettingsError, VideoError

MAX_DEFAULT_WORKERS = 8
_processes: weakref.WeakSet[Any] = weakref.WeakSet()  # those that load videos
LONGEST_WAIT_S = 600.0  # for one batch: minutes more than the slowest disk, and less than a night


class EpochShuffle(Sampler[int]):
    """A new order in each epoch, that depends on the seed and the epoch alone."""

    def __init__(self, length: int, *, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(spread_seed(self.seed, self.epoch))
        return iter(torch.randperm(self.length, generator=generator).tolist())


class BalancedShuffle(EpochShuffle):
    """As many videos in each epoch as :class:`EpochShuffle`, of each class as many, or one more.

    Of a class with more videos than that, other ones each epoch; of one with fewer, every video several times, as
    indices past the videos (see :class:`TrainingClips`).

    Args:
        labels: The class of each video; classes without a video get no share.
        seed: Of the draws.
    """

    def __init__(self, labels: NDArray[np.int64], *, seed: int) -> None:
        super().__init__(len(labels), seed=seed)
        self.groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng(spread_seed(self.seed, self.epoch))
        shares = np.full(len(self.groups), self.length // len(self.groups))
        shares[draw.permutation(len(shares))[: self.length % len(shares)]] += 1
        taken = [_rounds(group, share, self.length, draw) for group, share in zip(self.groups, shares, strict=True)]
        return iter(draw.permutation(np.concatenate(taken)).tolist())


def _rounds(group: NDArray[np.int64], count: int, length: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Indices of a group, each once in each round, in a random order; those of the nth round are past n lengths."""
    num_rounds = -(-count // len(group))
    rounds = [draw.permutation(group) + number * length for number in range(num_rounds)]
    return np.concatenate([np.empty(0, np.int64), *rounds])[:count]


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples to a batch; of failures, never dropped, ``failures`` has the lines and ``failed`` the indices.

    Frames stay as the decoders wrote them and as convolutions like them best, with the channels of a pixel side by
    side: they are copied once, whole, into the memory that the processes share.
    """
    failed = [sample for sample in samples if "failure" in sample]
    good = [_map_frames(sample, lambda frames: frames.movedim(-3, -1)) for sample in samples if "failure" not in sample]
    batch = torch.utils.data.default_collate(good) if good else {}
    if torch.utils.data.get_worker_info() is not None:
        for value in batch.values():  # where it fails it is told: on the way out of this process it is lost in silence
            value.share_memory_()
    lines, indices = ([sample[name] for sample in failed] for name in ("failure", "indices"))
    return {**_map_frames(batch, lambda frames: frames.movedim(-1, -3)), "failures": lines, "failed": indices}


def _map_frames(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    return {name: change(value) if name in ("clips", "views") else value for name, value in sample.items()}


def default_workers() -> int:
    """How many processes load videos: a core for each but one, which trains; at least 1, at most 8.

    Where a training is several processes, each gets its share of the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by accelerate launch and torchrun
    return min(max(cores // processes - 1, 1), MAX_DEFAULT_WORKERS)


def make_loader(
    dataset: Dataset[Sample], *, batch_size: int, workers: int | None, sampler: Sampler[int] | None = None
) -> DataLoader[Sample]:
    """A DataLoader over clips or views, to be read with :func:`read_batches`.

    Args:
        dataset: Clips or views.
        batch_size: How many of them make a batch.
        workers: Processes that load; None stands for :func:`default_workers`.
        sampler: In which order they come; by default that of the dataset.

    Raises:
        SettingsError: If the batch size is below 1, the number of workers below 0, or TMPDIR too long for workers,
            or the memory that they share is full.
    """
    if batch_size < 1:
        raise SettingsError(f"batch size {batch_size}; give at least 1")
    if workers is None:
        workers = default_workers()
    if workers < 0:
        raise SettingsError(f"{workers} loader workers; give 0 (load in the main process) or more")
    if workers:
        check_sockets()
        check_shared_memory(workers)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        # Its own, so that loading draws nothing from the global generator, which dropout uses.
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
        timeout=LONGEST_WAIT_S if workers else 0,
        worker_init_fn=_ignore_signals if workers else None,
        multiprocessing_context=_loading_context() if workers else None,
    )


def _ignore_signals(_worker: int) -> None:
    """Leave to the main process what terminals and schedulers send to all: it may need a batch more to stop well."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


def _loading_context() -> Any:
    """How loading processes are started: as usual, but what ends one that hangs is a signal that it cannot ignore."""
    usual: Any = multiprocessing.get_context()

    def create(*arguments: Any, **options: Any) -> Any:
        process = usual.Process(*arguments, **options)
        process.terminate = process.kill
        _processes.add(process)
        return process

    context = type(usual)()  # another one than everybody else's
    context.Process = create
    return context


@atexit.register
def _end_processes() -> None:
    """End those that an error has left: at its end a program waits for each, after a signal that they ignore."""
    left = [process for process in _processes if process.is_alive()]
    if left and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would make an error of it
    for process in left:
        process.kill()


def read_batches(loader: Iterable[Sample]) -> Iterator[Sample]:
    """The batches of a loader of :func:`make_loader`.

    Raises:
        VideoError: If a process that loads dies, or gives no batch for ten minutes: a decoder may hang.
        SettingsError: If the memory that processes share is full.
    """
    try:
        yield from loader
    except RuntimeError as error:  # torch has no kinds of its own for these
        reason = " ".join(str(error).split())
        if "Bus error" in reason or ("shared memory" in reason and "No space left" in reason):
            raise full_shared_memory() from None
        if not reason.startswith("DataLoader"):
            raise
        raise VideoError(
            f"the videos cannot be loaded: {reason}; gateshift scan finds files that crash or hang a decoder, and "
            "fewer --workers take less memory"
        ) from error
