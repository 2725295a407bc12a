"""The frames of a video packed into one file: an uncompressed zip of images, of which any can be read at once.

Nothing of such a file is ever written to disk, and no more is read than its table of contents and the wanted images.
Python's ``zipfile`` understands every zip, but makes an object of each file in it: to open 300 frames and read 8 takes
a third longer by it. In a zip written here the table of contents is an array of equal records, and is taken as that.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gateshift.data.video.images import IMAGE_SUFFIXES, decode_image
from gateshift.data.video.protocol import Video, count_kept, natural_order
from gateshift.errors import VideoError

PACKED_SUFFIX = ".zip"
FRAME_NAME = "{:05d}.jpg"  # numbers from 1, as the original code's ffmpeg wrote them

_COMMENT = b"gateshift frames, short side at most "
_NAME_LENGTH = 9  # 00001.jpg
_MAX_FILES = 65_534  # more need another form of table
_END = struct.Struct("<4s4H2LH")  # of the zip, which says where the table is; the comment follows
_LOCAL_HEADER = struct.Struct("<4s22x2H")  # of a file; its name and what else is noted follow, then the file
_RECORD = np.dtype(
    {
        "names": ["signature", "flags", "method", "crc", "size", "name_length", "extra_length", "offset"],
        "formats": ["V4", "<u2", "<u2", "<u4", "<u4", "<u2", "<u2", "<u4"],
        "offsets": [0, 8, 10, 16, 24, 28, 30, 42],
        "itemsize": 46 + _NAME_LENGTH,
    }
)
_FIELDS = np.dtype([("flags", "u2"), ("method", "u2"), ("crc", "u4"), ("size", "u8"), ("offset", "u8")])
_ENCRYPTED = 0x1  # a flag


@dataclass(frozen=True)
class PackedFiles:
    """How ``prepare --pack`` keeps the frames of a video.

    Attributes:
        short_side_px: What larger frames are resized to.
        folder: Where they lie in the folder of the lists.
        suffix: Of their names.
        jpeg_quality: Of the images.
    """

    short_side_px: int
    folder: str = "packed"
    suffix: str = PACKED_SUFFIX
    # As true to the video as the JPEGs of the original code (ffmpeg -qscale:v 2) and as large; 95 takes a fifth longer
    # to decode.
    jpeg_quality: int = 90

    def is_whole(self, target: Path, num_frames: int) -> bool:
        """Whether a file of so many frames of this size is there."""
        try:
            with closing(_ImageZip(target, self._comment)) as packed:
                return packed.is_ours and len(packed) == num_frames
        except Exception:  # whatever else it is
            return False

    def write(self, target: Path, images: Iterable[bytes]) -> None:
        """Write images, each the bytes of a JPEG file; the same images give the same bytes."""
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as written:
            written.comment = self._comment
            for number, data in enumerate(images, start=1):
                written.writestr(zipfile.ZipInfo(FRAME_NAME.format(number)), data)

    @property
    def _comment(self) -> bytes:
        return _COMMENT + f"{self.short_side_px} px".encode()


class PackedFrames(Video):
    """A zip of images as a ``Video``, in the natural order of their names, wherever in the zip they lie."""

    def __init__(self, path: str | PathLike[str], *, num_frames: int | None = None) -> None:
        """Open the file; arguments and errors are those of ``open_video``."""
        super().__init__(path)
        try:
            self._zip = _ImageZip(self._path, _COMMENT)
        except Exception as error:  # a damaged table brings about whatever it does
            raise VideoError(
                f"{self._path}: is not a zip that can be read ({error}); pack the video again by gateshift prepare"
            ) from error
        try:
            if not len(self._zip):
                raise VideoError(
                    f"{self._path}: no image is in this zip; put the frames of one video in it, as "
                    f"{' '.join(sorted(IMAGE_SUFFIXES))}"
                )
            self.num_frames = count_kept(self._path, len(self._zip), num_frames)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the file. Closing twice is harmless."""
        self._zip.close()
        super().close()

    def _pixels(self, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        if self._zip.is_closed:
            raise VideoError(f"{self._path} was closed, but only an open video can be read; open it again")
        for number in numbers:
            where = f"{self._path}, frame {number}"
            try:
                data = self._zip.read(number)
            except (OSError, ValueError) as error:
                raise VideoError(f"{where}: is {error}; pack the video again by gateshift prepare") from error
            yield decode_image(data, where, self._spare)


class _ImageZip:
    """The images of a zip of stored files, open for reading, in the natural order of their names.

    Attributes:
        is_ours: Whether ``PackedFiles`` wrote it, with a comment that begins as wanted.
    """

    def __init__(self, path: Path, comment: bytes) -> None:
        """Open a zip.

        Raises:
            OSError: If it cannot be read.
            Exception: Of ``zipfile``, its own and whatever damaged numbers bring about, if it is no zip.
        """
        self._file: IO[bytes] = path.open("rb", buffering=0)  # what is read is read whole
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            ours = _equal_records(self._file, self._size, comment)
            self.is_ours = ours is not None
            self._records = _any_records(self._file) if ours is None else ours
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._records)

    @property
    def is_closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        self._file.close()

    def read(self, place: int) -> bytes:
        """Read one image file.

        Raises:
            ValueError: If it is damaged, or not stored as it is.
            OSError: If it cannot be read.
        """
        record = self._records[place]
        offset, size, crc = int(record["offset"]), int(record["size"]), int(record["crc"])
        if record["method"] != zipfile.ZIP_STORED or record["flags"] & _ENCRYPTED:
            raise ValueError("compressed or encrypted, and must be stored as it is, as by zip -0")
        if offset + _LOCAL_HEADER.size + size > self._size:
            raise ValueError("cut off")
        self._file.seek(offset)
        data = self._file.read(_LOCAL_HEADER.size + _NAME_LENGTH + size)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(data)
        start = _LOCAL_HEADER.size + name_length + extra_length
        if start + size > len(data):  # of another zip, whose names are longer
            self._file.seek(offset)
            data = self._file.read(start + size)
        data = data[start : start + size]
        if signature != b"PK\x03\x04" or len(data) != size or zlib.crc32(data) != crc:
            raise ValueError("damaged")
        return data


def _any_records(file: IO[bytes]) -> NDArray[Any]:
    """The images of any zip."""
    infos = [info for info in zipfile.ZipFile(file).infolist() if _is_image(info.filename)]
    infos.sort(key=lambda info: natural_order(info.filename))
    fields = [(info.flag_bits, info.compress_type, info.CRC, info.file_size, info.header_offset) for info in infos]
    return np.array(fields, _FIELDS)


def _equal_records(file: IO[bytes], file_size: int, comment: bytes) -> NDArray[Any] | None:
    """The table of contents of a zip of ours; None if it is another, or has other names in it."""
    file.seek(max(file_size - _END.size - 2 * len(comment), 0))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or not tail[at + _END.size :].startswith(comment):
        return None
    *_, num_files, table_size, table_offset, _ = _END.unpack_from(tail, at)
    if not 0 < num_files <= _MAX_FILES or table_size != num_files * _RECORD.itemsize:
        return None
    file.seek(table_offset)
    table = file.read(table_size)
    if len(table) != table_size:
        return None
    records = np.frombuffer(table, _RECORD)  # [num_files]
    is_record = records["signature"] == np.void(b"PK\x01\x02")
    is_plain = (records["name_length"] == _NAME_LENGTH) & (records["extra_length"] == 0)
    return records if bool((is_record & is_plain).all()) else None


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)
