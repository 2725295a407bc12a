"""The indices of long recordings are made by `prepare`, or once in a run, and shared by all loading processes."""

import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from prepare_data import lay_epic, rows

from gateshift.data.clips.dataset import Augmentation, TrainingClips, ViewDataset
from gateshift.data.clips.loader import make_loader, read_batches
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists import index_folder
from gateshift.data.lists.index_folder import INDEX_FOLDER, temporary_index_folder
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.prepare.prepare import MissingVideosError, prepare
from gateshift.data.video import index_cache
from gateshift.data.video.index import PacketSource
from gateshift.data.video.index_cache import IndexCache
from gateshift.errors import VideoError

NUM_FRAMES = 50  # of the recording that counts as long here


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Nothing is kept in memory, as in a new process; may be called again. Recordings of 50 frames are long."""

    def empty() -> None:
        monkeypatch.setattr("gateshift.data.video.decode.CACHE", IndexCache())

    monkeypatch.setattr(index_cache, "LONG_PACKETS", NUM_FRAMES)
    empty()
    return empty


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of indices, in the place of that of the process."""
    folder = tmp_path / "temporary"
    monkeypatch.setattr(index_folder, "temporary_index_folder", lambda: folder)
    return folder


def forbid_scans(patch: pytest.MonkeyPatch) -> None:
    def scan(_: PacketSource) -> None:
        raise VideoError("was indexed again")

    patch.setattr(PacketSource, "scan", scan)


def lay_recordings(root: Path, put_video: Callable[[Path, int], Path]) -> Path:
    """One recording of 50 frames and one of 20, of a while ago."""
    root.mkdir(parents=True, exist_ok=True)
    lay_epic(root, put_video)
    for video in root.rglob("*.MP4"):
        age(video)
    return root


def age(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))


def views_of(source: Path, workers: int) -> list[torch.Tensor]:
    """All frames that a test takes of the videos of a list."""
    dataset = ViewDataset(read_manifest(source), EvalProtocol(4), size_px=16, resize_px=16)
    batches = list(read_batches(make_loader(dataset, batch_size=1, workers=workers)))
    assert [line for batch in batches for line in batch["failures"]] == []
    return [batch["views"] for batch in batches]


def test_prepare_leaves_an_index_that_the_processes_of_every_loader_use(
    tmp_path: Path, put_video: Any, empty_cache: Any, temporary: Path
) -> None:
    root, out = lay_recordings(tmp_path / "epic", put_video), tmp_path / "lists"
    prepared = prepare("epic-kitchens-100", root, out, task="verb")
    assert "start" in rows(prepared.train)[0]
    assert len(list((out / INDEX_FOLDER).iterdir())) == 1  # none of the short video
    long = tmp_path / "lists" / "long.csv"
    wanted = ("path", str(root / "P01"))
    long.write_text("".join(f"{line}\n" for line in prepared.train.read_text().split("\n") if line.startswith(wanted)))
    shutil.copy(long, tmp_path / "by_hand.csv")
    empty_cache()
    expected = views_of(tmp_path / "by_hand.csv", workers=0)
    assert len(list(temporary.iterdir())) == 1
    augmentation = Augmentation(16, 4, torch.arange(2), torch.zeros(2, dtype=torch.bool))
    with pytest.MonkeyPatch.context() as patch:
        forbid_scans(patch)
        for workers in (0, 2):
            empty_cache()
            assert all(map(torch.equal, views_of(long, workers), expected))
        clips = TrainingClips(read_manifest(long), ["put", "take"], augmentation, seed=0)
        assert "clips" in clips[0]


@pytest.mark.slow
def test_without_prepare_a_recording_is_indexed_once_in_a_run(
    tmp_path: Path, put_video: Any, empty_cache: Any, temporary: Path
) -> None:
    put_video(tmp_path / "a.mp4", NUM_FRAMES)
    age(tmp_path / "a.mp4")
    source = tmp_path / "list.csv"
    source.write_text("path,label,start,end\na.mp4,x,0,1\na.mp4,x,2,3\n")
    expected = views_of(source, workers=1)
    with pytest.MonkeyPatch.context() as patch:
        forbid_scans(patch)
        for workers in (1, 0):  # the next epoch, and another list of the same recordings
            empty_cache()
            assert all(map(torch.equal, views_of(source, workers), expected))
    assert not (tmp_path / INDEX_FOLDER).exists()
    assert len(list(temporary.iterdir())) == 1


def test_a_recording_that_changes_after_prepare_is_indexed_anew(
    tmp_path: Path, put_video: Any, empty_cache: Any
) -> None:
    root, out = lay_recordings(tmp_path / "epic", put_video), tmp_path / "lists"
    prepared = prepare("epic-kitchens-100", root, out, task="verb")
    (stored,) = (out / INDEX_FOLDER).iterdir()
    before = stored.read_bytes()
    (recording,) = root.rglob("P01_01.MP4")
    put_video(recording, NUM_FRAMES + 10)
    age(recording)
    shutil.copy(prepared.train, tmp_path / "by_hand.csv")
    expected = views_of(tmp_path / "by_hand.csv", workers=0)
    empty_cache()
    assert all(map(torch.equal, views_of(prepared.train, workers=0), expected))
    assert stored.read_bytes() != before


def test_a_prepare_that_found_no_list_to_write_goes_on_with_its_indices(tmp_path: Path, put_video: Any) -> None:
    root, out = lay_recordings(tmp_path / "epic", put_video), tmp_path / "lists"
    (short,) = root.rglob("P02_03.MP4")
    short.rename(tmp_path / "away.mp4")
    with pytest.raises(MissingVideosError):
        prepare("epic-kitchens-100", root, out, task="verb")
    assert [path.name for path in out.iterdir()] == [INDEX_FOLDER]
    (tmp_path / "away.mp4").rename(short)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_cache, "write_index", lambda *_: pytest.fail("was indexed again"))
        prepare("epic-kitchens-100", root, out, task="verb")


def test_lists_of_packed_frames_have_no_indices(tmp_path: Path, put_video: Any) -> None:
    root, out = lay_recordings(tmp_path / "epic", put_video), tmp_path / "lists"
    prepare("epic-kitchens-100", root, out, task="verb", pack=16)
    assert not (out / INDEX_FOLDER).exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_the_temporary_folder_goes_with_the_process_that_asked_for_it() -> None:
    assert temporary_index_folder() == temporary_index_folder()
    folder = temporary_index_folder.__wrapped__()
    assert not folder.exists()
    folder.mkdir()
    owner = os.getpid()
    process = multiprocessing.get_context("fork").Process(target=lambda: index_folder._remove(folder, owner))
    process.start()
    process.join(60)
    assert folder.is_dir()
    index_folder._remove(folder, owner)
    assert not folder.exists()
