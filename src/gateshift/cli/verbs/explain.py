"""What ``explain`` does with its settings, and prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

from gateshift.cli.terminal import count_bar, print_line
from gateshift.explanation.settings import ExplainSettings


def run_explain(settings: ExplainSettings) -> None:
    """Verb ``explain``."""
    from gateshift.explanation.explain import explain

    with count_bar("measuring gates", "videos") as progress:
        found = explain(**vars(settings), progress=progress)
    for section in found.sections:
        if section.rows:
            first, *others = section.columns
            table = Table(first, *(Column(name, justify="right") for name in others), title=section.title)
            for row in section.rows:
                table.add_row(*row)
            Console(markup=False).print(table)  # class names may have brackets
    print_line(f"page: {found.page}")
