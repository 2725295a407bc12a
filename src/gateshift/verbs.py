"""What each verb of the command line does with its settings.

What runs is imported inside each verb, so that --help does not wait for torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Column, Table

from gateshift.errors import ScoresError, SettingsError
from gateshift.run.settings import (
    DemoSettings,
    DownloadSettings,
    EnsembleSettings,
    RecipesSettings,
)
from gateshift.run.train_settings import TrainSettings
from gateshift.terminal import ConsoleReporter, is_main_process, make_bar, print_line
from gateshift.verb_test import save_and_say

Parts = Mapping[str, Any]  # settings of a verb by the name of the recipe that they are for


def run_train(settings: TrainSettings) -> None:
    """Verb ``train``."""
    from gateshift.run.reporter import Silent
    from gateshift.run.stopping import stop_signals
    from gateshift.run.train import train

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


def run_ensemble(settings: EnsembleSettings) -> None:
    """Verb ``ensemble``."""
    from gateshift.run.scores import check_output, ensemble, load_scores

    if len(settings.files) < 2:
        raise ScoresError(f"{len(settings.files)} scores file; an ensemble takes at least 2; name more")
    if settings.scores is not None:
        check_output(settings.scores, overwrite=settings.overwrite)
    parts = [load_scores(path) for path in settings.files]
    for path, part in zip(settings.files, parts, strict=True):
        print_line(f"{path} ({part.protocol}): {part.metrics()}")
    together = ensemble(parts)
    print_line(f"ensemble of {len(parts)} ({together.protocol}): {together.metrics()}")
    save_and_say(together, settings.scores)


def run_demo(settings: DemoSettings) -> None:
    """Verb ``demo``."""
    from gateshift.run.demo import demo

    demo(settings, ConsoleReporter(Console(stderr=True)), Console())


def run_recipes(settings: RecipesSettings) -> None:
    """Verb ``recipes``."""
    from gateshift.run.recipes import load_recipe, read_recipe, recipe_names

    if settings.name is not None:
        print_line(read_recipe(settings.name).rstrip())
        return
    if settings.cost:
        _print_costs()
        return
    table = Table(Column("recipe", no_wrap=True), "what", Column("top-1 %", justify="right", no_wrap=True))
    for recipe in map(load_recipe, recipe_names()):
        published = "" if recipe.published is None else f"{recipe.published:.2f}"
        table.add_row(recipe.name, recipe.title, published)
    Console(markup=False).print(table)


def _print_costs() -> None:
    from gateshift.run.cost import recipe_costs
    from gateshift.run.recipes import load_recipe, recipe_names

    columns = ("parameters, M", "with the module", "GMAC a frame", "with the module", "more")
    table = Table(Column("recipe", no_wrap=True), *(Column(name, justify="right") for name in columns))
    for recipe in map(load_recipe, recipe_names()):
        if recipe.model:
            plain, full = recipe_costs(recipe)
            parameters = (f"{cost.parameters / 1e6:.3f}" for cost in (plain, full))
            macs = (f"{cost.macs / 1e9:.4f}" for cost in (plain, full))
            table.add_row(recipe.name, *parameters, *macs, f"{100 * (full.macs / plain.macs - 1):.2f} %")
    Console(markup=False).print(table)


def run_download(settings: DownloadSettings) -> None:
    """Verb ``download``."""
    from gateshift.run.download import download, find_downloads

    recipes = find_downloads(settings.names)
    if settings.url is not None and len(recipes) > 1:
        raise SettingsError(f"--url is the address of one model, and {len(recipes)} are named; name one")
    for recipe in recipes:
        with make_bar(Console(stderr=True)) as bar:
            task = bar.add_task(recipe.name, total=None, note="")

            def tell(done: int, total: int | None, *, bar: Progress = bar, task: TaskID = task) -> None:
                bar.update(task, completed=done, total=total, note=f"{done / 1e6:.1f} MB")

            written = download(recipe, settings.out, url=settings.url, on_bytes=tell)
        print_line(f"{recipe.title}: {written}")
