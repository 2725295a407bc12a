"""A folder of images is a video, in the natural order of their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateshift.data.video.files import FrameFolder, VideoFile, open_video
from gateshift.data.video.folders import warn_of_flow
from gateshift.errors import GateShiftWarning, VideoError


def test_images_are_in_the_natural_order_of_their_names(
    tmp_path: Path, write_folder: Any, counting_frames: Any, numbers_of: Any
) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(12), pattern="img_{}.png")
    with open_video(folder) as video:
        assert video.num_frames == 12
        assert numbers_of(video.read([1, 9, 11, 0, 9])) == [1, 9, 11, 0, 9]


def test_a_folder_keeps_the_first_num_frames(
    tmp_path: Path, write_folder: Any, counting_frames: Any, numbers_of: Any
) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(12), pattern="{:05d}.jpg")
    with open_video(folder, num_frames=10) as video:
        assert numbers_of(video.read(range(10))) == list(range(10))
        with pytest.raises(ValueError, match=r"0\.\.9"):
            video.read([10])
    with pytest.raises(VideoError, match=r"num_frames=13.*1\.\.12"):
        open_video(folder, num_frames=13)


def test_other_and_hidden_files_in_a_folder_are_no_frames(
    tmp_path: Path, write_folder: Any, counting_frames: Any
) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(3))
    for name in ("._img_00001.png", ".hidden.jpg", "notes.txt", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    with open_video(folder) as video:
        assert video.num_frames == 3


def test_optical_flow_beside_the_frames_is_not_used(
    tmp_path: Path, write_folder: Any, counting_frames: Any, numbers_of: Any
) -> None:
    warn_of_flow.cache_clear()
    folder = write_folder(tmp_path / "v", counting_frames(12), pattern="img_{:05d}.jpg")
    for axis in "xy":
        write_folder(tmp_path / "v", counting_frames(11), pattern=f"flow_{axis}_{{:05d}}.jpg")
    with pytest.warns(GateShiftWarning, match="optical flow"), open_video(folder) as video:
        assert numbers_of(video.read(range(video.num_frames))) == list(range(12))


@pytest.mark.parametrize(
    ("first", "second"),
    [("left_{:04d}.png", "right_{:04d}.png"), ("{:05d}.jpg", "{:05d}.png"), ("rgb-{}.png", "depth-{}.png")],
)
def test_two_kinds_of_images_in_a_folder_are_an_error(
    first: str, second: str, tmp_path: Path, write_folder: Any, counting_frames: Any
) -> None:
    for pattern in (first, second):
        folder = write_folder(tmp_path / "v", counting_frames(6), pattern=pattern)
    with pytest.raises(VideoError, match="two kinds of images with the same numbers.*a folder of its own"):
        open_video(folder)


@pytest.mark.parametrize("names", [("1.jpg", "2.jpg", "3.JPG", "4.JPG"), ("a1.png", "b2.png", "a3.png", "b4.png")])
def test_images_with_names_of_two_kinds_that_go_on_are_one_video(
    names: tuple[str, ...], tmp_path: Path, write_folder: Any, counting_frames: Any
) -> None:
    for name in names:
        folder = write_folder(tmp_path / "v", counting_frames(1), pattern=name)
    with open_video(folder) as video:
        assert video.num_frames == 4


def test_times_for_a_folder_are_an_error(tmp_path: Path, write_folder: Any, counting_frames: Any) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(3))
    with pytest.raises(VideoError, match=r"no clock"):
        open_video(folder, start_s=0.5)


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(VideoError, match=rf"{tmp_path}: no image"):
        open_video(tmp_path)


@pytest.mark.parametrize("reader", [FrameFolder, VideoFile])
def test_a_reader_given_the_wrong_kind_of_path_says_so(reader: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(VideoError, match="is not a"):
        reader(tmp_path / "file" if reader is FrameFolder else tmp_path)


def test_images_of_different_sizes_are_an_error(tmp_path: Path, write_folder: Any, counting_frames: Any) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(3))
    Image.new("RGB", (20, 10)).save(folder / "img_00002.png")
    with open_video(folder) as video, pytest.raises(VideoError, match=r"frame 1 is 20 x 10 px.*48 x 32"):
        video.read([0, 1])
    with open_video(folder) as video:
        video.read([0])
        with pytest.raises(VideoError, match="one size"):
            video.read([1])
