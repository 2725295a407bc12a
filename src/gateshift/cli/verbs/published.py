"""The verbs ``recipes`` and ``download``."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Column, Table

from gateshift.cli.terminal import make_bar, print_line
from gateshift.published.settings import DownloadSettings, RecipesSettings


def run_recipes(settings: RecipesSettings) -> None:
    """Verb ``recipes``."""
    from gateshift.recipes.recipe import list_recipes, read_recipe

    if settings.name is not None:
        print_line(read_recipe(settings.name).rstrip())
        return
    if settings.cost:
        _print_costs()
        return
    table = Table(Column("recipe", no_wrap=True), "what", Column("top-1 %", justify="right", no_wrap=True))
    for recipe in list_recipes():
        published = "" if recipe.published is None else f"{recipe.published:.2f}"
        table.add_row(recipe.name, recipe.title, published)
    Console(markup=False).print(table)


def _print_costs() -> None:
    from gateshift.published.costs import recipe_costs
    from gateshift.recipes.recipe import list_recipes

    columns = ("parameters, M", "with the module", "GMAC a frame", "with the module", "more")
    table = Table(Column("recipe", no_wrap=True), *(Column(name, justify="right") for name in columns))
    for recipe in list_recipes():
        if recipe.model:
            plain, full = recipe_costs(recipe)
            parameters = (f"{cost.parameters / 1e6:.3f}" for cost in (plain, full))
            macs = (f"{cost.macs / 1e9:.4f}" for cost in (plain, full))
            table.add_row(recipe.name, *parameters, *macs, f"{100 * (full.macs / plain.macs - 1):.2f} %")
    Console(markup=False).print(table)


def run_download(settings: DownloadSettings) -> None:
    """Verb ``download``."""
    from gateshift.published.download import download, find_downloads

    for recipe in find_downloads(settings.names, url=settings.url):
        with make_bar(Console(stderr=True)) as bar:
            task = bar.add_task(recipe.name, total=None, note="")

            def update(done: int, total: int | None, *, bar: Progress = bar, task: TaskID = task) -> None:
                bar.update(task, completed=done, total=total, note=f"{done / 1e6:.1f} MB")

            written = download(recipe.name, settings.out, url=settings.url, on_bytes=update)
        print_line(f"{recipe.title}: {written}")
