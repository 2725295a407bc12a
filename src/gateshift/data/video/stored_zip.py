"""An uncompressed zip, of which any file is read at once: no more is looked at than its end and what is wanted.

Python's ``zipfile`` understands every zip, but makes an object of each file in it: to open 300 frames and read 8 takes
a third longer by it. In a zip written here the table of contents is an array of equal records, and is taken as that.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

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


def write_zip(path: Path, files: Iterable[bytes], *, name: str, comment: bytes) -> None:
    """Write files under numbered names, from 1; the same files give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as written:
        written.comment = comment
        for number, data in enumerate(files, start=1):
            written.writestr(zipfile.ZipInfo(name.format(number)), data)


class StoredZip:
    """The files of a zip, open for reading.

    Attributes:
        is_ours: Whether ``write_zip`` wrote it, with a comment that begins as wanted.
    """

    def __init__(
        self, path: Path, *, comment: bytes, is_wanted: Callable[[str], bool], order: Callable[[str], Any]
    ) -> None:
        """Open a zip.

        Args:
            path: The zip.
            comment: With what the comment of those of ours begins. All files of these count, as they are.
            is_wanted: In another zip, the names of the files that count.
            order: In another zip, the key to sort these names by.

        Raises:
            OSError: If it cannot be read.
            Exception: Of ``zipfile``, its own and whatever damaged numbers bring about, if it is no zip.
        """
        self._file: IO[bytes] = path.open("rb", buffering=0)  # what is read is read whole
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            ours = _equal_records(self._file, self._size, comment)
            self.is_ours = ours is not None
            self._records = _any_records(self._file, is_wanted, order) if ours is None else ours
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._records)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._file.closed

    def close(self) -> None:
        """Close it. Closing twice is harmless."""
        self._file.close()

    def read(self, place: int) -> bytes:
        """Read one file.

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


def _any_records(file: IO[bytes], is_wanted: Callable[[str], bool], order: Callable[[str], Any]) -> NDArray[Any]:
    """The wanted files of any zip, in order."""
    infos = [info for info in zipfile.ZipFile(file).infolist() if is_wanted(info.filename)]
    infos.sort(key=lambda info: order(info.filename))
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
