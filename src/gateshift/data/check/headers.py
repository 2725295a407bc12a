"""What a video file says of itself in its headers, and whether that is there: its bytes, and its duration."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import IO

import av

from gateshift.data.video.index import readable

# Of these alone the header says how long they last; of others FFmpeg guesses it.
_FORMATS_WITH_DURATION = ("mp4", "matroska", "avi", "flv", "asf")
_HEAD_BYTES = 4096
_ASF, _ASF_FILE = (
    bytes.fromhex(text) for text in ("3026b2758e66cf11a6d900aa0062ce6c", "a1dcab8c47a9cf118ee400c00c205365")
)
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # of Matroska and WebM
_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"uuid", b"mfra"})


def missing_bytes(path: Path) -> int:
    """How many bytes at the end of a file are missing of what its outermost headers list; 0 where these do not say.

    Args:
        path: An existing file; those of mp4, mov, webm, mkv, avi and wmv say it.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        end = 0
        if head[:4] == b"RIFF":
            end = 8 + int.from_bytes(head[4:8], "little")
        elif head[:4] == _EBML:
            end = _segment_end(head)
        elif head[:16] == _ASF and _ASF_FILE in head:
            place = head.index(_ASF_FILE) + 40
            end = int.from_bytes(head[place : place + 8], "little")
        elif head[4:8] in _BOXES:
            end = _last_box_end(file, size)
    return max(end - size, 0)


def _last_box_end(file: IO[bytes], size: int) -> int:
    """Where the last of the outermost boxes of an mp4 file ends, up to the first that is none."""
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if kind not in _BOXES or length < 8:  # 0 stands for all that follows
            break
        place += length
    return place


def _segment_end(head: bytes) -> int:
    """Where the segment of a Matroska file ends; 0 if it does not say."""
    with suppress(IndexError):
        length, place = _read_length(head, 4)
        place += length or 0
        if length is not None and head[place : place + 4] == _SEGMENT:
            length, place = _read_length(head, place + 4)
            return 0 if length is None else place + length
    return 0


def _read_length(data: bytes, place: int) -> tuple[int | None, int]:
    """A number of as many bytes as its first has zeros in front, and its end; None for all ones, which is unknown."""
    num_bytes = 9 - data[place].bit_length()
    ones = (1 << 7 * num_bytes) - 1
    value = int.from_bytes(data[place : place + num_bytes], "big") & ones
    return None if value == ones else value, place + num_bytes


def durations_s(path: Path) -> tuple[float, float] | None:
    """How long a file says that it lasts, and how long what is in it lasts, sound too; in seconds.

    None where it does not say, or has no times. What begins late lasts from 0 on, as some headers count.

    Raises:
        VideoError: If it cannot be read.
    """
    start_s, end_s = float("inf"), float("-inf")
    with readable(path), av.open(str(path.absolute()), metadata_errors="replace") as container:
        if not container.duration or not any(name in container.format.name for name in _FORMATS_WITH_DURATION):
            return None
        with suppress(IndexError):  # of PyAV in the end, where streams have appeared on the way
            for packet in container.demux():
                if packet.pts is not None and packet.time_base is not None and packet.size:
                    start_s = min(start_s, float(packet.pts * packet.time_base))
                    end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        return (container.duration / av.time_base, end_s - min(start_s, 0.0)) if end_s > start_s else None
