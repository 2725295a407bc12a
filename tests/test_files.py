"""Files that appear when they are whole, whatever their names."""

import csv
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.check.quarantine import write_quarantine
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.prepare.frames import FRAME_FOLDERS, extract_frames
from gateshift.data.video.files import open_video
from gateshift.evaluation.result import Evaluation
from gateshift.evaluation.scores import Scores, load_scores, save_scores
from gateshift.files import atomic_write, fitting_name, partial_path, write_text
from gateshift.prediction.timeline_files import write_timeline


def long_name(number: int, suffix: str) -> str:
    """A name of 255 bytes."""
    left = 255 - len(suffix) - 1
    return f"{number}{left // 3 * '漢'}{left % 3 * 'x'}{suffix}"


def test_a_file_appears_when_it_is_whole_and_not_at_all_if_writing_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with atomic_write(path) as partial:
        partial.write_text("whole")
        assert not path.exists() and partial.name.startswith(".") and partial.suffix == ".csv"
    assert path.read_text() == "whole"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_no_part_of_the_next_file(tmp_path: Path) -> None:
    left = partial_path(tmp_path / "frames")
    left.mkdir()
    (left / "1.jpg").touch()
    with atomic_write(tmp_path / "frames") as partial:
        partial.mkdir()
    assert list((tmp_path / "frames").iterdir()) == [] and not left.exists()


def test_names_that_are_too_long_are_cut_and_stay_different() -> None:
    names = [f"{number}{300 * 'é'}.zip" for number in range(3)]
    cut = [fitting_name(name) for name in names]
    assert len(set(cut)) == 3 and all(len(name.encode()) <= 255 and name.endswith(".zip") for name in cut)
    assert fitting_name(long_name(1, ".ts")) == long_name(1, ".ts")


@pytest.mark.parametrize("suffix", [".ts", ".mp4"])
@pytest.mark.parametrize("stored", [[], ["--pack", "16"], ["--extract-frames"]])
def test_videos_whose_names_have_255_bytes_are_prepared(
    suffix: str, stored: list[str], tmp_path: Path, write_video: Callable, counting_frames: Callable
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for label in ("close", "open"):
        (data / label).mkdir(parents=True)
        for number in range(2):
            write_video(data / label / long_name(number, suffix), counting_frames(4))
    main(["prepare", "folder", str(data), "--out", str(out), "--workers", "1", *stored])
    for name in ("train.csv", "val.csv"):
        manifest = read_manifest(out / name)
        manifest.check_files()
        for entry in manifest.entries:
            with open_video(entry.path) as video:
                assert video.num_frames == 4


def test_whatever_is_written_takes_a_name_of_255_bytes(
    tmp_path: Path, write_video: Callable, counting_frames: Callable
) -> None:
    def named(suffix: str) -> Path:
        return tmp_path / f"{(255 - len(suffix)) * 'a'}{suffix}"

    scores = Scores(("x", "y"), np.array([0, 1]), np.eye(2, dtype=np.float32), ("close", "open"), "p")
    save_scores(scores, tmp_path / f"{250 * 'a'}.npz")  # .json beside it is longer
    assert load_scores(tmp_path / f"{250 * 'a'}.npz").ids == ("x", "y")
    write_timeline([], named(".srt"), video="a.mp4")
    Evaluation(scores, "model").report(named(".html"))
    write_quarantine(named(".csv"), [])
    write_text(named(".txt"), "a\r\nb\n")
    assert named(".txt").read_bytes() == b"a\r\nb\n"
    gs.save_model(gs.create_model("test_resnet", classes=["a", "b"], num_segments=2), named(".safetensors"))
    assert gs.load_model(named(".safetensors")).classes == ("a", "b")
    video = write_video(tmp_path / "v.mp4", counting_frames(3))
    assert extract_frames(video, [(named(""), range(3))], Event(), FRAME_FOLDERS) == [True]


def test_the_table_of_a_scan_names_a_video_of_255_bytes(tmp_path: Path) -> None:
    video = tmp_path / long_name(1, ".mp4")
    video.touch()
    with pytest.raises(SystemExit) as stop:
        main(["scan", str(tmp_path), "--out", str(tmp_path / "bad.csv"), "--workers", "1"])
    assert stop.value.code == 1
    with (tmp_path / "bad.csv").open(encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(video)]
