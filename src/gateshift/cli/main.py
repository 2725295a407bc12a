"""The command line: one verb, one function."""

from __future__ import annotations

import difflib
import io
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TextIO

from gateshift.cli.terminal import print_line, print_note, wording
from gateshift.cli.verb_list import VERBS as VERBS
from gateshift.cli.verb_list import Verb, find_verb, overview
from gateshift.devices import keep_freed_memory
from gateshift.errors import GateShiftError, GateShiftWarning, SettingsError, StoppedError, explain_system_error
from gateshift.version import __version__

if TYPE_CHECKING:
    from gateshift.cli.option_names import Option

EXIT_BAD_INPUT = 2


def parse(words: Sequence[str]) -> Any:
    """Turn the words of a command line into the settings of its verb; prints help or usage and exits if asked.

    Raises:
        SettingsError: If there is no such verb, or no such option.
    """
    import tyro

    from gateshift.cli.old_names import put_new_names
    from gateshift.cli.option_names import options_of

    name, *rest = words
    settings = find_verb(name).settings_type()
    options = options_of(settings)
    rest = put_new_names(name, rest, options.values(), print_note)
    check_options(name, rest, {word: option for option in options.values() for word in option.spellings})
    refused = io.StringIO()
    try:
        with redirect_stderr(refused):
            parsed = tyro.cli(
                settings,
                prog=f"gateshift {name}",
                args=spell_out_true(rest),
                config=(tyro.conf.OmitArgPrefixes,),
                **_default(name, settings, rest),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise SettingsError(explain_refusal(name, refused.getvalue())) from None
    if name == "train":  # the others are planned
        words_given = {word.partition("=")[0].replace("_", "-") for word in rest}
        parsed.mark_given({field for field, option in options.items() if words_given & {*option.spellings}})
    return parsed


def check_options(verb: str, words: Sequence[str], known: Mapping[str, Option]) -> None:
    """Raise SettingsError at the first word that looks like an option of a verb and is none, or has no such value.

    Args:
        verb: What is typed first.
        words: What follows.
        known: The options by the words that give them.
    """
    for word, following in pairwise([*words, ""]):
        if not word.startswith("--") or word == "--help" or word.startswith("--tyro-"):
            continue
        option, is_joined, value = word.partition("=")
        option = option.replace("_", "-")
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"gateshift {verb} --help lists them"
            raise SettingsError(f"{verb} has no option {option}; {hint}")
        given = value if is_joined else following
        choices, kinds = known[option].choices, known[option].kinds
        is_missing = given == "" or (not is_joined and given.partition("=")[0].replace("_", "-") in known)
        if (choices or kinds) and is_missing:
            raise SettingsError(f"{option} needs a value; gateshift {verb} --help says which")
        if choices and given not in choices:
            raise SettingsError(f"{option} {given}; choose one of {', '.join(choices)}")
        if kinds and not _fits(given, kinds):
            wanted = "a whole number" if int in kinds else "a number"
            raise SettingsError(f"{option} {given}; it must be {wanted}")


def _fits(word: str, kinds: Sequence[type[Any]]) -> bool:
    """Whether a word is a value of one of these types; any word is a text or a path."""
    for kind in kinds:
        if kind is type(None):
            if word == "None":
                return True
            continue
        with suppress(ValueError):
            kind(word)
            return True
    return False


def explain_refusal(verb: str, box: str) -> str:
    """What tyro draws as a box about a command line, as one line.

    >>> explain_refusal("test", "╭─ Missing ─────╮\\n│ Missing from: │\\n│     VAL       │\\n╰───────────────╯")
    'test needs VAL; gateshift test --help says more'
    """
    # A title, perhaps a rule, what is wrong, a rule, and where the help is; without Unicode the border is blank.
    inside = [line[2:].rstrip("│ ") for line in box.splitlines()[1:]]
    rules, whole = [bool(line) and not line.strip("─-╯") for line in inside], len(inside)
    start = next((place for place, is_rule in enumerate(rules) if not is_rule), whole)
    lines = inside[start : next((place for place in range(start, whole) if rules[place]), whole)]
    text = " ".join(" ".join(lines).split())
    help_says = f"gateshift {verb} --help says more"
    missing = [line.strip() for line in lines if re.match(r" {4}\S", line)]
    if text.startswith("Missing from") and missing:
        listed = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
        return f"{verb} needs {listed}; {help_says}"
    if choice := re.match(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)", text):
        return f"{choice[2].upper()} {choice[1]}; choose one of {choice[3].replace(chr(39), '')}"
    if extra := re.match(r"Unrecognized options: (.*)", text):
        return f"{verb} does not take {extra[1].replace(',', '')}; {help_says}"
    return f"{text.rstrip('.')}; {help_says}"


def _default(verb: str, settings: type[Any], words: Sequence[str]) -> dict[str, Any]:
    """What stands for the options that are not typed, where a recipe, a start or a task has other defaults."""
    if verb != "train":
        return {}
    import tyro

    from gateshift.cli.recipe_words import find_value
    from gateshift.recipes.options import FrameOptions, ModelOptions

    recipe, start = (find_value(words, name) for name in ("--recipe", "--start"))
    task: Any = find_value(words, "--task")
    if recipe is None and start is None and task is None:
        return {}
    missing: Any = tyro.MISSING
    model = ModelOptions() if start is None else ModelOptions(start=start)
    frames = FrameOptions() if task is None else FrameOptions(task=task)
    return {"default": settings(missing, missing, missing, recipe=recipe, model=model, frames=frames)}


def spell_out_true(words: Sequence[str]) -> list[str]:
    """``--resume`` alone is ``--resume True``, as is ``--probe``: a value that may be left out would take a path."""
    spelled: list[str] = []
    for word, after in pairwise([*words, ""]):
        spelled += (
            [word, "True"]
            if word in ("--resume", "--probe") and after not in ("True", "False", "None", "auto")
            else [word]
        )
    return spelled


def run(words: Sequence[str]) -> None:
    """Do what a command line says, once, or for each model of a recipe of several."""
    verb = find_verb(words[0])
    if "--example" in words[1:]:
        print_line(f"gateshift {words[0]} {verb.example}")
        return
    parts = {"": list(words)}
    if verb.function_of_parts:
        from gateshift.cli.recipe_words import put_recipe

        parts = put_recipe(words)
    parsed = {name: parse(each) for name, each in parts.items()}
    if len(parsed) > 1:
        verb.run_parts(parsed)
    else:
        verb.run(*parsed.values())


def _in_words_of(verb: Verb | None, text: str) -> str:
    """A message of the library with the options of a verb in place of arguments."""
    if verb is None or "`" not in text:
        return text
    from gateshift.cli.option_names import as_options, options_of

    return as_options(text, options_of(verb.settings_type()))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Ours are for the user: one line, without the place in the code."""
    if issubclass(category, GateShiftWarning):
        print_note(str(message))
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Bad input ends in one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # then this process is ours
        keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what is no text
    if not words:
        sys.stderr.write(f"{overview()}\n")
        raise SystemExit(EXIT_BAD_INPUT)
    if words[0] in ("-h", "--help"):
        print_line(overview())
        raise SystemExit(0)
    if words == ["--version"]:
        print_line(f"gateshift {__version__}")
        return
    with wording(partial(_in_words_of, VERBS.get(words[0]))), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", GateShiftWarning)
        _run_or_exit(words)


def _run_or_exit(words: Sequence[str]) -> None:
    """Run a command line; every error that a user can cause is a line and an exit code."""
    try:
        run(words)
    except StoppedError as error:
        print_note(str(error))
        raise SystemExit(error.exit_code) from None
    except GateShiftError as error:
        print_note(str(error))
        raise SystemExit(EXIT_BAD_INPUT) from None
    except BrokenPipeError:  # who read the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_BAD_INPUT) from None
    except OSError as error:
        print_note(explain_system_error(error))
        raise SystemExit(EXIT_BAD_INPUT) from None
    except KeyboardInterrupt:
        print_note("stopped")
        raise SystemExit(130) from None
