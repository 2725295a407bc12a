"""Batches on their way to a network: their order and form, and the processes that load them."""

import gc
import multiprocessing
import os
import signal
import tempfile
import time

import pytest
import torch
from torch.utils.data import Dataset

from gateshift.data.clips import loader as loading
from gateshift.data.clips.dataset import Sample
from gateshift.data.clips.loader import EpochShuffle, LoadingProcess, make_loader, read_batches
from gateshift.data.processes import LONGEST_TEMP_CHARS
from gateshift.errors import SettingsError, VideoError


class Frames(Dataset[Sample]):
    """Two clips."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        return {"clips": torch.zeros(4, 3, 16, 16, dtype=torch.uint8), "indices": index}


def test_each_epoch_has_its_own_order_of_all_videos() -> None:
    order = EpochShuffle(50, seed=0)
    first = list(order)
    order.epoch = 1
    assert sorted(first) == sorted(order) == list(range(50))
    assert first != list(order)


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(1, 1, 1), (2, 1, 1), (4, 1, 3), (64, 1, 8), (16, 4, 3), (4, 8, 1)]
)
def test_the_machine_decides_how_many_workers_load(
    cores: int, processes: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert make_loader(Frames(), batch_size=1, workers=None).num_workers == workers


def test_batches_keep_the_channels_of_a_pixel_side_by_side() -> None:
    batch = next(iter(make_loader(Frames(), batch_size=2, workers=0)))
    assert batch["clips"].shape == (2, 4, 3, 16, 16)
    assert batch["clips"].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_impossible_loaders_are_refused() -> None:
    with pytest.raises(SettingsError, match="`batch_size` 0; it must be at least 1"):
        make_loader(Frames(), batch_size=0, workers=0)
    with pytest.raises(SettingsError, match="`workers` -1; it must be 0"):
        make_loader(Frames(), batch_size=1, workers=-1)


class Stuck(Dataset[Sample]):
    """Never gives its second item, or dies of it."""

    def __init__(self, *, dies: bool) -> None:
        self.dies = dies

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        if index:
            os.kill(os.getpid(), signal.SIGKILL) if self.dies else time.sleep(3600)
        return {"labels": index}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dies", "wait_s", "reason"), [(False, 2.0, "timed out after 2"), (True, 5.0, "exited unexpectedly")]
)
def test_a_process_that_hangs_or_dies_ends_the_loading_with_its_reason(
    dies: bool, wait_s: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "LONGEST_WAIT_S", wait_s)
    loader = make_loader(Stuck(dies=dies), batch_size=1, workers=1)
    # A busy machine may need longer than that to start the process: then the first of the two is not there in time.
    with pytest.raises(VideoError, match=f"cannot be loaded: DataLoader.*{reason}.*gateshift scan finds files"):
        for batch in read_batches(loader):
            assert batch["labels"].item() == 0
    gc.collect()  # the error held the loader
    assert not [child for child in multiprocessing.active_children() if isinstance(child, LoadingProcess)]


def test_an_error_of_who_reads_the_batches_stays_what_it_is() -> None:
    loader = make_loader(Frames(), batch_size=1, workers=0)
    with pytest.raises(RuntimeError, match="DataLoader of mine"):
        for _ in read_batches(loader):
            raise RuntimeError("DataLoader of mine")


@pytest.mark.parametrize("fits", [True, False])
def test_a_folder_for_temporary_files_that_is_too_deep_for_sockets_is_refused(
    fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    length = LONGEST_TEMP_CHARS + (0 if fits else 1)
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * (length - 1))
    if fits:
        make_loader(Frames(), batch_size=1, workers=1)
        return
    make_loader(Frames(), batch_size=1, workers=0)
    with pytest.raises(SettingsError, match=r"TMPDIR.*71 characters.*at most 70.*`workers=0`"):
        make_loader(Frames(), batch_size=1, workers=1)
