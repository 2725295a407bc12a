"""Prepare a data set for training: read its annotations, find and check its videos, write the lists."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import TypeVar

from gateshift.data.lists.index_folder import INDEX_FOLDER
from gateshift.data.prepare.formats import read_annotations
from gateshift.data.prepare.frames import WHOLE, FrameFolders, FrameStore, extract_frames, find_frames, in_threads
from gateshift.data.prepare.output import Prepared, check_out, check_sources_stay, write_lists
from gateshift.data.prepare.recordings import list_recordings
from gateshift.data.prepare.settings import DatasetName, Edition, Kind, PrepareSettings, Task
from gateshift.data.prepare.videos import FoundVideo, UnusableVideo, exclude_videos, locate_videos, unusable
from gateshift.data.regions import AnyRegion, box_text, region_of
from gateshift.data.video.packed import PackedFiles
from gateshift.errors import GateShiftError, ManifestError, SettingsError, VideoError, one_line
from gateshift.files import fitting_name

# Indexing gains nothing from more threads, as it returns to Python for each packet; extracting does.
_MAX_COUNTING_THREADS = 8

_Result = TypeVar("_Result")
Progress = Callable[[str, int, int], None]


class MissingVideosError(GateShiftError):
    """Listed videos are missing or broken; nothing was written.

    Attributes:
        left_out: All of them, with the reason.
    """

    def __init__(self, left_out: Sequence[UnusableVideo], num_listed: int) -> None:
        super().__init__(
            f"{len(left_out)} of {num_listed} videos are missing or broken, so no list was written; "
            "add them, or leave them out with `allow_missing=True`"
        )
        self.left_out = tuple(left_out)


def prepare(
    dataset: DatasetName,
    root: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    annotations: str | os.PathLike[str] | None = None,
    edition: Edition | None = None,
    task: Task | None = None,
    val_share: float = 0.2,
    group_pattern: str | None = None,
    allow_missing: bool = False,
    exclude: str | os.PathLike[str] | None = None,
    extract_frames: bool = False,
    pack: int | None = None,
    box: AnyRegion | None = None,
    keep_squashed: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    videos: str | os.PathLike[str] | None = None,
    kind: Kind | None = None,
    only: Sequence[str] = (),
    fps: float | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Make training lists from a published data set as downloaded, from class folders, or from a labelling program.

    Writes ``train.csv``, ``val.csv``, ``classes.txt`` and ``mirror_pairs.csv`` (the classes that a horizontal flip
    swaps). Every video is looked for and its frames are counted before a list is written; of recordings longer than a
    few minutes, the index that this takes is kept in ``video_index``, for the processes that train and test on them.

    Of a labelling program, the lists are of its spans or events in recordings, as ``train`` takes them with
    ``task="segment"`` or ``"spot"``; recordings stay whole. :func:`gateshift.read_labels` reads such files without
    splitting them.

    Args:
        dataset: Whose annotation files are read; ``"folder"`` for class folders without any; or the name of a labelling
            program. The expected files of each are in :class:`gateshift.data.prepare.settings.PrepareSettings`.
        root: Folder of the data set; or the file of a labelling program, or several.
        out: Output folder; created if missing.
        annotations: Folder of the annotation files; ``root`` by default.
        edition: Edition of the Diving48 labels, needed if both are present.
        task: Classes of EPIC-KITCHENS-100: verbs, nouns, or both together. Required there.
        val_share: Validation share of each class, above 0 and below 1, for class folders without train and val.
        group_pattern: Regular expression that finds a video's group in ``CLASS/VIDEO``. Class folders are split so
            that each group is in one list; see :func:`gateshift.data.prepare.group_split.find_groups`.
        allow_missing: Leave out missing and broken videos, and list them in ``missing.csv``, instead of raising.
        exclude: A table whose column ``path`` names videos to leave out, such as the output of a scan.
        extract_frames: Write every frame as JPEG to ``out/frames``, and list these folders. A stopped run resumes.
        pack: Pack the frames of each video into one file in ``out/packed``, their short side at most this many
            pixels, and list these files. A stopped run resumes.
        box: The region of the picture of all videos, of a fixed camera: x0, y0, x1, y1 as shares of it or in pixels. It
            is the column ``box`` of the lists; frames that are packed or extracted are cut to it, at its full size.
        keep_squashed: Store frames with non-square pixels as they are, instead of resizing them.
        overwrite: Replace lists in ``out``.
        workers: Videos processed at a time; by default the number of CPU cores.
        videos: As of :func:`gateshift.read_labels`; of a labelling program alone, as those below.
        kind: Which labels to list, needed if both are there: "spans" or "events".
        only: As of :func:`gateshift.read_labels`.
        fps: As of :func:`gateshift.read_labels`.
        progress: Called with a stage of the work, how many of its videos are done, and how many there are.

    Returns:
        The lists that were written, and what they hold.

    Raises:
        MissingVideosError: If videos are missing or broken, and ``allow_missing`` is False.
        ManifestError: If annotations are missing or faulty, or ``out`` holds something.
        SettingsError: If an argument is out of range, missing, or does not fit the data set.

    >>> done = prepare("folder", "clips", "lists", val_share=0.3)  # doctest: +SKIP
    >>> done.num_videos  # doctest: +SKIP
    {'train': 14, 'val': 6}
    """
    settings = PrepareSettings(
        dataset=dataset,
        root=(Path(root),) if isinstance(root, str | os.PathLike) else tuple(map(Path, root)),
        out=Path(out),
        annotations=None if annotations is None else Path(annotations),
        edition=edition,
        task=task,
        val_share=val_share,
        group_pattern=group_pattern,
        allow_missing=allow_missing,
        exclude=None if exclude is None else Path(exclude),
        extract_frames=extract_frames,
        pack=pack,
        box=box_text(box),
        keep_squashed=keep_squashed,
        overwrite=overwrite,
        workers=workers,
        videos=None if videos is None else Path(videos),
        kind=kind,
        only=tuple(only),
        fps=fps,
    )
    settings.check()
    if settings.program is not None:
        check_out(settings.out, overwrite=settings.overwrite, begun=None)
        check_sources_stay(settings.out, settings.root)
        return list_recordings(settings, settings.program)
    return _prepare(settings, progress or (lambda _stage, _done, _total: None))


def _prepare(settings: PrepareSettings, progress: Progress) -> Prepared:
    store, box = _store(settings), region_of(settings.box)
    workers = settings.workers or os.cpu_count() or 1
    check_out(settings.out, overwrite=settings.overwrite, begun=None if store is None else store.folder)
    listing = read_annotations(settings)
    check_sources_stay(settings.out, listing.files)
    videos = locate_videos(listing.items, settings.folder)
    notes = listing.notes
    if settings.exclude is not None:
        num_found = len(videos)
        videos = exclude_videos(videos, settings.exclude)
        notes = (*notes, f"left out by {settings.exclude}: {num_found - len(videos)} of {num_found}")
    if settings.extract_frames:
        _check_no_folders(videos)
    index_folder = settings.out / INDEX_FOLDER if store is None else None
    _count_frames(videos, min(workers, _MAX_COUNTING_THREADS), index_folder, progress)
    _check_usable(videos, settings)
    num_written = 0 if store is None else _write_frames(videos, store, workers, settings, progress)
    _check_usable(videos, settings)
    usable = [video for video in videos if not video.problem]
    listed_box = box if store is None else None  # frames that are stored are cut already
    train, val, *others = write_lists(settings.out, listing.classes, videos, timed=store is None, box=listed_box)
    return Prepared(
        train=train,
        val=val,
        files=(train, val, *others),
        num_videos={split: sum(video.item.split == split for video in usable) for split in ("train", "val")},
        classes=listing.classes,
        left_out=unusable(videos),
        num_written=num_written,
        num_reused=0 if store is None else len(usable) - num_written,
        notes=notes,
    )


def _store(settings: PrepareSettings) -> FrameStore | None:
    """Where frames are stored, if they are; those of another box lie elsewhere, so that none is taken for another."""
    store: FrameStore | None = FrameFolders() if settings.extract_frames else None
    if settings.pack is not None:
        store = PackedFiles(settings.pack)
    if store is None or settings.box is None:
        return store
    return dataclasses.replace(store, folder=f"{store.folder}-{settings.box.replace(',', '-')}")


def _check_no_folders(videos: Iterable[FoundVideo]) -> None:
    for video in videos:
        if video.path is not None and video.path.is_dir():
            raise SettingsError(
                f"`extract_frames=True`: {video.path} is a folder of frames already; leave `extract_frames` out"
            )


def _check_usable(videos: Sequence[FoundVideo], settings: PrepareSettings) -> None:
    problems = unusable(videos)
    if problems and not settings.allow_missing:
        raise MissingVideosError(problems, len(videos))
    for split in ("train", "val"):
        if all(video.problem for video in videos if video.item.split == split):
            first = next((problem for problem in problems if problem.split == split), None)
            why = f", such as {first.id}: {first.reason}" if first else ""
            where = "" if settings.exclude is None else f"{settings.exclude}, and "
            raise ManifestError(f"no video is left for {split}{why}; check {where}where the videos are")


def _count_frames(videos: Iterable[FoundVideo], workers: int, index_folder: Path | None, progress: Progress) -> None:
    """Find the frames of each video, or what is wrong with it. A file with many parts is read once, and indexed."""

    def find(path: Path, members: Sequence[FoundVideo], _: Event) -> Sequence[range | Exception]:
        parts = [(video.item.start_s, video.item.end_s) for video in members]
        if len(parts) > 1 and WHOLE in parts:
            ids = " and ".join(video.item.id for video in members)
            return [VideoError(f"{path}: is the video of {ids}; keep one of them, or give each its own")] * len(parts)
        try:
            return find_frames(path, parts, index_folder=index_folder)
        except Exception as error:  # a damaged file may raise anything; it is a row of the report
            return [error] * len(parts)

    for video, frames in _work_through("counting frames", videos, find, workers, progress):
        video.frames = frames
        if not frames:
            video.problem = f"{video.path}: no frame is from {video.item.start_s} s to {video.item.end_s} s of it"


def _write_frames(
    videos: Iterable[FoundVideo], store: FrameStore, workers: int, settings: PrepareSettings, progress: Progress
) -> int:
    """Write the frames of each video to a folder or file of its own; returns how many did not exist yet."""

    def target(video: FoundVideo) -> Path:
        place = settings.out / store.folder / f"{video.item.id}{store.suffix}"
        return place.with_name(fitting_name(place.name))

    def write(path: Path, members: Sequence[FoundVideo], stop: Event) -> Sequence[bool | Exception]:
        try:
            wanted = [(target(video), video.frames) for video in members]
            squared, box = not settings.keep_squashed, region_of(settings.box)
            return extract_frames(path, wanted, stop, store, square_pixels=squared, box=box)
        except VideoError as error:
            return [error] * len(members)

    num_written = 0
    stage = "extracting frames" if settings.extract_frames else "packing frames"
    for video, is_written in _work_through(stage, videos, write, workers, progress):
        video.path = target(video)
        num_written += is_written
    return num_written


def _work_through(
    stage: str,
    videos: Iterable[FoundVideo],
    work: Callable[[Path, Sequence[FoundVideo], Event], Sequence[_Result | Exception]],
    workers: int,
    progress: Progress,
) -> Iterator[tuple[FoundVideo, _Result]]:
    """Do the work for the videos of each file, side by side. An error becomes the video's problem."""
    by_file: dict[Path, list[FoundVideo]] = {}
    for video in videos:
        if not video.problem and video.path is not None:
            by_file.setdefault(video.path, []).append(video)
    stop = Event()
    done, total = 0, sum(map(len, by_file.values()))
    progress(stage, done, total)
    with closing(in_threads(lambda group: work(*group, stop), by_file.items(), workers=workers, stop=stop)) as results:
        for members, outcomes in zip(by_file.values(), results, strict=True):
            for video, outcome in zip(members, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    kind = "" if isinstance(outcome, VideoError) else f"{type(outcome).__name__}: "
                    video.problem = kind + one_line(outcome)
                else:
                    yield video, outcome
            done += len(members)
            progress(stage, done, total)
