"""Seconds are those of the file's clock, as players and labelling programs show it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from container_files import ffmpeg
from video_corpus import encode

from gateshift.cli.main import main
from gateshift.data.video.decode import frames_between
from gateshift.data.video.files import VideoFile, open_video, warn_of_late_pictures
from gateshift.errors import GateShiftWarning

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program is not installed: make system")
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


@pytest.mark.slow
@needs_ffmpeg
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


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_frames_with_one_time_leave_the_others_theirs(suffix: str, tmp_path: Path) -> None:
    times_ms = [*range(0, 400, 40), 400, 400, *range(480, 1000, 80)]
    codec = {"mkv": "libx264", "webm": "libvpx"}[suffix]
    encode(tmp_path / "a.mkv", coloured()[: len(times_ms)], codec=codec, options={"bf": "0"})
    set_times(tmp_path / "a.mkv", tmp_path / f"b.{suffix}", times_ms)
    with VideoFile(tmp_path / f"b.{suffix}") as video:
        assert video.times_s() == pytest.approx([time / 1000 for time in times_ms])
        assert video.has_times


def set_times(source: Path, target: Path, times_ms: list[int]) -> None:
    """Give the frames of a video that are stored as they are shown other times."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet, time in zip(read.demux(video=0), times_ms, strict=False):
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, time, time, Fraction(1, 1000)
            written.mux(packet)


@needs_ffmpeg
@pytest.mark.parametrize("rate", ["15", "24000/1001", "50"])
@pytest.mark.parametrize(
    ("suffix", "codec"), [("h264", "libx264"), ("hevc", "libx265"), ("m2v", "mpeg2video"), ("m4v", "mpeg4")]
)
def test_raw_streams_have_the_rate_of_their_own_headers(suffix: str, codec: str, rate: str, tmp_path: Path) -> None:
    if (suffix, rate) == ("m2v", "15"):
        pytest.skip("MPEG-2 has no such rate")
    path = tmp_path / f"a.{suffix}"
    ffmpeg(*scene(rate), "-c:v", codec, "-bf", "2", *(("-f", "m4v") if suffix == "m4v" else ()), path)
    with VideoFile(path) as video:
        assert video.times_s()[10] == pytest.approx(10 / Fraction(rate), abs=1e-4)


@needs_ffmpeg
def test_a_rate_that_no_camera_has_is_not_believed(tmp_path: Path) -> None:
    ffmpeg(*scene("30"), "-c:v", "libx264", "-bsf:v", "h264_metadata=tick_rate=2000000", tmp_path / "a.h264")
    with VideoFile(tmp_path / "a.h264") as video:
        assert video.times_s()[10] == pytest.approx(0.4)


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4 -bf 0", "mpeg4 -bf 2", "libx264 -bf 0", "libx264 -bf 2"])
def test_frames_that_an_avi_leaves_out_take_their_time(codec: str, tmp_path: Path) -> None:
    # From frame 10 on, each lasts as long as two.
    slots = [number if number < 10 else 2 * number - 10 for number in range(25)]
    slower = ("-vf", "setpts='if(gt(N,10),2*N-10,N)/25/TB'", "-fps_mode", "passthrough")
    ffmpeg(*scene("25"), *slower, "-c:v", *codec.split(), "-g", "9", tmp_path / "a.avi")
    with VideoFile(tmp_path / "a.avi") as video:
        times_s = video.times_s()
    assert times_s == pytest.approx([slot / 25 for slot in slots], abs=0.041)
    assert times_s[-1] == pytest.approx(slots[-1] / 25)


def scene(rate: str) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"testsrc2=s=64x48:r={rate}", "-frames:v", "25", "-pix_fmt", "yuvj420p")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_command_line_says_once_that_times_are_those_of_the_clock(
    late: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(late.parent)
    Path("list.csv").write_text("path,label,start,end\nlate.mkv,red,1,2\nlate.mkv,blue,2,3\n")
    options = (
        "--temporal none --backbone test_resnet --segments 2 --size 32 --epochs 1 --warmup-epochs 0 --batch-size 2"
    )
    main(
        [
            "train",
            "list.csv",
            "list.csv",
            "--out",
            "run",
            *options.split(),
            "--workers",
            "0",
            "--mirror",
            "none",
            "--recipe",
            "papers",
        ]
    )
    told = [line for line in capfd.readouterr().err.splitlines() if "count on the file's clock" in line]
    assert len(told) == 1
    assert told[0].startswith("gateshift: the pictures of a video begin after its sound")
