"""Long recordings with what happens in them, and the clips of these that a network with an answer a frame learns from.

A network sees a recording at its own rate: at times that are ``1 / fps`` apart, each time the frame that is shown
nearest to it. So a second is as many frames of the network for a file of any rate, also of one that varies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gateshift.data.clips.dataset import Augmentation, Sample
from gateshift.data.clips.seeds import spread_seed
from gateshift.data.clips.transforms import resize_short_side
from gateshift.data.events.event_tables import read_spans
from gateshift.data.events.events import Event, Span, one_at_a_time
from gateshift.data.events.files import read_events
from gateshift.data.events.videos import find_named
from gateshift.data.lists.entries import Entries
from gateshift.data.lists.manifest import Manifest
from gateshift.data.video.files import Video, VideoFile, open_video
from gateshift.errors import ManifestError, VideoError

Floats = NDArray[np.float64]
END_SLACK_S = 0.5  # by which a time may be after the last frame, which is shown for a while too
READ_AT_ONCE = 8  # frames of a clip in full size: all of them would take more memory than the network


@dataclass(frozen=True)
class Recording:
    """A recording and what happens in it.

    Attributes:
        name: As its list has it.
        path: The video file, or a folder of frames.
        events: What happens at one moment.
        spans: What goes on from a time to another.
        fps: Frames a second of images, which have no clock of their own; None if the list does not say.
    """

    name: str
    path: Path
    events: tuple[Event, ...] = ()
    spans: tuple[Span, ...] = ()
    fps: float | None = None

    def labels(self) -> set[str]:
        """The classes that occur."""
        return {event.label for event in self.events} | {span.label for span in self.spans}

    def open(self, *, square_pixels: bool = False) -> tuple[Video, Floats]:
        """The open video, and when each of its frames is shown, in seconds [num_frames]; the caller closes it.

        Raises:
            VideoError: If it cannot be opened, or nothing says when its frames are shown.
        """
        video = open_video(self.path, square_pixels=square_pixels)
        try:
            return video, frame_times(video, self.name, self.fps)
        except BaseException:
            video.close()
            raise

    def marks(self, times_s: Floats, numbers: dict[str, int]) -> list[Mark]:
        """What happens, in seconds, each with the number of its class.

        Raises:
            VideoError: If something is at a frame or a time that the video does not have.
        """
        found = [Mark(numbers[span.label], span.start_s, span.end_s) for span in one_at_a_time(self.spans)]
        for event in self.events:
            time_s = event.time_s
            if event.frame is not None:
                if event.frame >= len(times_s):
                    raise VideoError(
                        f"{self.path}: has {len(times_s)} frames, and {event.label!r} is said to be at frame "
                        f"{event.frame}; correct the list, or give the video that it is of"
                    )
                time_s = float(times_s[event.frame])
            if time_s is not None:
                found.append(Mark(numbers[event.label], time_s, time_s))
        late_s = max((mark.start_s for mark in found), default=0.0)
        if late_s > times_s[-1] + END_SLACK_S:
            raise VideoError(
                f"{self.path}: ends at {times_s[-1]:.3f} s, and something is said to happen at {late_s:.3f} s; correct "
                "the list, or give the video that it is of"
            )
        return found


@dataclass(frozen=True)
class Mark:
    """Something that happens in a recording: at one time, or until another.

    Attributes:
        label: Number of its class, from 1: 0 is nothing.
        start_s: When it begins.
        end_s: When it ends; the same of an event.
    """

    label: int
    start_s: float
    end_s: float


def frame_times(video: Video, name: str, fps: float | None) -> Floats:
    """When each frame of a video is shown, in seconds: by its own clock; images by a rate.

    Raises:
        VideoError: If nothing says it.
    """
    if isinstance(video, VideoFile):
        return video.clock_s()
    if fps is None:
        raise VideoError(f"{name}: images have no clock, and nothing says how many there are a second; give `fps`")
    return np.arange(video.num_frames) / fps


def nearest_frames(times_s: Floats, wanted_s: Floats) -> NDArray[np.int64]:
    """The frame that is shown nearest to each time; of two equally near ones the first.

    >>> nearest_frames(np.array([0.0, 0.1, 0.2, 0.5]), np.array([-1.0, 0.04, 0.06, 0.35, 9.0])).tolist()
    [0, 0, 1, 2, 3]
    """
    after = np.searchsorted(times_s, wanted_s).clip(1, max(len(times_s) - 1, 1))
    before_is_near = wanted_s - times_s[after - 1] <= times_s[after.clip(max=len(times_s) - 1)] - wanted_s + 1e-9
    return np.where(before_is_near | (len(times_s) == 1), after - 1, after)


def seen_frames(times_s: Floats, fps: float | None) -> NDArray[np.int64]:
    """Which frames of a recording a network of this rate sees, one after the other: all of them if it has none.

    >>> seen_frames(np.arange(8) / 50, 25.0).tolist(), seen_frames(np.arange(3) / 12.5, 25.0).tolist()
    ([0, 2, 4, 6], [0, 0, 1, 1, 2])
    """
    if fps is None:
        return np.arange(len(times_s))
    count = int((times_s[-1] - times_s[0]) * fps + 1e-6) + 1
    return nearest_frames(times_s, times_s[0] + np.arange(count) / fps)


@dataclass(frozen=True)
class Labeling:
    """How what happens becomes a target for each frame.

    Attributes:
        num_classes: K.
        fps: Rate of the network.
        width: Frames to either side of an event that are labelled as it is.
        displacement: Frames to either side that are trained to say how far it is; they are labelled as it is too.
    """

    num_classes: int
    fps: float
    width: int = 0
    displacement: int = 0

    def targets(self, marks: Sequence[Mark], times_s: Floats) -> Tensor:
        """Soft targets [T, K + 1], of nothing first; with displacement one number more: how many frames later it is.

        Of several events a frame is of the nearest, to equal parts of equally near ones.

        Args:
            marks: What happens; of spans none overlap.
            times_s: Of the frames, 1 / fps apart: [T].
        """
        targets = np.zeros((len(times_s), self.num_classes + 1 + (self.displacement > 0)), np.float32)
        nearest = np.full(len(times_s), np.inf)
        for mark in marks:
            if mark.start_s < mark.end_s:
                targets[(times_s >= mark.start_s - 1e-9) & (times_s < mark.end_s - 1e-9), mark.label] = 1
                continue
            steps = np.round((mark.start_s - times_s[0]) * self.fps) - np.arange(
                len(times_s)
            )  # frames until it happens
            away = np.where(abs(steps) <= max(self.width, self.displacement), abs(steps), np.inf)
            targets[away < nearest] = 0
            is_near = (away <= nearest) & (away < np.inf)
            targets[is_near, mark.label] += 1
            if self.displacement:
                targets[is_near, -1] = steps[is_near]
            nearest = np.minimum(nearest, away)
        classes = targets[:, : self.num_classes + 1]
        classes[:, 0] = classes.sum(1) == 0
        classes /= classes.sum(1, keepdims=True)
        return torch.from_numpy(targets)


@dataclass(frozen=True)
class Place:
    """Where clips of one recording can be: from when to when it is, and what happens in it."""

    start_s: float
    end_s: float
    marks: Sequence[Mark]


class RecordingClips(Dataset[Sample]):
    """Clips of a fixed length, cut out of long recordings at random places.

    Random numbers depend only on the seed, the epoch and the index, as those of
    :class:`gateshift.data.clips.dataset.TrainingClips`. A sample is ``clips`` uint8 [T, 3, size, size] with ``labels``
    [T, A] and ``indices``, the number of the recording; or ``failure``, one line, with ``indices``: a frame that cannot
    be read leaves the clip out, and never moves labels. Frames beyond the ends of a short recording have targets of
    zeros, which count nothing.

    Args:
        recordings: They are opened once, to see how long they are.
        classes: K names.
        augmentation: Of a clip; its maps are of A columns.
        labeling: What the targets are.
        length: Clips of an epoch; by default as many as show each moment once, in the mean.
        background: Share of clips, in 0..1, that are drawn anywhere; the others show something that happens.
        balanced: Whether these are drawn by class, and not by what happens most.
        seed: Of the random numbers.
        on_failure: Told of a recording that cannot be read, by number and reason; it is left out. By default an error.

    Raises:
        VideoError: If a recording cannot be read, or is not as its labels say.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        classes: Sequence[str],
        augmentation: Augmentation,
        labeling: Labeling,
        *,
        length: int | None = None,
        background: float = 0.5,
        balanced: bool = False,
        seed: int = 0,
        on_failure: Callable[[int, VideoError], None] | None = None,
    ) -> None:
        self.recordings, self.augmentation, self.labeling, self.seed = recordings, augmentation, labeling, seed
        self.epoch, self.background, self.balanced = 0, background, balanced
        self.duration_s = augmentation.num_segments / labeling.fps
        numbers = {name: number for number, name in enumerate(classes, start=1)}
        self.places: dict[int, Place] = {}
        for number, recording in enumerate(recordings):
            try:
                video, times_s = recording.open()
                with closing(video):
                    self.places[number] = Place(times_s[0], times_s[-1], recording.marks(times_s, numbers))
            except VideoError as error:
                if on_failure is None:
                    raise
                on_failure(number, error)
        if not self.places:
            raise VideoError(f"none of the {len(recordings)} recordings can be read; correct the list")
        self._marks = [(number, mark) for number, place in self.places.items() for mark in place.marks]
        total_s = sum(self._room_s(place) for place in self.places.values())
        self._length = length or max(round(total_s / self.duration_s), 1)

    def __len__(self) -> int:
        return self._length

    def name_of(self, number: int) -> str:
        """What the list calls a recording."""
        return self.recordings[number].name

    def _room_s(self, place: Place) -> float:
        return max(place.end_s - place.start_s, self.duration_s)

    def draw(self, index: int) -> tuple[int, float]:
        """The recording of a clip, and when the clip starts, in seconds."""
        generator = torch.Generator().manual_seed(spread_seed(self.seed, self.epoch, index, 1))
        share, which, where = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        last_s = self.duration_s - 1 / self.labeling.fps  # from the first frame to the last
        if share < self.background or not self._marks:
            ends = np.cumsum([self._room_s(place) for place in self.places.values()])
            number = list(self.places)[int(np.searchsorted(ends, which * ends[-1], side="right"))]
            place = self.places[number]
            return number, place.start_s + where * max(place.end_s - place.start_s - last_s, 0)
        marks = self._marks
        if self.balanced:
            labels = sorted({mark.label for _, mark in marks})
            label = labels[int(which * len(labels))]
            marks = [pair for pair in marks if pair[1].label == label]
            which = which * len(labels) % 1
        number, mark = marks[int(which * len(marks))]
        place = self.places[number]
        return number, float(
            np.clip(mark.start_s - where * last_s, place.start_s, max(place.end_s - last_s, place.start_s))
        )

    def __getitem__(self, index: int) -> Sample:
        number, start_s = self.draw(index)
        recording, augmentation = self.recordings[number], self.augmentation
        try:
            video, times_s = recording.open(square_pixels=augmentation.square_pixels)
            with closing(video):
                # From a frame on: at a file's own rate, the frames follow each other then.
                start_s = float(times_s[nearest_frames(times_s, np.array([start_s]))[0]])
                wanted_s = start_s + np.arange(augmentation.num_segments) / self.labeling.fps
                frames = read_shrunk(video, nearest_frames(times_s, wanted_s).tolist(), augmentation)
        except VideoError as error:
            return {"failure": str(error), "indices": number}
        targets = self.labeling.targets(self.places[number].marks, wanted_s)
        targets[wanted_s > times_s[-1] + 0.5 / self.labeling.fps] = 0
        generator = torch.Generator().manual_seed(spread_seed(self.seed, self.epoch, index))
        clip, labels = augmentation(frames, targets, generator=generator)
        return {"clips": clip, "labels": labels, "indices": number}


def read_shrunk(video: Video, frame_indices: Sequence[int], augmentation: Augmentation) -> Tensor:
    """Frames [n, 3, H, W], as small as the smallest crop of the augmentation allows: a few are in full size at once."""
    largest_px = round(augmentation.size_px / augmentation.min_crop_scale)
    parts = []
    for start in range(0, len(frame_indices), READ_AT_ONCE):
        part = video.read(frame_indices[start : start + READ_AT_ONCE])
        parts.append(resize_short_side(part, largest_px) if min(part.shape[-2:]) > largest_px else part)
    return torch.cat(parts)


def read_recordings(
    source: str | PathLike[str],
    task: str,
    *,
    root: str | PathLike[str] | None = None,
    fps: float | None = None,
) -> list[Recording]:
    """The recordings of a list, with their events (``task`` "spot") or spans ("segment").

    Args:
        source: Of events any file that :func:`gateshift.read_events` takes; of spans a CSV ``path,label,start,end``.
        task: "spot" or "segment".
        root: Folder where names of videos start; the list's own by default.
        fps: Frames a second of images of which the list does not say it.

    Raises:
        ManifestError: If the list cannot be read, has nothing in it, or a video is not there.
    """
    source = Path(source)
    base = Path(root) if root is not None else source if source.is_dir() else source.parent
    if task == "segment":
        listed = read_spans(source)
        found = [
            Recording(name, find_video(base, name, source), spans=tuple(own), fps=fps) for name, own in listed.items()
        ]
    else:
        events = read_events(source)
        found = [
            Recording(name, find_video(base, name, source), events=tuple(own), fps=events.videos[name].fps or fps)
            for name, own in events.by_video().items()
        ]
    if not found:
        raise ManifestError(f"{source}: lists no videos; add some")
    return found


def as_manifest(recordings: Sequence[Recording], source: Path) -> Manifest:
    """A list of recordings as one with a row for each event or span: for its classes, and what lies beside it."""
    entries = Entries(source.parent)
    for recording in recordings:
        for event in recording.events:
            entries.add(recording.name, event.label, part=f"@{event.frame if event.time_s is None else event.time_s}")
        for span in recording.spans:
            entries.add(recording.name, span.label, part=f"#{span.start_s}-{span.end_s}")
    if not entries:
        raise ManifestError(f"{source}: nothing happens in any of its {len(recordings)} videos; label some")
    return Manifest(source, entries)


def find_video(base: Path, name: str, source: Path) -> Path:
    """Where a video lies that a list calls so.

    Raises:
        ManifestError: If it is not there.
    """
    found = find_named(base, name)
    if not found:
        raise ManifestError(
            f"{source}: {name}: {base / name} is not there; correct the list, or set `root` to the folder of the videos"
        )
    return found[0]


def lists_events(source: str | PathLike[str]) -> bool:
    """Whether a list is one of events: a JSON, or a table with their times or frames."""
    source = Path(source)
    if source.suffix.lower() != ".csv" or not source.is_file():
        return source.suffix.lower() == ".json" and source.is_file()
    with source.open(encoding="utf-8-sig", errors="replace") as file:
        columns = {name.strip() for name in file.readline().split(",")}
    return bool({"time_s", "frame"} & columns)
