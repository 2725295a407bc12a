"""What ``train`` does with its settings, and prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from gateshift.terminal import ConsoleReporter, is_main_process
from gateshift.training.settings import TrainSettings

Parts = Mapping[str, Any]  # settings of a verb by the name of the recipe that they are for


def run_train(settings: TrainSettings) -> None:
    """Verb ``train``."""
    from gateshift.training.loop import train
    from gateshift.training.reporter import Silent
    from gateshift.training.state import stop_signals

    console = Console(stderr=True)
    with stop_signals() as stop:
        folder = train(settings, ConsoleReporter(console) if is_main_process() else Silent(), stop)
    if is_main_process():
        Console(soft_wrap=True).print(f"best model: {folder.best}", highlight=False, markup=False)


def run_train_parts(parts: Parts) -> None:
    """Verb ``train`` with a recipe of several models: each into a folder of its name."""
    for name, settings in parts.items():
        out = settings.out / name
        resume = settings.resume if settings.resume == "auto" else settings.resume and out.exists()
        run_train(dataclasses.replace(settings, out=out, resume=resume))
