"""Preparing a data set as a whole: what is written and returned, what stands in the way, what training takes."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from prepare_data import class_names, lay, lay_epic, lay_folder, lay_kinetics, lay_something_v1, rows, run

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.prepare.prepare import prepare
from gateshift.data.prepare.settings import PrepareSettings
from gateshift.errors import ManifestError, SettingsError

SMALL = ["--backbone", "test_resnet", "--size", "32", "--segments", "2", "--batch-size", "2", "--workers", "0"]
SMALL += ["--recipe", "papers", "--epochs", "1", "--warmup-epochs", "0"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "lists"


def test_the_function_says_what_it_wrote(root: Path, out: Path) -> None:
    done = prepare("something-v1", str(lay_something_v1(root)), str(out))
    assert done.train == out / "train.csv" and done.val == out / "val.csv"
    assert sorted(done.files) == sorted(out.iterdir())
    assert done.num_videos == {"train": 2, "val": 2}
    assert list(done.classes) == class_names(out)
    assert (done.left_out, done.num_written, done.num_reused, done.notes) == ((), 0, 0, ())
    assert [row["frames"] for path in (done.train, done.val) for row in rows(path)] == ["3", "4", "5", "6"]


def test_the_verb_prints_what_it_wrote(root: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("something-v1", lay_something_v1(root), "--out", out) == 0
    printed = capsys.readouterr().out
    assert "train: 2 videos" in printed
    assert "classes: 174" in printed
    assert f"next: gateshift train {out / 'train.csv'} {out / 'val.csv'} --out run" in printed
    for name in ("train.csv", "val.csv", "classes.txt", "mirror_pairs.csv"):
        assert str(out / name) in printed


def test_the_function_and_the_verb_have_the_same_options_and_defaults() -> None:
    parameters = inspect.signature(prepare).parameters
    options = {field.name: field.default for field in fields(PrepareSettings)}
    assert list(parameters) == [*options, "progress"]
    for name, default in options.items():
        assert parameters[name].default == (inspect.Parameter.empty if default is MISSING else default)


def test_the_function_tells_how_far_it_is(root: Path, out: Path, put_video: Callable) -> None:
    told: list[tuple[str, int, int]] = []
    lay_epic(root, put_video)

    def listen(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    prepare("epic-kitchens-100", root, out, task="verb", extract_frames=True, workers=2, progress=listen)
    assert told == [(stage, done, 5) for stage in ("counting frames", "extracting frames") for done in (0, 2, 5)]
    with pytest.raises(ManifestError, match="holds classes.txt and more"):
        prepare("epic-kitchens-100", root, out, task="verb", extract_frames=True)


@pytest.mark.parametrize("dataset", ["jester", "diving48"])
def test_mirror_pairs_are_found_by_the_names_of_classes(
    dataset: str, root: Path, out: Path, put_video: Callable
) -> None:
    prepare(dataset, lay(dataset, root, put_video), out)  # type: ignore[arg-type]
    pairs = {(row["class"], row["mirrored"]) for row in rows(out / "mirror_pairs.csv")}
    if dataset == "diving48":
        assert (out / "mirror_pairs.csv").read_text() == "class,mirrored\n"
    else:
        assert {("Swiping Left", "Swiping Right"), ("Turning Hand Clockwise", "Turning Hand Counterclockwise")} <= pairs


def test_paths_below_the_lists_are_relative_and_others_absolute(root: Path, put_video: Callable) -> None:
    lay_folder(root, put_video, wave=2, nod=1)
    prepare("folder", root, root, overwrite=True)
    assert {row["path"] for name in ("train.csv", "val.csv") for row in rows(root / name)} == {
        "nod/0.mp4",
        "wave/0.mp4",
        "wave/1.mp4",
    }
    read_manifest(root / "train.csv").check_files()
    prepare("folder", root, root / "lists")
    assert all(Path(row["path"]).is_absolute() for row in rows(root / "lists" / "train.csv"))


def test_what_stands_in_the_way_is_never_replaced_unasked(
    root: Path, out: Path, put_video: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_kinetics(root, put_video)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert run("kinetics", root, "--out", out) == 2
    said = capsys.readouterr().err
    assert f"{out} exists and holds notes.txt; choose another folder" in said and "--overwrite" in said
    (out / "missing.csv").write_text("of an earlier run")
    prepare("kinetics", root, out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "missing.csv").exists()
    with pytest.raises(ManifestError, match="holds train.csv of the data set itself"):
        prepare("kinetics", root, root, overwrite=True)
    with pytest.raises(ManifestError, match="is a file; choose a folder"):
        prepare("kinetics", root, root / "val.csv")


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="`workers` 0; it must be at least 1"):
        prepare("kinetics", tmp_path, tmp_path, workers=0)
    with pytest.raises(SettingsError, match="`pack` 0; a side has at least 1 pixel"):
        prepare("kinetics", tmp_path, tmp_path, pack=0)
    with pytest.raises(SettingsError, match="`pack=256` with `extract_frames=True`"):
        prepare("kinetics", tmp_path, tmp_path, pack=256, extract_frames=True)


# --- training -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_takes_the_lists_as_they_are(root: Path, out: Path, put_video: Callable, tmp_path: Path) -> None:
    lay_folder(root, put_video, turn_left=2, turn_right=2, east=2, west=2)
    done = prepare("folder", root, out)
    main(["train", str(done.train), str(done.val), "--out", str(tmp_path / "run"), *SMALL])
    config = gs.load_model(tmp_path / "run" / "last.safetensors").config
    assert list(config.classes) == class_names(out)
    assert [tuple(pair) for pair in config.mirror_pairs] == [("turn_left", "turn_right")]
    assert (out / "mirror_pairs.csv").read_text() == "class,mirrored\nturn_left,turn_right\n"


@pytest.mark.slow
def test_the_classes_that_training_swaps_are_those_of_the_file_unless_told_otherwise(
    root: Path, out: Path, put_video: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_folder(root, put_video, turn_left=2, turn_right=2, east=2, west=2)
    done = prepare("folder", root, out)

    def trained(name: str, *options: str) -> list[tuple[str, str]]:
        main(["train", str(done.train), str(done.val), "--out", str(tmp_path / name), *SMALL, *options])
        pairs = gs.load_model(tmp_path / name / "last.safetensors").config.mirror_pairs
        return [(first, second) for first, second in pairs]

    (out / "mirror_pairs.csv").write_text("class,mirrored\r\neast,west\r\n")
    assert trained("file") == [("east", "west")]
    assert trained("option", "--mirror-pairs", "turn_left=west") == [("turn_left", "west")]
    manifest = read_manifest(done.train)
    (out / "mirror_pairs.csv").write_text("class,mirrored\n")
    assert manifest.mirror_pairs(done.classes) == ()
    (out / "mirror_pairs.csv").unlink()
    assert manifest.mirror_pairs(done.classes) == (("turn_left", "turn_right"),)
    (out / "mirror_pairs.csv").write_text("class,mirrored\neast,north\n")
    with pytest.raises(SystemExit) as stop:
        trained("unknown")
    assert stop.value.code == 2
    assert f"{out / 'mirror_pairs.csv'}, line 2: 'north' is none of the 4 classes" in capsys.readouterr().err
