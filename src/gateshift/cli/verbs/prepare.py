"""The verb prepare: its progress bar, its answer, and its exit code.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from gateshift.cli.terminal import make_bar, print_line, print_note
from gateshift.data.prepare.settings import PrepareSettings

if TYPE_CHECKING:
    from gateshift.data.prepare.videos import UnusableVideo

MAX_PROBLEMS = 50  # in a table on the terminal


def run_prepare(settings: PrepareSettings) -> None:
    """Verb ``prepare``. Exits with 1 if videos are missing or broken, unless they may be left out."""
    from gateshift.data.prepare.prepare import MissingVideosError, prepare

    try:
        with ExitStack() as until_done:
            done = prepare(**vars(settings), progress=_draw_bar(until_done))
    except MissingVideosError as error:
        _print_left_out(error.left_out)
        print_note(str(error))
        raise SystemExit(1) from None
    _print_left_out(done.left_out)
    for note in done.notes:
        print_line(note)
    for split, number in done.num_videos.items():
        left_out = sum(video.split == split for video in done.left_out)
        print_line(f"{split}: {number} videos" + (f", {left_out} left out" if left_out else ""))
    print_line(f"classes: {len(done.classes)}")
    if settings.extract_frames or settings.pack is not None:
        what = "folders of frames" if settings.extract_frames else "files of packed frames"
        print_line(f"{what}: {done.num_written} written, {done.num_reused} already there")
    print_line(f"written: {', '.join(map(str, done.files))}")
    words = ["gateshift", "train", str(done.train), str(done.val), *_task(settings, done.train), "--out", "run"]
    print_line(f"next: {shlex.join(words)}")


def _task(settings: PrepareSettings, train: Path) -> list[str]:
    """How a training is told what a list of recordings has."""
    from gateshift.data.events.event_tables import is_span_table

    return [] if settings.program is None else ["--task", "segment" if is_span_table(train) else "spot"]


def _draw_bar(until_done: ExitStack) -> Callable[[str, int, int], None]:
    """Draw a bar for each stage, from the first stage on; errors before it are one line."""
    bar = make_bar(Console(stderr=True))
    stages: dict[str, TaskID] = {}

    def show(stage: str, done: int, total: int) -> None:
        if not stages:
            until_done.enter_context(bar)
        if stage not in stages:
            stages[stage] = bar.add_task(stage, total=total, note=f"{total} videos")
        bar.update(stages[stage], completed=done)

    return show


def _print_left_out(videos: Sequence[UnusableVideo]) -> None:
    """A table of the first videos that are missing or broken."""
    if not videos:
        return
    table = Table("video", "list", "why")
    for video in videos[:MAX_PROBLEMS]:
        table.add_row(video.id, video.split, video.reason)
    Console(markup=False).print(table)
    if len(videos) > MAX_PROBLEMS:
        print_line(f"and {len(videos) - MAX_PROBLEMS} more; --allow-missing lists all of them in missing.csv")
