"""Seconds are those of the file's clock, as players and labelling programs show it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from video_corpus import encode

from gateshift.data.video.decode import frames_between
from gateshift.data.video.files import VideoFile, open_video, warn_of_late_pictures
from gateshift.errors import GateShiftWarning

RED, BLUE = (200, 30, 30), (30, 30, 200)


def coloured() -> np.ndarray:
    """One second of red, then one of blue, at 25 frames a second."""
    frames = np.empty((50, 48, 64, 3), np.uint8)
    frames[:25], frames[25:] = RED, BLUE
    return frames


@pytest.fixture(autouse=True)
def nothing_was_said() -> None:
    warn_of_late_pictures.cache_clear()


@pytest.fixture
def late(tmp_path: Path) -> Path:
    """Sound from 0 s on, pictures from 1 s on."""
    encode(tmp_path / "late.mkv", coloured(), times_ms=[1000 + 40 * i for i in range(50)], sound_s=3.0)
    return tmp_path / "late.mkv"


def test_pictures_that_begin_after_the_sound_begin_late_on_the_clock(late: Path) -> None:
    with VideoFile(late) as video:
        assert video.times_s() == pytest.approx([1 + 0.04 * i for i in range(50)])
        assert video.ends_s()[-1] == pytest.approx(3.0)
        assert video.rate == pytest.approx(25)


@pytest.mark.parametrize(
    ("start_s", "end_s", "colours", "num_frames"),
    [(1.0, 1.9, {"red"}, 23), (2.0, 3.0, {"blue"}, 25), (0.0, 1.5, {"red"}, 13), (1.5, 2.5, {"red", "blue"}, 25)],
)
def test_a_part_is_what_a_player_shows_then(
    start_s: float, end_s: float, colours: set[str], num_frames: int, late: Path
) -> None:
    with (
        pytest.warns(GateShiftWarning, match="count on the file's clock"),
        open_video(late, start_s=start_s, end_s=end_s) as video,
    ):
        mean = video.read(range(video.num_frames)).float().mean((2, 3))  # [n, 3]
    assert len(mean) == num_frames
    assert {"red" if red > blue else "blue" for red, _, blue in mean.tolist()} == colours


def test_times_where_nothing_is_shown_yet_are_an_error(late: Path) -> None:
    with (
        pytest.warns(GateShiftWarning),
        pytest.raises(Exception, match=r"no frame has a time .* from 1\.000 to 2\.960 s"),
    ):
        open_video(late, start_s=0.0, end_s=0.9)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program is not installed: make system")
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mov"])
def test_a_file_cut_without_encoding_keeps_the_clock_of_its_sound(suffix: str, tmp_path: Path) -> None:
    encode(tmp_path / "whole.mp4", coloured(), sound_s=2.0, options={"g": "25", "bf": "2"})
    command = ["ffmpeg", "-v", "error", "-ss", "0.5", "-i", "whole.mp4", "-c", "copy", f"cut.{suffix}"]
    subprocess.run(command, check=True, cwd=tmp_path)
    probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-of", "flat"]
    probe += ["-show_entries", "frame=pts_time:format=start_time"]
    told = subprocess.run([*probe, f"cut.{suffix}"], check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    values = dict(line.replace('"', "").split("=") for line in told.splitlines())
    start_s = max(float(values.pop("format.start_time")), 0.0)
    shown_s = sorted(float(value) for value in values.values())
    with VideoFile(tmp_path / f"cut.{suffix}") as video:
        times = video.times_s()
    assert times == pytest.approx([time - min(start_s, shown_s[0]) for time in shown_s][: len(times)], abs=0.002)


@pytest.mark.parametrize("rate", [24, 25, 30, 30000 / 1001, 50, 60000 / 1001, 120, 240, 960])
def test_a_time_in_milliseconds_means_the_frame_that_rounds_to_it(rate: float) -> None:
    times_s = [number / rate for number in range(200)]
    for number in range(1, 199):
        frames = frames_between(times_s, round(times_s[number], 3), round(times_s[number + 1], 3))
        assert frames == range(number, number + 1)


def test_parts_that_follow_each_other_share_no_frame_and_leave_none_out() -> None:
    times_s = [number * 1001 / 30000 for number in range(100)]
    borders = [0.0, 0.5, 1.001, 1.5, 2.335, 3.4]
    parts = [frames_between(times_s, *ends) for ends in itertools.pairwise(borders)]
    assert [number for part in parts for number in part] == list(range(100))


def test_the_command_line_says_once_that_times_are_those_of_the_clock(
    late: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(late.parent)
    Path("list.csv").write_text("path,label,start,end\nlate.mkv,red,1,2\nlate.mkv,blue,2,3\n")
    command = (
        "train list.csv list.csv --out run --temporal none --backbone test_resnet --segments 2 --size 32 --epochs 2"
    )
    options = "--warmup-epochs 0 --batch-size 2 --workers 0 --mirror none"
    subprocess.run([sys.executable, "-m", "gateshift", *command.split(), *options.split()], check=True)
    told = [line for line in capfd.readouterr().err.splitlines() if "count on the file's clock" in line]
    assert len(told) == 1
    assert told[0].startswith("gateshift: the pictures of a video begin after its sound")
