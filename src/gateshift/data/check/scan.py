"""What is wrong with the videos of a list or a folder, found by decoding all of them before a training does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import get_args

from gateshift.data.check.quarantine import HARMLESS, Fault, FaultyVideo, write_quarantine
from gateshift.data.check.video import Finding, Part, check_video
from gateshift.data.clips.loader import default_workers
from gateshift.data.clips.recordings import lists_events
from gateshift.data.events.files import read_events
from gateshift.data.events.videos import base_of, find_recording
from gateshift.data.lists.entries import Entry
from gateshift.data.lists.labels import first_of
from gateshift.data.lists.manifest import read_videos
from gateshift.data.lists.tables import read_boxes
from gateshift.data.processes import in_processes
from gateshift.data.video.folders import VIDEO_SUFFIXES, FolderSearch
from gateshift.errors import ManifestError, SettingsError, check_choice, check_whole, one_line
from gateshift.files import check_writable

Listed = dict[Path, list[Part]]  # videos, and what lists say of each


@dataclass(frozen=True)
class ScanReport:
    """What a scan found.

    Attributes:
        num_videos: How many videos there are; one of which several parts are listed is one.
        problems: What is wrong with them, in the order of the videos.
        left_out: Those of the problems for which a training is better off without the video.
        notes: What lies in the folders and is not used, a line for each kind.
    """

    num_videos: int
    problems: tuple[FaultyVideo, ...]
    left_out: tuple[FaultyVideo, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[Fault, int]:
        """How often each kind of problem occurs, the most frequent first."""
        return dict(Counter(problem.problem for problem in self.problems).most_common())


def scan(
    videos: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    out: str | PathLike[str] | None = "quarantine.csv",
    keep: Fault | Collection[Fault] = HARMLESS,
    root: str | PathLike[str] | None = None,
    timeout: float = 300.0,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ScanReport:
    """Decode every video, and find those that cannot be learned from.

    Videos are decoded side by side, in processes that are ended where one crashes or takes too long. In a script, call
    this below ``if __name__ == "__main__":``, as processes import the script.

    Args:
        videos: Lists (``.csv`` or ``.txt``, or E2E-Spot's and SoccerNet's ``.json``), folders with videos at any depth,
            or videos; one of these, or several.
        out: The CSV to write, with the columns path, problem and detail, which ``train`` takes as ``exclude``; None
            writes nothing.
        keep: Problems for which a video is not left out; one of them, or several. Those in several lists never are, as
            leaving them out would take them from both.
        root: Where relative paths of the lists start; each list's own folder by default.
        timeout: How long decoding one video may take, in seconds, above 0.
        workers: Processes that decode, at least 1. By default one less than there are cores, at most 8.
        overwrite: Replace ``out`` if it exists.
        progress: Called with the number of videos that are done and that of all, at the start and after each.

    Raises:
        ManifestError: If a list cannot be read, or a folder has no video.
        SettingsError: If an argument is out of range, or ``out`` cannot be written.
    """
    if not isinstance(videos, str | PathLike | Iterable):
        raise SettingsError(f"`videos` of type {type(videos).__name__}; give lists, folders or videos by their paths")
    sources = [Path(each) for each in ([videos] if isinstance(videos, str | PathLike) else videos)]
    if not sources:
        raise SettingsError("`videos` names nothing; name lists, folders or videos")
    if not timeout > 0:
        raise SettingsError(f"`timeout` {timeout:g}; it must be above 0 seconds; raise it")
    harmless: tuple[str, ...] = (keep,) if isinstance(keep, str) else tuple(keep)
    for fault in harmless:
        check_choice("keep", fault, get_args(Fault))
    workers = default_workers() if workers is None else workers
    check_whole("workers", workers, least=1, advice="it must be at least 1; raise it")
    if out is not None:
        check_writable("out", Path(out), overwrite=overwrite)
    search = FolderSearch()
    listed = _find_listed(sources, None if root is None else Path(root), search)
    problems = tuple(_with_repeats(listed, _check_all(listed, timeout, workers, progress or _be_silent)))
    left_out = tuple(problem for problem in problems if problem.problem not in (*harmless, "listed-twice"))
    if out is not None:
        write_quarantine(Path(out), left_out)
    return ScanReport(len(listed), problems, left_out, search.notes())


def _find_listed(sources: Sequence[Path], root: Path | None, search: FolderSearch) -> Listed:
    """The videos of lists and folders, and what the lists say of each."""
    listed: Listed = {}
    first: dict[str, Path] = {}  # by which path a video was first reached

    def parts_of(path: Path) -> list[Part]:
        absolute = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
        return listed.setdefault(first.setdefault(absolute, path), [])

    for source in sources:
        if lists_events(source):
            for path, part in _recordings_of(source, root):
                parts_of(path).append(part)
            continue
        if source.suffix.lower() in (".csv", ".txt") and not source.is_dir():
            for entry in read_videos(source, root=root).entries:
                parts_of(entry.path).append(_part(entry))
            continue
        videos = search.videos(source) if source.is_dir() else [source]
        if not videos:
            aside = "".join(f"; {note}" for note in search.notes())
            raise ManifestError(
                f"{source}: no video in it or below; give a folder of {' '.join(sorted(VIDEO_SUFFIXES))}{aside}"
            )
        for video in videos:
            parts_of(video)
    return listed


def _recordings_of(source: Path, root: Path | None) -> Iterator[tuple[Path, Part]]:
    """The recordings of a list of events, each once, however much happens in it."""
    base, boxes = base_of(source, root), read_boxes(source)
    for name, info in read_events(source).videos.items():
        path, frames = find_recording(base, name, info) or (base / name, None)
        part = Part() if frames is None else Part(f"#{frames.start}-{frames.stop}", num_frames=frames.stop)
        yield path, part._replace(box=boxes.get(name))


def _be_silent(*_: int) -> None: ...


def _check_all(listed: Listed, timeout_s: float, workers: int, progress: Callable[[int, int], None]) -> list[Finding]:
    """What is wrong with each video, in their order."""
    videos = list(listed)
    findings: dict[int, Finding] = {}
    progress(0, len(videos))
    for number, answer in in_processes(_check, listed.items(), workers=workers, timeout_s=timeout_s):
        path = videos[number]
        if answer == "time-out":
            detail = f"was not decoded in {timeout_s:g} s; write it again, or raise `timeout` if it is long"
            answer = Finding((FaultyVideo(path, "time-out", detail),))
        elif answer == "crash":
            answer = Finding((FaultyVideo(path, "crash", "ended the process that decoded it; write it again"),))
        findings[number] = answer
        progress(len(findings), len(videos))
    return [findings[number] for number in range(len(videos))]


def _part(entry: Entry) -> Part:
    is_part = entry.start_s is not None or entry.end_s is not None or entry.box is not None
    name = f"#{entry.video_id.rpartition('#')[2]}" if is_part else ""
    return Part(name, entry.start_s, entry.end_s, entry.num_frames, str(entry.label), entry.box)


def _check(task: tuple[Path, list[Part]]) -> Finding:
    try:
        return check_video(*task)
    except Exception as error:  # whatever a damaged file brings about in a library is a row of the table
        detail = f"{type(error).__name__}: {one_line(error)}"
        return Finding((FaultyVideo(task[0], "unreadable", detail),))


def _with_repeats(listed: Listed, findings: Sequence[Finding]) -> Iterator[FaultyVideo]:
    first: dict[bytes, Path] = {}
    for (path, parts), finding in zip(listed.items(), findings, strict=True):
        yield from finding.problems
        for part, count in Counter(part.name for part in parts).items():
            if count > 1:
                labels = sorted({each.label for each in parts if each.name == part and each.label is not None})
                told = f", under different labels: {first_of(labels)}" if len(labels) > 1 else ""
                yield FaultyVideo(
                    path, "listed-twice", f"is listed {count} times, in one list or in several{told}", part
                )
        if finding.digest is not None and first.setdefault(finding.digest, path) != path:
            yield FaultyVideo(path, "duplicate", f"shows the same as {first[finding.digest]}")
