"""What ``inspect`` does with its settings, and prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from gateshift.bench.settings import InspectSettings
from gateshift.cli.terminal import print_line

if TYPE_CHECKING:
    from gateshift.bench.inspect import NetworkReport


def run_inspect(settings: InspectSettings) -> None:
    """Verb ``inspect``."""
    from gateshift.bench.inspect import UnknownFamilyError, inspect

    try:
        found = inspect(**vars(settings))
    except UnknownFamilyError as error:
        table = Table("convolution", _right("channels in"), _right("channels out"), title="candidates for sites=[...]")
        for name, conv in error.convolutions.items():
            table.add_row(name, str(conv.in_channels), str(conv.out_channels))
        Console(markup=False).print(table)
        raise
    report = found.inserted
    if report.sites:
        table = Table(_right("#"), "side", Column("layer", no_wrap=True), "moves", title=report.title)
        for number, site in enumerate(report.sites):
            table.add_row(str(number + 1), site.side, site.name, report.describe_share(number))
        Console(markup=False).print(table)
        print_line(f"placement: {report.source}")
    Console(markup=False).print(_costs(found))
    clips = f"clips of {found.num_frames} frames of {found.size_px} px"
    print_line(f"{found.net}, {found.num_classes} classes, {clips}")


def _costs(found: NetworkReport) -> Table:
    table, temporal = Table("", _right("parameters"), _right("GMAC a frame")), found.inserted.temporal
    before, after = found.before, found.after
    rows = {"without a module": before} if temporal == "none" else {"before": before, f"with {temporal}": after}
    for name, cost in rows.items():
        table.add_row(name, f"{cost.parameters:,}", f"{cost.macs / 1e9:.4f}")
    if temporal != "none":
        more = (after.parameters / before.parameters - 1, after.macs / before.macs - 1)
        table.add_row("more", *(f"{share:.2%}" for share in more))
    return table


def _right(title: str) -> Column:
    return Column(title, justify="right")
