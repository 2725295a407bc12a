"""The frames of a video file by number, through FFmpeg.

Decoding starts at the last key frame before the wanted frame, or simply goes on where that skips nothing, and
stops at the wanted frame. On the way, frames that are not wanted and that no other frame is predicted from are left
out. Where the packets cannot be trusted, frames are counted by decoding from the start.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from av.video.frame import VideoFrame

from gateshift.data.packets import PacketInfo, PacketSource, index_packets, is_damaged, readable
from gateshift.errors import EmptyVideoError, VideoError

# A frame leaves the decoder at most this many packets after its own: 16 pictures, each of two fields.
_MAX_DELAY_PACKETS = 32
_NEVER = sys.maxsize
# Where a frame itself says that no other is predicted from it, without exception. HEVC's frames say so for their own
# temporal layer alone.
_CODECS_TO_SKIP_IN = frozenset({"h264"})


def frames_between(times_s: Sequence[float], start_s: float | None, end_s: float | None) -> range:
    """Numbers of the frames that are shown from ``start_s`` on and before ``end_s``; None is the video's own end.

    >>> frames_between([0.0, 0.5, 1.0, 1.5], 0.5, 1.5)
    range(1, 3)
    """
    start = 0 if start_s is None else bisect_left(times_s, start_s)
    return range(start, len(times_s) if end_s is None else bisect_left(times_s, end_s))


class FrameDecoder:
    """Decodes the frames of a file one at a time, in one thread; frame 0 is the one shown first.

    Attributes:
        num_frames: How many frames the file has, at least 1.
    """

    num_frames: int

    def __init__(self, path: Path) -> None:
        """Open and index a file.

        Args:
            path: An existing file.

        Raises:
            VideoError: If the file is not a video that FFmpeg can decode, is cut off or has no frames.
        """
        self._path = path
        self._frames: Iterator[tuple[int, VideoFrame]] | None = None  # the decoding under way, numbered
        self._next_frame = 0  # the least number that it may still give
        self._num_fed = 0  # packets it has taken, counted from the first of the file
        self._is_sound = True  # nothing was damaged since its last key frame
        self._wanted: frozenset[int] = frozenset()  # frames that it must give
        self._left_out: set[int] = set()  # frames that it can no longer give
        self._source: PacketSource | None = PacketSource(path)
        self._skips = self._source.stream.codec_context.name in _CODECS_TO_SKIP_IN
        self._last_place: int | None = None  # of the packets that it may take; None before the first call
        try:
            with readable(path):
                infos = self._source.scan()
                self._index = index_packets(infos)
                self._times = self._index.times if self._index else self._count_frames(infos)
        except BaseException:
            self.close()
            raise
        self.num_frames = len(self._times)
        if not self._times:
            self.close()
            raise EmptyVideoError(f"{path}: its video stream has no frame; write or download it again")

    def close(self) -> None:
        """Free the decoder and the file. Closing twice is harmless."""
        self._frames = None
        if self._source is not None:
            self._source.close()
            self._source = None

    def times_s(self) -> list[float]:
        """Say when each frame is shown.

        Returns:
            Seconds after the first frame [num_frames], never decreasing.

        Raises:
            VideoError: If the file has neither times nor a frame rate.
        """
        stream = self._opened().stream
        times = [time for time in self._times if time is not None]
        step = stream.time_base
        if step and len(times) == self.num_frames and times == sorted(times):
            return [(time - times[0]) * step.numerator / step.denominator for time in times]
        rate = stream.average_rate
        if not rate:
            raise VideoError(
                f"{self._path}: has neither frame times nor a frame rate, which a time in seconds needs; "
                "give no start_s and end_s, or convert it to mp4"
            )
        return [number * rate.denominator / rate.numerator for number in range(self.num_frames)]

    def decode(self, numbers: Sequence[int]) -> Iterator[VideoFrame]:
        """Decode frames, one at a time; going forward is fast.

        Args:
            numbers: Which frames, each in 0..num_frames - 1, rising. Only frames before the last of them are left
                out on the way, so that a decoder asked for one frame after the other never goes back.

        Yields:
            Each frame as FFmpeg gives it: in its own pixel format, not turned upright.

        Raises:
            VideoError: If a frame is damaged or missing, or the decoder was closed.
        """
        is_first_call = self._last_place is None
        self._last_place = _NEVER
        if is_first_call and self._index is not None and self._skips:
            # Most videos are read once. The frames that are behind then need not be pushed out by those that follow.
            self._last_place = max(map(self._index.place_of, numbers))
        for number in numbers:
            self._wanted = frozenset(numbers)
            yield self._decode(number)
        if self._last_place != _NEVER:
            self._frames = None  # it was told that the file ends there

    def _decode(self, number: int) -> VideoFrame:
        source = self._opened()
        start = self._index.start_for(number) if self._index else 0
        is_past = number < self._next_frame or number in self._left_out
        if self._frames is None or is_past or start > self._num_fed:
            self._start_at(source, start)
        frame = self._advance_to(number)
        if frame is None and (start > 0 or self._left_out):
            # Some key frames only begin a gradual refresh: what follows still needs what came before.
            self._wanted = frozenset(range(self.num_frames))
            self._start_at(source, 0)
            frame = self._advance_to(number)
        if frame is None:
            raise VideoError(
                f"{self._path}: frame {number} of {self.num_frames} cannot be decoded, as the file is "
                "damaged or cut off; write or download it again"
            )
        return frame

    def _opened(self) -> PacketSource:
        if self._source is None:
            raise VideoError(f"{self._path} was closed, but only an open video can be read; open it again")
        return self._source

    def _count_frames(self, infos: Sequence[PacketInfo]) -> list[int | None]:
        if any(info.is_corrupt for info in infos):
            raise VideoError(
                f"{self._path}: is damaged or cut off, and its frames can only be counted if all can be "
                "decoded; write or download it again"
            )
        return [frame.pts for frame in self._decode_from(self._opened(), 0)]

    def _start_at(self, source: PacketSource, place: int) -> None:
        self._next_frame = 0
        self._num_fed = place
        self._is_sound = True
        self._left_out = set()
        frames = self._decode_from(source, place)
        if self._index is None:
            self._frames = enumerate(frames)
        else:
            numbers = self._index.numbers
            self._frames = ((numbers[frame.pts], frame) for frame in frames if frame.pts in numbers)

    def _advance_to(self, number: int) -> VideoFrame | None:
        """Go on decoding to a frame; None if it does not come or is damaged."""
        frames, self._frames = self._frames or iter(()), None  # an end or an error ends this decoding
        last_packet = _MAX_DELAY_PACKETS + (self._index.place_of(number) if self._index else number)
        try:
            for given, frame in frames:
                self._next_frame = max(self._next_frame, given + 1)
                # FFmpeg marks the frame that it patched up, but not those that were predicted from it.
                self._is_sound = not frame.is_corrupt and (self._is_sound or frame.key_frame)
                if given == number:
                    self._frames = frames
                    return frame if self._is_sound else None
                if given > number and self._num_fed > last_packet:
                    break
        except av.FFmpegError:
            pass  # a frame that is not wanted may be beyond the damage, so the caller decides
        return None

    def _decode_from(self, source: PacketSource, place: int) -> Iterator[VideoFrame]:
        for packet in source.packets_from(place, self._index):
            if is_damaged(packet):
                break  # what the decoder made of it and of those after it would pass for frames
            self._num_fed += 1
            source.stream.codec_context.skip_frame = "NONREF" if self._leaves_out(packet.pts) else "DEFAULT"
            yield from source.stream.decode(packet)
            if self._last_place is not None and self._num_fed > self._last_place:
                break
        yield from source.stream.decode(None)

    def _leaves_out(self, time: int | None) -> bool:
        """Whether to leave out the frame of a time, if no other needs it; noted, as it cannot be given then."""
        if self._index is None or not self._skips:
            return False
        number = self._index.numbers.get(time)
        if number is None or number in self._wanted or number > max(self._wanted, default=-1):
            return False
        self._left_out.add(number)
        return True
