"""What the verb scan does with its settings, and prints.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gateshift.data.check.quarantine import FaultyVideo, write_quarantine
from gateshift.data.check.settings import ScanSettings
from gateshift.errors import SettingsError
from gateshift.files import check_writable
from gateshift.terminal import make_bar, print_line

MAX_PROBLEMS = 50  # in a table on the terminal


def run_scan(settings: ScanSettings) -> None:
    """Verb ``scan``. Exits with 1 if there are videos to leave out."""
    from gateshift.data.check.scan import find_listed, scan
    from gateshift.data.video.folders import FolderSearch

    if not settings.videos:
        raise SettingsError("nothing to scan was named; name lists, folders or videos")
    check_writable("--out", settings.out, overwrite=settings.overwrite)
    search = FolderSearch()
    listed = find_listed(settings.videos, root=settings.root, search=search)
    with make_bar(Console(stderr=True)) as bar:
        task = bar.add_task("scan", total=len(listed), note=f"{len(listed)} videos")
        found = scan(listed, timeout_s=settings.timeout, workers=settings.workers, on_video=lambda: bar.advance(task))
    bad = [problem for problem in found.problems if problem.problem not in (*settings.keep, "listed-twice")]
    write_quarantine(settings.out, bad)
    _print_problems(found.problems)
    for note in search.notes():
        print_line(note)
    counts = Counter(problem.problem for problem in found.problems)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common()) or "nothing wrong"
    print_line(f"{found.num_videos} videos: {kinds}")
    num_bad = len({problem.name for problem in bad})
    print_line(f"written: {settings.out}, with {num_bad} to leave out")
    if bad:
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
