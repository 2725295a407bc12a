"""Videos as numbered frames, from a file, a folder of images or a zip of them, behind one small protocol.

Frame ``i`` is the ``i``-th frame that a player shows, whatever the container, the frame rate or the order in
which the frames are stored. Pixels are uint8 RGB, upright.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from gateshift.data.decoding import FrameDecoder, frames_between
from gateshift.data.images import IMAGE_SUFFIXES, read_image
from gateshift.data.packed import PACKED_SUFFIX, PackedFrames
from gateshift.data.reader import FrameReader, count_kept, natural_order
from gateshift.data.reader import Video as Video
from gateshift.data.sources import Source, is_path, open_copied
from gateshift.errors import EmptyVideoError, VideoError

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".apng", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on


def open_video(
    path: Source,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    num_frames: int | None = None,
) -> Video:
    """Open a video file, or images as a video.

    Args:
        path: A file that FFmpeg can decode, a folder that directly holds images, or a zip of stored images, as
            ``gateshift prepare --pack`` writes. Also such a file as bytes, as a file object opened with "rb", or at an
            http or https address: up to 2 GiB, copied to a temporary file that closing the video removes.
        start_s: Keep the frames from this time on, in seconds after the first frame. Files only.
        end_s: Keep the frames before this time, in seconds after the first frame. Files only.
        num_frames: Of the frames left by then, keep only the first ones, this many.

    Returns:
        The video. Its frame numbers count the frames that were kept.

    Raises:
        VideoError: If there is nothing at ``path``, it is not a video, it has no frame in the times given
            or fewer than ``num_frames``, or times are given for images, which have no clock.
    """
    if not is_path(path):
        return open_copied(path, partial(open_video, start_s=start_s, end_s=end_s, num_frames=num_frames))
    path = Path(path)
    # Of what may not be looked at, unlike Path.is_dir, it says no.
    is_folder, is_packed = os.path.isdir(path), path.suffix.lower() == PACKED_SUFFIX  # noqa: PTH112
    if not is_folder and not is_packed:
        return VideoFile(path, start_s=start_s, end_s=end_s, num_frames=num_frames)
    if start_s is not None or end_s is not None:
        raise VideoError(
            f"{path}: start_s={start_s} and end_s={end_s} were given for a {'folder' if is_folder else 'zip'} of "
            "images, which has no clock; give num_frames, or the video file that the images came from"
        )
    if is_folder:
        return FrameFolder(path, num_frames=num_frames)
    _check_file(path)
    return PackedFrames(path, num_frames=num_frames)


def find_videos(folder: str | PathLike[str]) -> list[Path]:
    """Find all videos in a folder and below it. Hidden files and folders are ignored.

    A folder that directly holds images is one video, and nothing below it is searched. If there are video
    files beside the images, these are the videos, and the images are taken for their covers.

    Args:
        folder: Where to search.

    Returns:
        Video files and folders of images, sorted; ``[folder]`` if it is itself a folder of images. A folder that may
        not be read stands for itself, as a video that cannot be.

    Raises:
        VideoError: If ``folder`` is not a folder, or may not be read.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where it may not look
        raise VideoError(f"{folder} is not a folder; give an existing folder to search for videos")
    seen: set[Path] = set()

    def search(place: Path) -> Iterator[Path]:
        if place.resolve() in seen:  # links may lead round in a circle
            return
        seen.add(place.resolve())
        try:
            files, folders = _visible_files(place, VIDEO_SUFFIXES), _visible_folders(place)
        except VideoError:
            if place == folder:
                raise
            yield place  # reading it says what is wrong
            return
        if not files and _visible_files(place, IMAGE_SUFFIXES):
            yield place
            return
        yield from (place / name for name in files)
        for name in folders:
            yield from search(place / name)

    return sorted(search(folder))


class VideoFile(FrameReader):
    """A video file as a ``Video``, decoded by FFmpeg in one thread and turned upright.

    Attributes:
        num_frames: As in ``Video``.
        rotation_deg: What the file says of how to turn the frame that was read last, counter-clockwise. Frames are
            turned by the nearest multiple of 90.
    """

    rotation_deg = 0.0

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        start_s: float | None = None,
        end_s: float | None = None,
        num_frames: int | None = None,
    ) -> None:
        """Open and index the file; arguments and errors are those of ``open_video``."""
        super().__init__(path)
        _check_file(self._path)
        self._to_rgb = VideoReformatter()
        self._decoder = FrameDecoder(self._path)
        try:
            kept = self._kept_frames(start_s, end_s)
            self._first = kept.start
            self.num_frames = count_kept(self._path, len(kept), num_frames)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the decoder and the file. Closing twice is harmless."""
        self._decoder.close()
        super().close()

    def times_s(self) -> list[float]:
        """Say when each frame is shown: seconds after the first one [num_frames], never decreasing.

        Raises:
            VideoError: If the file has neither times nor a frame rate.
        """
        times = self._decoder.times_s()[self._first : self._first + self.num_frames]
        return [time - times[0] for time in times]

    @property
    def rate(self) -> float | None:
        """Frames a second, on average; None if the file does not say."""
        try:
            duration_s = self.times_s()[-1]
        except VideoError:
            return None
        return (self.num_frames - 1) / duration_s if duration_s else None

    def _kept_frames(self, start_s: float | None, end_s: float | None) -> range:
        if start_s is None and end_s is None:
            return range(self._decoder.num_frames)
        start_s = 0.0 if start_s is None else start_s
        end_s = math.inf if end_s is None else end_s
        if not 0 <= start_s < end_s:  # also when either is not a number
            raise VideoError(
                f"{self._path}: start_s={start_s}, end_s={end_s}: the start must be at least 0 and below the "
                "end; correct the times"
            )
        times_s = self._decoder.times_s()
        kept = frames_between(times_s, start_s, end_s)
        if not kept:
            raise VideoError(
                f"{self._path}: no frame has a time in start_s={start_s} to end_s={end_s}, as there are "
                f"{len(times_s)} from 0 to {times_s[-1]:.3f} s; correct the times"
            )
        return kept

    def _pixels(self, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        for frame in self._decoder.decode([self._first + number for number in numbers]):
            rgb = self._to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()  # [H, W, 3]
            self.rotation_deg = frame.rotation
            # Both count counter-clockwise.
            yield np.rot90(rgb, round(frame.rotation / 90)).astype(np.uint8, copy=False)


class FrameFolder(FrameReader):
    """A folder of images as a ``Video``, in the natural order of their names: img_2 before img_10."""

    def __init__(self, path: str | PathLike[str], *, num_frames: int | None = None) -> None:
        """Open the folder; arguments and errors are those of ``open_video``."""
        super().__init__(path)
        if not self._path.is_dir():
            raise VideoError(f"{self._path} is not a folder; give an existing folder of images")
        self._images = sorted(_visible_files(self._path, IMAGE_SUFFIXES), key=natural_order)
        if not self._images:
            raise VideoError(
                f"{self._path}: no image lies directly in this folder; put the frames there, as "
                f"{' '.join(sorted(IMAGE_SUFFIXES))}, or give a video file"
            )
        self.num_frames = count_kept(self._path, len(self._images), num_frames)

    def _pixels(self, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        return (read_image(self._path / self._images[number], self._spare) for number in numbers)


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except PermissionError:
        raise VideoError(f"{path}: may not be looked at; ask for the permission to read its folder") from None
    except OSError:
        raise VideoError(f"{path}: there is no such file; check the path") from None
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{path}: is not a file; give a video file")
    if status.st_size == 0:
        raise EmptyVideoError(f"{path}: is empty, with 0 bytes; write or download the video again")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoError(f"{path}: is a single image; give the folder of images, or a video file")


def _visible_files(folder: Path, suffixes: frozenset[str]) -> list[str]:
    with _entries(folder) as entries:
        return [
            entry.name
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in suffixes  # noqa: PTH122
            and not entry.name.startswith(".")
            and _is_file(entry)
        ]


def _visible_folders(folder: Path) -> list[str]:
    with _entries(folder) as entries:
        visible = (entry for entry in entries if not entry.name.startswith("."))
        return [each.name for each in visible if each.is_dir(follow_symlinks=False) or os.path.isdir(each)]  # noqa: PTH112


@contextmanager
def _entries(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """What lies in a folder, asked for no more than names and kinds, unlike a list of paths."""
    try:
        with os.scandir(folder) as entries:
            yield entries
    except PermissionError:
        raise VideoError(f"{folder}: may not be looked into; ask for the permission to read this folder") from None


def _is_file(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_file()
    path = Path(entry.path)
    return path.is_file() or not path.exists()  # a link that leads nowhere is a video that is missing, and not none
