"""What the verb scan does with its settings, and prints.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gateshift.cli.terminal import count_bar, print_line
from gateshift.data.check.quarantine import FaultyVideo
from gateshift.data.check.settings import ScanSettings

MAX_PROBLEMS = 50  # in a table on the terminal


def run_scan(settings: ScanSettings) -> None:
    """Verb ``scan``. Exits with 1 if there are videos to leave out."""
    from gateshift.data.check.scan import scan

    with count_bar("scan", "videos") as progress:
        report = scan(**vars(settings), progress=progress)
    _print_problems(report.problems)
    for note in report.notes:
        print_line(note)
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.counts.items()) or "nothing wrong"
    print_line(f"{report.num_videos} videos: {kinds}")
    num_left_out = len({problem.name for problem in report.left_out})
    print_line(f"written: {settings.out}, with {num_left_out} to leave out")
    if report.left_out:
        print_line(f"next: {shlex.join(['gateshift', 'train', '...', '--exclude', str(settings.out)])}")
        raise SystemExit(1)


def _print_problems(problems: Sequence[FaultyVideo]) -> None:
    if not problems:
        return
    table = Table("video", "problem", "detail")
    for problem in problems[:MAX_PROBLEMS]:
        table.add_row(f"{problem.path}{problem.part}", problem.problem, problem.detail)
    Console(markup=False).print(table)
    if len(problems) > MAX_PROBLEMS:
        print_line(f"and {len(problems) - MAX_PROBLEMS} more")
