"""Class folders as a data set: which videos go to train and val, and what is wrong with a folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prepare_data import class_names, lay_folder, listing, rows, run, split_of

from gateshift.data.prepare.prepare import prepare
from gateshift.errors import ManifestError, SettingsError


def test_class_folders_are_split_by_share_with_both_sides_in_each_class(
    tmp_path: Path, put_video: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = lay_folder(tmp_path / "data", put_video, wave=10, clap=2, nod=1), tmp_path / "lists"
    assert run("folder", root, "--out", out) == 0
    counts = {(label, split): 0 for label in ("wave", "clap", "nod") for split in ("train", "val")}
    for video, split in split_of(out).items():
        counts[video.split("/")[0], split] += 1
    assert list(counts.values()) == [8, 2, 1, 1, 1, 0]
    assert class_names(out) == ["clap", "nod", "wave"]
    assert "class 'nod' has 1 video, which goes to train" in capsys.readouterr().out
    splits = [item.split for item in listing("folder", root, val_share=0.5).items]
    assert splits.count("val") == 6


def test_the_split_depends_on_names_alone(tmp_path: Path, put_video: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay_folder(tmp_path / "data", put_video, wave=12, clap=8)
    first = {item.id: item.split for item in listing("folder", root).items}
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    found = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(found(self), reverse=True)))
    assert {item.id: item.split for item in listing("folder", moved).items} == first
    assert len({first[f"wave/{number}"] for number in range(12)}) == 2


@pytest.mark.parametrize("grouped", [False, True])
def test_videos_that_are_excluded_take_no_part_in_the_split(grouped: bool, tmp_path: Path, put_video: Callable) -> None:
    root, table = lay_folder(tmp_path / "data", put_video, wave=10, clap=5), tmp_path / "bad.csv"
    pattern = "[0-9]+" if grouped else None
    in_val = [item.id for item in listing("folder", root, group_pattern=pattern).items if item.split == "val"]
    table.write_text("path\n" + "".join(f"{root / name}.mp4\n" for name in in_val))
    out = tmp_path / "lists"
    done = prepare("folder", root, out, exclude=table, group_pattern=pattern, workers=1)
    assert sum(done.num_videos.values()) == 15 - len(in_val)
    assert {row["label"] for row in rows(out / "val.csv")} == {"wave", "clap"}
    assert not set(in_val) & set(split_of(out))
    assert f"left out by {table}: {len(in_val)} of 15" in done.notes


def test_a_class_whose_videos_are_all_excluded_is_told(tmp_path: Path, put_video: Callable) -> None:
    root, table = lay_folder(tmp_path / "data", put_video, wave=3, clap=3, nod=1), tmp_path / "bad.csv"
    table.write_text(f"path\n{root / 'nod' / '0.mp4'}\n")
    done = prepare("folder", root, tmp_path / "lists", exclude=table, workers=1)
    assert done.num_videos == {"train": 4, "val": 2} and done.classes == ("clap", "nod", "wave")
    assert f"class 'nod': {table} excludes all of it, so no list has a video" in done.notes
    table.write_text("path\n" + "".join(f"{video}\n" for video in root.rglob("*.mp4")))
    for pattern in (None, "[0-9]+"):
        with pytest.raises(ManifestError, match="leaves no video of the data set"):
            prepare("folder", root, tmp_path / "none", exclude=table, group_pattern=pattern)


@pytest.mark.parametrize("val", ["val", "validation", "test"])
def test_a_split_folder_keeps_its_split(val: str, tmp_path: Path, put_video: Callable) -> None:
    root = tmp_path / "data"
    lay_folder(root / "train", put_video, wave=2, clap=1)
    lay_folder(root / val, put_video, wave=1)
    items = listing("folder", root).items
    assert [item.label for item in items if item.split == "train"] == ["clap", "wave", "wave"]
    assert [item.id for item in items if item.split == "val"] == [f"{val}/wave/0"]


def test_train_may_be_a_class_beside_others(tmp_path: Path, put_video: Callable) -> None:
    assert listing("folder", lay_folder(tmp_path, put_video, train=2, car=2)).classes == ("car", "train")


def test_faults_of_class_folders_are_named(tmp_path: Path, put_video: Callable) -> None:
    def fault() -> str:
        with pytest.raises(ManifestError) as raised:
            listing("folder", tmp_path)
        return str(raised.value)

    assert "no class folders are in it" in fault()
    lay_folder(tmp_path / "train", put_video, wave=2, clap=1)
    assert "train is there, and val or validation or test beside it is not" in fault()
    lay_folder(tmp_path / "eval", put_video, wave=1)
    assert "train is there, and val or validation or test beside it is not" in fault()
    lay_folder(tmp_path / "val", put_video, nod=1)
    assert "class 'nod' is in val and not in train" in fault()
    (tmp_path / "train" / "nod").mkdir()
    assert f"{tmp_path / 'train' / 'nod'}: no video is in this class folder" in fault()


def test_an_impossible_share_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("folder", tmp_path, "--out", tmp_path / "lists", "--val-share", "1") == 2
    assert "--val-share 1.0; it must be above 0 and below 1" in capsys.readouterr().err


def test_the_lists_of_an_earlier_run_are_no_class(tmp_path: Path, put_video: Callable) -> None:
    root = lay_folder(tmp_path, put_video, wave=2, nod=2)
    assert run("folder", root, "--out", root / "lists") == 0
    assert run("folder", root, "--out", root / "lists", "--overwrite") == 0
    assert {row["label"] for row in rows(root / "lists" / "train.csv")} == {"wave", "nod"}


def test_a_pattern_that_is_no_regular_expression_is_an_error(tmp_path: Path, put_video: Callable) -> None:
    lay_folder(tmp_path, put_video, wave=2, nod=2)
    with pytest.raises(SettingsError, match="`group_pattern` .* is no regular expression"):
        listing("folder", tmp_path, group_pattern="(")
