"""What a verb takes is what its function takes, with the same defaults."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from gateshift.bench.benchmark import benchmark
from gateshift.bench.inspect import inspect as inspect_network
from gateshift.bench.settings import BenchSettings, InspectSettings
from gateshift.demo.demo import run_demo
from gateshift.demo.settings import DemoSettings
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
        (run_demo, DemoSettings),
    ],
    ids=lambda each: each.__name__,
)
def test_a_function_takes_what_its_verb_takes(function: Callable[..., Any], settings: type[Any]) -> None:
    parameters = {name: each.default for name, each in inspect.signature(function).parameters.items()}
    asked = {field.name: field.default for field in dataclasses.fields(settings)}
    none = inspect.Parameter.empty
    asked = {name: none if value is dataclasses.MISSING else value for name, value in asked.items()}
    assert {name: value for name, value in parameters.items() if name not in REPORTING} == asked
