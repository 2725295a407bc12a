"""Which packet of a file holds which frame: by the times that the file gives, or by decoding it once.

A *place* is a position in decoding order, the order in which packets are stored; a *number* is one in the
order in which frames are shown. Arithmetic alone: no file is opened here.

Times cannot always be trusted. AVI and raw streams have none, and those that FFmpeg makes up follow the order of
decoding; some mp4 and flv files have lost what tells the two orders apart; in joined streams the clock goes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

NO_TIME = np.iinfo(np.int64).min
_MAX_REORDERED = 32  # 16 pictures, each of two fields
# Where a packet stands in the order of showing is written in these alone; of the others, FFmpeg guesses it.
_FORMATS_WITH_TIMES = frozenset({"mov", "matroska", "webm", "mpegts", "mpeg", "flv", "nut", "mxf", "gxf"})
# Of other codecs with frames out of order, FFmpeg guesses times that a container lacks, and writes them into the next.
_CODECS_WITH_OWN_TIMES = frozenset({"h264", "hevc", "vvc"})
_CODECS_WITH_OTHER_PACKETS = frozenset({"dirac"})  # which hold no frame, as at the end
# From one packet to the next, a clock that goes on by more than this many steps was set anew.
_JOIN_STEPS = 25


@dataclass(frozen=True)
class PacketTable:
    """What is known of the packets of a file, by place; times in the stream's own unit, NO_TIME where there is none.

    Attributes:
        times: When the frame of each is shown, int64.
        decode_times: When each is decoded, int64.
        positions: Where each begins in the file, in bytes, int64; -1 where that is unknown.
        sizes: In bytes, int32.
        is_key: Whether decoding can start at it.
        is_shown: Whether it holds a frame that is shown.
        is_damaged: Whether it is not what was written.
        by_position: Places in the order of ``positions``, int32.
    """

    times: NDArray[np.int64]
    decode_times: NDArray[np.int64]
    positions: NDArray[np.int64]
    sizes: NDArray[np.int32]
    is_key: NDArray[np.bool_]
    is_shown: NDArray[np.bool_]
    is_damaged: NDArray[np.bool_]
    by_position: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.times)

    def place_of(self, position: int, size: int) -> int:
        """The place of the only packet that begins there and has this size; -1 if there is none, or are several."""
        first, end = np.searchsorted(self.positions, (position, position + 1), sorter=self.by_position)
        found = self.by_position[first:end]
        found = found[self.sizes[found] == size]
        return int(found[0]) if len(found) == 1 else -1


@dataclass(frozen=True)
class FrameOrder:
    """Where the frames are; see the module for *place* and *number*.

    Attributes:
        places: Place of each frame, by number, int32.
        numbers: Frame number by place, int32; -1 for a packet whose frame is not shown.
        values: A number that rises with the frames, by frame number.
        start_values: The same for the packets at which decoding can start, rising.
        start_places: Their places.
        is_sure: Whether the order is beyond doubt; otherwise decoding is to show it.
        is_counted: Whether packets do not tell their frames, so that these are counted by decoding from the start.
    """

    places: NDArray[np.int32]
    numbers: NDArray[np.int32]
    values: NDArray[np.int64]
    start_values: NDArray[np.int64]
    start_places: NDArray[np.int64]
    is_sure: bool
    is_counted: bool = False

    def __len__(self) -> int:
        return len(self.places)

    def start_for(self, number: int) -> int:
        """Find the place to start decoding at for a frame."""
        key = int(np.searchsorted(self.start_values, self.values[number], side="right")) - 1
        return int(self.start_places[key])

    def from_the_start(self) -> FrameOrder:
        """The same for a file in which decoding can start at its first packet alone."""
        return replace(self, start_values=self.start_values[:1], start_places=self.start_places[:1])

    def last_place_of(self, numbers: Sequence[int]) -> int:
        """The last packet that decoding some frames takes: of one that has two packets, its second."""
        last = int(self.places[list(numbers)].max())
        return last + int(self.numbers[last + 1 : last + 2].tolist() == [-1])

    def first_from(self, place: int) -> int:
        """The first frame that decoding from such a place gives, but for those shown before its key frame."""
        key = int(np.searchsorted(self.start_places, place))
        return int(np.searchsorted(self.values, self.start_values[key]))


def order_by_times(packets: PacketTable, format_name: str, codec: str, reorder_depth: int) -> FrameOrder | None:
    """Put the frames of a file in order by the times of their packets.

    Args:
        packets: All of the file.
        format_name: FFmpeg's names of the container.
        codec: FFmpeg's name of the codec.
        reorder_depth: How many frames the decoder holds back to put them in order, as the codec's headers say.

    Returns:
        The order; None if the packets do not tell it.
    """
    if codec in _CODECS_WITH_OTHER_PACKETS:
        return None
    has_times = says_times(format_name)
    times, shown = packets.times, np.flatnonzero(packets.is_shown)
    if not len(shown) or (times == NO_TIME).any() or (reorder_depth and not has_times):
        return None
    by_time = np.argsort(times, kind="stable")
    ranks = np.empty_like(by_time)
    ranks[by_time] = np.arange(len(times))
    depth = int((np.arange(len(times)) - ranks).max())  # how far a frame is shown before its place
    known = packets.decode_times[packets.decode_times != NO_TIME]
    goes_back = (np.diff(known) < 0).any() or (np.diff(times[by_time]) == 0).any()
    if goes_back or depth > (_MAX_REORDERED if has_times else 0):
        return None
    places = by_time[packets.is_shown[by_time]]
    starts = np.flatnonzero(packets.is_key)
    # Frames before the first key frame may or may not decode, as in a recording that starts anywhere.
    if not packets.is_key[0] or times[places[0]] < times[0]:
        return None
    latest = np.maximum.accumulate(times[starts])
    starts = starts[np.concatenate([[True], times[starts][1:] > latest[:-1]])]
    return FrameOrder(
        places=places.astype(np.int32),
        numbers=_numbers(places, len(packets)),
        values=times[places],
        start_values=times[starts],
        start_places=starts,
        # Frames that are all shown as they are stored, of a codec that says otherwise, have lost their times.
        is_sure=reorder_depth == 0 or (depth > 0 and codec in _CODECS_WITH_OWN_TIMES),
    )


def order_by_decoding(places: Sequence[int], packets: PacketTable) -> FrameOrder:
    """Put the frames of a file in the order in which a decoder gave them all.

    Args:
        places: The place of the packet of each frame; -1 where the decoder did not tell it.
        packets: All of the file.
    """
    found = np.array(places, np.int32)
    is_counted = bool((found < 0).any()) or len(np.unique(found)) < len(found)
    numbers = np.full(len(packets), -1, np.int32) if is_counted else _numbers(found, len(packets))
    starts = np.flatnonzero(packets.is_key & (numbers >= 0))
    later = starts[(starts > 0) & (numbers[starts] > 0)]
    later = later[np.concatenate([[True], np.diff(np.maximum.accumulate(numbers[later])) > 0])] if len(later) else later
    return FrameOrder(
        places=found,
        numbers=numbers,
        values=np.arange(len(found)),
        start_values=np.concatenate([[0], numbers[later]]),
        start_places=np.concatenate([[0], later]),
        is_sure=True,
        is_counted=is_counted,
    )


def _numbers(places: NDArray[np.signedinteger[Any]], num_packets: int) -> NDArray[np.int32]:
    numbers = np.full(num_packets, -1, np.int32)
    numbers[places] = np.arange(len(places))
    return numbers


def shown_times(
    order: FrameOrder, packets: PacketTable, format_name: str, reorder_depth: int
) -> NDArray[np.int64] | None:
    """When each frame is shown, in the stream's unit, never decreasing; None where the file does not say it.

    Two frames may have one time, as those that follow each other within a millisecond in mkv and webm.
    """
    if order.is_counted or (reorder_depth and not says_times(format_name)):
        return None
    # Without frames out of order, that is when they are decoded; what FFmpeg makes of it may be a frame late.
    all_times = packets.times if says_times(format_name) else packets.decode_times
    times = all_times[order.places]
    is_wrong = (times == NO_TIME).any() or (np.diff(times) < 0).any() or (len(times) > 1 and times[0] == times[-1])
    return None if is_wrong else times


def slot_times(order: FrameOrder, packets: PacketTable, reorder_depth: int) -> NDArray[np.int64] | None:
    """When each frame is shown where a file says no more than when its packets are decoded, as AVI: with its gaps.

    A frame leaves the decoder with the packet that is ``reorder_depth`` further on.

    Returns:
        As of ``shown_times``, from 0 on, rising; None where the file does not say that either.
    """
    times = packets.decode_times[np.sort(order.places)]
    if order.is_counted or (times == NO_TIME).any() or (np.diff(times) <= 0).any() or len(times) <= reorder_depth + 1:
        return None
    following = times[-1] + (times[-1] - times[-2]) * np.arange(1, reorder_depth + 1)
    return cast("NDArray[np.int64]", np.concatenate([times[reorder_depth:], following]) - times[reorder_depth])


def says_times(format_name: str) -> bool:
    """Whether files of a container, by FFmpeg's names of it, say when their frames are shown."""
    return not _FORMATS_WITH_TIMES.isdisjoint(format_name.split(","))


def joins(packets: PacketTable) -> NDArray[np.int64]:
    """Places of the packets at which another recording begins, as where two transport streams were joined.

    The clock goes back there, or far on behind a packet that seems damaged, as the count of its stream breaks off.
    """
    times = packets.decode_times
    if len(times) < 3 or (times == NO_TIME).any():
        return np.empty(0, np.int64)
    steps = np.diff(times)
    is_far = steps > _JOIN_STEPS * max(float(np.median(steps)), 1.0)
    seems_damaged = packets.is_damaged[:-1] | np.concatenate([[False], packets.is_damaged[:-2]])
    return np.flatnonzero(((steps < 0) | (is_far & seems_damaged)) & packets.is_key[1:]) + 1
