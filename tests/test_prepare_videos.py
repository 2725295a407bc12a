"""Where the videos of a data set are found, and those that cannot be used."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prepare_data import (
    V1,
    epic_row,
    lay,
    lay_epic,
    lay_folder,
    lay_kinetics,
    lay_something_v1,
    lay_something_v2,
    rows,
    run,
    split_of,
)

from gateshift.cli.main import main
from gateshift.data.prepare.annotations import Item
from gateshift.data.prepare.prepare import MissingVideosError, prepare
from gateshift.data.prepare.videos import locate_videos
from gateshift.errors import ManifestError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "lists"


def test_kinetics_videos_are_found_wherever_downloaders_put_them(root: Path, out: Path, put_video: Callable) -> None:
    prepare("kinetics", lay_kinetics(root, put_video), out)
    assert [(row["label"], row["frames"]) for row in rows(out / "train.csv")] == [
        ("air drumming", "3"),
        ("cooking, on campfire", "4"),
        ("air drumming", "5"),
    ]
    assert [row["frames"] for row in rows(out / "val.csv")] == ["6", "7"]


def test_a_video_is_found_in_each_of_its_places_in_any_container_and_capitals(tmp_path: Path) -> None:
    for folder in ("P01/videos", "P01", "videos", "EPIC-KITCHENS/P01/videos", ""):
        path = tmp_path / folder / "P01_01.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        folders = ("P01/videos", "P01", "videos", "EPIC-KITCHENS/P01/videos", "")
        (found,) = locate_videos([Item("a", "take", "train", ("P01_01.MP4",), folders)], tmp_path)
        assert found.path == path
        path.unlink()
    (missing,) = locate_videos([Item("a", "take", "train", ("P01_01.MP4",), ("P01", ""))], tmp_path)
    assert missing.problem == f"not there: no P01_01.MP4 in {tmp_path}/P01, {tmp_path}"


def test_epic_kitchens_videos_are_found_beside_the_folders_of_their_persons(
    root: Path, out: Path, put_video: Callable
) -> None:
    path = lay_epic(root, put_video) / "P01" / "videos" / "P01_01.MP4"
    path = path.rename(root / "P01_01.mp4")  # in small letters
    prepare("epic-kitchens-100", root, out, task="noun")
    assert rows(out / "train.csv")[0]["path"] == str(path)


@pytest.mark.parametrize("dataset", ["something-v1", "kinetics", "epic-kitchens-100", "folder"])
def test_missing_and_broken_videos_are_told_and_nothing_is_written_unless_allowed(
    dataset: str, root: Path, out: Path, put_video: Callable
) -> None:
    lay(dataset, root, put_video)
    task = "verb" if dataset == "epic-kitchens-100" else None
    prepare(dataset, root, root.parent / "whole", task=task)  # type: ignore[arg-type]
    whole, num_val = (rows(root.parent / "whole" / name) for name in ("train.csv", "val.csv"))
    victim = Path(whole[0]["path"])
    if victim.is_dir():
        for image in victim.iterdir():
            image.write_bytes(b"")
    elif dataset == "folder":
        victim.write_bytes(b"")
    else:
        victim.unlink()
    spare = [row for row in whole if row["path"] != str(victim)]
    ids = {
        "something-v1": ["100218"],
        "kinetics": ["-0abcdefghi_000001_000011"],
        "epic-kitchens-100": ["P01_01_0", "P01_01_1"],
        "folder": ["train/wave/0"],
    }[dataset]
    message = f"{len(ids)} of {len(whole) + len(num_val)} videos are missing or broken, so no list was .*allow_missing"
    with pytest.raises(MissingVideosError, match=message) as raised:
        prepare(dataset, root, out, task=task)  # type: ignore[arg-type]
    assert [video.id for video in raised.value.left_out] == ids
    assert not out.exists()
    done = prepare(dataset, root, out, task=task, allow_missing=True)  # type: ignore[arg-type]
    assert rows(out / "train.csv") == spare
    assert [(row["id"], row["split"]) for row in rows(out / "missing.csv")] == [(id_, "train") for id_ in ids]
    for row, video in zip(rows(out / "missing.csv"), done.left_out, strict=True):
        assert row["reason"] == video.reason
        assert ("empty" if victim.exists() else "not there: no ") in video.reason
    assert done.num_videos["train"] == len(spare)


def test_a_long_table_is_cut_and_says_so(root: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay_something_v1(root)
    with (root / f"{V1}-train.csv").open("a") as file:
        file.writelines(f"{number};Holding something\n" for number in range(500000, 500060))
    assert run("something-v1", root, "--out", out) == 1
    printed = capsys.readouterr()
    assert "and 10 more" in printed.out
    assert "500049" in printed.out
    assert "500050" not in printed.out
    assert "gateshift: 60 of 64 videos are missing or broken" in printed.err
    assert "--allow-missing" in printed.err
    assert run("something-v1", root, "--out", out, "--allow-missing") == 0
    assert "train: 2 videos, 60 left out" in capsys.readouterr().out


def test_a_list_of_which_nothing_is_left_is_not_written(root: Path, out: Path, put_video: Callable) -> None:
    lay_epic(root, put_video)
    (root / "P02" / "P02_03.MP4").unlink()
    message = f"no video is left for val, such as P02_03_10: not there: no P02_03.MP4 in {root}/P02/videos, {root}/P02,"
    with pytest.raises(ManifestError, match=message):
        prepare("epic-kitchens-100", root, out, task="verb", allow_missing=True)
    assert not out.exists()


def test_a_video_that_cannot_be_read_is_left_out(root: Path, out: Path, put_video: Callable) -> None:
    videos = lay_something_v2(root, put_video) / "20bn-something-something-v2"
    (videos / "78687.webm").write_bytes(b"no video at all" * 99)
    whole = put_video(root / "whole.mp4", 8).read_bytes()
    (videos / "74225.webm").unlink()
    (videos / "74225.mp4").write_bytes(whole[: len(whole) // 2])
    done = prepare("something-v2", root, out, allow_missing=True)
    assert {video.id: video.split for video in done.left_out} == {"78687": "train", "74225": "val"}
    assert all("cannot be read as a video" in video.reason for video in done.left_out)


def test_a_segment_beyond_its_video_is_left_out(root: Path, out: Path, put_video: Callable) -> None:
    lay_epic(root, put_video)
    with (root / "EPIC_100_train.csv").open("a") as file:
        file.write(epic_row("P01_01_2", "06.00", "07.00", 0, 0))
    done = prepare("epic-kitchens-100", root, out, task="verb", allow_missing=True)
    (video,) = done.left_out
    assert video.id == "P01_01_2"
    assert "no frame is from 6.0 s to 7.0 s" in video.reason
    assert done.num_videos["train"] == 3


def test_two_clips_of_one_file_are_left_out(root: Path, out: Path, put_video: Callable) -> None:
    lay_kinetics(root, put_video)
    with (root / "train.csv").open("a") as file:
        file.write("air drumming,Ccdefghijkl,50,60,train\n")
    done = prepare("kinetics", root, out, allow_missing=True)
    assert [video.id for video in done.left_out] == ["Ccdefghijkl_000000_000010", "Ccdefghijkl_000050_000060"]
    assert "Ccdefghijkl.mp4: is the video of" in done.left_out[0].reason


@pytest.mark.slow
def test_what_scan_found_is_left_out(
    root: Path, out: Path, put_video: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_folder(root, put_video, wave=3, clap=3)
    (root / "wave/broken.mp4").write_bytes(b"no video")
    found, other = root.parent / "bad.csv", root.parent / "other.csv"
    with pytest.raises(SystemExit):
        main(["scan", str(root), "--out", str(found), "--workers", "1"])
    other.write_text("path\nelsewhere.mp4\n")
    for stored in ([], ["--pack", "8"]):
        lists = out / "-".join(["plain", *stored])
        assert run("folder", root, "--out", lists, *stored) == 1
        assert run("folder", root, "--out", lists, *stored, "--exclude", found) == 0
        assert f"left out by {found}: " in capsys.readouterr().out
        assert len(split_of(lists)) == 7 - len(rows(found)) and not any("broken" in name for name in split_of(lists))
        assert run("folder", root, "--out", lists, *stored, "--exclude", other, "--overwrite") == 2
        assert "none of its 1 paths is a video of the data set" in capsys.readouterr().err
