"""Counting the frames of many videos, and extracting them to folders of images.

Both run in threads: FFmpeg and the JPEG encoder work outside of Python's lock, so that threads share the cores
as processes would, and there is no second copy of torch in memory and no process to leave behind.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TypeVar

from PIL import Image

from gateshift.data.decoding import FrameDecoder, frames_between
from gateshift.data.video import IMAGE_SUFFIXES, Video, open_video
from gateshift.errors import VideoError

JPEG_QUALITY = 95
FRAME_NAME = "{:05d}.jpg"  # numbers from 1, as the original code's ffmpeg wrote them
_WAITING_PER_WORKER = 16

# The time between two frames that a part begins and ends with, in seconds; None for the video's own ends.
Part = tuple[float | None, float | None]
WHOLE: Part = (None, None)

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def in_threads(
    work: Callable[[_Task], _Result], tasks: Iterable[_Task], *, workers: int, stop: Event
) -> Generator[_Result, None, None]:
    """Results of the tasks, in their order, worked on side by side; few wait in memory at a time.

    Close the iterator to end it early: ``stop`` is then set, which long work looks at, and no further task begins.
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


def find_frames(path: Path, parts: Sequence[Part] = (WHOLE,)) -> list[range]:
    """Find the numbers of the frames of each part of a video; the file is gone through once.

    Returns:
        A range for each part, empty where no frame is in it. Its length is the ``num_frames`` that ``open_video``
        gives for the part.

    Raises:
        VideoError: If the video cannot be opened, or an image of a frame folder is empty.
    """
    if path.is_dir() or all(part == WHOLE for part in parts):
        start_s, end_s = parts[0]  # times of a frame folder are refused here
        with open_video(path, start_s=start_s, end_s=end_s) as video:
            frames = range(video.num_frames)
        if path.is_dir():
            _check_images(path)
        return [frames] * len(parts)
    if not path.stat().st_size:
        raise VideoError(f"{path}: is empty, with 0 bytes; write or download the video again")
    decoder = FrameDecoder(path)
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


def extract_frames(path: Path, clips: Sequence[tuple[Path, range]], stop: Event) -> list[bool | VideoError]:
    """Write frames of a video as JPEG images, each clip of it to a folder of its own.

    A folder has its final name only when it is whole; until then its name is hidden. One that is already whole
    is left as it is.

    Args:
        path: The video.
        clips: The folder to write, and the numbers of the frames to put there.
        stop: Ends the work between two frames, once it is set.

    Returns:
        For each clip True if it was written now, False if it was there already or the work was stopped, and the
        error if a frame of it cannot be decoded.

    Raises:
        VideoError: If the video cannot be opened.
    """
    written: list[bool | VideoError] = [False] * len(clips)
    missing = [number for number, (folder, frames) in enumerate(clips) if not _is_whole(folder, frames)]
    if missing:
        with open_video(path) as video:
            for number in missing:
                try:
                    written[number] = _write_folder(video, *clips[number], stop)
                except VideoError as error:
                    written[number] = error
    return written


def _is_whole(folder: Path, frames: range) -> bool:
    return folder.is_dir() and len(os.listdir(folder)) == len(frames)  # noqa: PTH208 - iterdir is slower


def _write_folder(video: Video, folder: Path, frames: range, stop: Event) -> bool:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for number, index in enumerate(frames, start=1):
            if stop.is_set():
                return False
            pixels = video.read([index])[0].permute(1, 2, 0).numpy()  # [H, W, 3]
            Image.fromarray(pixels).save(partial / FRAME_NAME.format(number), quality=JPEG_QUALITY)
        if folder.exists():  # of another length: of another video, once
            shutil.rmtree(folder)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True
