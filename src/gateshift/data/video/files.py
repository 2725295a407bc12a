"""Videos as numbered frames, from a file, a folder of images or a zip of them, behind one small protocol.

Frame ``i`` is the ``i``-th frame that a player shows, whatever the container, the frame rate or the order in
which the frames are stored. Pixels are uint8 RGB, upright.
"""

from __future__ import annotations

import math
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from gateshift.data.path_hints import hint_for
from gateshift.data.regions import Region
from gateshift.data.video.decode import FrameDecoder, frames_between
from gateshift.data.video.folders import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from gateshift.data.video.folders import find_videos as find_videos
from gateshift.data.video.folders import frames_in
from gateshift.data.video.images import IMAGE_SUFFIXES, no_video, read_image
from gateshift.data.video.packed import PACKED_SUFFIX, PackedFrames
from gateshift.data.video.pixels import is_mirrored, shown_size, square_size, to_pixels
from gateshift.data.video.protocol import Video as Video
from gateshift.data.video.protocol import count_kept
from gateshift.data.video.sources import Source, is_address, is_path, open_copied
from gateshift.errors import EmptyVideoError, GateShiftWarning, VideoError, explain_system_error

LATE_S = 0.02  # pictures that begin later than this, but not sounds, are late


def open_video(
    path: Source,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    num_frames: int | None = None,
    square_pixels: bool = False,
    box: Region | None = None,
    index_folder: str | PathLike[str] | None = None,
) -> Video:
    """Open a video file, or images as a video.

    Args:
        path: A file that FFmpeg can decode, a folder that directly holds images, or a zip of stored images, as
            ``gateshift prepare --pack`` writes. Also such a file as bytes, as a file object opened with "rb", or at an
            http or https address: up to 2 GiB, copied to a temporary file that closing the video removes.
        start_s: Keep the frames from this time on, in seconds on the file's clock, as players show it. Files only.
        end_s: Keep the frames before this time on that clock. Files only.
        num_frames: Of the frames left by then, keep only the first ones, this many.
        square_pixels: Resize frames whose pixels are not square, as of DVDs and camcorders, so that they are. Otherwise
            they are given as they are stored, and look squashed.
        box: Read this region of each frame, and nothing of what is around it; see
            :func:`gateshift.data.regions.parse_region`. A picture that lacks it is an error when it is read.
        index_folder: A folder in which the indices of long recordings are kept for other processes, such as the workers
            of a loader; by default, each process indexes each file once. Indices of files that have changed since are
            not used. It is created if need be; where it cannot be written to, nothing is kept.

    Returns:
        The video. Its frame numbers count the frames that were kept.

    Raises:
        VideoError: If there is nothing at ``path``, it is not a video, it has no frame in the times given
            or fewer than ``num_frames``, or times are given for images, which have no clock.
    """
    if not is_path(path):
        options: dict[str, Any] = {"start_s": start_s, "end_s": end_s, "num_frames": num_frames}
        return open_copied(path, partial(open_video, square_pixels=square_pixels, box=box, **options))
    if isinstance(path, str) and is_address(path) and not os.path.lexists(path):
        raise VideoError(
            f"{path}: videos are read from files and from http and https addresses; copy it to a file, or give a live "
            "stream to stream_video"
        )
    video = _open_path(Path(path), start_s, end_s, num_frames, index_folder, square_pixels=square_pixels)
    video.box = box
    return video


def _open_path(
    path: Path,
    start_s: float | None,
    end_s: float | None,
    num_frames: int | None,
    index_folder: str | PathLike[str] | None,
    *,
    square_pixels: bool,
) -> Video:
    # Unlike Path.is_dir, it says no where permission is denied.
    is_folder, is_packed = os.path.isdir(path), path.suffix.lower() == PACKED_SUFFIX  # noqa: PTH112
    if not is_folder and not is_packed:
        return VideoFile(
            path,
            start_s=start_s,
            end_s=end_s,
            num_frames=num_frames,
            square_pixels=square_pixels,
            index_folder=index_folder,
        )
    if start_s is not None or end_s is not None:
        raise VideoError(
            f"{path}: start_s={start_s} and end_s={end_s} were given for a {'folder' if is_folder else 'zip'} of "
            "images, which has no clock; give num_frames, or the video file that the images came from"
        )
    if is_folder:
        return FrameFolder(path, num_frames=num_frames)
    _check_file(path)
    return PackedFrames(path, num_frames=num_frames)


@cache  # once is enough
def warn_of_late_pictures() -> None:
    """Warn that lists for an earlier gateshift counted from the first picture."""
    warnings.warn(
        "the pictures of a video begin after its sound (gateshift scan names it); start and end count on the file's "
        "clock, as players show it; a list for an earlier gateshift counted from the first picture: add the time at "
        "which that comes",
        GateShiftWarning,
        stacklevel=2,
    )


class VideoFile(Video):
    """A video file as a ``Video``, decoded by FFmpeg in one thread and turned upright.

    Frames of another size than the first are resized to that.

    Attributes:
        num_frames: As in ``Video``.
        pixel_aspect: Width of a pixel as it is stored, divided by its height.
        rotation_deg: What the file says of how to turn the frame that was read last, counter-clockwise. Frames are
            turned by the nearest multiple of 90.
        is_mirrored: Whether the frame that was read last is stored as in a mirror. Frames are mirrored back.
        changes_size: Whether a frame of another size than the first was read.
    """

    rotation_deg = 0.0
    is_mirrored = False
    changes_size = False
    _start_s = 0.0

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        start_s: float | None = None,
        end_s: float | None = None,
        num_frames: int | None = None,
        square_pixels: bool = False,
        index_folder: str | PathLike[str] | None = None,
    ) -> None:
        """Open and index the file; arguments and errors are those of ``open_video``."""
        super().__init__(path)
        _check_file(self._path)
        self._to_rgb = VideoReformatter()
        self._decoder = FrameDecoder(self._path, index_folder=None if index_folder is None else Path(index_folder))
        try:
            self.pixel_aspect, self._stored_size = self._decoder.pixel_aspect, self._decoder.size_px
            self._aspect = self.pixel_aspect if square_pixels else Fraction(1)
            kept = self._kept_frames(start_s, end_s)
            self._first = kept.start
            self.num_frames = count_kept(self._path, len(kept), num_frames)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the decoder and the file. Closing twice is harmless."""
        self._decoder.close(for_good=self._name is not None)  # a copy is removed now
        super().close()

    def cut(self, frames: range) -> None:
        """Keep these of its frames alone; from then on numbers and times count from the first of them.

        Raises:
            VideoError: If it does not have them all.
        """
        if frames.stop > self.num_frames:
            raise VideoError(
                f"{self._path}: has {self.num_frames} frames, and frames {frames.start} to {frames.stop - 1} of it are "
                "listed; give the recording that they were cut from"
            )
        self._first, self.num_frames = self._first + frames.start, len(frames)
        self._start_s = float(self._decoder.times_s()[self._first])

    def times_s(self) -> list[float]:
        """Say when each frame is shown: seconds on the file's clock, as players show it [num_frames], never decreasing.

        The first frame is at 0 unless the sound begins before the pictures.

        Raises:
            VideoError: If the file has neither times nor a frame rate.
        """
        return cast("list[float]", self.clock_s().tolist())

    def clock_s(self) -> NDArray[np.float64]:
        """The same as an array."""
        return self._decoder.times_s()[self._first : self._first + self.num_frames] - self._start_s

    def ends_s(self) -> list[float]:
        """Say when each frame is shown, as ``times_s``, and when the last one ends: [num_frames + 1]."""
        return cast("list[float]", with_end(self.clock_s()).tolist())

    @property
    def rate(self) -> float | None:
        """Frames a second, on average; None if the file does not say."""
        try:
            return mean_rate(self.clock_s())
        except VideoError:
            return None

    @property
    def has_times(self) -> bool:
        """Whether the file says when its frames are shown; otherwise that is worked out."""
        return self._decoder.index.has_times

    @property
    def is_joined(self) -> bool:
        """Whether the file is several recordings, one after the other, as its clock is set anew on the way."""
        return self._decoder.index.is_joined

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
        if times_s[0] >= LATE_S:
            warn_of_late_pictures()
        kept = frames_between(times_s, start_s, end_s)
        if not kept:
            raise VideoError(
                f"{self._path}: no frame has a time in start_s={start_s} to end_s={end_s}, as there are "
                f"{len(times_s)} from {times_s[0]:.3f} to {times_s[-1]:.3f} s; correct the times"
            )
        return kept

    def _pixels(self, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        for frame in self._decoder.decode([self._first + number for number in numbers]):
            if (frame.width, frame.height) != self._stored_size:
                self._stored_size = self._first_size()  # headers may say another than the frames have
                self.changes_size = (frame.width, frame.height) != self._stored_size
            self.rotation_deg, self.is_mirrored = frame.rotation, is_mirrored(frame)
            self._shown_px = shown_size(frame, square_size(*self._stored_size, self.pixel_aspect))
            yield to_pixels(frame, self._to_rgb, square_size(*self._stored_size, self._aspect))

    def _first_size(self) -> tuple[int, int]:
        decoder = FrameDecoder(self._path)
        try:
            (frame,) = decoder.decode([0])
            return frame.width, frame.height
        finally:
            decoder.close(for_good=True)


def mean_rate(times_s: NDArray[np.float64]) -> float | None:
    """Frames a second, on average, of frames that are shown at these times; None where all are shown at one."""
    duration_s = float(times_s[-1] - times_s[0])
    return (len(times_s) - 1) / duration_s if duration_s else None


def with_end(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """When frames are shown, and when the last one ends, which lasts as long as the others do on average: [n + 1]."""
    return np.append(times_s, times_s[-1] + (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1))


class FrameFolder(Video):
    """A folder of images as a ``Video``, in the natural order of their names: img_2 before img_10."""

    def __init__(self, path: str | PathLike[str], *, num_frames: int | None = None) -> None:
        """Open the folder; arguments and errors are those of ``open_video``."""
        super().__init__(path)
        if not self._path.is_dir():
            raise VideoError(f"{self._path} is not a folder; give an existing folder of images")
        self._images = frames_in(self._path)
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
        raise VideoError(f"{path}: permission denied; ask for the right to read its folder") from None
    except FileNotFoundError:
        raise VideoError(f"{path}: there is no such file; {hint_for(path) or 'check the path'}") from None
    except OSError as error:
        raise VideoError(explain_system_error(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{path}: is not a file; give a video file")
    if status.st_size == 0:
        raise EmptyVideoError(f"{path}: is empty, with 0 bytes; write or download the video again")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise no_video(path)
