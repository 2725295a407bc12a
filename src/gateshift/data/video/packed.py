"""The frames of a video packed into one file: an uncompressed zip of images, of which any can be read at once.

Nothing of such a file is ever written to disk, and no more is read than its table of contents and the wanted images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from gateshift.data.video.images import IMAGE_SUFFIXES, decode_image
from gateshift.data.video.protocol import FrameReader, count_kept, natural_order
from gateshift.data.video.stored_zip import StoredZip, write_zip
from gateshift.errors import VideoError

PACKED_SUFFIX = ".zip"
FRAME_NAME = "{:05d}.jpg"  # numbers from 1, as the original code's ffmpeg wrote them

_COMMENT = b"gateshift frames, short side at most "


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
            with closing(_opened(target, self._comment)) as packed:
                return packed.is_ours and len(packed) == num_frames
        except Exception:  # whatever else it is
            return False

    def write(self, target: Path, images: Iterable[bytes]) -> None:
        """Write images, each the bytes of a JPEG file."""
        write_zip(target, images, name=FRAME_NAME, comment=self._comment)

    @property
    def _comment(self) -> bytes:
        return _COMMENT + f"{self.short_side_px} px".encode()


class PackedFrames(FrameReader):
    """A zip of images as a ``Video``, in the natural order of their names, wherever in the zip they lie."""

    def __init__(self, path: str | PathLike[str], *, num_frames: int | None = None) -> None:
        """Open the file; arguments and errors are those of ``open_video``."""
        super().__init__(path)
        try:
            self._zip = _opened(self._path, _COMMENT)
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


def _opened(path: Path, comment: bytes) -> StoredZip:
    return StoredZip(path, comment=comment, is_wanted=_is_image, order=natural_order)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)
