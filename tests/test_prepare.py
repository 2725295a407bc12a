"""The verb prepare on small trees in the data sets' own formats, with real videos."""

import csv
import json
import random
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
from PIL import Image

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.prepare.frames import extract_frames
from gateshift.data.prepare.listing import Source
from gateshift.data.prepare.prepare import PrepareOptions, prepare
from gateshift.data.video.files import open_video
from gateshift.errors import ManifestError

LABELS = Path(__file__).parent / "label_maps"
SHARED = Path(__file__).parent.parent.parent / "shared" / "annotations"
SMALL = ["--backbone", "test_resnet", "--size", "32", "--segments", "2", "--batch-size", "2", "--workers", "0"]
SMALL += ["--epochs", "1", "--warmup-epochs", "0"]
NAMES = [line.strip() for line in (LABELS / "sthv2.txt").read_text().splitlines()]


class Clips:
    """Videos of 3 to 8 frames by suffix and length, encoded once and copied."""

    def __init__(self, folder: Path, write_video: Callable, counting_frames: Callable) -> None:
        self.folder, self.write_video, self.frames = folder, write_video, counting_frames

    def put(self, path: Path, num_frames: int) -> Path:
        source = self.folder / f"{num_frames}{path.suffix}"
        if not source.exists():
            codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
            self.write_video(source, self.frames(num_frames), codec=codec, fps=10)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)
        return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, write_video: Callable, counting_frames: Callable) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"), write_video, counting_frames)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "lists"


def run(*arguments: object) -> int:
    """The exit code of the command line."""
    try:
        main(["prepare", *map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def labels(path: Path) -> list[tuple[str, str]]:
    """The stem of each video of a list and its label."""
    return [(Path(row["path"]).stem, row["label"]) for row in rows(path)]


def class_names(out: Path) -> list[str]:
    return (out / "classes.txt").read_text(encoding="utf-8").splitlines()


def lay_something_v1(root: Path, name: str = "something-something-v1", label_map: str = "sthv1.txt") -> Path:
    """Four frame folders of 3 to 6 frames."""
    names = (LABELS / label_map).read_text().splitlines()
    (root / f"{name}-labels.csv").write_text("".join(f"{line}\n" for line in names))
    (root / f"{name}-train.csv").write_text(f"100218;{names[0]}\n24413;{names[1]}\n")
    (root / f"{name}-validation.csv").write_text(f"74225;{names[2]}\n9;{names[0]}\n")
    for number, video in enumerate(("100218", "24413", "74225", "9"), start=3):
        folder = root / f"20bn-{name}" / video
        folder.mkdir(parents=True)
        for frame in range(1, number + 1):
            Image.new("RGB", (48, 36), (frame, 0, 0)).save(folder / f"{frame:05d}.jpg")
    return root


def lay_something_v2(root: Path, clips: Clips, prefix: str = "") -> Path:
    numbers = list(enumerate(NAMES))
    random.Random(0).shuffle(numbers)
    (root / f"{prefix}labels.json").write_text(json.dumps({name: str(number) for number, name in numbers}))
    train = [("78687", "Holding [something] next to [something]"), ("42326", "Spreading [something] onto [something]")]
    val = [("74225", "Spinning [something] that quickly stops spinning")]
    val += [("36585", "[Something] falling like a feather or paper")]
    for part, entries in (("train", train), ("validation", val)):
        records = [{"id": id_, "label": "x", "template": text, "placeholders": ["y"]} for id_, text in entries]
        (root / f"{prefix}{part}.json").write_text(json.dumps(records))
    for number, (video, _) in enumerate(train + val, start=3):
        clips.put(root / "20bn-something-something-v2" / f"{video}.webm", number)
    return root


def lay_diving48(root: Path, clips: Clips, edition: str = "V2_") -> Path:
    dives = [line.strip().split("+") for line in (LABELS / "diving48.txt").read_text().splitlines()]
    (root / "Diving48_vocab.json").write_text(json.dumps(dives))
    for part, dives_of in (("train", (0, 3)), ("test", (47,))):
        names = [f"-mmq0PT-u8k_{number:05d}_{part}" for number in range(len(dives_of))]
        records = [
            {"vid_name": name, "label": label, "start_frame": 0, "end_frame": 48}
            for name, label in zip(names, dives_of, strict=True)
        ]
        (root / f"Diving48_{edition}{part}.json").write_text(json.dumps(records))
        for name in names:
            clips.put(root / "rgb" / f"{name}.mp4", 4)
    return root


def lay_kinetics(root: Path, clips: Clips) -> Path:
    header = "label,youtube_id,time_start,time_end,split\n"
    (root / "train.csv").write_text(
        header + "air drumming,-0abcdefghi,1,11,train\n"
        '"cooking, on campfire",B_cdefghijk,20,30,train\nair drumming,Ccdefghijkl,0,10,train\n'
    )
    (root / "val.csv").write_text(header + "air drumming,Ddefghijklm,3,13,val\nair drumming,Eefghijklmn,3,13,val\n")
    clips.put(root / "train" / "air drumming" / "-0abcdefghi_000001_000011.mp4", 3)
    clips.put(root / "train" / "B_cdefghijk_000020_000030.mp4", 4)
    clips.put(root / "train" / "air_drumming" / "Ccdefghijkl.mp4", 5)
    clips.put(root / "val" / "Ddefghijklm.mp4", 6)
    clips.put(root / "Eefghijklmn_000003_000013.mp4", 7)
    return root


EPIC_HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
)


def epic_row(id_: str, start: str, stop: str, verb: int, noun: int) -> str:
    person, number, _ = id_.split("_")
    times = f"00:00:00.10,00:00:{start},00:00:{stop},1,9"
    return f"{id_},{person},{person}_{number},{times},take it,grab,{verb},cup,{noun},\"['cup', 'tap']\",\"[1, 0]\"\n"


def lay_epic(root: Path, clips: Clips) -> Path:
    """Two untrimmed videos, of 5 and 2 seconds at 10 frames a second."""
    (root / "EPIC_100_verb_classes.csv").write_text(
        "id,key,instances,category\n0,take,\"['a', 'b']\",x\n1,put,['c'],y\n"
    )
    (root / "EPIC_100_noun_classes.csv").write_text("id,key,instances,category\n0,tap,[],x\n1,cup,[],y\n2,jug,[],y\n")
    train = epic_row("P01_01_0", "00.00", "01.89", 0, 1) + epic_row("P01_01_1", "01.56", "02.45", 1, 0)
    train += epic_row("P02_03_0", "01.00", "02.00", 0, 1)
    val = epic_row("P02_03_10", "00.50", "07.00", 0, 1) + epic_row("P02_03_2", "00.50", "01.00", 0, 0)
    (root / "EPIC_100_train.csv").write_text(EPIC_HEADER + train)
    (root / "EPIC_100_validation.csv").write_text(EPIC_HEADER + val)
    clips.put(root / "P01" / "videos" / "P01_01.MP4", 50)
    clips.put(root / "P02" / "P02_03.MP4", 20)
    return root


# What is written


def test_something_v1_is_listed_with_sorted_classes_and_its_frames_counted(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("something-v1", lay_something_v1(root), "--out", out) == 0
    assert labels(out / "train.csv") == [
        ("100218", "Holding something"),
        ("24413", "Turning something upside down"),
    ]
    assert [row["frames"] for name in ("train.csv", "val.csv") for row in rows(out / name)] == ["3", "4", "5", "6"]
    assert class_names(out) == NAMES  # released models number them so
    printed = capsys.readouterr().out
    assert "train: 2 videos" in printed
    assert "classes: 174" in printed
    assert f"next: gateshift train {out / 'train.csv'} {out / 'val.csv'} --out run" in printed
    for name in ("train.csv", "val.csv", "classes.txt", "mirror_pairs.csv"):
        assert str(out / name) in printed


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_v2_is_listed_by_template_in_official_order(prefix: str, root: Path, out: Path, clips: Clips) -> None:
    assert run("something-v2", lay_something_v2(root, clips, prefix), "--out", out) == 0
    assert labels(out / "train.csv") == [
        ("78687", "Holding something next to something"),
        ("42326", "Spreading something onto something"),
    ]
    assert labels(out / "val.csv")[1] == ("36585", "Something falling like a feather or paper")
    assert class_names(out) == NAMES
    for row in rows(out / "train.csv") + rows(out / "val.csv"):
        with open_video(row["path"]) as video:
            assert int(row["frames"]) == video.num_frames
    assert [row["frames"] for row in rows(out / "val.csv")] == ["5", "6"]


def test_both_something_somethings_have_the_same_classes_and_pairs_though_their_files_differ(
    tmp_path: Path, clips: Clips
) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
    assert run("something-v1", lay_something_v1(tmp_path / "v1"), "--out", tmp_path / "a") == 0
    assert run("something-v2", lay_something_v2(tmp_path / "v2", clips), "--out", tmp_path / "b") == 0
    first = (tmp_path / "v1" / "something-something-v1-labels.csv").read_text().splitlines()
    assert first != list(json.loads((tmp_path / "v2" / "labels.json").read_text())) != NAMES
    assert class_names(tmp_path / "a") == class_names(tmp_path / "b")
    pairs = rows(tmp_path / "a" / "mirror_pairs.csv")
    assert pairs == rows(tmp_path / "b" / "mirror_pairs.csv")
    assert len(pairs) == 3
    assert pairs[0] == {
        "class": "Pulling something from left to right",
        "mirrored": "Pulling something from right to left",
    }


def test_jester_is_listed_like_something_v1(root: Path, out: Path) -> None:
    assert run("jester", lay_something_v1(root, "jester-v1", "jester.txt"), "--out", out) == 0
    assert labels(out / "train.csv") == [("100218", "Swiping Left"), ("24413", "Swiping Right")]
    assert len(class_names(out)) == 27
    assert class_names(out) == sorted(class_names(out))
    pairs = {(row["class"], row["mirrored"]) for row in rows(out / "mirror_pairs.csv")}
    assert {("Swiping Left", "Swiping Right"), ("Turning Hand Clockwise", "Turning Hand Counterclockwise")} <= pairs


def test_diving48_has_the_order_of_its_vocabulary(root: Path, out: Path, clips: Clips) -> None:
    assert run("diving48", lay_diving48(root, clips), "--out", out) == 0
    assert labels(out / "train.csv") == [
        ("-mmq0PT-u8k_00000_train", "Back+15som+05Twis+FREE"),
        ("-mmq0PT-u8k_00001_train", "Back+15som+NoTwis+PIKE"),
    ]
    assert class_names(out) == (LABELS / "diving48.txt").read_text().splitlines()
    assert labels(out / "val.csv")[0][1] == class_names(out)[47]
    assert (out / "mirror_pairs.csv").read_text() == "class,mirrored\n"


def test_the_edition_of_diving48_is_asked_for_where_both_are_there(
    root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_diving48(root, clips, edition="")
    assert run("diving48", root, "--out", out / "only v1") == 0
    lay_diving48(root, clips)
    entry = json.loads((root / "Diving48_train.json").read_text())[0] | {"label": 5}
    (root / "Diving48_train.json").write_text(json.dumps([entry]))
    assert run("diving48", root, "--out", out / "both") == 2
    assert "choose with --edition v1 or --edition v2" in capsys.readouterr().err
    for edition, number in (("v1", 5), ("v2", 0)):
        assert run("diving48", root, "--edition", edition, "--out", out / edition) == 0
        assert labels(out / edition / "train.csv")[0][1] == class_names(out / edition)[number]


def test_kinetics_videos_are_found_wherever_downloaders_put_them(root: Path, out: Path, clips: Clips) -> None:
    assert run("kinetics", lay_kinetics(root, clips), "--out", out) == 0
    assert [(row["label"], row["frames"]) for row in rows(out / "train.csv")] == [
        ("air drumming", "3"),
        ("cooking, on campfire", "4"),
        ("air drumming", "5"),
    ]
    assert [row["frames"] for row in rows(out / "val.csv")] == ["6", "7"]
    assert class_names(out) == ["air drumming", "cooking, on campfire"]


def test_kinetics_lists_have_many_names_and_may_lie_elsewhere(
    root: Path, out: Path, tmp_path: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_kinetics(root, clips)
    notes = tmp_path / "notes"
    notes.mkdir()
    (root / "train.csv").rename(notes / "kinetics-400_train.csv")
    (notes / "._kinetics-400_train.csv").write_bytes(b"\0")  # as macOS leaves them
    (root / "val.csv").rename(notes / "kinetics-400_val.csv")
    assert run("kinetics", root, "--out", out) == 2
    assert f"{root}: no annotation file train.csv or *train.csv is there" in capsys.readouterr().err
    assert run("kinetics", root, "--annotations", notes, "--out", out) == 0
    assert len(rows(out / "val.csv")) == 2
    shutil.copy(notes / "kinetics-400_val.csv", notes / "kinetics-600_val.csv")
    assert run("kinetics", root, "--annotations", notes, "--out", out, "--overwrite") == 2
    assert "kinetics-400_val.csv and kinetics-600_val.csv are both there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "train", "classes"),
    [
        ("verb", ["take", "put", "take"], ["take", "put"]),
        ("noun", ["cup", "tap", "cup"], ["tap", "cup", "jug"]),
        ("action", ["take cup", "put tap", "take cup"], ["take tap", "take cup", "put tap"]),
    ],
)
def test_epic_kitchens_segments_are_listed_with_times_and_official_classes(
    task: str, train: list[str], classes: list[str], root: Path, out: Path, clips: Clips
) -> None:
    assert run("epic-kitchens-100", lay_epic(root, clips), "--task", task, "--out", out) == 0
    assert [row["label"] for row in rows(out / "train.csv")] == train
    assert class_names(out) == classes
    times = [(row["start"], row["end"]) for row in rows(out / "train.csv") + rows(out / "val.csv")]
    assert times == [("0.0", "1.89"), ("1.56", "2.45"), ("1.0", "2.0"), ("0.5", "7.0"), ("0.5", "1.0")]
    for row in rows(out / "train.csv") + rows(out / "val.csv"):
        with open_video(row["path"], start_s=float(row["start"]), end_s=float(row["end"])) as video:
            assert int(row["frames"]) == video.num_frames
    assert [row["frames"] for row in rows(out / "val.csv")] == ["15", "5"]
    read_manifest(out / "val.csv").check_unique()


def test_a_long_video_is_indexed_once_for_all_its_segments(
    root: Path, out: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gateshift.data.video.index

    opened = []
    scan = gateshift.data.video.index.PacketSource.scan
    monkeypatch.setattr(
        gateshift.data.video.index.PacketSource, "scan", lambda self: opened.append(self._path.name) or scan(self)
    )
    assert run("epic-kitchens-100", lay_epic(root, clips), "--task", "verb", "--out", out) == 0
    assert sorted(opened) == ["P01_01.MP4", "P02_03.MP4"]


def test_a_segment_beyond_its_video_is_named(
    root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_epic(root, clips)
    with (root / "EPIC_100_train.csv").open("a") as file:
        file.write(epic_row("P01_01_2", "06.00", "07.00", 0, 0))
    assert run("epic-kitchens-100", root, "--task", "verb", "--out", out, "--allow-missing") == 0
    assert [row["id"] for row in rows(out / "missing.csv")] == ["P01_01_2"]
    assert "no frame is from 6.0 s to 7.0 s" in rows(out / "missing.csv")[0]["reason"]
    assert "train: 3 videos, 1 left out" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["P01/videos", "P01", "videos", "EPIC-KITCHENS/P01/videos", ""])
def test_epic_kitchens_videos_are_found_in_each_usual_place(folder: str, root: Path, out: Path, clips: Clips) -> None:
    path = lay_epic(root, clips) / "P01" / "videos" / "P01_01.MP4"
    (root / folder).mkdir(parents=True, exist_ok=True)
    path = path.rename(root / folder / "P01_01.mp4")  # in small letters
    assert run("epic-kitchens-100", root, "--task", "noun", "--out", out) == 0
    assert rows(out / "train.csv")[0]["path"] == str(path)


@pytest.mark.skipif(not (SHARED / "epic100").is_dir(), reason="the EPIC-KITCHENS-100 annotations are not here")
@pytest.mark.parametrize(("task", "num_classes"), [("verb", 97), ("noun", 300), ("action", 1352)])
def test_the_official_epic_kitchens_files_are_read_whole(task: str, num_classes: int, tmp_path: Path) -> None:
    from gateshift.data.prepare.formats import read_annotations

    for name in ("verb_classes", "noun_classes", "validation"):
        shutil.copy(SHARED / "epic100" / f"EPIC_100_{name}.csv", tmp_path)
    lines = (tmp_path / "EPIC_100_validation.csv").read_text().splitlines(keepends=True)
    (tmp_path / "EPIC_100_train.csv").write_text(lines[0] + "t" + lines[1])
    listing = read_annotations("epic-kitchens-100", Source(tmp_path, task=task))
    assert len(listing.classes) == num_classes
    val = [item for item in listing.items if item.split == "val"]
    assert len(val) == 9668
    assert (val[0].id, val[0].start_s, val[0].end_s) == ("P01_11_0", 0.0, 1.89)
    assert val[0].label == {"verb": "take", "noun": "plate", "action": "take plate"}[task]


# Class folders


def lay_folder(root: Path, clips: Clips, **sizes: int) -> Path:
    for label, number in sizes.items():
        for video in range(number):
            clips.put(root / label / f"{video}.mp4", 3 + video % 3)
    return root


def split_of(out: Path) -> dict[str, str]:
    return {
        "/".join(Path(row["path"]).parts[-2:]): name for name in ("train", "val") for row in rows(out / f"{name}.csv")
    }


def test_class_folders_are_split_by_share_with_both_sides_in_each_class(
    root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_folder(root, clips, wave=10, clap=2, nod=1)
    assert run("folder", root, "--out", out) == 0
    counts = {(label, split): 0 for label in ("wave", "clap", "nod") for split in ("train", "val")}
    for video, split in split_of(out).items():
        counts[video.split("/")[0], split] += 1
    assert list(counts.values()) == [8, 2, 1, 1, 1, 0]
    assert class_names(out) == ["clap", "nod", "wave"]
    assert "class 'nod' has 1 video, which goes to train" in capsys.readouterr().out
    assert run("folder", root, "--out", out, "--overwrite", "--val-share", "0.5") == 0
    assert list(split_of(out).values()).count("val") == 6


def test_the_split_depends_on_names_alone(
    root: Path, out: Path, tmp_path: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_folder(root, clips, wave=12, clap=8)
    assert run("folder", root, "--out", out) == 0
    first = split_of(out)
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    listing = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(listing(self), reverse=True)))
    assert run("folder", moved, "--out", out, "--overwrite") == 0
    assert split_of(out) == first
    assert len({first[f"wave/{number}.mp4"] for number in range(12)}) == 2


@pytest.mark.parametrize("val", ["val", "validation", "test"])
def test_a_split_folder_keeps_its_split(val: str, root: Path, out: Path, clips: Clips) -> None:
    lay_folder(root / "train", clips, wave=2, clap=1)
    lay_folder(root / val, clips, wave=1)
    assert run("folder", root, "--out", out) == 0
    assert [row["label"] for row in rows(out / "train.csv")] == ["clap", "wave", "wave"]
    assert [Path(row["path"]).parts[-3:] for row in rows(out / "val.csv")] == [(val, "wave", "0.mp4")]


def test_frames_of_a_video_beside_a_folder_of_its_name_stay(root: Path, out: Path, clips: Clips) -> None:
    for name in ("train/wave/a.mp4", "train/wave/a/b.mp4", "train/nod/d.mp4", "val/wave/c.mp4"):
        clips.put(root / name, 4)
    assert run("folder", root, "--out", out, "--extract-frames", "--workers", "1") == 0
    listed = [out / row["path"] for row in (*rows(out / "train.csv"), *rows(out / "val.csv"))]
    assert [len([*folder.glob("*.jpg")]) for folder in listed] == [4, 4, 4, 4]


@pytest.mark.parametrize("stored", [[], ["--pack", "8"]])
def test_what_scan_found_is_left_out(
    stored: list[str], root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_folder(root, clips, wave=4, clap=3)
    (root / "wave/broken.mp4").write_bytes(b"no video")
    found, other = root.parent / "bad.csv", root.parent / "other.csv"
    with pytest.raises(SystemExit):
        main(["scan", str(root), "--out", str(found), "--workers", "1"])
    assert run("folder", root, "--out", out, *stored) == 1
    assert run("folder", root, "--out", out, *stored, "--exclude", found) == 0
    assert f"left out by {found}: " in capsys.readouterr().out
    assert len(split_of(out)) == 8 - len(rows(found)) and not any("broken" in name for name in split_of(out))
    other.write_text("path\nelsewhere.mp4\n")
    assert run("folder", root, "--out", out, *stored, "--exclude", other, "--overwrite") == 2
    assert "none of its 1 paths is a video of the data set" in capsys.readouterr().err


def test_faults_of_class_folders_are_named(
    root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(*options: str) -> str:
        assert run("folder", root, "--out", out, *options) == 2
        assert not out.exists()
        return capsys.readouterr().err

    assert "no class folders are in it" in fault()
    lay_folder(root / "train", clips, wave=2, clap=1)
    assert "train is there, and val or validation or test beside it is not" in fault()
    lay_folder(root / "eval", clips, wave=1)
    assert "train is there, and val or validation or test beside it is not" in fault()
    lay_folder(root / "val", clips, nod=1)
    assert "class 'nod' is in val and not in train" in fault()
    (root / "train" / "nod").mkdir()
    assert f"{root / 'train' / 'nod'}: no video is in this class folder" in fault()
    assert "--val-share 1.0; it must be above 0 and below 1" in fault("--val-share", "1")


def test_train_may_be_a_class_beside_others(root: Path, out: Path, clips: Clips) -> None:
    assert run("folder", lay_folder(root, clips, train=2, car=2), "--out", out) == 0
    assert class_names(out) == ["car", "train"]


def test_paths_below_the_lists_are_relative_and_others_absolute(root: Path, clips: Clips) -> None:
    lay_folder(root, clips, wave=2, nod=1)
    assert run("folder", root, "--out", root, "--overwrite") == 0
    assert {row["path"] for name in ("train.csv", "val.csv") for row in rows(root / name)} == {
        "nod/0.mp4",
        "wave/0.mp4",
        "wave/1.mp4",
    }
    read_manifest(root / "train.csv").check_files()
    assert run("folder", root, "--out", root / "lists") == 0  # below its own root, twice
    assert run("folder", root, "--out", root / "lists", "--overwrite") == 0
    assert all(Path(row["path"]).is_absolute() for row in rows(root / "lists" / "train.csv"))


# Faults


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new).encode())


def lay(dataset: str, root: Path, clips: Clips) -> list[str]:
    """A whole tree of a data set, and the options it needs."""
    if dataset == "something-v1":
        lay_something_v1(root)
    elif dataset == "jester":
        lay_something_v1(root, "jester-v1", "jester.txt")
    elif dataset == "folder":
        lay_folder(root / "train", clips, wave=2, zoom=1)
        lay_folder(root / "val", clips, wave=1)
    else:
        {
            "something-v2": lay_something_v2,
            "diving48": lay_diving48,
            "kinetics": lay_kinetics,
            "epic-kitchens-100": lay_epic,
        }[dataset](root, clips)
    return ["--task", "verb"] if dataset == "epic-kitchens-100" else []


V1 = "something-something-v1"
SOME_ID = '"id": "78687"'
FAULTS = {
    "v1: class": (
        "something-v1",
        f"{V1}-train.csv",
        "Holding",
        "Hodling",
        "line 1: class 'Hodling something' of video 100218 is none of the 174 classes, such as 'Hold",
    ),
    "v1: twice": ("something-v1", f"{V1}-train.csv", "24413", "100218", "line 2: video 100218 is listed twice"),
    "v1: both lists": (
        "something-v1",
        f"{V1}-validation.csv",
        "74225",
        "24413",
        "line 1: video 24413 is listed in the training list too",
    ),
    "v1: no class": ("something-v1", f"{V1}-train.csv", "100218;", "100218,", "a line is 'id;class name'"),
    "v1: way out": ("something-v1", f"{V1}-train.csv", "24413", "../24413", "'../24413' cannot be the name of a video"),
    "v1: label twice": (
        "something-v1",
        f"{V1}-labels.csv",
        "Closing something",
        "Opening something",
        "a class is called 'Opening something', 2 times",
    ),
    "v2: class": (
        "something-v2",
        "train.json",
        "Spreading",
        "Sprading",
        "entry 2: class 'Sprading something onto something' of video 42326",
    ),
    "v2: twice": ("something-v2", "train.json", "42326", "78687", "entry 2: video 78687 is listed twice"),
    "v2: both lists": (
        "something-v2",
        "validation.json",
        "74225",
        "78687",
        "video 78687 is listed in the training list too",
    ),
    "v2: broken": ("something-v2", "train.json", "]}]", "", "train.json: broken JSON"),
    "v2: not a list": ("something-v2", "train.json", "[{", '{"a":[{', "train.json: broken JSON"),
    "v2: numbers": ("something-v2", "labels.json", '"0"', '"174"', "174 classes, but none has number 0"),
    "v2: unlabelled": ("something-v2", "validation.json", "template", "plate", "has no text or number 'template'"),
    "jester: class": ("jester", "jester-v1-train.csv", "Swiping Left", "Sweeping Left", "such as 'Swiping Left'"),
    "diving: class": (
        "diving48",
        "Diving48_V2_test.json",
        "47",
        "48",
        "class '48' of video -mmq0PT-u8k_00000_test is none of the 48 classes",
    ),
    "diving: both lists": (
        "diving48",
        "Diving48_V2_test.json",
        "000_test",
        "000_train",
        "is listed in the training list too",
    ),
    "kinetics: class": (
        "kinetics",
        "val.csv",
        "air drumming,Dd",
        "air druming,Dd",
        "line 2: class 'air druming' of video Ddefghijklm_000003_000013 is none of the 2",
    ),
    "kinetics: twice": (
        "kinetics",
        "val.csv",
        "Eefghijklmn",
        "Ddefghijklm",
        "line 3: video Ddefghijklm_000003_000013 is listed twice",
    ),
    "kinetics: column": (
        "kinetics",
        "train.csv",
        "youtube_id",
        "id",
        "its first line must be label,youtube_id,time_start,time_end, and may name more; give the data set's own file",
    ),
    "kinetics: time": ("kinetics", "train.csv", ",20,30", ",20,soon", "line 3: times '20' to 'soon'"),
    "kinetics: fields": (
        "kinetics",
        "train.csv",
        '"cooking, on campfire"',
        "cooking, on campfire",
        "line 3: 6 fields for 5 columns",
    ),
    "epic: class": (
        "epic-kitchens-100",
        "EPIC_100_train.csv",
        "grab,1,",
        "grab,7,",
        "verb_class '7' of P01_01_1 is none of the 2 classes",
    ),
    "epic: twice": (
        "epic-kitchens-100",
        "EPIC_100_train.csv",
        "P01_01_1",
        "P01_01_0",
        "line 3: video P01_01_0 is listed twice",
    ),
    "epic: backwards": (
        "epic-kitchens-100",
        "EPIC_100_train.csv",
        "02.45",
        "00.45",
        "line 3: from '00:00:01.56' to '00:00:00.45'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_an_annotation_is_one_line_that_says_where(
    fault: str, root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, name, old, new, message = FAULTS[fault]
    options = lay(dataset, root, clips)
    replace(root / name, old, new)
    assert run(dataset, root, "--out", out, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gateshift: {root / name}")
    assert message in line
    assert not out.exists()


LISTS = {
    "something-v1": [f"{V1}-{part}.csv" for part in ("labels", "train", "validation")],
    "something-v2": ["labels.json", "train.json", "validation.json"],
    "jester": [f"jester-v1-{part}.csv" for part in ("labels", "train", "validation")],
    "diving48": ["Diving48_vocab.json", "Diving48_V2_train.json", "Diving48_V2_test.json"],
    "kinetics": ["train.csv", "val.csv"],
    "epic-kitchens-100": [f"EPIC_100_{part}.csv" for part in ("train", "validation", "verb_classes", "noun_classes")],
}


@pytest.mark.parametrize(("dataset", "name"), [(dataset, name) for dataset, names in LISTS.items() for name in names])
def test_an_annotation_file_that_is_empty_or_missing_is_named(
    dataset: str, name: str, root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    options = lay(dataset, root, clips)
    (root / name).write_bytes(b"\n")
    assert run(dataset, root, "--out", out, *options) == 2
    assert f"gateshift: {root / name}: is empty" in capsys.readouterr().err
    (root / name).unlink()
    assert run(dataset, root, "--out", out, *options) == 2
    error = capsys.readouterr().err
    assert f"gateshift: {root}: no annotation file " in error
    assert name in error
    assert not out.exists()


@pytest.mark.parametrize("dataset", LISTS)
def test_windows_line_ends_byte_order_marks_and_trailing_spaces_change_nothing(
    dataset: str, root: Path, out: Path, clips: Clips
) -> None:
    options = lay(dataset, root, clips)
    assert run(dataset, root, "--out", out, *options) == 0
    plain = {path.name: path.read_bytes() for path in out.iterdir()}
    for name in LISTS[dataset]:
        text = (root / name).read_text()
        end = " \r\n" if name.endswith("csv") else "\r\n"
        (root / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", end).encode() + b"\r\n")
    assert run(dataset, root, "--out", out, "--overwrite", *options) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == plain


def test_a_class_name_may_hold_semicolons_commas_and_quotes(root: Path, out: Path) -> None:
    lay_something_v1(root)
    for part in ("labels", "train", "validation"):
        path = root / f"{V1}-{part}.csv"
        path.write_text(path.read_text().replace("Holding something", 'Holding; "something", or not'))
    assert run("something-v1", root, "--out", out) == 0
    manifest = read_manifest(out / "train.csv")
    assert manifest.entries[0].label == 'Holding; "something", or not'
    assert manifest.label_indices(manifest.class_names())[0] == class_names(out).index('Holding; "something", or not')


@pytest.mark.parametrize("dataset", [*LISTS, "folder"])
def test_missing_and_broken_videos_are_shown_and_nothing_is_written_unless_allowed(
    dataset: str, root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    options = lay(dataset, root, clips)
    assert run(dataset, root, "--out", out, *options) == 0
    whole, num_val = rows(out / "train.csv"), len(rows(out / "val.csv"))
    shutil.rmtree(out)
    capsys.readouterr()
    victim = Path(whole[0]["path"])
    if victim.is_dir():
        for image in victim.iterdir():
            image.write_bytes(b"")
    elif dataset == "folder":
        victim.write_bytes(b"")
    else:
        victim.unlink()
    spare = [row for row in whole if row["path"] != str(victim)]
    assert run(dataset, root, "--out", out, *options) == 1
    printed = capsys.readouterr()
    ids = {"folder": ["train/wave/0"], "epic-kitchens-100": ["P01_01_0", "P01_01_1"]}.get(dataset, [victim.stem])
    if dataset == "kinetics":
        assert ids == ["-0abcdefghi_000001_000011"]
    for id_ in ids:
        assert id_ in "".join(printed.out.split())
    num_listed = len(whole) + num_val
    assert f"gateshift: {len(ids)} of {num_listed} videos are missing or broken, so no list was" in printed.err
    assert "--allow-missing" in printed.err
    assert not out.exists()
    assert run(dataset, root, "--out", out, "--allow-missing", *options) == 0
    assert rows(out / "train.csv") == spare
    assert [(row["id"], row["split"]) for row in rows(out / "missing.csv")] == [(id_, "train") for id_ in ids]
    for row in rows(out / "missing.csv"):
        assert ("empty" if victim.exists() else "not there: no ") in row["reason"]
    assert f"train: {len(spare)} videos, {len(ids)} left out" in capsys.readouterr().out


def test_a_list_of_which_nothing_is_left_is_not_written(
    root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_epic(root, clips)
    shutil.rmtree(root / "P02")
    assert run("epic-kitchens-100", root, "--task", "verb", "--out", out, "--allow-missing") == 2
    error = capsys.readouterr().err
    assert (
        f"no video is left for val, such as P02_03_10: not there: no P02_03.MP4 in {root}/P02/videos, {root}/P02, "
        in error
    )
    assert not out.exists()


def test_a_video_that_cannot_be_read_is_a_row_of_the_table(
    root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = lay_something_v2(root, clips) / "20bn-something-something-v2"
    (videos / "78687.webm").write_bytes(b"no video at all" * 99)
    whole = clips.put(root / "whole.mp4", 8).read_bytes()
    (videos / "74225.webm").unlink()
    (videos / "74225.mp4").write_bytes(whole[: len(whole) // 2])
    assert run("something-v2", root, "--out", out) == 1
    assert "2 of 4 videos" in capsys.readouterr().err
    assert run("something-v2", root, "--out", out, "--allow-missing") == 0
    assert {row["id"]: row["split"] for row in rows(out / "missing.csv")} == {"78687": "train", "74225": "val"}
    assert all("cannot be read as a video" in row["reason"] for row in rows(out / "missing.csv"))


def test_a_long_table_is_cut_and_says_so(root: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay_something_v1(root)
    with (root / f"{V1}-train.csv").open("a") as file:
        file.writelines(f"{number};Holding something\n" for number in range(500000, 500060))
    assert run("something-v1", root, "--out", out) == 1
    printed = capsys.readouterr()
    assert "and 10 more" in printed.out
    assert "500049" in printed.out
    assert "500050" not in printed.out
    assert "60 of 64 videos" in printed.err


def test_two_clips_of_one_file_are_refused(root: Path, out: Path, clips: Clips) -> None:
    lay_kinetics(root, clips)
    with (root / "train.csv").open("a") as file:
        file.write("air drumming,Ccdefghijkl,50,60,train\n")
    assert run("kinetics", root, "--out", out, "--allow-missing") == 0
    assert [row["id"] for row in rows(out / "missing.csv")] == [
        "Ccdefghijkl_000000_000010",
        "Ccdefghijkl_000050_000060",
    ]
    assert "Ccdefghijkl.mp4: is the video of" in rows(out / "missing.csv")[0]["reason"]


def test_what_stands_in_the_way_is_never_replaced_unasked(
    root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_kinetics(root, clips)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert run("kinetics", root, "--out", out) == 2
    assert f"{out} exists and holds notes.txt; choose another folder" in capsys.readouterr().err
    (out / "missing.csv").write_text("of an earlier run")
    assert run("kinetics", root, "--out", out, "--overwrite") == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "missing.csv").exists()
    assert run("kinetics", root, "--out", root, "--overwrite") == 2  # would replace the annotations
    assert "holds train.csv of the data set itself" in capsys.readouterr().err
    assert run("kinetics", root, "--out", root / "val.csv") == 2
    assert "is a file; choose a folder" in capsys.readouterr().err


def test_options_that_do_not_fit_are_refused(
    root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_epic(root, clips)
    for arguments, message in (
        (["epic-kitchens-100", root], "choose with --task verb, noun or action"),
        (["kinetics", root, "--task", "verb"], "--task verb with kinetics; it is for epic-kitchens-100 alone"),
        (["kinetics", root, "--edition", "v1"], "--edition v1 with kinetics; it is for diving48 alone"),
        (["kinetics", root / "no"], "no: no such folder"),
        (["kinetics", root, "--annotations", root / "no"], "no: no such folder"),
        (["kinetics", root, "--workers", "0"], "--workers 0; it must be at least 1"),
    ):
        assert run(*arguments, "--out", out) == 2
        assert message in capsys.readouterr().err


def test_the_library_tells_how_far_it_is(root: Path, out: Path, clips: Clips) -> None:
    told: list[tuple[str, int]] = []

    class Stage:
        def __init__(self, name: str, num_videos: int) -> None:
            told.append((name, num_videos))

        def __enter__(self) -> Callable[[int], None]:
            return lambda done: told.append(("done", done))

        def __exit__(self, *_: object) -> None:
            told.append(("end", 0))

    lay_epic(root, clips)
    options = PrepareOptions(extract_frames=True, workers=2)
    done = prepare("epic-kitchens-100", Source(root, task="verb"), out, options, stage=Stage)
    each = [("done", 2), ("done", 3), ("end", 0)]
    assert told == [("counting frames", 5), *each, ("extracting frames", 5), *each]
    assert done.num_videos == {"train": 3, "val": 2}
    with pytest.raises(ManifestError, match="holds classes.txt and more"):
        prepare("epic-kitchens-100", Source(root, task="verb"), out, options)


# Frames


def frames_of(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted((out / "frames").rglob("*"))
        if path.is_file()
    }


def test_extracted_frames_are_the_videos_frames(
    root: Path, out: Path, clips: Clips, numbers_of: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("something-v2", lay_something_v2(root, clips), "--out", out, "--extract-frames") == 0
    assert "folders of frames: 4 written, 0 already there" in capsys.readouterr().out
    assert [row["path"] for row in rows(out / "val.csv")] == ["frames/74225", "frames/36585"]
    assert [path.name for path in sorted((out / "frames" / "78687").iterdir())] == [
        "00001.jpg",
        "00002.jpg",
        "00003.jpg",
    ]
    for row, num_frames in zip(rows(out / "train.csv") + rows(out / "val.csv"), (3, 4, 5, 6), strict=True):
        with open_video(out / row["path"]) as video:
            assert numbers_of(video.read(range(video.num_frames))) == list(range(num_frames))
            assert int(row["frames"]) == num_frames
    read_manifest(out / "train.csv").check_files()


def test_each_segment_has_a_folder_of_its_own_frames(root: Path, out: Path, clips: Clips, numbers_of: Callable) -> None:
    lay_epic(root, clips)
    assert run("epic-kitchens-100", root, "--task", "verb", "--out", out, "--extract-frames") == 0
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


def test_frame_folders_are_not_extracted_again(root: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("something-v1", lay_something_v1(root), "--out", out, "--extract-frames") == 2
    assert "is a folder of frames already; leave --extract-frames out" in capsys.readouterr().err
    assert not out.exists()


def test_extracting_folders_keeps_videos_of_one_name_apart(root: Path, out: Path, clips: Clips) -> None:
    for split in ("train", "val"):
        for label, number in (("wave", 3), ("clap", 4)):
            clips.put(root / split / label / "0.mp4", number)
    clips.put(root / "train" / "wave" / "0.webm", 5)
    assert run("folder", root, "--out", out, "--extract-frames") == 0
    assert {row["path"]: row["frames"] for row in rows(out / "train.csv")} == {
        "frames/train/clap/0": "4",
        "frames/train/wave/0.mp4": "3",
        "frames/train/wave/0.webm": "5",
    }
    assert run("folder", root, "--out", root / "lists", "--extract-frames") == 2


def test_a_video_with_a_damaged_frame_is_left_out_and_the_rest_is_whole(
    root: Path, out: Path, clips: Clips, write_video: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = lay_something_v2(root, clips) / "20bn-something-something-v2"
    (videos / "78687.webm").unlink()
    noise = np.random.default_rng(0).integers(0, 255, (12, 96, 128, 3), dtype=np.uint8)
    path = write_video(videos / "78687.mp4", noise, options={"g": "3", "bf": "0"})
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + len(data) // 2
    data[start : start + 9000] = bytes(9000)
    path.write_bytes(data)
    assert run("something-v2", root, "--out", out / "counted") == 0  # counting decodes nothing
    assert run("something-v2", root, "--out", out / "a", "--extract-frames") == 1
    assert "1 of 4 videos" in capsys.readouterr().err
    assert listed(out / "a") == ["frames"]
    assert listed(out / "a" / "frames") == ["36585", "42326", "74225"]
    assert run("something-v2", root, "--out", out / "a", "--extract-frames", "--allow-missing") == 0
    assert "folders of frames: 0 written, 3 already there" in capsys.readouterr().out
    assert [row["id"] for row in rows(out / "a" / "missing.csv")] == ["78687"]


def lay_big(root: Path, clips: Clips, write_video: Callable, counting_frames: Callable) -> Path:
    """Videos that take a while to extract."""
    lay_something_v2(root, clips)
    videos = root / "20bn-something-something-v2"
    frames = counting_frames(60, 480, 640)
    first = write_video(root / "a.mp4", frames, options={"preset": "ultrafast"})
    second = write_video(root / "b.mp4", frames[::-1], options={"preset": "ultrafast"})
    records = []
    for number in range(12):
        shutil.copy(first if number % 2 else second, videos / f"{number}.mp4")
        records.append({"id": str(number), "template": "Closing [something]"})
    (root / "train.json").write_text(json.dumps(records))
    return root


@pytest.fixture
def extracting(
    root: Path, out: Path, clips: Clips, write_video: Callable, counting_frames: Callable
) -> Iterator[subprocess.Popen[str]]:
    """The program, in the middle of extracting frames."""
    lay_big(root, clips, write_video, counting_frames)
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


def test_extracting_goes_on_after_it_was_killed(
    extracting: subprocess.Popen[str], root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extracting.kill()
    extracting.wait()
    assert extracting.returncode == -signal.SIGKILL
    assert listed(out) == ["frames"]
    folders = list((out / "frames").iterdir())
    whole = [folder for folder in folders if not folder.name.startswith(".")]
    assert 1 <= len(whole) < 12
    assert len(whole) < len(folders)  # what was under way is hidden
    for folder in whole:
        with open_video(folder) as video:
            assert video.num_frames == 60
    times = {folder: folder.stat().st_mtime_ns for folder in whole}
    assert run("something-v2", root, "--out", out, "--extract-frames") == 0
    assert f"folders of frames: {14 - len(whole)} written, {len(whole)} already there" in capsys.readouterr().out
    assert {folder: folder.stat().st_mtime_ns for folder in whole} == times
    assert run("something-v2", root, "--out", out.with_name("at once"), "--extract-frames", "--workers", "1") == 0
    assert frames_of(out) == frames_of(out.with_name("at once"))
    assert not list((out / "frames").glob(".*"))
    assert len(rows(out / "train.csv")) == 12
    for name in ("train.csv", "val.csv", "classes.txt", "mirror_pairs.csv"):
        assert (out / name).read_bytes() == (out.with_name("at once") / name).read_bytes()


def test_control_c_ends_extracting_at_once(extracting: subprocess.Popen[str], out: Path) -> None:
    extracting.send_signal(signal.SIGINT)
    _, errors = extracting.communicate(timeout=60)
    assert extracting.returncode == 130
    assert errors.splitlines()[-1] == "gateshift: stopped"
    assert "Traceback" not in errors
    folders = [folder.name for folder in (out / "frames").iterdir()]
    assert 1 <= len(folders) < 12
    assert not any(name.startswith(".") for name in folders)


def test_extracting_stops_between_two_frames(tmp_path: Path, clips: Clips) -> None:
    path = clips.put(tmp_path / "a.mp4", 8)
    stop = Event()
    stop.set()
    assert extract_frames(path, [(tmp_path / "frames" / "a", range(8))], stop) == [False]
    assert listed(tmp_path / "frames") == []
    assert extract_frames(path, [(tmp_path / "frames" / "a", range(8))], Event()) == [True]
    assert len(listed(tmp_path / "frames" / "a")) == 8


def test_a_folder_of_another_length_is_extracted_again(
    root: Path, out: Path, clips: Clips, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_something_v2(root, clips)
    assert run("something-v2", root, "--out", out, "--extract-frames") == 0
    (out / "frames" / "78687" / "00002.jpg").unlink()
    left = out / "frames" / ".partial-42326"  # as a run that was killed leaves it
    left.mkdir()
    shutil.rmtree(out / "frames" / "42326")
    (left / "00009.jpg").write_bytes(b"")
    assert run("something-v2", root, "--out", out, "--extract-frames", "--overwrite") == 0
    assert "folders of frames: 2 written, 2 already there" in capsys.readouterr().out
    assert [len(list((out / "frames" / name).iterdir())) for name in ("78687", "42326")] == [3, 4]
    assert not left.exists()


# Training


@pytest.mark.parametrize("dataset", ["something-v1", "kinetics"])
def test_training_takes_the_lists_as_they_are(
    dataset: str, root: Path, out: Path, clips: Clips, tmp_path: Path
) -> None:
    lay(dataset, root, clips)
    assert run(dataset, root, "--out", out) == 0
    main(["train", str(out / "train.csv"), str(out / "val.csv"), "--out", str(tmp_path / "run"), *SMALL])
    config = gs.load_model(tmp_path / "run" / "last.safetensors").config
    assert list(config.classes) == class_names(out)
    assert [list(pair) for pair in config.mirror_pairs] == [
        [row["class"], row["mirrored"]] for row in rows(out / "mirror_pairs.csv")
    ]


def test_training_swaps_the_classes_of_the_file_unless_told_otherwise(
    root: Path, out: Path, clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_folder(root, clips, turn_left=2, turn_right=2, east=2, west=2)
    assert run("folder", root, "--out", out) == 0
    assert (out / "mirror_pairs.csv").read_text() == "class,mirrored\nturn_left,turn_right\n"
    lists = ["train", str(out / "train.csv"), str(out / "val.csv"), *SMALL]

    def trained(name: str, *options: str) -> list[tuple[str, str]]:
        main([*lists, "--out", str(tmp_path / name), *options])
        pairs = gs.load_model(tmp_path / name / "last.safetensors").config.mirror_pairs
        return [(first, second) for first, second in pairs]

    (out / "mirror_pairs.csv").write_text("class,mirrored\r\neast,west\r\n")
    assert trained("file") == [("east", "west")]
    assert trained("option", "--mirror-pairs", "turn_left=west") == [("turn_left", "west")]
    (out / "mirror_pairs.csv").write_text("class,mirrored\n")
    assert trained("none") == []
    (out / "mirror_pairs.csv").unlink()
    assert trained("names") == [("turn_left", "turn_right")]
    (out / "mirror_pairs.csv").write_text("class,mirrored\neast,north\n")
    with pytest.raises(SystemExit) as stop:
        trained("unknown")
    assert stop.value.code == 2
    assert f"{out / 'mirror_pairs.csv'}, line 2: 'north' is none of the 4 classes" in capsys.readouterr().err
