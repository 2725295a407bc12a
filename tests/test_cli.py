"""The command line as a newcomer meets it: help, mistakes in typing, lines to try."""

import dataclasses
import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pytest

import gateshift as gs
from gateshift.cli.main import main, parse
from gateshift.cli.terminal import print_line, print_note, wording
from gateshift.cli.verb_list import GROUPS, VERBS
from gateshift.errors import GateShiftError, GateShiftWarning, SettingsError

# Lines that fetch from the network, wait for browsers, take minutes, or are the demo itself: they are parsed alone.
ONLY_PARSED = {"bench", "demo", "download", "score", "serve"}
SLOW = {"explain", "export", "scan", "train"}


def refuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line that is refused prints: one line."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_the_overview_shows_a_newcomers_verbs_first_and_every_other(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([word])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [match[1] for line in lines if (match := re.match(r"  ([a-z]+) +\S", line))]
    assert listed[:5] == ["demo", "prepare", "train", "test", "predict"]
    assert listed == list(VERBS) and len(listed) == sum(map(len, GROUPS.values()))
    assert max(map(len, lines)) <= 100


def test_no_arguments_show_the_overview_as_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gateshift"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and "First steps:" in err


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_reads_as_documentation(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert VERBS[verb].settings_type().__doc__.splitlines()[0] in printed
    assert f"usage: gateshift {verb} " in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian a b", "gateshift: trian: no such command; did you mean train?\n"),
        ("xyz", "gateshift: xyz: no such command; gateshift --help lists all\n"),
        ("train a b --out r --epoch 3", "gateshift: train has no option --epoch; did you mean --epochs?\n"),
        ("ensemble a.npz --scroes=c.npz", "gateshift: ensemble has no option --scroes; did you mean --scores?\n"),
        ("test a b --qqqq", "gateshift: test has no option --qqqq; gateshift test --help lists them\n"),
        ("train a b --out r --optimizer adam", "gateshift: --optimizer adam; choose one of sgd, adamw\n"),
        (
            "export m v --format=onxx",
            "gateshift: --format onxx; choose one of torch, onnx, openvino, litert, executorch, coreml, web\n",
        ),
        ("train a b --out r --epochs three", "gateshift: --epochs three; it must be a whole number\n"),
        ("train a b --out r --lr=fast", "gateshift: --lr fast; it must be a number\n"),
        ("train a b --out", "gateshift: --out needs a value; gateshift train --help says which\n"),
        ("train a b --lr --out r", "gateshift: --lr needs a value; gateshift train --help says which\n"),
        ("train", "gateshift: train needs TRAIN, VAL and --out RUN; gateshift train --help says more\n"),
        ("train a --out r", "gateshift: train needs VAL; gateshift train --help says more\n"),
        ("train a b c --out r", "gateshift: train does not take c; gateshift train --help says more\n"),
        ("predict m v -t 3", "gateshift: predict does not take -t 3; gateshift predict --help says more\n"),
        (
            "prepare clips x --out l",
            "gateshift: DATASET clips; choose one of something-v1, something-v2, jester, diving48, kinetics, "
            "epic-kitchens-100, folder, boris, elan, label-studio, cvat, via, create-ml, soccernet, e2e-spot\n",
        ),
        ("scan", "gateshift: DATA names nothing; name lists, folders or videos\n"),
    ],
)
def test_a_mistyped_word_is_told_with_the_nearest(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refuse(words.split(), capsys) == message


def test_options_may_be_typed_with_underscores_and_switched_off() -> None:
    settings = parse(["train", "a", "b", "--out=r", "--batch_size", "3", "--no-balanced", "--resume"])
    assert (settings.optim.batch_size, settings.skew.balanced, settings.resume) == (3, False, True)
    with pytest.raises(SettingsError, match="no option --no-epochs"):
        parse(["train", "a", "b", "--out", "r", "--no-epochs"])


def test_an_option_that_may_be_left_out_takes_the_word_none() -> None:
    settings = parse(["train", "a", "b", "--out", "r", "--workers", "None", "--lr-batch=8"])
    assert (settings.workers, settings.optim.lr_batch) == (None, 8)


def speak(_: object) -> None:
    """Stands for a verb whose library says something."""
    warnings.warn("`clips` 1 is few", GateShiftWarning, stacklevel=2)
    print_line("`videos` are read")
    raise GateShiftError("`batch_size` 0; try `batch_size=4` or `epochs=3`")


def test_messages_of_the_library_name_options_of_the_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(VERBS, "test", dataclasses.replace(VERBS["test"], function=f"{__name__}:speak"))
    with pytest.raises(SystemExit), warnings.catch_warnings():
        warnings.simplefilter("default")
        main(["test", "m.safetensors", "v.csv"])
    out, err = capsys.readouterr()
    assert out == "VAL are read\n"
    assert err == "gateshift: --clips 1 is few\ngateshift: --batch-size 0; try --batch-size 4 or `epochs=3`\n"


def test_words_are_those_of_before_after_a_block(capsys: pytest.CaptureFixture[str]) -> None:
    with wording(str.upper), pytest.raises(ZeroDivisionError), wording(str.title):
        print_note("in it")
        raise ZeroDivisionError
    print_note("after")
    assert capsys.readouterr().err == "gateshift: In It\ngateshift: after\n"


@pytest.fixture(scope="module")
def demo_files(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the demo leaves, of fewer clips and untrained networks."""
    folder = tmp_path_factory.mktemp("demo_files")
    shutil.copytree(clips, folder / "demo" / "clips")
    classes = (clips / "classes.txt").read_text().splitlines()
    for temporal in ("none", "gsm"):
        model = folder / "demo" / temporal / "last.safetensors"
        model.parent.mkdir()
        gs.save_model(gs.create_model("test_resnet", temporal, classes=classes, num_segments=8, size_px=56), model)
        scores = folder / "demo" / f"{temporal}.npz"
        main(["test", str(model), str(folder / "demo/clips/val.csv"), "--scores", str(scores), "--workers", "0"])
    return folder


@pytest.mark.parametrize("verb", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in VERBS])
def test_the_example_of_a_verb_works_on_the_files_of_the_demo(
    verb: str,
    demo_files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([verb, "--example"])
    program, *words = shlex.split(capsys.readouterr().out)
    assert program == "gateshift" and words[0] == verb
    assert type(parse(words)) is VERBS[verb].settings_type()
    if verb not in ONLY_PARSED:
        (tmp_path / "demo").symlink_to(demo_files / "demo")
        monkeypatch.chdir(tmp_path)
        main(words)
        assert capsys.readouterr().out != ""
