"""The packets of a video file: looking at all of them, and reading them from any place on.

A *place* is a position in decoding order, the order in which packets are stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, cast

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from gateshift.data.video.fields import FieldPairs
from gateshift.data.video.frame_order import NO_TIME, PacketTable
from gateshift.data.video.images import IMAGE_FORMATS, no_video
from gateshift.errors import CutOffVideoError, NoVideoStreamError, VideoError

# FFmpeg takes any text for these by its suffix alone and draws the letters.
_TEXT_FORMATS = frozenset({"adf", "bin", "idf", "tty", "xbin"})
# These are texts that name other files and addresses, in the end themselves.
_FORMATS_OF_OTHERS = frozenset({"concat", "dash", "hls", "imf", "rtsp", "sdp"})
_INTRA_CODECS = frozenset({"cfhd"})  # beside those of which FFmpeg says it
_TS_BYTES, _TS_PACKETS = 188, 64  # of a packet of a transport stream; how many are looked at
_PACKETS_BEFORE = 8  # to ask for where a seek is not exact
_NO_TIMES = cast(int, Flags.no_timestamps.value)
_FORMATS = ",".join(sorted(av.formats_available - _FORMATS_OF_OTHERS))


class WrongSeekError(Exception):
    """A container did not go to where it was asked to; the packets are to be asked for again."""


class PacketSource:
    """An open file and its video stream.

    Attributes:
        stream: The video stream.
        size_px: Width and height of a frame, as the file's headers say.
        pixel_aspect: Width of a pixel, divided by its height.
        codec_name: FFmpeg's name of the codec.
        is_intra: Whether no frame of this codec is predicted from others.
        format_name: FFmpeg's names of the container.
        start_s: When the file's clock begins, in the time of its streams: at the first of its sound and its pictures.
        has_palette: Whether a frame may need what came with the first packet alone.
        is_raw: Whether there is no container, so that FFmpeg makes up all times.
        is_open: Whether it can be read.
    """

    stream: VideoStream
    is_open = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()
        self.format_name = self._container.format.name
        self.start_s = (self._container.start_time or 0) / av.time_base
        self.is_raw = bool(self._container.format.flags & _NO_TIMES)
        codec = self.stream.codec_context
        self.size_px = codec.width, codec.height
        self.pixel_aspect = self.stream.sample_aspect_ratio or Fraction(1)
        self.codec_name = codec.name
        self.is_intra = codec.codec.intra_only or codec.name in _INTRA_CODECS
        self.has_palette = codec.pix_fmt == "pal8" or codec.name == "gif"
        self._seeks = not self.has_palette

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
        self.is_open = True

    def close(self) -> None:
        self.is_open = False
        self._container.close()

    @property
    def reorder_depth(self) -> int:
        """How many frames the decoder holds back to put them in order; decoding may show that these are more."""
        return self.stream.codec_context.reorder_depth

    @property
    def rate(self) -> Fraction | None:
        """Frames a second. FFmpeg takes 25 for the rate of every raw stream, whatever the codec's headers say."""
        return (self.stream.guessed_rate if self.is_raw else None) or self.stream.average_rate

    def packets(self) -> Iterator[Packet[VideoStream]]:
        # An empty packet holds no frame and would tell the decoder that the file ends.
        return (packet for packet in demux(self._container, self.stream) if packet.size)

    def scan(self) -> PacketTable:
        """Look at all packets, and check that none of those that the file lists is missing, and that it is no image."""
        shows_frame = _shown(self.stream.codec_context)
        rows = [
            (
                NO_TIME if packet.pts is None else packet.pts,
                NO_TIME if packet.dts is None else packet.dts,
                -1 if packet.pos is None else packet.pos,
                packet.size,
                packet.is_keyframe,
                shows_frame(packet) and not packet.is_discard,
                is_damaged(packet),
            )
            for packet in self.packets()
        ]
        if len(rows) == 1 and self.format_name.endswith(IMAGE_FORMATS):
            raise no_video(self._path)
        if "mp4" in self.format_name:  # only here the list is in the file's header
            num_listed = sum(entry.size > 0 for entry in self.stream.index_entries)
            if len(rows) < num_listed:
                raise CutOffVideoError(
                    f"{self._path}: is cut off, with {len(rows)} of the {num_listed} frames that its header "
                    "lists; write or download it again"
                )
        columns = np.array(rows, np.int64).reshape(len(rows), 7).T
        times, is_shown = columns[0].copy(), columns[5].astype(bool)
        # Both fields of a frame may have come with one time.
        lacking = 1 + np.flatnonzero((times[1:] == NO_TIME) & ~is_shown[1:] & (times[:-1] != NO_TIME))
        times[lacking] = times[lacking - 1] + 1
        by_position = np.argsort(columns[2], kind="stable").astype(np.int32)
        decode_times, positions = columns[1].copy(), columns[2].copy()
        sizes, is_key, damaged = columns[3].astype(np.int32), columns[4].astype(bool), columns[6].astype(bool)
        return PacketTable(times, decode_times, positions, sizes, is_key, is_shown, damaged, by_position)

    def segments(self, table: PacketTable) -> list[int]:
        """Places behind a packet that seems damaged at which a segment of a transport stream begins, as HLS has them.

        Joined segments may have one clock, and each its own count of packets.
        """
        damaged = np.flatnonzero(table.is_damaged)
        places = np.unique(np.concatenate([damaged + 1, damaged + 2]))
        if self.format_name != "mpegts" or not len(places):
            return []
        with self._path.open("rb") as file:
            starts = places[places < len(table)]
            return [
                place for place in starts if table.is_key[place] and _counts_anew(file, int(table.positions[place]))
            ]

    def decode(self, place: int, packet: Packet[VideoStream], *, skips: bool = False) -> list[VideoFrame]:
        """Give a packet to the decoder, and get the frames that leave it.

        Args:
            place: Its place, which its frame remembers.
            packet: The packet.
            skips: Whether to leave its frame out if no other needs it.
        """
        packet.opaque = (place,)  # new for each, as PyAV forgets an object with the first frame that had it
        self.stream.codec_context.skip_frame = "NONREF" if skips else "DEFAULT"
        return self.stream.decode(packet)

    def packets_from(self, place: int, table: PacketTable) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """Give the packets from a place on with their places, by a seek if the container gets it right.

        Raises:
            WrongSeekError: If a packet after a seek is another than stood there when all were looked at. From then on
                there are no seeks.
        """
        for time in self._seek_times(place, table):
            try:
                self._container.seek(time, stream=self.stream)
            except av.FFmpegError:
                continue
            packets = self.packets()
            landed = self._land(packets, place, table)
            if landed is not None:
                return self._checked(itertools.chain([landed], packets), place, table)
        self.close()
        self._open()
        return itertools.islice(enumerate(self.packets()), place, None)

    def _seek_times(self, place: int, table: PacketTable) -> list[int]:
        """What to ask the container for."""
        if not len(table) or not self._seeks or table.positions[place] < 0:
            return []
        # Program streams begin with parts of packets after a seek, and are whole a few packets later.
        before = table.decode_times[max(place - _PACKETS_BEFORE, 0)]
        times = (int(table.times[place]), int(table.decode_times[place]), int(before))
        return [time for time in dict.fromkeys(times) if time != NO_TIME]

    def _land(
        self, packets: Iterator[Packet[VideoStream]], place: int, table: PacketTable
    ) -> Packet[VideoStream] | None:
        """The wanted packet, if it comes among those after a seek."""
        for packet in packets:
            landed = table.place_of(*_mark_of(packet))
            if landed >= place:
                return packet if landed == place else None
        return None

    def _checked(
        self, packets: Iterator[Packet[VideoStream]], place: int, table: PacketTable
    ) -> Iterator[tuple[int, Packet[VideoStream]]]:
        for here, packet in enumerate(packets, start=place):
            if here >= len(table) or _mark_of(packet) != (table.positions[here], table.sizes[here]):
                self._seeks = False
                raise WrongSeekError
            yield here, packet


def _mark_of(packet: Packet[VideoStream]) -> tuple[int, int]:
    return -1 if packet.pos is None else packet.pos, packet.size


def _counts_anew(file: IO[bytes], position: int) -> bool:
    """Whether a packet of a transport stream and the table of its programs before it both are the first of a count."""
    start = max(position % _TS_BYTES, position - _TS_PACKETS * _TS_BYTES)
    file.seek(start)
    data = file.read(position - start + _TS_BYTES)
    heads = [data[place : place + 4] for place in range(0, len(data) - 3, _TS_BYTES)]
    tables = [head[3] for head in heads if head[0] == 0x47 and head[1] & 0x1F == 0 and head[2] == 0]
    return bool(tables) and tables[-1] & 0xF == 0 and heads[-1][3] & 0xF == 0


def demux(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Give the packets of a stream, as PyAV does, also of a file in which further streams appear on the way."""
    with suppress(IndexError):  # PyAV looks for these in the end, when it has given all packets, and finds too few
        yield from container.demux(stream)


def _shown(codec: VideoCodecContext) -> Callable[[Packet[VideoStream]], bool]:
    """What tells of one packet after the other whether a frame is shown for it."""
    if codec.name == "h264":
        pairs = FieldPairs(codec.extradata or b"")
        if pairs.has_fields:
            return lambda packet: not pairs.is_second(memoryview(packet))
    if codec.name == "vp8":  # it has frames that are only there to be referred to
        return lambda packet: bool(memoryview(packet)[0] & 0x10)
    return lambda _: True


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
    codec.copy_opaque = True  # a frame tells which packet it came from
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
