"""Videos on this machine or at addresses, decoded in subprocesses that may crash, each to its views or an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.processes import in_processes
from gateshift.data.regions import Region
from gateshift.data.video.files import open_video
from gateshift.data.video.sources import is_address, is_web_address, local_copy
from gateshift.errors import SettingsError, VideoError, one_line

Views = NDArray[np.uint8]


@dataclass(frozen=True)
class WantedViews:
    """Which views of a video to read, and where to put a copy of it.

    Attributes:
        video: A path, or an address.
        base: Where a relative path starts.
        protocol: The views.
        size_px: Side of a crop.
        resize_px: Short side that frames are resized to first; None to resize whole frames to a square.
        square_pixels: As for ``open_video``.
        folder: Folder for a video from an address while it is decoded.
        box: As for ``open_video``.
    """

    video: str
    base: Path
    protocol: EvalProtocol
    size_px: int
    resize_px: int | None
    square_pixels: bool
    folder: Path
    box: Region | None = None


def check_address(address: str) -> None:
    """Raise SettingsError if nothing that is installed here can fetch from such an address."""
    if is_web_address(address):
        return
    import fsspec

    protocol = address.partition("://")[0].partition("::")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise SettingsError(
            f"{address}: videos are fetched by fsspec, which says: {one_line(error)[:200]}; install what it names, or "
            "give paths, file://, http://, s3:// or others that it knows"
        ) from None


def read_in_subprocesses(
    wanted: Sequence[WantedViews], *, workers: int, timeout_s: float
) -> Iterator[tuple[int, Views | VideoError]]:
    """Read videos in subprocesses, as damaged ones may crash them; those that do are tried once more.

    Args:
        wanted: The videos.
        workers: Processes, at least 1.
        timeout_s: How long fetching and decoding one video may take.

    Yields:
        The number of a video, from 0, and its views uint8 [V, T, 3, size_px, size_px], or the error. Each number comes
        once, in the order in which videos are done.
    """
    numbers = list(range(len(wanted)))
    for tries_left in (1, 0):
        ended = []
        tasks = [wanted[number] for number in numbers]
        for place, answer in in_processes(_read, tasks, workers=workers, timeout_s=timeout_s):
            number, video = numbers[place], tasks[place].video
            if not isinstance(answer, str):
                yield number, answer
            elif answer == "time-out":
                reason = f"was not decoded in {timeout_s:g} s; write it again, or raise `timeout` if it is long"
                yield number, VideoError(f"{video}: {reason}")
            elif tries_left:  # the machine may have been short of memory
                ended.append(number)
            else:
                yield number, VideoError(f"{video}: ended the process that decoded it, twice; write it again")
        numbers = ended


def _read(wanted: WantedViews) -> Views | VideoError:
    torch.set_num_threads(1)  # as many processes as there are cores do this side by side
    path = wanted.base / wanted.video
    try:
        with (
            local_video(wanted.video, wanted.base, wanted.folder) as path,
            open_video(path, square_pixels=wanted.square_pixels, box=wanted.box) as video,
        ):
            views = read_views(video, wanted.protocol, size_px=wanted.size_px, resize_px=wanted.resize_px)
    except VideoError as error:
        return VideoError(str(error).replace(str(path), wanted.video))
    except Exception as error:  # one video of millions must not end the work on the others
        return unforeseen(wanted.video, error)
    return views.numpy()


def unforeseen(video: str, error: Exception) -> VideoError:
    """The error for a video whose reading fails in a way that nobody has thought of."""
    return VideoError(f"{video}: {type(error).__name__}: {one_line(error)[:200]}; please report it with the video")


@contextmanager
def local_video(video: str, base: Path, folder: Path | None) -> Iterator[Path]:
    """The file that a video is, fetched into a folder if need be and removed afterwards; a path starts at ``base``."""
    if not is_address(video):
        yield base / video
        return
    with local_copy(video, folder=folder, max_bytes=None) as path:
        yield path
