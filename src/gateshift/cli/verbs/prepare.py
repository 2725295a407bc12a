"""What the verb prepare does with its settings, and prints.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from gateshift.data.prepare.settings import PrepareSettings
from gateshift.terminal import make_bar, print_line

if TYPE_CHECKING:
    from gateshift.data.prepare.output import UnusableVideo

MAX_PROBLEMS = 50  # in a table on the terminal


def run_prepare(settings: PrepareSettings) -> None:
    """Verb ``prepare``. Exits with 1 if videos are missing or broken, unless they may be."""
    from gateshift.data.prepare.listing import Source
    from gateshift.data.prepare.prepare import MissingVideosError, PrepareOptions, prepare

    @contextmanager
    def stage(name: str, num_videos: int) -> Iterator[Callable[[int], None]]:
        with make_bar(Console(stderr=True)) as bar:
            task = bar.add_task(name, total=num_videos, note=f"{num_videos} videos")
            yield lambda done: bar.advance(task, done)

    source = Source(
        settings.root,
        settings.annotations,
        settings.edition,
        settings.task,
        settings.val_share,
        settings.group_pattern,
    )
    options = PrepareOptions(
        allow_missing=settings.allow_missing,
        extract_frames=settings.extract_frames,
        pack_px=settings.pack,
        keep_squashed=settings.keep_squashed,
        overwrite=settings.overwrite,
        exclude=settings.exclude,
        workers=settings.workers,
    )
    try:
        done = prepare(settings.dataset, source, settings.out, options, stage=stage)
    except MissingVideosError as error:
        _print_problems(error.problems)
        sys.stderr.write(f"gateshift: {error}\n")
        raise SystemExit(1) from None
    _print_problems(done.problems)
    for note in done.notes:
        print_line(note)
    for split, number in done.num_videos.items():
        left_out = sum(problem.split == split for problem in done.problems)
        print_line(f"{split}: {number} videos" + (f", {left_out} left out" if left_out else ""))
    print_line(f"classes: {len(done.classes)}")
    if options.store is not None:
        what = "folders of frames" if settings.extract_frames else "files of packed frames"
        print_line(f"{what}: {done.num_extracted} written, {done.num_already_there} already there")
    print_line(f"written: {', '.join(map(str, done.files))}")
    lists = [str(settings.out / name) for name in ("train.csv", "val.csv")]
    print_line(f"next: {shlex.join(['gateshift', 'train', *lists, '--out', 'run'])}")


def _print_problems(problems: Sequence[UnusableVideo]) -> None:
    """A table of the first videos that are missing or broken."""
    if not problems:
        return
    table = Table("video", "list", "why")
    for problem in problems[:MAX_PROBLEMS]:
        table.add_row(problem.id, problem.split, problem.reason)
    Console(markup=False).print(table)
    if len(problems) > MAX_PROBLEMS:
        print_line(f"and {len(problems) - MAX_PROBLEMS} more; --allow-missing lists all of them in missing.csv")
