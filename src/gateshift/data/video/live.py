"""Frames as they come, from a camera, an address or a file; the newest ones where they come faster than they are used.

A file gives every frame, with the numbers that ``open_video`` gives them. A camera or an address does not wait: a
thread reads it, keeps the newest frames, and counts those that it had to drop.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from gateshift.data.regions import WHOLE, Region
from gateshift.data.video.files import VideoFile, open_video
from gateshift.data.video.index import demux
from gateshift.data.video.pixels import cut_frame, shown_size, square_size, to_pixels
from gateshift.errors import VideoError

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 10.0
CAPACITY = 64  # frames that wait at most, where nothing else is said
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_CAMERA = re.compile(r"/dev/video\d+")


@dataclass(frozen=True)
class LiveFrame:
    """One frame of a source.

    Attributes:
        number: Its number; those that were dropped count.
        read: Gives its pixels, uint8 RGB [H, W, 3]. They take far more memory than a decoded frame: read one at a time.
        arrived_s: When it came, by ``time.perf_counter``.
    """

    number: int
    read: Callable[[], NDArray[np.uint8]]
    arrived_s: float


def is_live(source: str) -> bool:
    """Whether a source is a camera or an address, which do not wait, and not a file.

    >>> is_live("/dev/video0"), is_live("rtsp://host/door"), is_live("door.mp4")
    (True, True, False)
    """
    return bool(_CAMERA.fullmatch(source) or _ADDRESS.match(source))


class FileFrames:
    """Every frame of a video file or a folder of images, as fast as they are taken.

    Attributes:
        video: The file.
        rate: Frames a second in the mean; None for images, which have no clock.
        dropped: Always 0.
    """

    dropped = 0

    def __init__(self, path: str, *, square_pixels: bool = False, box: Region | None = None) -> None:
        """Open a video; see ``open_video``.

        Raises:
            VideoError: If it cannot be opened.
        """
        self.video = open_video(Path(path), square_pixels=square_pixels, box=box)
        self.rate = self.video.rate if isinstance(self.video, VideoFile) else None

    def __iter__(self) -> Iterator[list[LiveFrame]]:
        """Frames, one at a time in a list.

        Raises:
            VideoError: If a frame cannot be decoded.
        """
        for number in range(self.video.num_frames):
            pixels = self.video.read([number])[0].permute(1, 2, 0).numpy()  # [H, W, 3]
            yield [LiveFrame(number, pixels.view, time.perf_counter())]

    def close(self) -> None:
        """Free the file. Closing twice is harmless."""
        self.video.close()


class NewestFrames:
    """The newest frames of a camera or an address, read by a thread of their own.

    Attributes:
        rate: Frames a second that the source says it gives; None if it does not.
        dropped: How many frames were dropped so far, as more came than were taken.
    """

    def __init__(self, address: str, *, square_pixels: bool = False, box: Region | None = None) -> None:
        """Open a source.

        Args:
            square_pixels: As for ``open_video``.
            box: As for ``open_video``.
            address: /dev/video0 or another camera (Linux), or an address that FFmpeg reads, such as rtsp or http.

        Raises:
            VideoError: If it does not answer, or gives no video.
        """
        self._address = address
        self._container = _open(address)
        stream = self._container.streams.best("video")
        if stream is None:
            self._container.close()
            raise VideoError(f"{address}: gives no video stream; give the address of moving images")
        rate = stream.average_rate or stream.guessed_rate
        self.rate = float(rate) if rate else None
        self.dropped = 0
        self._stream = stream
        self._upright = partial(
            _upright,
            pixel_aspect=stream.sample_aspect_ratio,
            square_pixels=square_pixels,
            box=box or WHOLE,
            name=address,
        )
        self._waiting: deque[tuple[int, VideoFrame, float]] = deque()
        self._changed = Condition()
        self._ended = self._closed = False
        self._error: VideoError | None = None
        self._thread = Thread(target=self._read, name=f"reader of {address}", daemon=True)

    def start(self, capacity: int = CAPACITY) -> None:
        """Begin to read; iterating does so by itself.

        Args:
            capacity: How many frames wait at most, from 1 on; the oldest are dropped first.
        """
        self._waiting = deque(maxlen=capacity)
        self._thread.start()

    def __iter__(self) -> Iterator[list[LiveFrame]]:
        """All frames that wait, whenever there is one: what comes while they are looked at is given next.

        Raises:
            VideoError: If the source fails, after the frames that came before.
        """
        if self._thread.ident is None and not self._closed:
            self.start()
        while waiting := self._take():
            yield [LiveFrame(number, partial(self._upright, frame), arrived_s) for number, frame, arrived_s in waiting]
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop reading. Closing twice is harmless."""
        with self._changed:
            was_closed, self._closed = self._closed, True
            self._ended = self._ended or self._thread.ident is None  # nobody else will say so
        if self._thread.is_alive():
            self._thread.join(READ_TIMEOUT_S + 1)  # the read under way ends by then
        if not was_closed and not self._thread.is_alive():
            self._container.close()

    def _take(self) -> list[tuple[int, VideoFrame, float]]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            waiting = list(self._waiting)
            self._waiting.clear()
            return waiting

    def _read(self) -> None:
        """What the thread does."""
        try:
            for number, frame in enumerate(self._decode()):
                with self._changed:
                    if self._closed:
                        break
                    self.dropped += len(self._waiting) == self._waiting.maxlen
                    self._waiting.append((number, frame, time.perf_counter()))
                    self._changed.notify()
        except av.FFmpegError as error:
            is_late = isinstance(error, av.error.ExitError)  # what the time-out ends a read with
            self._error = _unreadable(self._address, error, silent_s=READ_TIMEOUT_S if is_late else None)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _decode(self) -> Iterator[VideoFrame]:
        for packet in demux(self._container, self._stream):
            # What was lost on the way is no end: the decoder goes on when it can.
            with suppress(av.error.InvalidDataError):
                yield from packet.decode()


def _open(address: str) -> Any:
    is_camera = _CAMERA.fullmatch(address) is not None
    options = {"rtsp_transport": "tcp"} if address.lower().startswith("rtsp") else {}  # UDP loses packets in silence
    started_s = time.perf_counter()
    try:
        return av.open(
            address,
            format="v4l2" if is_camera else None,
            options=options,
            timeout=None if is_camera else (OPEN_TIMEOUT_S, READ_TIMEOUT_S),
            metadata_errors="replace",
        )
    except (av.FFmpegError, ValueError) as error:  # ValueError: no such device in this build of FFmpeg
        # FFmpeg calls whatever it has read by the time-out bad data.
        is_late = time.perf_counter() - started_s >= OPEN_TIMEOUT_S
        raise _unreadable(address, error, silent_s=OPEN_TIMEOUT_S if is_late else None) from error


def _unreadable(address: str, error: Exception, *, silent_s: float | None = None) -> VideoError:
    reason = error.strerror if isinstance(error, av.FFmpegError) else error
    if silent_s is not None:
        reason = f"nothing came for {silent_s:g} s"
    return VideoError(
        f"{address}: cannot be read ({reason}), but must be a camera such as /dev/video0 or an address that FFmpeg "
        "reads; check that it is there and free"
    )


def _upright(
    frame: VideoFrame, *, pixel_aspect: Fraction | None, square_pixels: bool, box: Region, name: str
) -> NDArray[np.uint8]:
    square_px = square_size(frame.width, frame.height, pixel_aspect)
    pixels = to_pixels(frame, VideoReformatter(), square_px if square_pixels else None)
    return np.ascontiguousarray(cut_frame(pixels, box, shown_px=shown_size(frame, square_px), name=name))
