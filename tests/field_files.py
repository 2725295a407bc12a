"""H.264 whose frames are two fields each, which no free encoder writes: of samples as they are, uncompressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from container_files import HEIGHT, WIDTH, ffmpeg, scene

GOP = 9
IN_ORDER = tuple(range(27))
# As with a B-frame between two others: each pair is stored the other way round.
REORDERED = tuple(start + step for start in range(0, 27, GOP) for step in (0, 2, 1, 4, 3, 6, 5, 8, 7))
_LIMIT = b"\0\0\0\1\x09\xf0"  # begins each picture


class _Bits(list[int]):
    def put(self, value: int, count: int = 1) -> _Bits:
        self += [value >> place & 1 for place in reversed(range(count))]
        return self

    def code(self, *values: int) -> _Bits:
        for value in values:
            self.put(value + 1, 2 * (value + 1).bit_length() - 1)
        return self

    def flags(self, text: str) -> _Bits:
        return self.put(int(text, 2), len(text))

    def to_bytes(self) -> bytes:
        return np.packbits(self).tobytes()


def _unit(head: int, payload: bytes) -> bytes:
    escaped = bytearray()
    for byte in payload:
        if escaped[-2:] == b"\0\0" and byte <= 3:
            escaped.append(3)
        escaped.append(byte)
    return b"\0\0\0\1" + bytes([head]) + bytes(escaped)


def _headers() -> bytes:
    main = (
        _Bits().put(77, 8).put(0, 8).put(40, 8).code(0, 0, 0, 4, 2).flags("0").code(WIDTH // 16 - 1, HEIGHT // 32 - 1)
    )
    picture = _Bits().code(0, 0).flags("00").code(0, 0, 0).flags("000").code(0, 0, 0).flags("000")
    return _unit(0x67, main.flags("001001").to_bytes()) + _unit(0x68, picture.flags("1").to_bytes())


def _field(planes: Sequence[np.ndarray], *, is_bottom: bool, frame: int, order: int, is_key: bool) -> bytes:
    bits = _Bits().code(0, 7, 0).put(frame, 4).put(1).put(is_bottom)
    if is_key:
        bits.code(0)
    bits.put(order, 8).flags("00" if is_key else "0").code(0)
    data = b""
    for row in range(planes[0].shape[0] // 16):
        for column in range(WIDTH // 16):
            bits.code(25)  # samples follow
            data += bits.to_bytes()
            for plane, size in zip(planes, (16, 8, 8), strict=True):
                data += plane[row * size : (row + 1) * size, column * size : (column + 1) * size].tobytes()
            bits = _Bits()
    return _unit(0x65 if is_key else 0x61, data + bits.flags("1").to_bytes())


def _planes() -> Iterator[tuple[np.ndarray, ...]]:
    size = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-i", "-")
    data = ffmpeg(*size, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-", data=scene().tobytes())
    for frame in np.frombuffer(data, np.uint8).reshape(-1, HEIGHT * 3 // 2, WIDTH).clip(1, 254):
        small = frame[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
        yield frame[:HEIGHT], small[0], small[1]


@cache
def fields(order: tuple[int, ...]) -> list[bytes]:
    """The fields of frames in the order in which they are stored: two of each, the upper lines first."""
    frames, found, count = list(_planes()), [], 0
    for number in order:
        count = 0 if number % GOP == 0 else count + 1
        for is_bottom in (False, True):
            is_key = number % GOP == 0 and not is_bottom
            lines = [plane[is_bottom::2] for plane in frames[number]]
            place = {"frame": count % 16, "order": 2 * (number % GOP) + is_bottom, "is_key": is_key}
            coded = _field(lines, is_bottom=is_bottom, **place)
            found.append(_LIMIT + (_headers() if is_key else b"") + coded)
    return found


def write_fields(path: Path, order: tuple[int, ...], *, together: bool) -> None:
    """Write them to a file, each as a packet, or both of a frame as one."""
    packets = fields(order)
    raw = path.with_suffix(".h264")
    raw.write_bytes(b"".join(packets))
    if path == raw:
        return
    step = 2 if together else 1
    with av.open(str(raw)) as read, av.open(str(path), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for place in range(0, len(packets), step):
            packet = av.Packet(b"".join(packets[place : place + step]))
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 50), place % (2 * GOP) == 0
            packet.pts, packet.dts = 2 * order[place // 2] + place % 2 + 4, place + 2
            written.mux(packet)
