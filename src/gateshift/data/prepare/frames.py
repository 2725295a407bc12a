"""Count the frames of many videos, and write them to folders of images or to one file per video.

Both run in threads: FFmpeg and the JPEG encoder release Python's lock, so that threads use all cores as processes
would, without a second copy of torch in memory.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeVar

from PIL import Image

from gateshift.data.clips.transforms import resize_short_side
from gateshift.data.regions import Region
from gateshift.data.video.decode import FrameDecoder, frames_between
from gateshift.data.video.files import open_video
from gateshift.data.video.images import IMAGE_SUFFIXES
from gateshift.data.video.packed import FRAME_NAME, PackedFiles
from gateshift.data.video.protocol import Video
from gateshift.errors import VideoError
from gateshift.files import atomic_write, remove

_WAITING_PER_WORKER = 16

# Start and end of a part in seconds; None for the video's own.
Span = tuple[float | None, float | None]
WHOLE: Span = (None, None)

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def in_threads(
    work: Callable[[_Task], _Result], tasks: Iterable[_Task], *, workers: int, stop: Event
) -> Generator[_Result, None, None]:
    """Results of the tasks, in their order, computed in parallel; few are in memory at a time.

    Closing the iterator ends it early: it sets ``stop``, at which long work ends too, and starts no further task.
    """
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[_Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(work, task))
            if len(waiting) > workers * _WAITING_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def find_frames(path: Path, parts: Sequence[Span] = (WHOLE,), *, index_folder: Path | None = None) -> list[range]:
    """Find the frame numbers of each part of a video; the file is read once.

    Args:
        path: The video.
        parts: Start and end of each.
        index_folder: As for ``open_video``.

    Returns:
        A range for each part, empty if it has no frame, of the length that ``open_video`` gives for the part.

    Raises:
        VideoError: If the video cannot be opened, or an image of a frame folder is empty.
    """
    if path.is_dir() or all(part == WHOLE for part in parts):
        start_s, end_s = parts[0]  # times of a frame folder are refused here
        with open_video(path, start_s=start_s, end_s=end_s, index_folder=index_folder) as video:
            frames = range(video.num_frames)
        if path.is_dir():
            _check_images(path)
        return [frames] * len(parts)
    if not path.stat().st_size:
        raise VideoError(f"{path}: is empty, with 0 bytes; write or download the video again")
    decoder = FrameDecoder(path, index_folder=index_folder)
    try:
        times_s = decoder.times_s()
    finally:
        decoder.close()
    return [frames_between(times_s, *part) for part in parts]


def _check_images(folder: Path) -> None:
    with os.scandir(folder) as entries:
        images = (entry for entry in entries if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES)  # noqa: PTH122
        empty = sorted(image.name for image in images if not image.name.startswith(".") and not image.stat().st_size)
    if empty:
        raise VideoError(f"{folder}: {len(empty)} of its images are empty, such as {empty[0]}; write them again")


@dataclass(frozen=True)
class FrameFolders:
    """Frames stored as the images of a folder, at their own size; see :class:`PackedFiles`."""

    folder: str = "frames"
    suffix: str = ""
    short_side_px: int | None = None
    jpeg_quality: int = 95

    def is_whole(self, target: Path, num_frames: int) -> bool:
        """Whether the folder exists with this many files."""
        return target.is_dir() and len(os.listdir(target)) == num_frames  # noqa: PTH208 - iterdir is slower

    def write(self, target: Path, images: Iterable[bytes]) -> None:
        """Write images to a new folder."""
        target.mkdir()
        for number, image in enumerate(images, start=1):
            (target / FRAME_NAME.format(number)).write_bytes(image)


FRAME_FOLDERS = FrameFolders()
FrameStore = FrameFolders | PackedFiles  # both have the same members


def extract_frames(
    path: Path,
    clips: Sequence[tuple[Path, range]],
    stop: Event,
    store: FrameStore = FRAME_FOLDERS,
    *,
    square_pixels: bool = True,
    box: Region | None = None,
) -> list[bool | VideoError]:
    """Write frames of a video as JPEG images, each clip of it to a folder or file of its own.

    A folder or file has a hidden name until it is complete. Complete ones stay as they are.

    Args:
        path: The video.
        clips: The folder or file to write, and the numbers of its frames.
        stop: Ends the work between two frames, once it is set.
        store: Whether folders or files are written.
        square_pixels: As for ``open_video``, as images do not store the shape of their pixels.
        box: As for ``open_video``.

    Returns:
        For each clip, True if it was written, False if it existed already or the work was stopped, or the error if
        one of its frames cannot be decoded.

    Raises:
        VideoError: If the video cannot be opened.
    """
    written: list[bool | VideoError] = [False] * len(clips)
    missing = [number for number, (target, frames) in enumerate(clips) if not store.is_whole(target, len(frames))]
    if missing:
        with open_video(path, square_pixels=square_pixels, box=box) as video:
            for number in missing:
                target, frames = clips[number]
                try:
                    written[number] = _write_whole(target, _jpegs(video, frames, store, stop), store)
                except VideoError as error:
                    written[number] = error
    return written


class _StoppedError(Exception):
    """The work was told to end."""


def _write_whole(target: Path, images: Iterable[bytes], store: FrameStore) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_write(target) as partial:
            store.write(partial, images)
            if target.is_dir():  # of another length: of another video, once
                remove(target)
    except _StoppedError:
        return False
    return True


def _jpegs(video: Video, frames: range, store: FrameStore, stop: Event) -> Iterator[bytes]:
    """Frames as the bytes of JPEG files."""
    for index in frames:
        if stop.is_set():
            raise _StoppedError
        pixels = video.read([index])  # [1, 3, H, W]
        if store.short_side_px is not None and store.short_side_px < min(pixels.shape[-2:]):
            pixels = resize_short_side(pixels, store.short_side_px)
        file = io.BytesIO()
        Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=store.jpeg_quality)  # [H, W, 3]
        yield file.getvalue()
