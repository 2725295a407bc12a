"""The videos of a list, held in columns.

A million ``Entry`` objects would take 600 MB, and as much again in each worker of a loader: reading an object changes
its reference count, so that the worker gets its own copy of that page of memory. Columns are a few blocks of plain
numbers, which stay shared.
"""

from __future__ import annotations

import copy
import math
import os
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from gateshift.data.regions import Region


@dataclass(frozen=True)
class Entry:
    """One video, or a part of one, with its label.

    Attributes:
        video_id: Its name in score files: its path as listed, and its part.
        path: The video: a file or a frame folder.
        label: Class name, or class number where the list has numbers; of several labels a video, all names.
        start_s: Start of the part in seconds; None for the video's start.
        end_s: End of the part in seconds, not included; None for the video's end.
        num_frames: Length that the list states; later frames are not used. None if it states none.
        box: The region of its frames that is used; None for whole frames.
    """

    video_id: str
    path: Path
    label: str | int
    start_s: float | None = None
    end_s: float | None = None
    num_frames: int | None = None
    box: Region | None = None


class Entries(Sequence[Entry]):
    """Entries in the order of their list; each ``Entry`` is created when it is read.

    Attributes:
        labels: Every label that occurs, once, in the order of their first entries.
    """

    def __init__(self, base: Path) -> None:
        """Start empty; relative paths of entries start at ``base``."""
        self.labels: list[str | int] = []
        self._base = base
        self._code_of: dict[str | int, int] = {}  # where a label stands in ``labels``
        self._codes = array("i")
        self._paths = _Texts()
        self._parts = _Texts()
        self._times_s = array("d")  # start and end of each, NaN for None
        self._num_frames = array("i")  # 0 for None
        self._boxes: list[Region | None] = [None]  # every region that occurs, once, as few cameras have few
        self._box_code_of: dict[Region | None, int] = {None: 0}
        self._box_codes = array("i")  # which region each has of its own
        self._box: Region | None = None  # of those that have none

    def add(
        self,
        path: str,
        label: str | int,
        *,
        part: str = "",
        start_s: float | None = None,
        end_s: float | None = None,
        num_frames: int | None = None,
        box: Region | None = None,
    ) -> None:
        """Add an entry.

        Args:
            path: Path of the video, relative to the base or absolute.
            label: As in ``Entry``.
            part: What follows the path in the entry's id.
            start_s: As in ``Entry``.
            end_s: As in ``Entry``.
            num_frames: As in ``Entry``; at least 1.
            box: As in ``Entry``.
        """
        code = self._code_of.setdefault(label, len(self.labels))
        if code == len(self.labels):
            self.labels.append(label)
        self._codes.append(code)
        self._paths.append(path)
        self._parts.append(part)
        self._times_s.extend(math.nan if time is None else time for time in (start_s, end_s))
        self._num_frames.append(num_frames or 0)
        code = self._box_code_of.setdefault(box, len(self._boxes))
        if code == len(self._boxes):
            self._boxes.append(box)
        self._box_codes.append(code)

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, place: int) -> Entry: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Entry, ...]: ...

    def __getitem__(self, place: int | slice) -> Entry | tuple[Entry, ...]:
        if isinstance(place, slice):
            return tuple(self[each] for each in range(len(self))[place])
        place = range(len(self))[place]  # counts from the end, or raises, as a tuple does
        path = self._paths[place]
        start_s, end_s = self._times_s[2 * place : 2 * place + 2]
        return Entry(
            video_id=path + self._parts[place],
            path=self._base / path,
            label=self.label(place),
            start_s=None if math.isnan(start_s) else start_s,
            end_s=None if math.isnan(end_s) else end_s,
            num_frames=self._num_frames[place] or None,
            box=self._own_box(place) or self._box,
        )

    def _own_box(self, place: int) -> Region | None:
        return self._boxes[self._box_codes[place]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entries):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment] # entries can be added

    def label(self, place: int) -> str | int:
        """The label of one entry, without making the rest of it."""
        return self.labels[self._codes[place]]

    def video_ids(self) -> Iterator[str]:
        """The id of each entry, without making the rest of it."""
        return (self._paths[place] + self._parts[place] for place in range(len(self)))

    def whole_names(self) -> Iterator[str]:
        """The absolute path of each entry, with its part: the same from whichever list it is reached."""
        for place in range(len(self)):
            path = os.path.abspath(self._base / self._paths[place])  # noqa: PTH100 - links stay as they are
            yield path + self._parts[place]

    def with_box(self, box: Region | None) -> Entries:
        """The same entries, with this region for those that have none of their own."""
        entries = copy.copy(self)
        entries._box = box
        return entries

    def without(self, names: Collection[str]) -> Entries:
        """The entries without those that one of ``names`` means; ``labels`` stay.

        A name is an id, a path as listed, or a whole or absolute path, with the part or without.
        """
        kept = Entries(self._base)
        kept.labels, kept._code_of, kept._box = self.labels, self._code_of, self._box
        for place, entry in enumerate(self):
            path, absolute = self._paths[place], os.path.abspath(entry.path)  # noqa: PTH100 - links stay as they are
            own = {entry.video_id, path, str(entry.path), absolute, absolute + self._parts[place]}
            if not own.intersection(names):
                kept.add(
                    path,
                    entry.label,
                    part=self._parts[place],
                    start_s=entry.start_s,
                    end_s=entry.end_s,
                    num_frames=entry.num_frames,
                    box=self._own_box(place),
                )
        return kept

    def map_labels(self, index_of: Sequence[int]) -> list[int]:
        """A number for the label of each entry: ``index_of`` has one for each of ``labels``."""
        return [index_of[code] for code in self._codes]


class _Texts:
    """Texts in one block of bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q")  # of each text

    def append(self, text: str) -> None:
        self._bytes += text.encode("utf-8", "surrogatepass")  # file names may not be valid UTF-8
        self._ends.append(len(self._bytes))

    def __getitem__(self, place: int) -> str:
        start = self._ends[place - 1] if place else 0
        return self._bytes[start : self._ends[place]].decode("utf-8", "surrogatepass")
