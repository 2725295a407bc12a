"""The command line: one verb, one function."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TextIO, Union

import tyro

from gateshift import __version__, verbs
from gateshift.errors import GateShiftError, GateShiftWarning, StoppedError, explain_system_error
from gateshift.run.explain_settings import ExplainSettings
from gateshift.run.predict_settings import PredictSettings
from gateshift.run.scan_settings import ScanSettings
from gateshift.run.settings import (
    BenchSettings,
    DemoSettings,
    DownloadSettings,
    EnsembleSettings,
    ExportSettings,
    InspectSettings,
    PrepareSettings,
    RecipesSettings,
    TestSettings,
)
from gateshift.run.train_settings import TrainSettings
from gateshift.terminal import print_line
from gateshift.verb_bench import run_bench
from gateshift.verb_explain import run_explain
from gateshift.verb_export import run_export
from gateshift.verb_inspect import run_inspect
from gateshift.verb_predict import run_predict
from gateshift.verb_prepare import run_prepare
from gateshift.verb_scan import run_scan
from gateshift.verb_serve import run_serve
from gateshift.verb_test import run_test, run_test_parts
from gateshift.web.serve_settings import ServeSettings

EXIT_BAD_INPUT = 2

VERBS: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "prepare": (PrepareSettings, run_prepare),
    "scan": (ScanSettings, run_scan),
    "train": (TrainSettings, verbs.run_train),
    "test": (TestSettings, run_test),
    "ensemble": (EnsembleSettings, verbs.run_ensemble),
    "predict": (PredictSettings, run_predict),
    "explain": (ExplainSettings, run_explain),
    "serve": (ServeSettings, run_serve),
    "bench": (BenchSettings, run_bench),
    "export": (ExportSettings, run_export),
    "inspect": (InspectSettings, run_inspect),
    "recipes": (RecipesSettings, verbs.run_recipes),
    "download": (DownloadSettings, verbs.run_download),
    "demo": (DemoSettings, verbs.run_demo),
}
# What these do with a recipe of several models.
PART_VERBS: dict[str, Callable[[verbs.Parts], None]] = {"train": verbs.run_train_parts, "test": run_test_parts}


def parse(arguments: Sequence[str]) -> Any:
    """Turn the words of a command line into the settings of its verb; prints help or usage and exits if asked."""
    arguments = spell_out_resume(arguments)
    defaults = _defaults(arguments)
    choices = tuple(
        Annotated[settings, tyro.conf.subcommand(name, prefix_name=False, **defaults.get(name, {}))]
        for name, (settings, _) in VERBS.items()
    )
    verb: Any = Union[choices]  # noqa: UP007 - built at run time
    return tyro.cli(
        verb,
        prog="gateshift",
        description="Video action recognition that knows the order of events, at the price of an image model.",
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _defaults(words: Sequence[str]) -> dict[str, Any]:
    """What stands for the options that are not typed, where a recipe replaces the plain defaults of a verb."""
    if words[:1] != ["train"]:
        return {}
    from gateshift.run.recipes import find_recipe

    name = find_recipe(words)
    missing: Any = tyro.MISSING
    return {} if name is None else {"train": {"default": TrainSettings(missing, missing, missing, recipe=name)}}


def spell_out_resume(words: Sequence[str]) -> list[str]:
    """``--resume`` alone is ``--resume True``: an option with a value that may be left out would take a path for it."""
    following = [*words[1:], ""]
    spelled: list[str] = []
    for word, after in zip(words, following, strict=True):
        spelled += [word, "True"] if word == "--resume" and after not in ("True", "False", "auto") else [word]
    return spelled


def run(words: Sequence[str]) -> None:
    """Do what a command line says, once, or for each model of a recipe of several."""
    verb = words[0] if words else ""
    if verb not in PART_VERBS:
        parts = {"": list(words)}
    else:
        from gateshift.run.recipes import put_recipe

        parts = put_recipe(words)
    parsed = {name: parse(each) for name, each in parts.items()}
    if len(parsed) > 1:
        PART_VERBS[verb](parsed)
        return
    for settings in parsed.values():
        VERBS[verb][1](settings)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Ours are for the user: one line, without the place in the code."""
    text = f"gateshift: {message}\n"
    if not issubclass(category, GateShiftWarning):
        text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Bad input ends in one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print_line(f"gateshift {__version__}")
        return
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what is no text
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            run(words)
    except StoppedError as error:
        sys.stderr.write(f"gateshift: {error}\n")
        raise SystemExit(error.exit_code) from None
    except GateShiftError as error:
        sys.stderr.write(f"gateshift: {error}\n")
        raise SystemExit(EXIT_BAD_INPUT) from None
    except BrokenPipeError:  # who read the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_BAD_INPUT) from None
    except OSError as error:
        sys.stderr.write(f"gateshift: {explain_system_error(error)}\n")
        raise SystemExit(EXIT_BAD_INPUT) from None
    except KeyboardInterrupt:
        sys.stderr.write("gateshift: stopped\n")
        raise SystemExit(130) from None
