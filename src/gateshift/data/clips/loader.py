"""Batches of clips and views: their order, and the processes that load them."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.context import BaseContext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gateshift.data.clips.dataset import Sample
from gateshift.data.clips.seeds import spread_seed
from gateshift.data.processes import check_shared_memory, check_sockets, full_shared_memory
from gateshift.devices import num_cores, return_freed_memory
from gateshift.errors import VideoError, check_whole, one_line

MAX_DEFAULT_WORKERS = 8
LONGEST_WAIT_S = 600.0  # for one batch; the slowest disks take minutes less


class EpochShuffle(Sampler[int]):
    """A new order in each epoch, which depends only on the seed and the epoch."""

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
    """As many videos in each epoch as :class:`EpochShuffle`, the same number of each class, or one more.

    Of a class with more videos than that, each epoch takes others; of one with fewer, every video is taken several
    times, as indices past the videos (see :class:`TrainingClips`).

    Args:
        labels: The class of each video; classes without a video are left out.
        seed: Seed of the random numbers.
    """

    def __init__(self, labels: NDArray[np.int64], *, seed: int) -> None:
        super().__init__(len(labels), seed=seed)
        self.groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng(spread_seed(self.seed, self.epoch))
        counts = np.full(len(self.groups), self.length // len(self.groups))
        counts[draw.permutation(len(counts))[: self.length % len(counts)]] += 1
        taken = [_rounds(group, count, self.length, draw) for group, count in zip(self.groups, counts, strict=True)]
        return iter(draw.permutation(np.concatenate(taken)).tolist())


def _rounds(group: NDArray[np.int64], count: int, length: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Indices of a group, each once per round, in random order; in round n, n lengths are added to them."""
    num_rounds = -(-count // len(group))
    rounds = [draw.permutation(group) + number * length for number in range(num_rounds)]
    return np.concatenate([np.empty(0, np.int64), *rounds])[:count]


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples to a batch; of failed ones, ``failures`` has the lines and ``failed`` the indices.

    Frames keep the memory layout of the decoders, which convolutions prefer too (channels last), and are copied once
    into the memory that the processes share.
    """
    failed = [sample for sample in samples if "failure" in sample]
    good = [_map_frames(sample, lambda frames: frames.movedim(-3, -1)) for sample in samples if "failure" not in sample]
    batch = torch.utils.data.default_collate(good) if good else {}
    if torch.utils.data.get_worker_info() is not None:
        for value in batch.values():  # here, a failure is reported; on the way out of this process it would be lost
            value.share_memory_()
    lines, indices = ([sample[name] for sample in failed] for name in ("failure", "indices"))
    return {**_map_frames(batch, lambda frames: frames.movedim(-1, -3)), "failures": lines, "failed": indices}


def _map_frames(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    return {name: change(value) if name in ("clips", "views") else value for name, value in sample.items()}


def default_workers() -> int:
    """The default number of loading processes: one less than the CPU cores, in 1..8.

    The processes of a distributed training share the cores.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by accelerate launch and torchrun
    return min(max(num_cores() // processes - 1, 1), MAX_DEFAULT_WORKERS)


def make_loader(
    dataset: Dataset[Sample], *, batch_size: int, workers: int | None, sampler: Sampler[int] | None = None
) -> DataLoader[Sample]:
    """A DataLoader over clips or views, to be read with :func:`read_batches`.

    Args:
        dataset: Clips or views.
        batch_size: Samples per batch.
        workers: Loading processes; 0 loads in the main process, None means :func:`default_workers`.
        sampler: Order of the samples; that of the dataset by default.

    Raises:
        SettingsError: If the batch size is below 1 or the number of workers below 0, or, with workers, TMPDIR is too
            long or shared memory is full.
    """
    check_whole("batch_size", batch_size, least=1, advice="it must be at least 1; raise it")
    if workers is None:
        workers = default_workers()
    check_whole("workers", workers, least=0, advice="it must be 0 (load in the main process) or more")
    if workers:
        check_sockets()
        check_shared_memory(workers)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        # Its own, so that loading leaves the global generator, which dropout uses, as it is.
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
        timeout=LONGEST_WAIT_S if workers else 0,
        worker_init_fn=_ignore_signals if workers else None,
        multiprocessing_context=_loading_context() if workers else None,
    )


class LoadingProcess(multiprocessing.Process):
    """A process that loads videos. It ignores SIGTERM, with which torch would end one that hangs."""

    def terminate(self) -> None:
        """End it by a signal that it cannot ignore."""
        self.kill()


def _loading_context() -> BaseContext:
    """The usual way to start processes, with processes of the class above."""
    usual = type(multiprocessing.get_context())
    context: BaseContext = type("LoadingContext", (usual,), {"Process": LoadingProcess})()
    return context


def _ignore_signals(_worker: int) -> None:
    """Leave to the main process the signals that terminals and schedulers send to all: it may need one more batch."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


@atexit.register
def _end_processes() -> None:
    """Kill those that an error has left: Python would wait for each at its end, after a signal that they ignore."""
    left = [process for process in multiprocessing.active_children() if isinstance(process, LoadingProcess)]
    if left and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise an error
    for process in left:
        process.kill()


def read_batches(loader: Iterable[Sample]) -> Iterator[Sample]:
    """The batches of a loader of :func:`make_loader`.

    Raises:
        VideoError: If a loading process dies, or gives no batch for ten minutes, as when a decoder hangs.
        SettingsError: If shared memory is full.
    """
    if getattr(loader, "num_workers", 0):
        return_freed_memory()  # the processes would keep all that the steps before have taken
    try:
        yield from loader
    except RuntimeError as error:  # torch has no kinds of its own for these
        reason = one_line(error)
        if "Bus error" in reason or ("shared memory" in reason and "No space left" in reason):
            raise full_shared_memory() from None
        if not reason.startswith("DataLoader"):
            raise
        raise VideoError(
            f"the videos cannot be loaded: {reason}; gateshift scan finds files that crash or hang a decoder, and "
            "a lower `workers` takes less memory"
        ) from error
