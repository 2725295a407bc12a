"""The command line: one verb, one function."""

from __future__ import annotations

import difflib
import io
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TextIO

from gateshift.cli.terminal import print_line, print_note, wording
from gateshift.cli.verb_list import VERBS as VERBS
from gateshift.cli.verb_list import Verb, find_verb, overview
from gateshift.errors import GateShiftError, GateShiftWarning, SettingsError, StoppedError, explain_system_error
from gateshift.version import __version__

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
    check_options(name, rest, {word: option.choices for option in options.values() for word in option.spellings})
    return tyro.cli(
        settings,
        prog=f"gateshift {name}",
        args=spell_out_resume(rest),
        config=(tyro.conf.OmitArgPrefixes,),
        **_default(name, settings, rest),
    )


def check_options(verb: str, words: Sequence[str], known: Mapping[str, Sequence[str]]) -> None:
    """Raise SettingsError at the first word that looks like an option of a verb and is none, or has no such value.

    Args:
        verb: What is typed first.
        words: What follows.
        known: The values that each option takes, where these are named.
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
        if known[option] and given not in known[option] and (is_joined or not given.startswith("--")):
            raise SettingsError(f"{option} {given}; choose of {', '.join(known[option])}")


def _default(verb: str, settings: type[Any], words: Sequence[str]) -> dict[str, Any]:
    """What stands for the options that are not typed, where a recipe replaces the plain defaults of a training."""
    if verb != "train":
        return {}
    import tyro

    from gateshift.cli.recipe_words import find_recipe

    name = find_recipe(words)
    missing: Any = tyro.MISSING
    return {} if name is None else {"default": settings(missing, missing, missing, recipe=name)}


def spell_out_resume(words: Sequence[str]) -> list[str]:
    """``--resume`` alone is ``--resume True``: an option with a value that may be left out would take a path for it."""
    spelled: list[str] = []
    for word, after in pairwise([*words, ""]):
        spelled += [word, "True"] if word == "--resume" and after not in ("True", "False", "auto") else [word]
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
