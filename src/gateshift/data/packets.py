"""The packets of a video file: which frame each one holds, and reading them from any place on.

A *place* is a position in decoding order, the order in which packets are stored; a *number* is one in the
order in which frames are shown. One pass over the packets, which decodes nothing, relates the two.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from gateshift.errors import CutOffVideoError, NoVideoStreamError, VideoError

# FFmpeg takes any text for these by its suffix alone and draws the letters.
_TEXT_FORMATS = frozenset({"adf", "bin", "idf", "tty", "xbin"})
# These are texts that name other files and addresses, in the end themselves.
_FORMATS_OF_OTHERS = frozenset({"concat", "dash", "hls", "imf", "rtsp", "sdp"})
_FORMATS = ",".join(sorted(av.formats_available - _FORMATS_OF_OTHERS))


class PacketInfo(NamedTuple):
    """What the index needs to know of a packet; times in the stream's own unit."""

    time: int | None
    decode_time: int | None
    is_key: bool
    is_shown: bool
    is_corrupt: bool


@dataclass(frozen=True)
class PacketIndex:
    """Where the frames are; see the module for *place* and *number*."""

    times: list[int | None]  # by frame number
    numbers: dict[int | None, int]  # frame number by time
    places: dict[int | None, int]  # place by time, of all packets
    key_times: list[int]  # of the packets at which decoding can start, rising
    seek_times: dict[int, tuple[int, ...]]  # what to ask the container for, by place of a key packet

    def place_of(self, number: int) -> int:
        """Find the packet of a frame."""
        return self.places[self.times[number]]

    def start_for(self, number: int) -> int:
        """Find the place to start decoding at for a frame."""
        key = bisect_right(self.key_times, cast(int, self.times[number])) - 1
        return self.places[self.key_times[key]]


def index_packets(infos: Sequence[PacketInfo]) -> PacketIndex | None:
    """Put the frames of a file in order by their packets alone; None if the packets do not allow it."""
    times = [info.time for info in infos if info.time is not None]
    shown = sorted(time for info, time in zip(infos, times, strict=False) if info.is_shown)
    if len(times) < len(infos) or len(set(times)) < len(times) or not shown:
        return None
    key_times: list[int] = []
    seek_times: dict[int, tuple[int, ...]] = {}
    for place, (info, time) in enumerate(zip(infos, times, strict=True)):
        if info.is_key and (not key_times or time > key_times[-1]):
            key_times.append(time)
            seek_times[place] = (time,) if info.decode_time is None else (time, info.decode_time)
    # Frames before the first key frame may or may not decode, as in a recording that starts anywhere.
    if not infos[0].is_key or shown[0] < key_times[0]:
        return None
    return PacketIndex(
        times=list(shown),
        numbers={time: number for number, time in enumerate(shown)},
        places={time: place for place, time in enumerate(times)},
        key_times=key_times,
        seek_times=seek_times,
    )


class PacketSource:
    """An open file and its video stream."""

    stream: VideoStream

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        with readable(self._path):
            # Tags may be in any encoding and are not looked at.
            self._container = av.open(
                str(self._path.absolute()), metadata_errors="replace", options={"format_whitelist": _FORMATS}
            )
            try:
                self.stream = _video_stream(self._path, self._container)
            except BaseException:
                self._container.close()
                raise

    def close(self) -> None:
        self._container.close()

    def packets(self) -> Iterator[Packet[VideoStream]]:
        # An empty packet holds no frame and would tell the decoder that the file ends.
        return (packet for packet in demux(self._container, self.stream) if packet.size)

    def scan(self) -> list[PacketInfo]:
        """Look at all packets, and check that none of those that the file lists is missing."""
        codec = self.stream.codec_context.name
        infos = [
            PacketInfo(
                time=packet.pts,
                decode_time=packet.dts,
                is_key=packet.is_keyframe,
                # VP8 has frames that are only there to be referred to.
                is_shown=not packet.is_discard and (codec != "vp8" or bool(memoryview(packet)[0] & 0x10)),
                is_corrupt=is_damaged(packet),
            )
            for packet in self.packets()
        ]
        if "mp4" in self._container.format.name:  # only here the list is in the file's header
            num_listed = sum(entry.size > 0 for entry in self.stream.index_entries)
            if len(infos) < num_listed:
                raise CutOffVideoError(
                    f"{self._path}: is cut off, with {len(infos)} of the {num_listed} frames that its header "
                    "lists; write or download it again"
                )
        return infos

    def packets_from(self, place: int, index: PacketIndex | None) -> Iterator[Packet[VideoStream]]:
        """Give the packets from a place on, by a seek if the container gets it right."""
        places = index.places if index else {}
        for time in index.seek_times[place] if index else ():
            try:
                self._container.seek(time, stream=self.stream)
            except av.FFmpegError:
                continue
            packets = self.packets()
            landed = next((packet for packet in packets if places.get(packet.pts, -1) >= place), None)
            if landed is not None and places[landed.pts] == place:
                return itertools.chain([landed], packets)
        self.close()
        self._open()
        return itertools.islice(self.packets(), place, None)


def demux(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Give the packets of a stream, as PyAV does, also of a file in which further streams appear on the way."""
    with suppress(IndexError):  # PyAV looks for these in the end, when it has given all packets, and finds too few
        yield from container.demux(stream)


def is_damaged(packet: Packet[VideoStream]) -> bool:
    """Whether a packet is not what was written. FFmpeg fills up a GIF frame that is cut off, and does not say so."""
    return packet.is_corrupt or (packet.stream.codec_context.name == "gif" and _is_cut_gif(bytes(packet)))


def _is_cut_gif(data: bytes) -> bool:
    """Whether the frame of a GIF ends before it should: what comes before it, then the blocks of its pixels."""

    def table_end(place: int, flags: int) -> int:
        return place + (3 << (flags & 7) + 1 if flags & 0x80 else 0)

    place = 0
    try:
        if data.startswith(b"GIF8"):
            place = table_end(13, data[10])
        while data[place] != 0x2C:  # extensions, of blocks as well
            place = _blocks_end(data, place + 2)
        return _blocks_end(data, table_end(place + 10, data[place + 9]) + 1) > len(data)
    except IndexError:
        return True


def _blocks_end(data: bytes, place: int) -> int:
    while data[place]:
        place += 1 + data[place]
    return place + 1


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    is_cover = stream is not None and Disposition.attached_pic in stream.disposition
    if not isinstance(stream, VideoStream) or is_cover or container.format.name in _TEXT_FORMATS:
        raise NoVideoStreamError(f"{path}: has no video stream, such as a sound file; give a file with moving images")
    codec = cast("VideoCodecContext | None", stream.codec_context)
    if codec is None:
        raise VideoError(f"{path}: FFmpeg knows no decoder for its video stream; convert it to mp4 with H.264")
    codec.thread_count = 1  # readers run side by side in the workers of a loader
    return stream


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn FFmpeg's errors about a file into ours."""
    try:
        yield
    except av.FFmpegError as error:
        raise VideoError(
            f"{path}: cannot be read as a video ({error.strerror}), but must be one that FFmpeg can decode; "
            "check the file, or convert it to mp4"
        ) from error
