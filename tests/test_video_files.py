"""A video file as numbered frames: parts of it, and what is told of a file that is no video."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from coded_videos import moving_frames
from PIL import Image

from gateshift.data.video.files import VideoFile, open_video
from gateshift.errors import VideoError


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (None, 0.2, range(0, 5)),
        (0.2, None, range(5, 40)),
        (0.2, 0.4, range(5, 10)),
        (0.21, 0.39, range(6, 10)),
        (0.0, 100.0, range(0, 40)),
    ],
)
@pytest.mark.parametrize("name", ["b_frames.mp4", "plain.ts", "plain.h264", "late_start.mkv", "mpeg4.avi"])
def test_times_count_from_the_first_frame_and_the_end_is_left_out(
    name: str, start_s: float | None, end_s: float | None, expected: range, coded: Any
) -> None:
    with open_video(coded(name)) as whole, open_video(coded(name), start_s=start_s, end_s=end_s) as part:
        assert part.num_frames == len(expected)
        ends = [expected[0], expected[-1]]
        assert torch.equal(part.read([0, part.num_frames - 1]), whole.read(ends))


def test_times_of_uneven_frames_are_those_that_were_written(coded: Any) -> None:
    with open_video(coded("uneven_times.mkv"), start_s=0.096, end_s=0.3) as video:  # from frame 4 to before 10
        assert video.num_frames == 6


def test_num_frames_keeps_the_first_ones_of_what_the_times_left(coded: Any) -> None:
    path = coded("b_frames.mp4")
    with open_video(path) as whole, open_video(path, start_s=0.4, num_frames=3) as part:
        assert part.num_frames == 3
        assert torch.equal(part.read([2]), whole.read([12]))
        with pytest.raises(ValueError, match=r"0\.\.2"):
            part.read([3])


@pytest.mark.parametrize("num_frames", [0, -1, 41])
def test_a_length_other_than_the_video_has_is_an_error(num_frames: int, coded: Any) -> None:
    with pytest.raises(VideoError, match=rf"b_frames\.mp4.*num_frames={num_frames}.*1\.\.40"):
        open_video(coded("b_frames.mp4"), num_frames=num_frames)


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [(2.0, None), (0.41, 0.43), (0.5, 0.5), (0.6, 0.5), (-1.0, None), (float("nan"), None)],
)
def test_times_without_a_frame_are_an_error(start_s: float, end_s: float | None, coded: Any) -> None:
    with pytest.raises(VideoError, match=r"b_frames\.mp4.*start_s="):
        open_video(coded("b_frames.mp4"), start_s=start_s, end_s=end_s)


def test_a_path_that_does_not_exist_says_so(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"none\.mp4: there is no such file"):
        open_video(tmp_path / "none.mp4")


@pytest.mark.parametrize("content", [b"", b"hello\n" * 500, os.urandom(5000)], ids=["empty", "text", "noise"])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.txt", "a.bin", "a"])
def test_a_file_that_is_no_video_is_an_error_that_names_it(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=str(tmp_path / name)):
        open_video(tmp_path / name)


def test_a_single_image_is_an_error_that_asks_for_the_folder(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(VideoError, match=r"a\.png.*give the folder"):
        open_video(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("kind", "count", "part"),
    [
        ("png", 1, "is a single image"),
        ("jpeg", 1, "is a single image"),
        ("tiff", 1, "is a single image"),
        ("webp", 3, "of 3 pictures"),
    ],
)
def test_an_image_without_the_suffix_of_one_is_no_video_either(
    kind: str, count: int, part: str, tmp_path: Path
) -> None:
    first, *others = (Image.new("RGB", (8, 8), (90 * number, 0, 0)) for number in range(count))
    first.save(tmp_path / f"a.{kind}", save_all=count > 1, append_images=others)
    (tmp_path / "a.mp4").write_bytes(content := (tmp_path / f"a.{kind}").read_bytes())
    for source in (tmp_path / "a.mp4", content):
        with pytest.raises(VideoError, match=part):
            open_video(source)


@pytest.mark.parametrize("has_cover", [False, True])
def test_a_sound_file_is_an_error_even_with_a_cover(has_cover: bool, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=48000, layout="mono")
        if has_cover:
            cover: Any = container.add_stream("mjpeg", rate=1)
            cover.width = cover.height = 16
            cover.pix_fmt = "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
            container.mux(cover.encode(av.VideoFrame(16, 16, "yuvj420p")))
            container.mux(cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match=r"sound\.mp4: has no video stream"):
        open_video(path)


def test_a_codec_that_nobody_knows_is_an_error(tmp_path: Path, coded: Any) -> None:
    path = tmp_path / "new.mp4"
    path.write_bytes(coded("b_frames.mp4").read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError, match=r"new\.mp4.*convert it"):
        open_video(path)


def test_a_video_stream_without_frames_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        container.start_encoding()
    with pytest.raises(VideoError, match=r"a\.avi"):
        open_video(tmp_path / "a.avi")


@pytest.mark.parametrize("name", ["b_frames.mp4", "plain.mov", "faststart.mp4"])
def test_a_cut_off_mp4_is_an_error_that_names_it(name: str, tmp_path: Path, coded: Any, write_video: Any) -> None:
    path = tmp_path / name
    if name == "faststart.mp4":  # the list of frames comes first and survives
        write_video(path, moving_frames(), container_options={"movflags": "faststart"})
    else:
        shutil.copy(coded(name), path)
    os.truncate(path, path.stat().st_size * 3 // 4)
    with pytest.raises(VideoError, match=str(path)):
        open_video(path)


@pytest.mark.parametrize("first", [[0, 4], [6], [4, 5], [9, 0]])
def test_frames_of_another_size_are_resized_to_that_of_the_first(
    first: list[int], tmp_path: Path, write_video: Any, counting_frames: Any
) -> None:
    small = write_video(tmp_path / "small.h264", counting_frames(5))
    large = write_video(tmp_path / "large.h264", counting_frames(5, 64, 64))
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoFile(path) as video:
        assert video.read(first).shape == (len(first), 3, 32, 48)
        assert video.changes_size == (max(first) > 4)
        levels = video.read(range(10)).float().mean((1, 2, 3)).tolist()
    assert levels == pytest.approx(2 * [10, 14, 18, 22, 26], abs=2)


def test_tags_in_an_unknown_encoding_do_no_harm(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        container.metadata["title"] = "TITLE"
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    data = (tmp_path / "a.avi").read_bytes()
    assert b"TITLE" in data
    (tmp_path / "a.avi").write_bytes(data.replace(b"TITLE", b"T\xe9\xe8LE"))
    with open_video(tmp_path / "a.avi") as video:
        assert video.num_frames == 1


def test_a_closed_video_says_so(coded: Any) -> None:
    video = open_video(coded("b_frames.mp4"))
    video.close()
    video.close()
    with pytest.raises(VideoError, match=r"b_frames\.mp4 was closed"):
        video.read([0])


def count_entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux to count open files and threads")
def test_no_file_stays_open_and_no_thread_is_started(tmp_path: Path, coded: Any) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\xff" * 1000)
    good, uncounted = coded("b_frames.mp4"), coded("plain.h264")
    num_files, num_threads = count_entries("/proc/self/fd"), count_entries("/proc/self/task")
    for _ in range(5):
        with pytest.raises(VideoError):
            open_video(broken)
        with pytest.raises(VideoError):
            open_video(good, num_frames=1000)
        for path in (good, uncounted):
            with open_video(path) as video:
                video.read([30, 2])
                assert count_entries("/proc/self/task") <= num_threads
    assert count_entries("/proc/self/fd") == num_files
