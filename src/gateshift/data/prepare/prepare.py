"""An annotated data set becomes lists that training takes: find its videos, check them, write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeVar

from gateshift.data.lists.splits import Split
from gateshift.data.prepare.formats import read_annotations
from gateshift.data.prepare.frames import FRAME_FOLDERS, WHOLE, FrameStore, extract_frames, find_frames, in_threads
from gateshift.data.prepare.listing import DatasetName, Source
from gateshift.data.prepare.output import ListedClip, UnusableVideo, check_out, check_sources_stay, write_lists
from gateshift.data.prepare.video_places import FoundClip, clips_without, find_clips
from gateshift.data.video.packed import PackedFiles
from gateshift.errors import GateShiftError, ManifestError, SettingsError, VideoError
from gateshift.files import fitting_name

# Indexing gains nothing from more threads, as it returns to Python for each packet; extracting does.
_MAX_COUNTING_THREADS = 8

_Result = TypeVar("_Result")


class Stage(Protocol):
    """Who is told how the work goes; the command line draws a bar with it."""

    def __call__(self, name: str, num_videos: int) -> AbstractContextManager[Callable[[int], Any]]:
        """Enter a stage; what it gives is called with the number of videos that are done."""


@dataclass(frozen=True)
class PrepareOptions:
    """How a data set is prepared.

    Attributes:
        allow_missing: Leave out videos that are missing or broken, instead of raising.
        extract_frames: Write the frames of the videos as images, and list these.
        pack_px: Write the frames of each video to one file, their short side at most so many pixels, and list
            these files; None to leave the videos as they are.
        keep_squashed: Write frames whose pixels are not square as they are stored, in place of resizing them.
        overwrite: Replace lists that are there.
        exclude: A table whose column ``path`` names videos to leave out; None to leave out none.
        workers: How many videos are worked on at a time; None for as many as there are cores.
    """

    allow_missing: bool = False
    extract_frames: bool = False
    pack_px: int | None = None
    keep_squashed: bool = False
    overwrite: bool = False
    exclude: Path | None = None
    workers: int | None = None

    @property
    def store(self) -> FrameStore | None:
        """How frames are written; None if they are not."""
        if self.pack_px is not None:
            return PackedFiles(self.pack_px)
        return FRAME_FOLDERS if self.extract_frames else None

    @property
    def num_workers(self) -> int:
        return (os.cpu_count() or 1) if self.workers is None else self.workers

    def check(self) -> None:
        """Raise SettingsError if a number is out of range, or two options exclude each other."""
        if self.workers is not None and self.workers < 1:
            raise SettingsError(f"--workers {self.workers}; it must be at least 1; leave it out to use all cores")
        if self.pack_px is not None and self.pack_px < 1:
            raise SettingsError(f"--pack {self.pack_px}; a side has at least 1 pixel; try --pack 256")
        if self.pack_px is not None and self.extract_frames:
            raise SettingsError(
                f"--pack {self.pack_px} with --extract-frames; both write the frames, as files and as folders; "
                "leave one of them out"
            )


class MissingVideosError(GateShiftError):
    """Videos that are listed are missing or broken; nothing was written.

    Attributes:
        problems: All of them.
    """

    def __init__(self, problems: Sequence[UnusableVideo], num_listed: int) -> None:
        super().__init__(
            f"{len(problems)} of {num_listed} videos are missing or broken, so no list was written; "
            "add them, or go on without them by --allow-missing"
        )
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Prepared:
    """What was prepared.

    Attributes:
        num_videos: Videos, or parts of videos, of each list.
        classes: All class names, in the order of their numbers.
        files: What was written.
        problems: The videos that were left out.
        num_extracted: Folders or files of frames that were written.
        num_already_there: Folders or files of frames that an earlier run had written.
        notes: What the user should know, a line each.
    """

    num_videos: dict[Split, int]
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    problems: tuple[UnusableVideo, ...]
    num_extracted: int
    num_already_there: int
    notes: tuple[str, ...]


def prepare(
    dataset: DatasetName,
    source: Source,
    out: Path,
    options: PrepareOptions = PrepareOptions(),
    *,
    stage: Stage = lambda _name, _num: nullcontext(lambda _done: None),
) -> Prepared:
    """Write ``train.csv``, ``val.csv``, ``classes.txt`` and ``mirror_pairs.csv`` of a data set to a folder.

    Every video is looked for and its frames are counted before anything is written.

    Args:
        dataset: Whose annotation files are read.
        source: Where they and the videos lie.
        out: Folder to write; made if missing.
        options: How.
        stage: Is told how the work goes.

    Raises:
        MissingVideosError: If videos are missing or broken, and they are not to be left out.
        ManifestError: If annotations are missing or faulty, or there is something in ``out``.
        SettingsError: If an option is missing or does not fit the data set.
    """
    options.check()
    store = options.store
    check_out(out, overwrite=options.overwrite, begun=None if store is None else store.folder)
    if options.extract_frames and dataset == "folder" and out.resolve().is_relative_to(source.root.resolve()):
        raise SettingsError(f"--extract-frames to {out}, which is in {source.root}; choose a folder outside of it")
    listing = read_annotations(dataset, replace(source, skip=out))
    check_sources_stay(out, listing.files)
    found = find_clips(listing.items, source.root)
    clips = found if options.exclude is None else clips_without(found, options.exclude)
    if options.extract_frames:
        _check_no_folders(clips)
    _count_frames(clips, min(options.num_workers, _MAX_COUNTING_THREADS), stage)
    _check_problems(clips, options)
    num_extracted = 0 if store is None else _extract(clips, out, store, options, stage)
    _check_problems(clips, options)
    listed = [ListedClip(clip.item, clip.path, len(clip.frames)) for clip in clips if clip.path and not clip.problem]
    problems = _problems(clips)
    return Prepared(
        num_videos={split: sum(clip.item.split == split for clip in listed) for split in ("train", "val")},
        classes=listing.classes,
        files=write_lists(out, listing.classes, listed, problems, timed=store is None),
        problems=problems,
        num_extracted=num_extracted,
        num_already_there=0 if store is None else len(listed) - num_extracted,
        notes=(*listing.notes, *_count_excluded(options, len(found), len(clips))),
    )


def _count_excluded(options: PrepareOptions, num_found: int, num_kept: int) -> tuple[str, ...]:
    return () if options.exclude is None else (f"left out by {options.exclude}: {num_found - num_kept} of {num_found}",)


def _check_no_folders(clips: Iterable[FoundClip]) -> None:
    for clip in clips:
        if clip.path is not None and clip.path.is_dir():
            raise SettingsError(
                f"--extract-frames: {clip.path} is a folder of frames already; leave --extract-frames out"
            )


def _count_frames(clips: Iterable[FoundClip], workers: int, stage: Stage) -> None:
    """Find the frames of each clip, or what is wrong with it. A file with many parts is gone through once."""

    def find(path: Path, members: Sequence[FoundClip], _: Event) -> Sequence[range | Exception]:
        parts = [(clip.item.start_s, clip.item.end_s) for clip in members]
        if len(parts) > 1 and WHOLE in parts:
            ids = " and ".join(clip.item.id for clip in members)
            return [VideoError(f"{path}: is the video of {ids}; keep one of them, or give each its own")] * len(parts)
        try:
            return find_frames(path, parts)
        except Exception as error:  # whatever a damaged file brings about is a row of the report
            return [error] * len(parts)

    for clip, frames in _work_through("counting frames", clips, find, workers, stage):
        clip.frames = frames
        if not frames:
            clip.problem = f"{clip.path}: no frame is from {clip.item.start_s} s to {clip.item.end_s} s of it"


def _extract(clips: Iterable[FoundClip], out: Path, store: FrameStore, options: PrepareOptions, stage: Stage) -> int:
    """Write the frames of each clip to a folder or file of its own; returns how many were not yet there."""

    def target(clip: FoundClip) -> Path:
        place = out / store.folder / f"{clip.item.id}{store.suffix}"
        return place.with_name(fitting_name(place.name))

    def write(path: Path, members: Sequence[FoundClip], stop: Event) -> Sequence[bool | Exception]:
        try:
            wanted = [(target(clip), clip.frames) for clip in members]
            return extract_frames(path, wanted, stop, store, square_pixels=not options.keep_squashed)
        except VideoError as error:
            return [error] * len(members)

    num_written = 0
    name = "extracting frames" if store.short_side_px is None else "packing frames"
    for clip, is_written in _work_through(name, clips, write, options.num_workers, stage):
        clip.path = target(clip)
        num_written += is_written
    return num_written


def _work_through(
    name: str,
    clips: Iterable[FoundClip],
    work: Callable[[Path, Sequence[FoundClip], Event], Sequence[_Result | Exception]],
    workers: int,
    stage: Stage,
) -> Iterator[tuple[FoundClip, _Result]]:
    """Do the work for the clips of each file, side by side. An error becomes the clip's problem."""
    groups: dict[Path, list[FoundClip]] = {}
    for clip in clips:
        if not clip.problem and clip.path is not None:
            groups.setdefault(clip.path, []).append(clip)
    stop = Event()
    results = in_threads(lambda group: work(*group, stop), groups.items(), workers=workers, stop=stop)
    with stage(name, sum(map(len, groups.values()))) as advance, closing(results):
        for members, result in zip(groups.values(), results, strict=True):
            for clip, outcome in zip(members, result, strict=True):
                if isinstance(outcome, Exception):
                    kind = "" if isinstance(outcome, VideoError) else f"{type(outcome).__name__}: "
                    clip.problem = kind + " ".join(str(outcome).split())
                else:
                    yield clip, outcome
            advance(len(members))


def _problems(clips: Iterable[FoundClip]) -> tuple[UnusableVideo, ...]:
    return tuple(UnusableVideo(clip.item.id, clip.item.split, clip.problem) for clip in clips if clip.problem)


def _check_problems(clips: Sequence[FoundClip], options: PrepareOptions) -> None:
    problems = _problems(clips)
    if problems and not options.allow_missing:
        raise MissingVideosError(problems, len(clips))
    for split in ("train", "val"):
        if all(clip.problem for clip in clips if clip.item.split == split):
            first = next((problem for problem in problems if problem.split == split), None)
            why = f", such as {first.id}: {first.reason}" if first else ""
            where = (
                "where the videos are" if options.exclude is None else f"{options.exclude}, and where the videos are"
            )
            raise ManifestError(f"no video is left for {split}{why}; check {where}")
