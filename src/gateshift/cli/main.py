"""The command line: one verb, one function."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TextIO, Union

import tyro

from gateshift.bench.settings import BenchSettings, InspectSettings
from gateshift.cli.verbs.bench import run_bench
from gateshift.cli.verbs.demo import run_demo
from gateshift.cli.verbs.ensemble import run_ensemble
from gateshift.cli.verbs.explain import run_explain
from gateshift.cli.verbs.export import run_export
from gateshift.cli.verbs.inspect import run_inspect
from gateshift.cli.verbs.predict import run_predict
from gateshift.cli.verbs.prepare import run_prepare
from gateshift.cli.verbs.published import run_download, run_recipes
from gateshift.cli.verbs.scan import run_scan
from gateshift.cli.verbs.serve import run_serve
from gateshift.cli.verbs.test import run_test
from gateshift.cli.verbs.train import Parts, run_train, run_train_parts
from gateshift.data.check.settings import ScanSettings
from gateshift.data.prepare.settings import PrepareSettings
from gateshift.demo.settings import DemoSettings
from gateshift.errors import GateShiftError, GateShiftWarning, StoppedError, explain_system_error
from gateshift.evaluation.settings import EnsembleSettings, EvaluationSettings
from gateshift.explanation.settings import ExplainSettings
from gateshift.exporting.settings import ExportSettings
from gateshift.prediction.settings import PredictSettings
from gateshift.published.settings import DownloadSettings, RecipesSettings
from gateshift.terminal import print_line
from gateshift.training.settings import TrainSettings
from gateshift.version import __version__
from gateshift.web.settings import ServeSettings

EXIT_BAD_INPUT = 2

VERBS: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "prepare": (PrepareSettings, run_prepare),
    "scan": (ScanSettings, run_scan),
    "train": (TrainSettings, run_train),
    "test": (EvaluationSettings, run_test),
    "ensemble": (EnsembleSettings, run_ensemble),
    "predict": (PredictSettings, run_predict),
    "explain": (ExplainSettings, run_explain),
    "serve": (ServeSettings, run_serve),
    "bench": (BenchSettings, run_bench),
    "export": (ExportSettings, run_export),
    "inspect": (InspectSettings, run_inspect),
    "recipes": (RecipesSettings, run_recipes),
    "download": (DownloadSettings, run_download),
    "demo": (DemoSettings, run_demo),
}
# What these do with a recipe of several models.
PART_VERBS: dict[str, Callable[[Parts], None]] = {"train": run_train_parts}


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
    from gateshift.recipes.recipe import find_recipe

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
        from gateshift.recipes.recipe import put_recipe

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
