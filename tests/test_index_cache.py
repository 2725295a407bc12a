"""A recording is indexed once for all clips out of it, and anew once it is another file."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gateshift.data.video import index, index_cache
from gateshift.data.video.files import VideoFile, open_video
from gateshift.data.video.index import PacketSource
from gateshift.data.video.index_cache import IndexCache
from gateshift.errors import VideoError

NUM_FRAMES = 400
X264 = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3:b-adapt=0", "preset": "ultrafast"}
CODINGS: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"options": X264},
    "plain.mkv": {"options": X264},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "10", "deadline": "realtime", "cpu-used": "8"}},
    "uneven.mp4": {"options": X264, "times": [40 * number + 15 * (number % 3) for number in range(NUM_FRAMES)]},
}
CLIP_S = (12.0, 12.4)  # ten frames
CHANGED = r"^[^\n]*was replaced, edited or cut off while it was open; open it again[^\n]*$"


def frames(num_frames: int, seed: int = 0) -> np.ndarray:
    """Frames [T, H, W, 3] of random blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (num_frames, 4, 6, 3), np.uint8)
    return blocks.repeat(8, 1).repeat(8, 2)


def age(path: Path) -> Path:
    """Let a file be one that was written a while ago, and not while it was indexed."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 10**9))
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, write_video: Any) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("recordings")

    def path_of(name: str) -> Path:
        path: Path = folder / name
        return path if path.exists() else age(write_video(path, frames(NUM_FRAMES), **CODINGS[name]))

    return path_of


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> IndexCache:
    """An empty one in the place of that of the process."""
    cache = IndexCache()
    monkeypatch.setattr("gateshift.data.video.decode.CACHE", cache)
    return cache


@pytest.fixture
def demuxed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all packets that are read from now on."""
    sizes: list[int] = []
    demux = index.demux

    def counting(*args: Any) -> Iterator[Any]:
        for packet in demux(*args):
            sizes.append(packet.size)
            yield packet

    monkeypatch.setattr(index, "demux", counting)
    return sizes


def read_clip(path: Path, start_s: float = CLIP_S[0], end_s: float = CLIP_S[1]) -> torch.Tensor:
    with open_video(path, start_s=start_s, end_s=end_s) as video:
        return video.read(range(video.num_frames))


@pytest.mark.parametrize("name", CODINGS)
def test_the_second_clip_costs_the_packets_of_its_own(name: str, recording: Any, demuxed: list[int]) -> None:
    path = recording(name)
    first = read_clip(path)
    assert NUM_FRAMES <= len(demuxed) < NUM_FRAMES + 60  # one pass, and the clip
    demuxed.clear()
    assert torch.equal(read_clip(path), first)
    assert len(demuxed) < 60
    demuxed.clear()
    other = read_clip(path, 2.0, 2.4)
    assert len(demuxed) < 60
    with open_video(path) as video:
        every_frame = video.read(range(NUM_FRAMES))
        times_s = video.times_s()  # type: ignore[attr-defined]
    assert torch.equal(first, every_frame[[CLIP_S[0] <= time_s + 5e-4 < CLIP_S[1] for time_s in times_s]])
    assert torch.equal(other, every_frame[[2.0 <= time_s + 5e-4 < 2.4 for time_s in times_s]])


def test_a_long_mp4_stays_open_for_its_next_reader_alone(
    recording: Any, monkeypatch: pytest.MonkeyPatch, cache: IndexCache
) -> None:
    opened = []
    open_container = PacketSource._open
    monkeypatch.setattr(PacketSource, "_open", lambda source: (opened.append(1), open_container(source))[1])
    monkeypatch.setattr(index_cache, "LONG_PACKETS", NUM_FRAMES)
    path = recording("b_frames.mp4")
    expected = read_clip(path)
    assert torch.equal(read_clip(path), expected)
    assert len(opened) == 1
    with open_video(path) as one, open_video(path) as two:  # side by side, each has its own
        assert torch.equal(one.read([300, 310]), two.read([300, 310]))
    assert len(opened) == 2
    read_clip(recording("plain.mkv"))
    read_clip(recording("plain.mkv"))  # it is opened as fast as any file
    assert len(opened) == 4
    with open_video(path.read_bytes(), start_s=1.0) as copy:  # whose file is removed
        copy.read([0])
    assert len(cache._sources) == 1


def test_an_open_file_whose_index_was_dropped_is_indexed_from_its_start(
    recording: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = IndexCache(max_bytes=0)
    monkeypatch.setattr("gateshift.data.video.decode.CACHE", cache)
    monkeypatch.setattr(index_cache, "LONG_PACKETS", NUM_FRAMES)
    path = recording("b_frames.mp4")
    assert torch.equal(read_clip(path), read_clip(path))
    assert cache.num_bytes == 0


def test_no_more_files_stay_open_than_may(recording: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = IndexCache(max_open=2)
    monkeypatch.setattr("gateshift.data.video.decode.CACHE", cache)
    monkeypatch.setattr(index_cache, "LONG_PACKETS", NUM_FRAMES)
    for number in range(4):
        read_clip(Path(shutil.copy(recording("b_frames.mp4"), tmp_path / f"{number}.mp4")))
    assert [Path(key).stem for key in cache._sources] == ["2", "3"]


def test_a_file_that_was_replaced_is_indexed_anew(recording: Any, tmp_path: Path, write_video: Any) -> None:
    path = tmp_path / "a.mp4"
    shutil.copy2(recording("b_frames.mp4"), path)
    read_clip(path)
    other = age(write_video(tmp_path / "b.mp4", frames(330, seed=1), options=X264))
    expected = read_clip(other)
    other.replace(path)
    with open_video(path) as video:
        assert video.num_frames == 330
    assert torch.equal(read_clip(path), expected)


def test_a_file_that_was_edited_in_place_is_indexed_anew(
    tmp_path: Path, write_video: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_cache, "SHORT_PACKETS", 20)
    one, two = (write_video(tmp_path / f"{seed}.avi", frames(20, seed), codec="rawvideo") for seed in (0, 1))
    expected = [read_clip(path, 0.2, 0.6) for path in (one, two)]
    assert one.stat().st_size == two.stat().st_size
    path = tmp_path / "a.avi"
    for source, clip in zip((one, two), expected, strict=True):
        before = path.stat().st_ino if path.exists() else None
        path.write_bytes(source.read_bytes())
        os.utime(path, ns=(0, 10**18 + (before is None)))
        assert before in (None, path.stat().st_ino)
        assert torch.equal(read_clip(path, 0.2, 0.6), clip)


def test_an_index_of_a_file_that_changed_a_moment_ago_is_not_kept(
    recording: Any, tmp_path: Path, demuxed: list[int]
) -> None:
    path = Path(shutil.copy(recording("b_frames.mp4"), tmp_path / "a.mp4"))
    os.utime(path, ns=(0, time.time_ns() + 10**10))
    read_clip(path)
    demuxed.clear()
    read_clip(path)
    assert len(demuxed) >= NUM_FRAMES


@pytest.mark.parametrize("name", ["b_frames.mp4", "plain.mkv"])
def test_a_file_that_was_cut_off_after_it_was_indexed_is_noticed(name: str, recording: Any, tmp_path: Path) -> None:
    path = Path(shutil.copy2(recording(name), tmp_path / name))
    expected = read_clip(path, 0.0, 0.4)
    with open_video(path) as video:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(VideoError, match=CHANGED):
            video.read([350])
        with pytest.raises(VideoError, match=CHANGED):
            video.read([0])
    if name.endswith("mp4"):
        with pytest.raises(VideoError, match=r"b_frames\.mp4: "):  # its header was at the end
            open_video(path)
    else:
        with open_video(path) as video:
            assert video.num_frames < 300
            assert torch.equal(video.read(range(10)), expected)


@pytest.mark.parametrize("change", ["replaced", "edited"])
def test_a_file_that_changes_while_it_is_open_is_noticed(change: str, recording: Any, tmp_path: Path) -> None:
    path = Path(shutil.copy2(recording("b_frames.mp4"), tmp_path / "a.mp4"))
    with open_video(path) as video:
        video.read([5])
        if change == "replaced":
            Path(shutil.copy(recording("uneven.mp4"), tmp_path / "b.mp4")).replace(path)
        else:
            with path.open("r+b") as file:
                file.seek(2000)
                file.write(bytes(500))
        with pytest.raises(VideoError, match=CHANGED):
            video.read([200])


def test_a_file_that_was_deleted_is_read_to_its_end(recording: Any, tmp_path: Path) -> None:
    path = Path(shutil.copy2(recording("b_frames.mp4"), tmp_path / "a.mp4"))
    with open_video(path) as video, open_video(recording("b_frames.mp4")) as other:
        path.unlink()
        assert torch.equal(video.read([200, 3]), other.read([200, 3]))


def test_the_memory_of_many_files_is_bounded(recording: Any, tmp_path: Path, demuxed: list[int]) -> None:
    cache = IndexCache(max_bytes=400_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateshift.data.video.decode.CACHE", cache)
        paths = [Path(shutil.copy2(recording("b_frames.mp4"), tmp_path / f"{number}.mp4")) for number in range(12)]
        for path in paths:
            read_clip(path)
            read_clip(paths[0])  # used all along
            assert 0 < cache.num_bytes <= 400_000
        assert cache.num_bytes == sum(index.num_bytes for index in cache._indices.values())
        assert 1 < len(cache._indices) < 12
        demuxed.clear()
        read_clip(paths[0])
        assert len(demuxed) < 60
        read_clip(paths[1])
        assert len(demuxed) >= NUM_FRAMES


def test_short_files_leave_nothing_behind(tmp_path: Path, write_video: Any, cache: IndexCache) -> None:
    for number in range(3):
        read_clip(age(write_video(tmp_path / f"{number}.mp4", frames(30))), 0.0, 0.4)
    assert cache.num_bytes == 0
    assert not cache._indices


@pytest.mark.slow
def test_threads_share_what_is_kept(recording: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_cache, "LONG_PACKETS", NUM_FRAMES)
    paths = [recording(name) for name in CODINGS]
    parts = [(path, start_s, start_s + 0.4) for path in paths for start_s in (1.0, 5.0, 9.0)]
    expected = [read_clip(*part) for part in parts]
    cache = IndexCache()
    monkeypatch.setattr("gateshift.data.video.decode.CACHE", cache)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: read_clip(*part), 4 * parts))
    assert all(torch.equal(clip, expected[number % len(parts)]) for number, clip in enumerate(found))
    assert len(cache._indices) == len(paths)
    assert cache.num_bytes == sum(index.num_bytes for index in cache._indices.values())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_keeps_the_index_and_opens_the_file_itself(
    recording: Any, monkeypatch: pytest.MonkeyPatch, demuxed: list[int]
) -> None:
    monkeypatch.setattr("gateshift.data.video.decode.CACHE", index_cache.CACHE)
    monkeypatch.setattr(index_cache, "LONG_PACKETS", NUM_FRAMES)
    path = recording("b_frames.mp4")
    expected = read_clip(path)
    assert index_cache.CACHE._sources

    def child() -> None:
        demuxed.clear()
        assert not index_cache.CACHE._sources
        assert torch.equal(read_clip(path), expected)
        assert len(demuxed) < 60

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_an_order_that_decoding_corrected_is_found_once(
    recording: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(recording("b_frames.mp4").read_bytes().replace(b"ctts", b"free"))
    age(path)
    decoded = []
    order_as_decoded = index_cache.order_as_decoded
    monkeypatch.setattr(index_cache, "order_as_decoded", lambda *args: (decoded.append(1), order_as_decoded(*args))[1])
    found = []
    for _ in range(2):
        with VideoFile(path) as video:
            found.append(video.read([101, 102, 103]))
    assert torch.equal(*found)
    assert len(decoded) == 1


def read_by_another_process(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Read a clip with nothing but the folder of indices kept."""
    monkeypatch.setattr("gateshift.data.video.decode.CACHE", IndexCache())
    with open_video(path, start_s=CLIP_S[0], end_s=CLIP_S[1], index_folder=folder) as video:
        return video.read(range(video.num_frames))


@pytest.mark.parametrize("name", CODINGS)
def test_processes_share_a_folder_of_indices(
    name: str, recording: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demuxed: list[int]
) -> None:
    monkeypatch.setattr(index_cache, "LONG_PACKETS", NUM_FRAMES)
    expected = read_clip(recording(name))
    folder = tmp_path / "new" / "indices"
    assert torch.equal(read_by_another_process(recording(name), folder, monkeypatch), expected)
    assert len(list(folder.iterdir())) == 1
    demuxed.clear()
    assert torch.equal(read_by_another_process(recording(name), folder, monkeypatch), expected)
    assert len(demuxed) < 60


@pytest.mark.parametrize("wrong", ["video replaced", "cut off", "damaged", "other file", "of another version"])
def test_an_index_on_disk_that_does_not_fit_is_not_used(
    wrong: str, recording: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demuxed: list[int]
) -> None:
    monkeypatch.setattr(index_cache, "LONG_PACKETS", NUM_FRAMES)
    path = Path(shutil.copy2(recording("b_frames.mp4"), tmp_path / "a.mp4"))
    read_by_another_process(path, tmp_path / "indices", monkeypatch)
    (stored,) = (tmp_path / "indices").iterdir()
    data = stored.read_bytes()
    if wrong == "video replaced":
        Path(shutil.copy2(recording("uneven.mp4"), tmp_path / "b.mp4")).replace(path)
    elif wrong == "of another version":
        monkeypatch.setattr(index_cache, "_FORMAT", 2)
    else:
        middle = len(data) // 2
        bad = {"cut off": data[:middle], "damaged": data[:middle] + b"wrong" + data[middle + 5 :], "other file": b"no"}
        stored.write_bytes(bad[wrong])
    expected = read_clip(path)
    demuxed.clear()
    for is_first in (True, False):  # it is written again
        assert torch.equal(read_by_another_process(path, tmp_path / "indices", monkeypatch), expected)
        assert (len(demuxed) >= NUM_FRAMES) == is_first
        demuxed.clear()


def test_a_folder_that_cannot_be_written_to_and_short_videos_leave_no_index(
    recording: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read_clip(recording("b_frames.mp4"))
    assert torch.equal(read_by_another_process(recording("b_frames.mp4"), tmp_path / "short", monkeypatch), expected)
    assert not (tmp_path / "short").exists()
    monkeypatch.setattr(index_cache, "LONG_PACKETS", NUM_FRAMES)
    (tmp_path / "file").touch()
    assert torch.equal(read_by_another_process(recording("b_frames.mp4"), tmp_path / "file", monkeypatch), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
