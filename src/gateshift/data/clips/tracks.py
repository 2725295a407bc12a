"""Persons that a tracker has followed through a video, each as a video of its own: a square that goes with the person.

Every frame of a person is cut to one size, so that whoever stands still does not grow or shrink with each box of the
tracker, and the square follows the middle of the boxes, averaged over a few frames, so that it does not shake with
them. The union of all boxes would not move at all; but of somebody who walks through the picture it is most of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateshift.data.lists.tables import read_number, read_table
from gateshift.data.regions import MIN_SIDE_PX
from gateshift.data.video.protocol import Video
from gateshift.errors import ManifestError

TRACK_COLUMNS = ("frame", "x0", "y0", "x1", "y1", "id")
REACH = 4  # frames to either side that the middle of a person's square is averaged over


@dataclass(frozen=True, eq=False)
class Track:
    """Where a person is.

    Attributes:
        id: As the tracker calls it.
        frames: The numbers of the frames in which it is seen, from 0, rising: [n].
        boxes: Left, upper, right and lower edge in each, in pixels of the picture as players show it: [n, 4].
    """

    id: str
    frames: NDArray[np.int64]
    boxes: NDArray[np.float64]

    def check(self, source: Path, video: str, num_frames: int, size_px: tuple[int, int]) -> None:
        """Raise ManifestError unless all of it is in a video of so many frames of this width and height."""
        if self.frames[-1] >= num_frames:
            raise ManifestError(
                f"{source}: id {self.id} is in frame {self.frames[-1]}, and {video} has frames 0 to {num_frames - 1}; "
                "give the video that was tracked, and count its frames from 0"
            )
        width, height = size_px
        left, top, right, bottom = self.boxes.T
        outside = (right <= 0) | (bottom <= 0) | (left >= width) | (top >= height)
        if outside.any():
            place = int(outside.argmax())
            box = ",".join(f"{edge:g}" for edge in self.boxes[place])
            raise ManifestError(
                f"{source}: id {self.id} in frame {self.frames[place]}: the box {box} is outside of the picture of "
                f"{width} x {height} px; give the video that was tracked"
            )
        if max((right - left).max(), (bottom - top).max()) < MIN_SIDE_PX:
            raise ManifestError(
                f"{source}: id {self.id} is smaller than {MIN_SIDE_PX} px in all of its frames; give boxes in pixels"
            )

    def squares(self, width: int, height: int, *, margin: float) -> NDArray[np.int64]:
        """The square of each frame, inside of the picture: its left, upper, right and lower edge in pixels, [n, 4].

        Its side is the longest side of all boxes, and ``margin`` of that more; where the picture is smaller than that,
        it is no square. At the edges of the picture it stops, and the person is no longer in its middle.

        Args:
            width: Of the picture.
            height: Of the picture.
            margin: A share of the longest side.
        """
        boxes = self.boxes.clip(0, (width, height, width, height))
        side = round(float((boxes[:, 2:] - boxes[:, :2]).max()) * (1 + margin))
        sides = np.array([min(side, width), min(side, height)])
        middles = np.stack([self._smooth(boxes[:, edge::2].mean(1)) for edge in (0, 1)], axis=1)
        starts = np.floor(middles - sides / 2 + 0.5).clip(0, (width, height) - sides).astype(np.int64)
        return np.concatenate([starts, starts + sides], axis=1)

    def _smooth(self, middles: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of each of [n] and those of as many frames before and after; whoever is not seen moves evenly."""
        places = self.frames - self.frames[0]
        path = np.interp(np.arange(places[-1] + 1), places, middles)
        reach = np.minimum(REACH, np.minimum(places, places[-1] - places))
        sums = np.concatenate([[0.0], path.cumsum()])
        means = (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)
        return means.round(6)  # so that rounding of sums moves no square by a pixel


class TrackedPerson(Video):
    """A person as a video: the frames in which it is seen, each cut to its square.

    Args:
        video: Open; it is not closed by this one.
        name: What errors call it.
        frames: The numbers of its frames: [n].
        squares: Edges of each as of :meth:`Track.squares`, all of one size: [n, 4].
    """

    def __init__(self, video: Video, name: str, frames: NDArray[np.int64], squares: NDArray[np.int64]) -> None:
        super().__init__(name)
        self._video, self._frames, self._squares = video, frames, squares
        self.num_frames = len(frames)

    def _pixels(self, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        for number in numbers:
            frame = self._video.read([int(self._frames[number])])[0].permute(1, 2, 0).numpy()  # [H, W, 3]
            left, top, right, bottom = self._squares[number].tolist()
            yield frame[top:bottom, left:right]


def read_tracks(source: str | PathLike[str]) -> list[Track]:
    """The persons of a CSV ``frame,x0,y0,x1,y1,id`` in the order in which it names them; it may have other columns.

    Raises:
        ManifestError: If it is no such table, has no row, or one of them is no box in a frame.
    """
    source = Path(source)
    rows: dict[str, array[float]] = {}  # of each person frame and box, one after the other
    advice = "frames count from 0, and boxes are in pixels"
    for where, row in read_table(source, TRACK_COLUMNS, advice=advice):
        name = row["id"].strip()
        frame, *box = (read_number(row[column], column, where) for column in TRACK_COLUMNS[:-1])
        if not name:
            raise ManifestError(f"{where}: no id; say whose box it is")
        if frame < 0 or not frame.is_integer():
            raise ManifestError(f"{where}: frame {row['frame']!r}; frames are whole numbers from 0; correct it")
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ManifestError(f"{where}: box {box} ends before it begins: x0 must be below x1, and y0 below y1")
        rows.setdefault(name, array("d")).extend((frame, *box))
    if not rows:
        raise ManifestError(f"{source}: no boxes in it; give those of a tracker: {','.join(TRACK_COLUMNS)}")
    return [_track(source, name, np.array(own).reshape(-1, 5)) for name, own in rows.items()]


def _track(source: Path, name: str, rows: NDArray[np.float64]) -> Track:
    """A person of rows frame, x0, y0, x1, y1 in any order."""
    rows = rows[rows[:, 0].argsort(kind="stable")]
    frames = rows[:, 0].astype(np.int64)
    twice = frames[1:][frames[1:] == frames[:-1]]
    if len(twice):
        raise ManifestError(f"{source}: id {name} is in frame {twice[0]} twice; keep one of its boxes")
    return Track(name, frames, rows[:, 1:])
