"""What ``bench`` does with its settings, and prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

from gateshift.bench.settings import BenchSettings
from gateshift.cli.terminal import print_line


def run_bench(settings: BenchSettings) -> None:
    """Verb ``bench``."""
    from gateshift.bench.benchmark import benchmark

    found = benchmark(**vars(settings), log=print_line)
    for title, timings in found.timings.items():
        table = Table(Column("program", no_wrap=True), "ms", "times faster", "error", "of the peak", title=title)
        for row in timings:
            error = "" if row.error is None else f"{row.error:.0e}"
            peak = "" if row.peak is None else f"{row.peak:.0%}"
            table.add_row(row.name, f"{1e3 * row.seconds:.1f}", f"{row.ratio:.2f}", error, peak)
        Console().print(table)
    if found.bottleneck is not None:
        print_line(str(found.bottleneck))
