"""The verb ``train``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from gateshift.cli.terminal import ConsoleReporter, is_main_process, print_line
from gateshift.training.settings import TrainSettings

Parts = Mapping[str, Any]  # settings of a verb by the name of the recipe that they are for


def run_train(settings: TrainSettings) -> None:
    """Verb ``train``."""
    from gateshift.training.state import stop_signals
    from gateshift.training.train import train

    reporter = ConsoleReporter(Console(stderr=True)) if is_main_process() else None
    with stop_signals() as stop:
        result = train(**settings.given(), reporter=reporter, stop=stop)
    if is_main_process():
        print_line(f"best model: {result.folder / 'best.safetensors'}")


def run_train_parts(parts: Parts) -> None:
    """Verb ``train`` with a recipe of several models: each into a folder of its name."""
    for name, settings in parts.items():
        run_train(settings.for_part(name))
