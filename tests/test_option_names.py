"""Arguments of the library in messages, as options of the command line."""

import ast
import re
from pathlib import Path

import pytest

from gateshift.cli.main import main
from gateshift.cli.option_names import Option, as_options, options_of
from gateshift.cli.verb_list import VERBS

SOURCE = Path(__file__).parent.parent / "src" / "gateshift"
OPTIONS = {
    "train": Option("TRAIN"),
    "batch_size": Option("--batch-size"),
    "overwrite": Option("--overwrite", is_switch=True),
    "class_name": Option("--class"),
}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("`batch_size` 0; it must be at least 1", "--batch-size 0; it must be at least 1"),
        ("try `batch_size=8`", "try --batch-size 8"),
        ("try `class_name='open'`", "try --class open"),
        ("try `class_name='open it'`", "try --class 'open it'"),
        ("add `overwrite=True`, not `overwrite=False`", "add --overwrite, not --no-overwrite"),
        ("`train` a.csv: no such file", "TRAIN a.csv: no such file"),
        ("`stem=2` and `pip install gateshift[export]`", "`stem=2` and `pip install gateshift[export]`"),
        ("C:\\a`b`c.mp4: no such file", "C:\\a`b`c.mp4: no such file"),
    ],
)
def test_an_argument_is_told_as_the_option_that_gives_it(message: str, told: str) -> None:
    assert as_options(message, OPTIONS) == told


def test_options_have_the_words_that_the_command_line_takes() -> None:
    options = options_of(VERBS["explain"].settings_type())
    assert options["model"].spelling == "MODEL" and options["model"].spellings == ()
    assert options["video"].spelling == "VIDEO"
    assert options["class_name"].spelling == "--class"
    assert options["overwrite"].spellings == ("--overwrite", "--no-overwrite")
    assert options_of(VERBS["predict"].settings_type())["videos"].spelling == "VIDEO"
    nested = options_of(VERBS["train"].settings_type())
    assert nested["new_layers_lr"].spelling == "--new-layers-lr"
    assert nested["optimizer"].choices == ("sgd", "adamw")
    assert nested["resume"].spellings == ("--resume",)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_has_every_option_by_its_name(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for option in options_of(VERBS[verb].settings_type()).values():
        words = option.spellings or (option.spelling,)
        assert [word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", printed)] == []


# Rooms whose messages still name options; a room leaves this list when they name arguments, and none may come back.
OF_OTHERS = {"--shm-size"}  # of docker run


def texts_with_options(path: Path) -> list[str]:
    """Texts of a module, docstrings and helps of fields apart, that hold an option of a command line."""
    tree = ast.parse(path.read_text("utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    words = [(node, word.lstrip("(\"'")) for node in texts if id(node) not in docs for word in node.value.split()]
    return [
        f"{path.relative_to(SOURCE)}:{node.lineno}: {word}"
        for node, word in words
        if word.startswith("--") and word[2:3].isalpha() and word not in OF_OTHERS
    ]


@pytest.mark.slow
def test_only_the_command_line_names_options() -> None:
    modules = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != "cli"]
    assert [place for path in modules for place in texts_with_options(path)] == []
