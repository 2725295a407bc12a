"""Frames that ``prepare`` counts and writes: the right ones, whole or not at all, and not twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from prepare_data import lay_epic, lay_folder, lay_something_v1, lay_something_v2, names_in, rows, run

import gateshift.data.video.index
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.prepare.frames import extract_frames
from gateshift.data.prepare.prepare import MissingVideosError, prepare
from gateshift.data.video.files import open_video
from gateshift.errors import SettingsError

NUM_FRAMES, NUM_BIG = 30, 8  # of the videos that take a while


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "lists"


def frames_of(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted((out / "frames").rglob("*"))
        if path.is_file()
    }


def test_counted_frames_are_those_that_a_video_has(root: Path, out: Path, put_video: Callable) -> None:
    prepare("something-v2", lay_something_v2(root, put_video), out)
    listed = rows(out / "train.csv") + rows(out / "val.csv")
    assert [row["frames"] for row in listed] == ["3", "4", "5", "6"]
    for row in listed:
        with open_video(row["path"]) as video:
            assert int(row["frames"]) == video.num_frames


def test_a_long_video_is_indexed_once_for_all_its_segments(
    root: Path, out: Path, put_video: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    source = gateshift.data.video.index.PacketSource
    scan = source.scan
    monkeypatch.setattr(source, "scan", lambda self: opened.append(self._path.name) or scan(self))
    prepare("epic-kitchens-100", lay_epic(root, put_video), out, task="verb")
    assert sorted(opened) == ["P01_01.MP4", "P02_03.MP4"]
    for row in rows(out / "train.csv") + rows(out / "val.csv"):
        with open_video(row["path"], start_s=float(row["start"]), end_s=float(row["end"])) as video:
            assert int(row["frames"]) == video.num_frames
    assert [row["frames"] for row in rows(out / "val.csv")] == ["15", "5"]
    read_manifest(out / "val.csv").check_unique()


def test_extracted_frames_are_the_videos_frames(
    root: Path, out: Path, put_video: Callable, numbers_of: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("something-v2", lay_something_v2(root, put_video), "--out", out, "--extract-frames") == 0
    assert "folders of frames: 4 written, 0 already there" in capsys.readouterr().out
    assert [row["path"] for row in rows(out / "val.csv")] == ["frames/74225", "frames/36585"]
    assert names_in(out / "frames" / "78687") == ["00001.jpg", "00002.jpg", "00003.jpg"]
    for row, num_frames in zip(rows(out / "train.csv") + rows(out / "val.csv"), (3, 4, 5, 6), strict=True):
        with open_video(out / row["path"]) as video:
            assert numbers_of(video.read(range(video.num_frames))) == list(range(num_frames))
            assert int(row["frames"]) == num_frames
    read_manifest(out / "train.csv").check_files()


def test_each_segment_has_a_folder_of_its_own_frames(
    root: Path, out: Path, put_video: Callable, numbers_of: Callable
) -> None:
    prepare("epic-kitchens-100", lay_epic(root, put_video), out, task="verb", extract_frames=True)
    assert list(rows(out / "train.csv")[0]) == ["path", "label", "frames"]
    shown = {}
    for row in rows(out / "train.csv") + rows(out / "val.csv"):
        with open_video(out / row["path"]) as video:
            shown[row["path"]] = numbers_of(video.read(range(video.num_frames)))
    assert shown == {
        "frames/P01_01_0": list(range(19)),
        "frames/P01_01_1": list(range(16, 25)),
        "frames/P02_03_0": list(range(10, 20)),
        "frames/P02_03_10": list(range(5, 20)),
        "frames/P02_03_2": list(range(5, 10)),
    }


def test_frame_folders_are_not_extracted_again(root: Path, out: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder of frames already; leave `extract_frames` out"):
        prepare("something-v1", lay_something_v1(root), out, extract_frames=True)
    assert not out.exists()


def test_frames_are_not_extracted_into_the_class_folders(root: Path, put_video: Callable) -> None:
    with pytest.raises(SettingsError, match="`extract_frames=True` to .* choose a folder outside of it"):
        prepare("folder", lay_folder(root, put_video, wave=2, clap=2), root / "lists", extract_frames=True)


def test_extracting_folders_keeps_videos_of_one_name_apart(root: Path, out: Path, put_video: Callable) -> None:
    for split in ("train", "val"):
        for label, number in (("wave", 3), ("clap", 4)):
            put_video(root / split / label / "0.mp4", number)
    put_video(root / "train" / "wave" / "0.webm", 5)
    prepare("folder", root, out, extract_frames=True)
    assert {row["path"]: row["frames"] for row in rows(out / "train.csv")} == {
        "frames/train/clap/0": "4",
        "frames/train/wave/0.mp4": "3",
        "frames/train/wave/0.webm": "5",
    }


def test_frames_of_a_video_beside_a_folder_of_its_name_stay(root: Path, out: Path, put_video: Callable) -> None:
    for name in ("train/wave/a.mp4", "train/wave/a/b.mp4", "train/nod/d.mp4", "val/wave/c.mp4"):
        put_video(root / name, 4)
    prepare("folder", root, out, extract_frames=True, workers=1)
    listed = [out / row["path"] for row in (*rows(out / "train.csv"), *rows(out / "val.csv"))]
    assert [len([*folder.glob("*.jpg")]) for folder in listed] == [4, 4, 4, 4]


def test_a_video_with_a_damaged_frame_is_left_out_and_the_rest_is_whole(
    root: Path, out: Path, put_video: Callable, write_video: Callable
) -> None:
    videos = lay_something_v2(root, put_video) / "20bn-something-something-v2"
    (videos / "78687.webm").unlink()
    noise = np.random.default_rng(0).integers(0, 255, (12, 96, 128, 3), dtype=np.uint8)
    path = write_video(videos / "78687.mp4", noise, options={"g": "3", "bf": "0"})
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + len(data) // 2
    data[start : start + 9000] = bytes(9000)
    path.write_bytes(data)
    prepare("something-v2", root, out / "counted")  # counting decodes nothing
    with pytest.raises(MissingVideosError, match="1 of 4 videos"):
        prepare("something-v2", root, out / "a", extract_frames=True)
    assert names_in(out / "a") == ["frames"]
    assert names_in(out / "a" / "frames") == ["36585", "42326", "74225"]
    done = prepare("something-v2", root, out / "a", extract_frames=True, allow_missing=True)
    assert (done.num_written, done.num_reused) == (0, 3)
    assert [video.id for video in done.left_out] == ["78687"]


def test_extracting_stops_between_two_frames(tmp_path: Path, put_video: Callable) -> None:
    path = put_video(tmp_path / "a.mp4", 8)
    stop = Event()
    stop.set()
    assert extract_frames(path, [(tmp_path / "frames" / "a", range(8))], stop) == [False]
    assert names_in(tmp_path / "frames") == []
    assert extract_frames(path, [(tmp_path / "frames" / "a", range(8))], Event()) == [True]
    assert len(names_in(tmp_path / "frames" / "a")) == 8


def test_a_folder_of_another_length_is_extracted_again(root: Path, out: Path, put_video: Callable) -> None:
    lay_something_v2(root, put_video)
    prepare("something-v2", root, out, extract_frames=True)
    (out / "frames" / "78687" / "00002.jpg").unlink()
    left = out / "frames" / ".partial-42326"  # as a run that was killed leaves it
    left.mkdir()
    shutil.rmtree(out / "frames" / "42326")
    (left / "00009.jpg").write_bytes(b"")
    done = prepare("something-v2", root, out, extract_frames=True, overwrite=True)
    assert (done.num_written, done.num_reused) == (2, 2)
    assert [len(names_in(out / "frames" / name)) for name in ("78687", "42326")] == [3, 4]
    assert not left.exists()


# --- the program, stopped in the middle ------------------------------------------------------------------


@pytest.fixture(scope="module")
def big_videos(
    tmp_path_factory: pytest.TempPathFactory, write_video: Callable, counting_frames: Callable
) -> tuple[Path, Path]:
    """Two videos that take a while to extract."""
    folder = tmp_path_factory.mktemp("big")
    frames = counting_frames(NUM_FRAMES, 480, 640)
    options = {"preset": "ultrafast"}
    return (
        write_video(folder / "a.mp4", frames, options=options),
        write_video(folder / "b.mp4", frames[::-1], options=options),
    )


@pytest.fixture
def extracting(
    root: Path, out: Path, put_video: Callable, big_videos: tuple[Path, Path]
) -> Iterator[subprocess.Popen[str]]:
    """The program, in the middle of extracting frames."""
    videos = lay_something_v2(root, put_video) / "20bn-something-something-v2"
    records = []
    for number in range(NUM_BIG):
        shutil.copy(big_videos[number % 2], videos / f"{number}.mp4")
        records.append({"id": str(number), "template": "Closing [something]"})
    (root / "train.json").write_text(json.dumps(records))
    words = ["prepare", "something-v2", str(root), "--out", str(out), "--extract-frames", "--workers", "2"]
    command = [sys.executable, "-m", "gateshift", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any(path.is_dir() for path in out.glob("frames/[0-9]*")):  # the first is whole
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    yield process
    process.kill()
    process.communicate()


def stop_amid_a_folder(process: subprocess.Popen[str], frames: Path) -> None:
    """Pause the program at a moment when a folder is not yet whole, which between two folders may not be so."""
    while True:
        process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it ended before a folder was seen that is not whole"
        if any(folder.name.startswith(".") for folder in frames.iterdir()):
            return
        process.send_signal(signal.SIGCONT)
        time.sleep(0.002)


@pytest.mark.slow
def test_extracting_goes_on_after_it_was_killed(extracting: subprocess.Popen[str], root: Path, out: Path) -> None:
    stop_amid_a_folder(extracting, out / "frames")
    extracting.kill()
    extracting.wait()
    assert extracting.returncode == -signal.SIGKILL
    assert names_in(out) == ["frames"]
    folders = list((out / "frames").iterdir())
    whole = [folder for folder in folders if not folder.name.startswith(".")]
    assert 1 <= len(whole) < NUM_BIG
    assert len(whole) < len(folders)  # what was under way is hidden
    for folder in whole:
        with open_video(folder) as video:
            assert video.num_frames == NUM_FRAMES
    times = {folder: folder.stat().st_mtime_ns for folder in whole}
    done = prepare("something-v2", root, out, extract_frames=True)
    assert (done.num_written, done.num_reused) == (NUM_BIG + 2 - len(whole), len(whole))
    assert {folder: folder.stat().st_mtime_ns for folder in whole} == times
    at_once = prepare("something-v2", root, out.with_name("at once"), extract_frames=True, workers=1)
    assert frames_of(out) == frames_of(out.with_name("at once"))
    assert not list((out / "frames").glob(".*"))
    assert len(rows(done.train)) == NUM_BIG
    for file, other in zip(done.files, at_once.files, strict=True):
        assert file.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_control_c_ends_extracting_at_once(extracting: subprocess.Popen[str], out: Path) -> None:
    extracting.send_signal(signal.SIGINT)
    _, errors = extracting.communicate(timeout=60)
    assert extracting.returncode == 130
    assert errors.splitlines()[-1] == "gateshift: stopped"
    assert "Traceback" not in errors
    folders = names_in(out / "frames")
    assert 1 <= len(folders) < NUM_BIG
    assert not any(name.startswith(".") for name in folders)
