"""What is wrong with the videos of a list or a folder, found by decoding all of them before a training does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateshift.data.check.quarantine import FaultyVideo
from gateshift.data.check.video import Finding, Part, check_video
from gateshift.data.clips.loader import default_workers
from gateshift.data.lists.entries import Entry
from gateshift.data.lists.labels import first_of
from gateshift.data.lists.manifest import read_videos
from gateshift.data.processes import in_processes
from gateshift.data.video.folders import VIDEO_SUFFIXES, FolderSearch
from gateshift.errors import ManifestError, SettingsError

Listed = dict[Path, list[Part]]  # videos, and what lists say of each


@dataclass(frozen=True)
class Scan:
    """What a scan found.

    Attributes:
        num_videos: How many there are; one of which several parts are listed is one.
        problems: What is wrong with them, in the order of the videos.
    """

    num_videos: int
    problems: tuple[FaultyVideo, ...]


def find_listed(sources: Sequence[Path], *, root: Path | None = None, search: FolderSearch | None = None) -> Listed:
    """The videos of lists and folders, and what the lists say of each.

    Args:
        sources: A ``.csv`` or ``.txt`` list, a folder with videos at any depth, or a video.
        root: Where relative paths of the lists start; each list's own folder by default.
        search: Keeps in mind what in the folders is no video.

    Raises:
        ManifestError: If a list cannot be read, or a folder has no video.
    """
    search = FolderSearch() if search is None else search
    listed: Listed = {}
    first: dict[str, Path] = {}  # by which path a video was first reached

    def parts_of(path: Path) -> list[Part]:
        absolute = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
        return listed.setdefault(first.setdefault(absolute, path), [])

    for source in sources:
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


def scan(
    listed: Listed, *, timeout_s: float, workers: int | None = None, on_video: Callable[[], None] = lambda: None
) -> Scan:
    """Decode every video, side by side, in processes that are ended where one crashes or does not come to an end.

    Args:
        listed: The videos, by ``find_listed``.
        timeout_s: How long decoding one may take, above 0.
        workers: Processes; by default as ``default_workers`` says.
        on_video: Called after each.

    Raises:
        SettingsError: If the time or the number of processes is out of range.
    """
    if not timeout_s > 0:
        raise SettingsError(f"--timeout {timeout_s:g}; it is above 0 seconds; correct it")
    workers = default_workers() if workers is None else workers
    if workers < 1:
        raise SettingsError(f"--workers {workers}; a scan needs at least 1")
    videos = list(listed)
    findings: list[Finding | None] = [None] * len(videos)
    for number, answer in in_processes(_check, listed.items(), workers=workers, timeout_s=timeout_s):
        path = videos[number]
        if answer == "time-out":
            detail = f"was not decoded in {timeout_s:g} s; write it again, or give --timeout more seconds if it is long"
            answer = Finding((FaultyVideo(path, "time-out", detail),))
        elif answer == "crash":
            answer = Finding((FaultyVideo(path, "crash", "ended the process that decoded it; write it again"),))
        findings[number] = answer
        on_video()
    return Scan(len(videos), tuple(_with_repeats(listed, findings)))


def _part(entry: Entry) -> Part:
    is_part = entry.start_s is not None or entry.end_s is not None
    name = f"#{entry.video_id.rpartition('#')[2]}" if is_part else ""
    return Part(name, entry.start_s, entry.end_s, entry.num_frames, str(entry.label))


def _check(task: tuple[Path, list[Part]]) -> Finding:
    try:
        return check_video(*task)
    except Exception as error:  # whatever a damaged file brings about in a library is a row of the table
        detail = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Finding((FaultyVideo(task[0], "unreadable", detail),))


def _with_repeats(listed: Listed, findings: Sequence[Finding | None]) -> Iterator[FaultyVideo]:
    first: dict[bytes, Path] = {}
    for (path, parts), finding in zip(listed.items(), findings, strict=True):
        if finding is None:
            continue
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
