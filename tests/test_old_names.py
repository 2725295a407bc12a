"""Options that were renamed still work, and say their new name."""

import pytest

from gateshift.cli.old_names import OLD_OPTIONS, OLD_VALUES, put_new_names
from gateshift.cli.option_names import Option, options_of
from gateshift.cli.verb_list import VERBS

KNOWN = [Option("--rate"), Option("--plan", choices=("steps", "epochs")), Option("--fast", is_switch=True)]
OPTIONS = {("train", "--old-rate"): "--rate", ("train", "--quick"): "--fast", ("train", "--rate"): "--fast"}
VALUES = {("train", "--plan", "by-step"): "steps", ("train", "--plan", "epochs"): "steps"}


@pytest.mark.parametrize(
    ("words", "renamed", "told"),
    [
        ("a --old-rate 0.1", "a --rate 0.1", "--old-rate is now --rate; "),
        ("a --old_rate=0.1", "a --rate=0.1", "--old-rate is now --rate; "),
        ("a --quick b", "a --fast b", "--quick is now --fast; "),
        ("--plan by-step", "--plan steps", "--plan by-step is now --plan steps; "),
        ("--plan=by-step", "--plan=steps", "--plan by-step is now --plan steps; "),
        ("--rate 1 --plan epochs", "--rate 1 --plan epochs", ""),
        ("--rate by-step by-step", "--rate by-step by-step", ""),
    ],
)
def test_an_old_name_is_replaced_and_told(words: str, renamed: str, told: str) -> None:
    lines: list[str] = []
    given = put_new_names("train", words.split(), KNOWN, lines.append, old_options=OPTIONS, old_values=VALUES)
    assert given == renamed.split()
    assert [line[: len(told)] for line in lines] == ([told] if told else [])


def test_another_verb_keeps_its_words() -> None:
    assert put_new_names("test", ["--old-rate", "1"], KNOWN, pytest.fail, old_options=OPTIONS) == ["--old-rate", "1"]


def test_old_names_lead_to_options_that_there_are() -> None:
    for (verb, old), new in OLD_OPTIONS.items():
        known = {word for option in options_of(VERBS[verb].settings_type()).values() for word in option.spellings}
        assert (new in known) != (old in known)
    for (verb, option, old), new in OLD_VALUES.items():
        (choices,) = [o.choices for o in options_of(VERBS[verb].settings_type()).values() if o.spelling == option]
        assert (new in choices) != (old in choices)
