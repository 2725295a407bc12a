"""Labels that contradict each other or are not what they seem: each is told in one line."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.labels import check_agreement
from gateshift.data.lists.manifest import read_manifest
from gateshift.errors import ManifestError

SMALL = ["--backbone", "test_resnet", "--size", "32", "--segments", "2", "--batch-size", "2", "--workers", "0"]
SMALL += ["--recipe", "papers", "--epochs", "1", "--warmup-epochs", "0"]


@pytest.fixture
def place(tmp_path: Path, put_video: Callable, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three videos, in which the program runs."""
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        put_video(tmp_path / f"{name}.mp4", 4)
    return tmp_path


@pytest.fixture
def train(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Train on two lists; gives the exit code, and what was said."""

    def run(train_list: str, val_list: str, *options: str) -> tuple[int, str]:
        try:
            main(["train", train_list, val_list, "--out", f"run{len(list(Path().iterdir()))}", *SMALL, *options])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, " ".join("".join(capfd.readouterr()).split())

    return run


def write(name: str, *lines: str) -> str:
    Path(name).write_text("".join(f"{line}\n" for line in lines))
    return name


def table(name: str, *rows: str) -> str:
    return write(name, "path,label", *rows)


def check(*names: str, multi_label: bool = False) -> None:
    """Check that lists agree, as a training does."""
    lists = [read_manifest(name, multi_label=multi_label) for name in names]
    classes = lists[0].class_names()
    check_agreement([(each.source, each.entries, each.targets(classes)) for each in lists])


def test_numbers_from_1_are_told_with_the_class_that_0_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest(write("train.txt", "a.mp4 4 1", "b.mp4 4 2"))
    (told,) = manifest.describe_numbers(train=True)
    assert told.startswith("train.txt: labels count from 0, and these are 1 to 2; no video is of class 0; if they were")
    write("classes.txt", "wave", "clap", "nod")
    (told,) = manifest.describe_numbers(train=True)
    assert "these are 1 to 2; no video is of class 0, 'wave'; if they were meant to count from 1" in told
    write("classes.txt", "wave", "clap")
    with pytest.raises(ManifestError) as raised:
        manifest.targets(["wave", "clap"])
    assert "label 2 of b.mp4 is none of the 2 classes (wave, clap); labels count from 0, and these are 1 to 2" in str(
        raised.value
    )


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_numbers_with_gaps_are_told_of_the_training_list_alone(train: Callable) -> None:
    code, said = train(write("train.txt", "a.mp4 4 0", "b.mp4 4 3"), write("val.txt", "c.mp4 4 3"))
    assert code == 0 and said.count("train.txt: 2 of the classes 0 to 3 have no video: 1 ('1'), 2 ('2')") == 1
    assert "val.txt: " not in said


@pytest.mark.slow
@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("label", "option"), [("wave", []), ("wave;nod", ["--multi-label"])])
def test_named_classes_that_no_training_video_has_are_told(label: str, option: list[str], train: Callable) -> None:
    write("classes.txt", "clap", "nod", "spin", "wave")
    lists = write("train.csv", "path,label", f"a.mp4,{label}", "b.mp4,nod"), write("val.csv", "path,label", "c.mp4,nod")
    code, said = train(*lists, *option)
    told = "train.csv: 2 of the 4 classes have no video to learn from: clap, spin"
    assert code == 0 and said.count(told) == 1 and "val.csv: " not in said


def test_a_test_tells_of_numbers_from_1(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gs.save_model(
        gs.create_model("test_resnet", classes=["wave", "clap", "nod"], num_segments=2), place / "m.safetensors"
    )
    write("classes.txt", "wave", "clap", "nod")
    main(["test", "m.safetensors", write("list.txt", "a.mp4 4 1", "b.mp4 4 2"), "--workers", "0"])
    assert (
        "list.txt: labels count from 0, and these are 1 to 2; no video is of class 0, 'wave'" in capsys.readouterr().out
    )
    assert read_manifest(write("list.txt", "a.mp4 4 0", "b.mp4 4 2")).describe_numbers(train=False) == ()


@pytest.mark.parametrize(
    "rows", [("a.mp4,open;wave", "b.mp4,open"), ("a.mp4,open;wave", "b.mp4,wave; nod"), ("a.mp4,open;", "b.mp4,open")]
)
def test_several_labels_without_the_option_for_them_are_an_error(
    rows: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = table("list.csv", *rows)
    with pytest.raises(ManifestError) as raised:
        read_manifest(source).class_names()
    assert str(raised.value).startswith(f"list.csv: label {rows[0].partition(',')[2]!r} of a.mp4, and")
    assert "set `multi_label=True` if a video has several labels" in str(raised.value)
    read_manifest(source, multi_label=True).class_names()
    names = [row.partition(",")[2] for row in rows]
    write("classes.txt", *names)
    assert read_manifest(source).class_names() == names  # its owner has said that they are classes


def test_a_class_with_a_semicolon_in_its_name_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["push; then pull", "wave"]
    manifest = read_manifest(table("list.csv", f"a.mp4,{names[0]}", f"b.mp4,{names[1]}"))
    assert manifest.class_names() == names
    with pytest.raises(ManifestError, match="or set `multi_label=True` if a video has several labels"):
        manifest.targets(["push", "wave"])


def test_a_video_of_two_labels_is_an_error_that_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    val = table("val.csv", "c.mp4,open")
    with pytest.raises(ManifestError) as raised:
        check(table("list.csv", "a.mp4,open", "b.mp4,wave", "./a.mp4,wave"), val)
    assert str(raised.value).startswith("list.csv: a.mp4 is listed as 'open', and as 'wave'; correct one of them; ")
    assert "several labels of one video go in one row, as 'open;push', with `multi_label=True`" in str(raised.value)
    check(table("list.csv", "a.mp4,open", "b.mp4,wave", "a.mp4,open"), val)  # seen twice as often
    with pytest.raises(ManifestError, match=r"list.csv: a.mp4 is listed as 'open', and as 'wave' in val.csv; correct"):
        check(table("list.csv", "a.mp4,open", "b.mp4,wave"), table("val.csv", "a.mp4,wave"))
    check(write("parts.csv", "path,label,start,end", "a.mp4,open,0,0.08", "a.mp4,wave,0.08,0.16"))
    several = table("several.csv", "a.mp4,open;wave", "b.mp4,open"), table("val.csv", "a.mp4,wave", "c.mp4,")
    with pytest.raises(ManifestError, match=r"a.mp4 is listed as 'open;wave', and as 'wave' in val.csv"):
        check(*several, multi_label=True)


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_a_training_does_not_begin_with_labels_that_contradict_each_other(train: Callable) -> None:
    code, said = train(table("list.csv", "a.mp4,open", "b.mp4,wave"), table("val.csv", "a.mp4,wave"))
    assert code == 2 and "list.csv: a.mp4 is listed as 'open', and as 'wave' in val.csv; correct" in said
    code, said = train(table("list.csv", "a.mp4,open;wave", "b.mp4,open"), "val.csv")
    assert code == 2 and "list.csv: label 'open;wave' of a.mp4, and" in said
    assert train("list.csv", table("val.csv", "c.mp4,wave"), "--multi-label")[0] == 0


@pytest.mark.slow
def test_a_test_and_a_scan_say_that_labels_differ(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gs.save_model(gs.create_model("test_resnet", classes=["open", "wave"], num_segments=2), place / "m.safetensors")
    both = table("list.csv", "a.mp4,open", "a.mp4,wave")
    with pytest.raises(SystemExit):
        main(["test", "m.safetensors", both])
    assert "a.mp4 is listed twice, as 'open' and as 'wave'; list each video once" in capsys.readouterr().err
    main(["scan", both, "--out", "bad.csv", "--workers", "1"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "1 listed-twice" in said and "under different labels" in said
