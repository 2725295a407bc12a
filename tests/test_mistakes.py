"""Usual mistakes end in one clear line on stderr and exit code 2, by the real program."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import GateShiftError
from gateshift.evaluation.scores import Scores, save_scores


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, write_video: Callable, counting_frames: Callable) -> Path:
    """A folder with good and bad videos, lists, models and scores: only to be read."""
    folder = tmp_path_factory.mktemp("made")
    for name in "ab":
        write_video(folder / f"{name}.mp4", counting_frames(6))
    (folder / "empty.mp4").touch()
    lists = {
        "good.csv": "a.mp4,open\nb.mp4,close\n",
        "gone.csv": "a.mp4,open\nnot_there.mp4,close\n",
        "empty.csv": "a.mp4,open\nempty.mp4,close\n",
        "other.csv": "a.mp4,open\nb.mp4,wave\n",
    }
    for name, text in lists.items():
        (folder / name).write_text("path,label\n" + text)
    (folder / "numbers.txt").write_text("a.mp4 6 0\nb.mp4 6 2\n")
    (folder / "exists").mkdir()
    (folder / "latin.toml").write_bytes("title = 'für mich'".encode("latin-1"))
    gs.save_model(
        gs.create_model("test_resnet", classes=["close", "open"], num_segments=2), folder / "model.safetensors"
    )
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "corrupt.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "corrupt.pth.tar").write_bytes(b"\x80\x02nonsense")
    for name, ids in (("one", ("x", "y")), ("two", ("x", "z"))):
        logits = np.zeros((2, 2), np.float32)
        save_scores(Scores(ids, np.array([0, 1]), logits, ("close", "open"), "p"), folder / f"{name}.npz")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True))


TRAIN = (
    "train good.csv good.csv --out run --recipe papers --backbone test_resnet --size 32 --segments 2 --epochs 1 "
    "--warmup-epochs 0"
)
MISTAKES = {
    "missing file": ("predict model.safetensors nowhere.mp4", "nowhere.mp4: there is no such file; check the path"),
    "missing list": ("test model.safetensors nowhere.csv", "nowhere.csv: no such list; give a CSV"),
    "missing model": ("predict nowhere.safetensors a.mp4", "nowhere.safetensors: no such model file"),
    "missing video in a list": ("test model.safetensors gone.csv", "1 of 2 videos are missing, such as not_there.mp4"),
    "empty video": ("test model.safetensors empty.csv", "empty.mp4: is empty, with 0 bytes"),
    "empty video in training": (TRAIN.replace("good.csv", "empty.csv", 1), "empty.mp4: is empty, with 0 bytes"),
    "empty video, loaded by a worker": ("test model.safetensors empty.csv --workers 1", "empty.mp4: is empty"),
    "wrong label": ("test model.safetensors other.csv", "label 'wave' of b.mp4 is none of the 2 classes"),
    "label of val not in train": (TRAIN.replace("good.csv --out", "other.csv --out"), "label 'wave' of b.mp4"),
    "unknown backbone": (TRAIN.replace("test_resnet", "resnet51"), "unknown backbone 'resnet51'"),
    "unknown module": (TRAIN + " --temporal lstm", "unknown temporal module 'lstm'; choose one of gsm, gsf, tsm, none"),
    "class count": ("test model.safetensors numbers.txt", "label 0 of a.mp4 is none of the 2 classes (close, open)"),
    "T = 0 in training": (TRAIN.replace("--segments 2", "--segments 0"), "--segments 0; it must be at least 1"),
    "T = 0 in testing": ("test model.safetensors good.csv --segments 0", "0; a clip has at least 1 frame"),
    "crops": ("test model.safetensors good.csv --crops 4", "4; choose one of 1, 3, 5, 10"),
    "different videos": ("ensemble one.npz two.npz", "are of different videos: 2 are in one alone, such as y"),
    "one score file": ("ensemble one.npz", "an ensemble takes at least 2"),
    "corrupt bundle": ("predict corrupt.safetensors a.mp4", "corrupt.safetensors: not a readable model file"),
    "corrupt checkpoint": ("predict corrupt.pth.tar a.mp4", "corrupt.pth.tar: not a readable model file"),
    "output exists": (TRAIN.replace("--out run", "--out exists"), "exists exists; choose another folder, or resume"),
    "scores exist": ("test model.safetensors good.csv --scores one.npz", "one.npz exists; choose another name"),
    "output below a file": (TRAIN.replace("--out run", "--out a.mp4/run"), "part of the path is a file, and no folder"),
    "rate": (TRAIN + " --lr inf", "--lr inf; it must be above 0 and finite"),
    "decay": (TRAIN + " --weight-decay nan", "--weight-decay nan; it must be 0 or more, and finite"),
    "seed": (TRAIN + " --seed -1", "--seed -1; it must be from 0 to 4294967295"),
    "size": (TRAIN.replace("--size 32", "--size 0"), "test_resnet does not take an input of 0 px"),
    "size that is not whole patches": (
        TRAIN.replace("test_resnet", "vit_tiny_patch16_224 --temporal none").replace("--size 32", "--size 60"),
        "vit_tiny_patch16_224 does not take an input of 60 px: its patches are 16 px wide",
    ),
    "demo workers": ("demo --workers -1", "--workers -1; it must be 0 or more"),
    "recipe in another encoding": (TRAIN.replace("papers", "latin.toml"), "latin.toml: not a text file in UTF-8"),
    "nothing to resume": (TRAIN + " --resume", "--resume: run holds no saved run"),
    "warm-up too long": (TRAIN.replace("--warmup-epochs 0", "--warmup-epochs 1"), "--warmup-epochs 1 of --epochs 1"),
    "wrong weights": (TRAIN + " --weights model.safetensors", "model.safetensors: not weights of test_resnet"),
    "mirror pair": (TRAIN + " --mirror-pairs open=shut", "mirror pair 'open=shut'; give two different classes"),
    "demo folder exists": ("demo --out exists", "--out exists exists; choose another folder, or delete it"),
    "no video": ("predict model.safetensors", "no video named; name files or folders after the model"),
    "top": ("predict model.safetensors a.mp4 --top 0", "--top 0; name at least 1 class"),
    "prepare without annotations": (
        "prepare something-v2 . --out lists",
        ".: no annotation file labels.json or something-something-v2-labels.json is there",
    ),
    "prepare over something": ("prepare folder . --out .", ". exists and holds a.mp4 and more; choose another folder"),
    "squashed frames that nothing stores": (
        "prepare folder . --out lists --keep-squashed", "--keep-squashed without --pack or --extract-frames"
    ),
    "exported file": ("explain model.pt2 a.mp4 --out looked", "model.pt2: an exported file cannot be looked into"),
    "compiled and checkpointed": (TRAIN + " --compile --checkpointing", "--compile and --checkpointing do not go"),
    "prepare from nowhere": ("prepare kinetics nowhere --out lists", "nowhere: no such folder; give the folder"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_clear_line_and_exit_code_2(
    mistake: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[mistake]
    before = sorted(place.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gateshift:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert [path for path in before if not path.exists()] == []


def test_a_released_checkpoint_needs_the_number_of_frames(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = gs.create_model("test_resnet", classes=["close", "open"])
    gs.save_model(model, place / "no_segments.safetensors")
    with pytest.raises(SystemExit) as stop:
        main(["predict", "no_segments.safetensors", "a.mp4"])
    assert stop.value.code == 2
    assert ", such as 8" in capsys.readouterr().err


# One process for all, as starting torch takes longest.
EVERY_COMMAND = """
import json, pathlib, sys
from gateshift.cli.main import main
from gateshift.errors import GateShiftError

def code_of(words):
    try:
        main(words)
    except SystemExit as end:
        return end.code
    return 0

if __name__ == "__main__":  # loading processes import this file
    codes = [code_of(words) for words in json.loads(sys.argv[1])]
    pathlib.Path("codes.json").write_text(json.dumps(codes))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no names of files that are not UTF-8")
def test_the_program_reads_and_prints_names_that_are_no_text_and_no_traceback(place: Path) -> None:
    odd = b"odd\xff".decode("utf-8", "surrogateescape")
    for split in ("learn", "check"):
        (place / split / odd).mkdir(parents=True)
        shutil.copy(place / "a.mp4", place / split / odd / f"{odd}.mp4")
    (place / "learn" / odd / f"empty {odd}.mp4").touch()
    (place / "learn" / "other").mkdir()
    shutil.copy(place / "b.mp4", place / "learn" / "other" / "b.mp4")
    commands = {
        "scan learn": 1,  # there is something to leave out
        "predict model.safetensors VIDEO": 0,
        "predict model.safetensors VIDEO --json": 0,
        "predict model.safetensors VIDEO --timeline t.json": 0,
        "explain model.safetensors VIDEO --out explained": 0,
        TRAIN.replace("good.csv good.csv", "learn check") + " --skip-bad 9 --workers 0": 0,
        "test model.safetensors empty.csv --workers 1": 2,
    }
    (place / "all.py").write_text(EVERY_COMMAND)
    given = [[word.replace("VIDEO", f"check/{odd}/{odd}.mp4") for word in words.split()] for words in commands]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "all.py", json.dumps(given)]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, timeout=300, check=False)
    assert b"Traceback" not in done.stderr + done.stdout, done.stderr.decode("utf-8", "replace")
    assert b"empty.mp4" in done.stderr
    assert json.loads((place / "codes.json").read_text()) == list(commands.values())
    assert os.fsencode(f"empty {odd}.mp4") in (place / "run" / "skipped.csv").read_bytes()


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Without the rights of root, who may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_may_not_be_read_is_said_and_the_others_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(tempfile.mkdtemp())  # of which others may enter every parent
    try:
        for name in ("open", "locked"):
            shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns("empty.mp4"))
        shutil.copy(place / "model.safetensors", folder / "locked.safetensors")
        for readable in (folder, folder / "open"):
            readable.chmod(0o755)
        (folder / "locked").chmod(0)
        shutil.copytree(folder / "open", folder / "unlocked" / "below")
        (folder / "unlocked").chmod(0o744)  # its names may be seen, and nothing more
        (folder / "locked.safetensors").chmod(0)
        main(["predict", "model.safetensors", "a.mp4"])  # imports what somebody else may not
        capsys.readouterr()
        with as_somebody_else():
            if not os.path.exists(folder / "open" / "a.mp4"):  # noqa: PTH110 - Path.exists raises
                pytest.skip("others may not enter the folder for temporary files")
        with as_somebody_else(), pytest.raises(SystemExit, match="2"):
            hidden = folder / "locked" / "a.mp4"
            main(["predict", str(folder / "open/model.safetensors"), str(folder), str(hidden), "--json"])
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        names = [Path(record["video"]).name for record in records]
        assert names == ["locked", "a.mp4", "b.mp4", "below", "a.mp4"]
        assert [record["error"] is None for record in records] == [False, True, True, False, False]
        assert "locked: permission denied" in records[0]["error"]
        with as_somebody_else(), pytest.raises(SystemExit, match="2"):
            main(["predict", str(folder / "locked.safetensors"), str(folder / "open/a.mp4")])
        assert "locked.safetensors: permission denied; ask its owner" in capsys.readouterr().err
    finally:
        (folder / "locked").chmod(0o700)
        shutil.rmtree(folder)


def test_an_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["ensemble", "a.npz", "b.npz", "--scroes", "c.npz"])
    assert stop.value.code == 2
    assert "--scores" in capsys.readouterr().err


def test_odd_channels_are_named_with_their_site() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 7, 1))
    with pytest.raises(gs.GateShiftError, match="after 0: gate-shift got 7 channels"):
        gs.insert_temporal(net, "gsm", sites=["0"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gs.explain(nn.Linear(1, 1), "a.mp4", out="out"), "`model` is a Linear; give a VideoClassifier"),
        (lambda: gs.export(None, "val.csv", format="torch"), "`model` is a NoneType; give a VideoClassifier"),
        (lambda: gs.evaluate(None, "val.csv"), "`model` is a NoneType; give a path"),
        (lambda: gs.inspect(nn.Linear(1, 1)), "`net` is a Linear; give the path of a model, or the name"),
        (lambda: gs.scan(None), "`videos` of type NoneType; give lists, folders or videos"),
        (lambda: gs.scan("a.mp4", workers="2"), "`workers` '2'; it must be a whole number"),
        (lambda: gs.prepare("folder", "clips", "lists", val_share="a"), "`val_share` 'a'; it must be above 0"),
        (lambda: gs.prepare("folder", "clips", "lists", workers="2"), "`workers` '2'; it must be a whole number"),
        (lambda: gs.download([]), "a recipe of type list; give its name"),
        (lambda: gs.create_model(None, num_classes=2), "`backbone` None; give a name, such as 'resnet50'"),
        (lambda: gs.load_model("a.safetensors", device="gpu"), "`device` 'gpu': .*; give one of this machine"),
        (lambda: gs.load_model("a.safetensors", device="cuda:99"), "`device` 'cuda:99': .*; give one of this machine"),
        (lambda: gs.VideoClassifier.wrap("resnet18", 8, num_classes=2), "a network of type str; give an nn.Module"),
        (lambda: gs.VideoClassifier.wrap(nn.Flatten(), "8", num_classes=2), "`num_features` '8'; it must be a whole"),
        (lambda: gs.insert_temporal(nn.Flatten(), "gsm", sites="layer4"), r"`sites` 'layer4' is one text; give a list"),
    ],
)
def test_what_is_of_another_type_is_one_line_in_python(call: Callable[[], object], message: str) -> None:
    with pytest.raises(GateShiftError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
