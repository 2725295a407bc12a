"""The frames of a video file by number, through FFmpeg.

Decoding starts at the last key frame before the wanted frame, or simply goes on where that skips nothing, and
stops at the wanted frame. On the way, frames that are not wanted and that no other frame is predicted from are left
out. Where the times of the packets do not tell the order of the frames, or decoding shows that they are wrong, the
order is found by decoding all of the file once.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from gateshift.data.video.frame_order import FrameOrder
from gateshift.data.video.index import PacketSource, WrongSeekError
from gateshift.data.video.index_cache import CACHE, check_unchanged, correct_index, place_of
from gateshift.errors import VideoError

# A frame leaves the decoder at most this many packets after its own: 16 pictures, each of two fields.
_MAX_DELAY_PACKETS = 32
_NEVER = sys.maxsize
# Where a frame itself says that no other is predicted from it, without exception. HEVC's frames say so for their own
# temporal layer alone.
_CODECS_TO_SKIP_IN = frozenset({"h264"})
_ROUNDING_S = 0.0005  # lists are written in milliseconds


def frames_between(times_s: Sequence[float] | NDArray[np.float64], start_s: float | None, end_s: float | None) -> range:
    """Numbers of the frames that are shown from ``start_s`` on and before ``end_s``; None is the video's own end.

    A time in milliseconds means the frame whose time rounds to it.

    >>> frames_between([0.0, 0.5, 1.0, 1.5], 0.5, 1.5)
    range(1, 3)
    >>> frames_between([0.0, 1 / 3, 2 / 3, 1.0], 0.667, 1.0)
    range(2, 3)
    """
    step_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else _ROUNDING_S
    slack_s = min(_ROUNDING_S, step_s / 2)
    start = 0 if start_s is None else int(np.searchsorted(times_s, start_s - slack_s))
    return range(start, len(times_s) if end_s is None else int(np.searchsorted(times_s, end_s - slack_s)))


class _WrongOrderError(Exception):
    """A frame came out of the decoder where another one should have."""


@dataclass
class _Run:
    """A decoding under way.

    Attributes:
        start: The place that it began at.
        reached: The highest number that it gave, at first the one before that of the frame it begins with.
        num_fed: Packets it has taken, counted from the first of the file.
        before: The number that it gave last, which may be of a frame that is shown before the one it begins with.
        is_sound: Whether nothing was damaged since its last key frame.
        left_out: Frames that it can no longer give.
        frames: What it still gives, numbered.
    """

    start: int
    reached: int
    num_fed: int
    before: int = -1
    is_sound: bool = True
    left_out: set[int] = field(default_factory=set)
    frames: Iterator[tuple[int, VideoFrame]] = field(default_factory=lambda: iter(()))


class FrameDecoder:
    """Decodes the frames of a file one at a time, in one thread; frame 0 is the one shown first.

    Attributes:
        num_frames: How many frames the file has, at least 1.
        size_px: Width and height of a frame, as the file's headers say.
        pixel_aspect: Width of a pixel, divided by its height.
        index: What is known of its packets and frames.
    """

    def __init__(self, path: Path, *, index_folder: Path | None = None) -> None:
        """Open and index a file.

        Args:
            path: An existing file.
            index_folder: As for ``open_video``.

        Raises:
            VideoError: If the file is not a video that FFmpeg can decode, is cut off or has no frames.
        """
        self._path = path
        self._run: _Run | None = None
        self._wanted: frozenset[int] = frozenset()  # frames that it must give
        self._last_wanted = -1
        self._last_place: int | None = None  # of the packets that it may take; None before the first call
        source, self.index = CACHE.open(path, index_folder)
        self._source: PacketSource | None = source
        self.size_px, self.pixel_aspect = source.size_px, source.pixel_aspect
        self._is_skippable = source.codec_name in _CODECS_TO_SKIP_IN
        self._is_intra = source.is_intra

    @property
    def num_frames(self) -> int:
        return len(self._order)

    @property
    def _order(self) -> FrameOrder:
        return self.index.order

    def close(self, *, for_good: bool = False) -> None:
        """Free the decoder and the file. Closing twice is harmless.

        Args:
            for_good: Whether the file is read no more, and must not stay open for the next reader of it.
        """
        self._run = None
        source, self._source = self._source, None
        if source is not None and for_good:
            source.close()
        elif source is not None:
            CACHE.give_back(self._path, source, self.index)

    def times_s(self) -> NDArray[np.float64]:
        """Say when each frame is shown.

        Returns:
            Seconds [num_frames] on the file's clock, which begins with its first sound or picture; never decreasing.

        Raises:
            VideoError: If the file has neither times nor a frame rate.
        """
        if self.index.times_s is None:
            raise VideoError(
                f"{self._path}: has neither frame times nor a frame rate, which a time in seconds needs; "
                "give no start_s and end_s, or convert it to mp4"
            )
        return self.index.times_s

    def decode(self, numbers: Sequence[int]) -> Iterator[VideoFrame]:
        """Decode frames, one at a time; going forward is fast.

        Args:
            numbers: Which frames, each in 0..num_frames - 1, rising. Only frames before the last of them are left
                out on the way, so that a decoder asked for one frame after the other never goes back.

        Yields:
            Each frame as FFmpeg gives it: in its own pixel format, not turned upright.

        Raises:
            VideoError: If a frame is damaged or missing, the file was changed since it was opened, or the decoder was
                closed.
        """
        check_unchanged(self._path, self.index)
        is_first_call = self._last_place is None
        self._last_place = _NEVER
        if is_first_call and self._skips:
            # Most videos are read once. The frames that are behind then need not be pushed out by those that follow.
            self._last_place = self._order.last_place_of(numbers)
        for number in numbers:
            self._wanted, self._last_wanted = frozenset(numbers), numbers[-1]
            yield self._decode(number)
        if self._last_place != _NEVER:
            self._run = None  # it was told that the file ends there
        check_unchanged(self._path, self.index)

    def _decode(self, number: int) -> VideoFrame:
        frame = None
        try:
            frame = self._find(number)
        except _WrongOrderError:
            self._last_place, self._wanted = _NEVER, frozenset()
            self.index = correct_index(self.index, self._opened())
            frame = self._find(number)
        if frame is None:
            raise VideoError(
                f"{self._path}: frame {number} of {self.num_frames} cannot be decoded, as the file is "
                "damaged or cut off; write or download it again"
            )
        return frame

    def _find(self, number: int) -> VideoFrame | None:
        if number >= self.num_frames:  # as decoding has shown
            return None
        try:
            return self._decode_to(number)
        except WrongSeekError:
            return self._decode_to(number)

    def _decode_to(self, number: int) -> VideoFrame | None:
        """Decode from the best place to a frame; None if it does not come, or is damaged."""
        source = self._opened()
        start = self._order.start_for(number)
        run = self._run
        if run is None or number <= run.reached or number in run.left_out or start > run.num_fed:
            run = self._start_at(source, start)
        frame = self._advance_to(run, number)
        if frame is None and (start > 0 or run.left_out):
            # Some key frames only begin a gradual refresh: what follows still needs what came before.
            self._wanted = frozenset(range(self.num_frames))
            frame = self._advance_to(self._start_at(source, 0), number)
        return frame

    def _opened(self) -> PacketSource:
        if self._source is None:
            raise VideoError(f"{self._path} was closed, but only an open video can be read; open it again")
        return self._source

    @property
    def _skips(self) -> bool:
        """Whether what is not wanted may be left out: in an order that is not sure, nothing would tell."""
        return self._order.is_sure and self._is_skippable and not self._order.is_counted

    def _start_at(self, source: PacketSource, place: int) -> _Run:
        run = _Run(start=place, reached=self._order.first_from(place) - 1, num_fed=place)
        frames = self._decode_from(source, run)
        run.frames = enumerate(frames) if self._order.is_counted else self._numbered(frames)
        return run

    def _numbered(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
        for frame in frames:
            place = place_of(frame)
            if place < 0:
                raise _WrongOrderError
            number = int(self._order.numbers[place])
            if number >= 0:
                yield number, frame

    def _advance_to(self, run: _Run, number: int) -> VideoFrame | None:
        """Go on decoding to a frame; None if it does not come or is damaged.

        Raises:
            _WrongOrderError: If the frames come in another order than that of their times.
        """
        self._run = None  # an end or an error ends this decoding
        last_packet = _MAX_DELAY_PACKETS + (number if self._order.is_counted else int(self._order.places[number]))
        try:
            for given, frame in run.frames:
                if not self.index.is_checked and not self._comes_next(run, given):
                    if run.start > 0:
                        return None
                    raise _WrongOrderError
                if not self._begins_well(run, given, frame):
                    self.index = replace(self.index, order=self._order.from_the_start())
                    return None
                run.before, run.reached = given, max(run.reached, given)
                # FFmpeg marks the frame that it patched up, but not those that were predicted from it.
                run.is_sound = not frame.is_corrupt and (run.is_sound or frame.key_frame)
                if given == number:
                    self._run = run
                    is_right = run.is_sound and self._is_followed(run)
                    return frame if is_right else None
                if given > number and run.num_fed > last_packet:
                    break
        except av.FFmpegError:
            pass  # a frame that is not wanted may be beyond the damage, so the caller decides
        return None

    def _decode_from(self, source: PacketSource, run: _Run) -> Iterator[VideoFrame]:
        for here, packet in source.packets_from(run.start, self.index.table):
            if self.index.table.is_damaged[here]:
                break  # what the decoder made of it and of those after it would pass for frames
            run.num_fed = here + 1
            yield from source.decode(here, packet, skips=self._leaves_out(run, here))
            if self._last_place is not None and run.num_fed > self._last_place:
                break
        yield from source.stream.decode(None)

    def _leaves_out(self, run: _Run, place: int) -> bool:
        """Whether to leave out the frame of a packet, if no other needs it; noted, as it cannot be given then."""
        if not (self._wanted and self._skips):
            return False
        number = int(self._order.numbers[place])
        if number < 0:  # the second field of a frame goes with the first
            return place > 0 and int(self._order.numbers[place - 1]) in run.left_out
        if number in self._wanted or number > self._last_wanted:
            return False
        run.left_out.add(number)
        return True

    def _is_followed(self, run: _Run) -> bool:
        """Whether the first frame after a seek is followed by the next one.

        Where times are not sure, others may be due before it, which cannot be decoded after a seek.
        """
        is_certain = self.index.is_checked or self._order.is_sure or run.start == 0
        if is_certain or run.reached > self._order.first_from(run.start):
            return True
        following = next(run.frames, None)
        if following is None:
            return run.reached == self.num_frames - 1
        run.frames = itertools.chain([following], run.frames)
        return following[0] == run.reached + 1

    def _begins_well(self, run: _Run, number: int, frame: VideoFrame) -> bool:
        """Whether a frame is the first one after a seek only if decoding can start at it.

        Some files say that of every packet, as AVI without the index that a recorder writes in the end.
        """
        is_first = run.start > 0 and int(self._order.places[number]) == run.start
        return not is_first or frame.key_frame or self._is_intra or not self.index.table.is_key.all()

    def _comes_next(self, run: _Run, number: int) -> bool:
        """Whether a frame is in order: above the one before, and without a gap but for those that were left out."""
        missing = (each for each in range(run.reached + 1, number) if each not in run.left_out)
        return number > run.before and all(self._order.places[each] >= run.num_fed for each in missing)
