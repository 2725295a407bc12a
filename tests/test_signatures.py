"""What a verb takes is what its function takes, with the same defaults."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import gateshift as gs
from gateshift.bench.benchmark import benchmark
from gateshift.bench.inspect import inspect as inspect_network
from gateshift.bench.settings import BenchSettings, InspectSettings
from gateshift.cli.verb_list import VERBS
from gateshift.evaluation.evaluate import ensemble, evaluate
from gateshift.evaluation.settings import EnsembleSettings, EvaluationSettings
from gateshift.explanation.explain import explain
from gateshift.explanation.settings import ExplainSettings

# What tells how far a function has come, in place of the terminal.
REPORTING = {"progress", "reporter", "log"}


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        (evaluate, EvaluationSettings),
        (ensemble, EnsembleSettings),
        (explain, ExplainSettings),
        (benchmark, BenchSettings),
        (inspect_network, InspectSettings),
    ],
    ids=lambda each: each.__name__,
)
def test_a_function_takes_what_its_verb_takes(function: Callable[..., Any], settings: type[Any]) -> None:
    parameters = {name: each.default for name, each in inspect.signature(function).parameters.items()}
    plain = [field for field in dataclasses.fields(settings) if field.default_factory is dataclasses.MISSING]
    asked = {field.name: field.default for field in plain}
    none = inspect.Parameter.empty
    asked = {name: none if value is dataclasses.MISSING else value for name, value in asked.items()}
    assert {name: value for name, value in parameters.items() if name not in REPORTING} == asked


# The public functions of every verb, which is a thin layer over them.
PUBLIC: dict[str, tuple[str, ...]] = {
    "bench": ("benchmark",),
    "demo": ("run_demo", "run_spot_demo"),
    "download": ("download",),
    "ensemble": ("ensemble",),
    "explain": ("explain",),
    "export": ("export",),
    "features": ("extract_features",),
    "inspect": ("inspect",),
    "predict": ("predict", "find_events", "predict_tracks", "spot_events", "stream_video"),
    "prepare": ("prepare",),
    "recipes": ("list_recipes",),
    "scan": ("scan",),
    "score": ("score_events", "score_spans"),
    "serve": ("serve",),
    "test": ("evaluate", "evaluate_frames"),
    "train": ("train",),
}
# What chooses a function on the command line, and must be given to the function itself.
CHOOSING = {"predict_tracks": {"tracks"}}
# What a function takes and its verb does not: objects of Python, and a verb's list where a function takes one.
OF_PYTHON = {
    *REPORTING,
    *("options", "stop", "block", "on_bytes"),
    *("name", "video", "source", "report"),
    "durations_s",
}


def defaults_of(settings: type[Any]) -> dict[str, Any]:
    """The defaults of all options of a verb by their flat names; ``empty`` where there is none."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        if field.default_factory is not dataclasses.MISSING:
            found |= defaults_of(type(field.default_factory()))
        else:
            found[field.name] = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    return found


def test_every_verb_has_a_public_function() -> None:
    assert PUBLIC.keys() == VERBS.keys()
    assert {name for names in PUBLIC.values() for name in names} <= set(gs.__all__)


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, names in PUBLIC.items() for name in names])
def test_its_defaults_are_those_of_the_verb(verb: str, name: str) -> None:
    asked = defaults_of(VERBS[verb].settings_type())
    parameters = inspect.signature(getattr(gs, name)).parameters
    taken = {each: one.default for each, one in parameters.items() if each in asked or each not in OF_PYTHON}
    taken = {each: default for each, default in taken.items() if each not in CHOOSING.get(name, ())}
    assert taken.keys() - asked.keys() == set()
    assert {each: str(value) for each, value in taken.items()} == {each: str(asked[each]) for each in taken}
