"""Which videos lie in a folder and below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateshift.data.video.files import find_videos
from gateshift.errors import VideoError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_videos_are_found_below_a_folder_in_sorted_order(tmp_path: Path) -> None:
    touch(tmp_path / "b.mp4", tmp_path / "a" / "z.AVI", tmp_path / "a" / "y" / "x.webm", tmp_path / "notes.txt")
    assert find_videos(tmp_path) == [
        tmp_path / "a" / "y" / "x.webm",
        tmp_path / "a" / "z.AVI",
        tmp_path / "b.mp4",
    ]


def test_a_folder_of_images_below_is_one_video(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "1.jpg", tmp_path / "v" / "2.jpg", tmp_path / "v" / "deeper" / "1.jpg")
    touch(tmp_path / "w.mp4", tmp_path / "none" / "readme")
    assert find_videos(tmp_path) == [tmp_path / "v", tmp_path / "w.mp4"]


def test_a_folder_that_holds_images_itself_is_one_video(tmp_path: Path) -> None:
    touch(tmp_path / "1.jpg", tmp_path / "2.jpg", tmp_path / "below" / "w.mp4")
    assert find_videos(tmp_path) == [tmp_path]


def test_images_beside_videos_are_covers(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "a.jpg")
    assert find_videos(tmp_path) == [tmp_path / "a.mp4"]


def test_hidden_files_and_folders_are_not_found(tmp_path: Path) -> None:
    touch(tmp_path / ".a.mp4", tmp_path / ".cache" / "b.mp4", tmp_path / "._1.jpg")
    assert find_videos(tmp_path) == []


def test_a_link_that_leads_back_is_searched_once(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "b.mp4")
    (tmp_path / "a" / "round").symlink_to(tmp_path, target_is_directory=True)
    assert find_videos(tmp_path) == [tmp_path / "a" / "b.mp4"]


def test_searching_what_is_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"none is not a folder"):
        find_videos(tmp_path / "none")
