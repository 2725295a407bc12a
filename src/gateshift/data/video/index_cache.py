"""The index of a video file: made by one pass over its packets, and kept for the clips that follow.

A recording of which many clips are listed is indexed once in each process, or once for all processes that share a
folder of indices. What is kept is bound to the state of the file, so that one that was replaced, edited or cut off is
indexed anew.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from gateshift.data.video.frame_order import (
    FrameOrder,
    PacketTable,
    joins,
    order_by_decoding,
    order_by_times,
    shown_times,
    slot_times,
)
from gateshift.data.video.index import PacketSource, WrongSeekError, readable
from gateshift.errors import EmptyVideoError, VideoError, explain_system_error

MAX_BYTES = 128 << 20  # of all indices of a process; an hour at 25 frames a second takes 6 MB
MAX_OPEN = 8  # recordings that stay open
# To open an mp4 takes longer the longer it lasts, as its header lists all frames; from here on it stays open.
LONG_PACKETS = 5_000
_FORMAT = 1  # of an index on disk
# The index of a shorter file is not kept: to make it takes a tenth of what reading a clip takes.
SHORT_PACKETS = 128
# Of an index, beside its arrays: what stays lies between what comes and goes, and keeps memory from being given back.
_OVERHEAD_BYTES = 65_536
# Two changes within a tick of the disk's clock give one time: what was changed just now may change unseen.
_SETTLED_NS = 100_000_000


class FileState(NamedTuple):
    """What tells that a file is still the one that was indexed."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state of an existing file now."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass
class FileIndex:
    """What is known of the packets and frames of a file.

    Attributes:
        state: Of the file when it was indexed.
        table: Its packets.
        order: Which of them holds which frame.
        is_checked: Whether decoding has shown the order.
        times_s: When each frame is shown, [frames], float64, in seconds on the file's clock, never decreasing; None if
            the file has neither times nor a frame rate.
        has_times: Whether the file says when its frames are shown; otherwise that is worked out.
        corrected: The index by the order that decoding showed, once ``order`` turned out to be wrong.
    """

    state: FileState
    table: PacketTable
    order: FrameOrder
    is_checked: bool
    times_s: NDArray[np.float64] | None = None
    has_times: bool = False
    corrected: FileIndex | None = None

    @property
    def is_joined(self) -> bool:
        """Whether the clock of the file is set anew on the way, as where recordings were joined."""
        return len(joins(self.table)) > 0

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        parts = (getattr(owner, each.name) for owner in (self.table, self.order) for each in fields(owner))
        arrays = [part for part in (*parts, self.times_s) if isinstance(part, np.ndarray)]
        return _OVERHEAD_BYTES + sum(array.nbytes for array in arrays)


class IndexCache:
    """Indices and open files of one process, shared by its threads; what was used last stays."""

    def __init__(self, *, max_bytes: int = MAX_BYTES, max_open: int = MAX_OPEN) -> None:
        self._max_bytes, self._max_open = max_bytes, max_open
        self._indices: OrderedDict[str, FileIndex] = OrderedDict()
        self.num_bytes = 0
        self.start_anew()

    def start_anew(self) -> None:
        """Be ready in a forked process: there, open files share their position, and a lock may be held for ever."""
        self._lock = threading.Lock()
        self._sources: OrderedDict[str, tuple[FileState, PacketSource]] = OrderedDict()

    def open(self, path: Path, folder: Path | None = None) -> tuple[PacketSource, FileIndex]:
        """Open a file for one reader, and index it unless that was done.

        Args:
            path: The file.
            folder: Where the indices of long recordings are kept for other processes.

        Raises:
            VideoError: If it cannot be read, is cut off or has no frames.
        """
        key, now_ns = os.path.abspath(path), time.time_ns()  # noqa: PTH100 - links stay as they are
        try:
            state = FileState.of(path)
        except OSError as error:
            raise VideoError(explain_system_error(error)) from None
        with self._lock:
            kept_state, source = self._sources.pop(key, (None, None))
            index = self._indices.get(key)
            if index is not None:
                self._indices.move_to_end(key)
        is_known = index is not None and index.state == state
        if source is not None and not (is_known and kept_state == state):
            source.close()
            source = None
        source = source or PacketSource(path)
        if index is not None and is_known:
            return source, index
        stored = None if folder is None else folder / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.npz"
        index = None if stored is None else read_index(stored, state)
        if index is not None:
            self._keep(key, index)
            return source, index
        try:
            with readable(path):
                index = index_file(source, path, state)
        except BaseException:
            source.close()
            raise
        if now_ns - state.modified_ns > _SETTLED_NS:
            if len(index.table) >= SHORT_PACKETS:
                self._keep(key, index)
            if stored is not None and len(index.table) >= LONG_PACKETS:
                write_index(stored, index)
        return source, index

    def give_back(self, path: Path, source: PacketSource, index: FileIndex) -> None:
        """Take an open file back from its reader: a long mp4 stays open for the next one, others are closed."""
        is_long = "mp4" in source.format_name and len(index.table) >= LONG_PACKETS
        if not is_long or not source.is_open or index.table.is_damaged.any():
            source.close()
            return
        key = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
        with self._lock:
            others = [self._sources.pop(key)] if key in self._sources else []
            self._sources[key] = index.state, source
            if len(self._sources) > self._max_open:
                others.append(self._sources.popitem(last=False)[1])
        for _, other in others:
            other.close()

    def _keep(self, key: str, index: FileIndex) -> None:
        with self._lock:
            previous = self._indices.pop(key, None)
            self.num_bytes += index.num_bytes - (previous.num_bytes if previous is not None else 0)
            self._indices[key] = index
            while self.num_bytes > self._max_bytes:
                self.num_bytes -= self._indices.popitem(last=False)[1].num_bytes


CACHE = IndexCache()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CACHE.start_anew)


def check_unchanged(path: Path, index: FileIndex) -> None:
    """Raise VideoError if a file is no longer the one that was indexed. One that was deleted is read to its end."""
    try:
        is_same = FileState.of(path) == index.state
    except OSError:
        return
    if not is_same:
        raise VideoError(f"{path}: was replaced, edited or cut off while it was open; open it again once it is whole")


def index_file(source: PacketSource, path: Path, state: FileState) -> FileIndex:
    """Look at all packets of a file, and find the order of its frames: by decoding it where its times do not say it."""
    table = source.scan()
    # Where transport streams were joined, their count of packets breaks off, which passes for damage.
    for place in (*joins(table), *source.segments(table)):
        table.is_damaged[max(place - 2, 0) : place] = False
    order = order_by_times(table, source.format_name, source.codec_name, source.reorder_depth)
    is_checked = order is None
    if order is None:
        if table.is_damaged.any():
            raise VideoError(
                f"{path}: is damaged or cut off, and its frames can only be counted if all can be "
                "decoded; write or download it again"
            )
        order = order_as_decoded(source, table)
    elif source.has_palette:
        order = order.from_the_start()
    if not len(order):
        raise EmptyVideoError(f"{path}: its video stream has no frame; write or download it again")
    return _with_times(FileIndex(state, table, order, is_checked), source)


def correct_index(index: FileIndex, source: PacketSource) -> FileIndex:
    """The index by the order that decoding all of the file shows; by the known one if it is damage that disturbs it."""
    if index.corrected is None:
        order = replace(index.order, is_sure=True)
        if not index.table.is_damaged.any():
            with suppress(av.FFmpegError):
                order = order_as_decoded(source, index.table)
        index.corrected = _with_times(FileIndex(index.state, index.table, order, is_checked=True), source)
    return index.corrected


def read_index(path: Path, state: FileState) -> FileIndex | None:
    """An index that was written by :func:`write_index`; None if there is none for this state of the video file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        if arrays["head"].item() != str((_FORMAT, *state)):
            return None
        table = PacketTable(**{each.name: arrays[f"table.{each.name}"] for each in fields(PacketTable)})
        is_sure, is_counted, is_checked, has_times = arrays["flags"].tolist()
        parts = {each.name: arrays[f"order.{each.name}"] for each in fields(FrameOrder) if "is_" not in each.name}
        order = FrameOrder(**parts, is_sure=is_sure, is_counted=is_counted)
    except Exception:  # whatever else the file is, the video is indexed anew
        return None
    return FileIndex(state, table, order, is_checked, arrays.get("times_s"), has_times)


def write_index(path: Path, index: FileIndex) -> None:
    """Write an index for other processes, whole or not at all; where nothing can be written, none is kept."""
    order = index.order
    arrays = {f"table.{each.name}": getattr(index.table, each.name) for each in fields(index.table)}
    arrays |= {f"order.{each.name}": getattr(order, each.name) for each in fields(order) if "is_" not in each.name}
    arrays["head"] = np.array(str((_FORMAT, *index.state)))
    arrays["flags"] = np.array([order.is_sure, order.is_counted, index.is_checked, index.has_times])
    if index.times_s is not None:
        arrays["times_s"] = index.times_s
    # Workers may write the same index at once, each to a name of its own.
    partial = path.with_name(f".partial-{os.getpid()}-{threading.get_ident()}-{path.name}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.savez(partial, **arrays)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def order_as_decoded(source: PacketSource, table: PacketTable) -> FrameOrder:
    """Find the order of the frames by decoding all of the file."""
    try:
        places = [place_of(frame) for frame in _decode_all(source, table)]
    except WrongSeekError:
        return order_as_decoded(source, table)
    order = order_by_decoding(places, table)
    return order.from_the_start() if source.has_palette else order


def place_of(frame: VideoFrame) -> int:
    """The place of the packet that a frame came from; -1 where the decoder does not say it."""
    return -1 if frame.opaque is None else cast("tuple[int]", frame.opaque)[0]


def _decode_all(source: PacketSource, table: PacketTable) -> Iterator[VideoFrame]:
    for here, packet in source.packets_from(0, table):
        if table.is_damaged[here]:
            break
        yield from source.decode(here, packet)
    yield from source.stream.decode(None)


def _with_times(index: FileIndex, source: PacketSource) -> FileIndex:
    order, table, rate, step = index.order, index.table, source.rate, source.stream.time_base
    times = shown_times(order, table, source.format_name, source.reorder_depth)
    index.has_times = times is not None
    if times is None and not source.is_raw:
        times = slot_times(order, table, source.reorder_depth)
    if times is not None and step:
        shown_s = times * (step.numerator / step.denominator)
        # What begins before 0, such as the filling of a sound codec, is not played.
        index.times_s = shown_s - max(min(source.start_s, shown_s[0]), min(0.0, shown_s[0]))
    elif rate:
        index.times_s = np.arange(len(order)) * rate.denominator / rate.numerator
    return index
