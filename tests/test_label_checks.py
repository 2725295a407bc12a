"""Labels that contradict each other or are not what they seem: each is told in one line."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.manifest import read_manifest
from gateshift.errors import ManifestError

SMALL = ["--backbone", "test_resnet", "--size", "32", "--segments", "2", "--batch-size", "2", "--workers", "0"]
SMALL += ["--epochs", "1", "--warmup-epochs", "0"]


@pytest.fixture
def place(tmp_path: Path, write_video: Callable, counting_frames: Callable, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three videos, in which the program runs."""
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        write_video(tmp_path / f"{name}.mp4", counting_frames(4))
    return tmp_path


@pytest.fixture
def train(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Train on two lists; gives the exit code, and what was said."""

    def run(learned: str, validation: str, *options: str) -> tuple[int, str]:
        try:
            main(["train", learned, validation, "--out", f"run{len(list(Path().iterdir()))}", *SMALL, *options])
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


@pytest.mark.usefixtures("place")
def test_numbers_from_1_are_told_with_the_class_that_0_is(train: Callable) -> None:
    learned = write("train.txt", "a.mp4 4 1", "b.mp4 4 2")
    code, said = train(learned, learned)
    told = "train.txt: labels count from 0, and these are 1 to 2; no video is of class 0; if they were meant to count"
    assert code == 0 and said.count(told) == 1
    write("classes.txt", "wave", "clap", "nod")
    code, said = train(learned, learned)
    assert code == 0 and "these are 1 to 2; no video is of class 0, 'wave'; if they were meant to count from 1" in said
    write("classes.txt", "wave", "clap")
    code, said = train(learned, learned)
    assert code == 2
    assert "label 2 of b.mp4 is none of the 2 classes (wave, clap); labels count from 0, and these are 1 to 2" in said


@pytest.mark.usefixtures("place")
def test_numbers_with_gaps_are_told_of_what_is_learned_alone(train: Callable) -> None:
    learned = write("train.txt", "a.mp4 4 0", "b.mp4 4 3")
    told = "2 of the classes 0 to 3 have no video: 1 ('1'), 2 ('2')"
    code, said = train(learned, write("val.txt", "c.mp4 4 3"))
    assert code == 0 and f"train.txt: {told}" in said and "val.txt: " not in said


def test_a_test_tells_of_numbers_from_1(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gs.save_model(
        gs.create_model("test_resnet", classes=["wave", "clap", "nod"], num_segments=2), place / "m.safetensors"
    )
    write("classes.txt", "wave", "clap", "nod")
    main(["test", "m.safetensors", write("list.txt", "a.mp4 4 1", "b.mp4 4 2"), "--workers", "0"])
    assert (
        "list.txt: labels count from 0, and these are 1 to 2; no video is of class 0, 'wave'" in capsys.readouterr().out
    )
    main(["test", "m.safetensors", write("list.txt", "a.mp4 4 0", "b.mp4 4 2"), "--workers", "0"])
    assert "labels count" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "rows", [("a.mp4,open;wave", "b.mp4,open"), ("a.mp4,open;wave", "b.mp4,wave; nod"), ("a.mp4,open;", "b.mp4,open")]
)
@pytest.mark.usefixtures("place")
def test_several_labels_without_the_option_for_them_are_an_error(rows: Sequence[str], train: Callable) -> None:
    learned = table("list.csv", *rows)
    code, said = train(learned, learned)
    assert code == 2
    assert f"list.csv: label {rows[0].partition(',')[2]!r} of a.mp4, and" in said and re.search(
        "(--|`)multi.label.* if a", said
    )
    assert train(learned, learned, "--multi-label")[0] == 0
    write("classes.txt", *(row.partition(",")[2] for row in rows))
    assert train(learned, learned)[0] == 0  # its owner has said that they are classes


def test_a_class_with_a_semicolon_in_its_name_is_one(place: Path) -> None:
    names = ["push; then pull", "wave"]
    assert read_manifest(table("list.csv", f"a.mp4,{names[0]}", f"b.mp4,{names[1]}")).class_names() == names
    with pytest.raises(ManifestError, match="or set `multi_label=True` if a video has several labels"):
        read_manifest(place / "list.csv").targets(["push", "wave"])


@pytest.mark.usefixtures("place")
def test_a_video_of_two_labels_is_an_error_that_names_both(train: Callable) -> None:
    learned = table("list.csv", "a.mp4,open", "b.mp4,wave", "./a.mp4,wave")
    validation = table("val.csv", "c.mp4,open")
    code, said = train(learned, validation)
    assert code == 2
    assert "list.csv: a.mp4 is listed as 'open', and as 'wave'; correct one of them; several labels of one" in said
    assert train(table("list.csv", "a.mp4,open", "b.mp4,wave", "a.mp4,open"), validation)[0] == 0  # seen twice as often
    code, said = train(table("list.csv", "a.mp4,open", "b.mp4,wave"), table("val.csv", "a.mp4,wave"))
    assert code == 2 and "list.csv: a.mp4 is listed as 'open', and as 'wave' in val.csv; correct" in said
    parts = write("parts.csv", "path,label,start,end", "a.mp4,open,0,0.08", "a.mp4,wave,0.08,0.16")
    assert train(parts, parts)[0] == 0
    several = table("several.csv", "a.mp4,open;wave", "b.mp4,open"), table("val.csv", "a.mp4,wave", "c.mp4,")
    code, said = train(*several, "--multi-label")
    assert code == 2 and "a.mp4 is listed as 'open;wave', and as 'wave' in val.csv" in said


def test_a_test_and_a_scan_say_that_labels_differ(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gs.save_model(gs.create_model("test_resnet", classes=["open", "wave"], num_segments=2), place / "m.safetensors")
    both = table("list.csv", "a.mp4,open", "a.mp4,wave")
    with pytest.raises(SystemExit):
        main(["test", "m.safetensors", both])
    assert "a.mp4 is listed twice, as 'open' and as 'wave'; list each video once" in capsys.readouterr().err
    main(["scan", both, "--out", "bad.csv", "--workers", "1"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "1 listed-twice" in said and "under different labels" in said
