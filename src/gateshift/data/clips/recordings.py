"""Long recordings with what happens in them, for networks with an answer for each frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateshift.data.events.event_tables import read_spans
from gateshift.data.events.events import Event, Span, VideoInfo, one_at_a_time
from gateshift.data.events.files import read_events
from gateshift.data.events.videos import base_of, find_recording
from gateshift.data.lists.entries import Entries
from gateshift.data.lists.manifest import Manifest
from gateshift.data.lists.tables import columns_of, read_boxes
from gateshift.data.path_hints import hint_for
from gateshift.data.regions import Region
from gateshift.data.video.files import Video, VideoFile, open_video
from gateshift.errors import ManifestError, VideoError

Floats = NDArray[np.float64]
END_SLACK_S = 0.5  # by which an event may be before the first frame or after the last, which is shown for a while too
FRAME_SLACK_S = 0.5  # by which a time may be off its frame, as where it is rounded
LENGTH_SLACK = 0.02  # of its frames, by which a file may be longer or shorter than its list says


@dataclass(frozen=True)
class Recording:
    """A recording and what happens in it.

    Attributes:
        name: As its list has it.
        path: The video file, or a folder of frames.
        events: What happens at one moment.
        spans: What goes on from a time to another.
        fps: Frames a second of images, which have no clock of their own; None if the list does not say.
        box: The region of its frames that is used; None for whole frames.
        part: Which frames of the file it is, whose times count from the first of them; None for all.
        num_frames: How many frames it has, as its list says; None if it does not.
    """

    name: str
    path: Path
    events: tuple[Event, ...] = ()
    spans: tuple[Span, ...] = ()
    fps: float | None = None
    box: Region | None = None
    part: range | None = None
    num_frames: int | None = None

    def labels(self) -> set[str]:
        """The classes that occur."""
        return {event.label for event in self.events} | {span.label for span in self.spans}

    def open(self, *, square_pixels: bool = False) -> tuple[Video, Floats]:
        """The open video, and when each of its frames is shown, in seconds [num_frames]; the caller closes it.

        Raises:
            VideoError: If it cannot be opened, or nothing says when its frames are shown.
        """
        video = self.open_frames(square_pixels=square_pixels)
        try:
            return video, frame_times(video, self.name, self.fps)
        except BaseException:
            video.close()
            raise

    def open_frames(self, *, square_pixels: bool = False) -> Video:
        """The open video, of which nothing needs to say when frames are shown; the caller closes it.

        Raises:
            VideoError: If it cannot be opened.
        """
        video = open_video(self.path, square_pixels=square_pixels, box=self.box)
        try:
            if self.part is not None and isinstance(video, VideoFile):
                video.cut(self.part)
        except BaseException:
            video.close()
            raise
        return video

    def marks(self, times_s: Floats, numbers: dict[str, int]) -> list[Mark]:
        """What happens, in seconds, each with the number of its class.

        Raises:
            VideoError: If something is at a frame or a time that the video does not have, or its list was made of
                another file: frames are then others.
        """
        self._check_length(len(times_s))
        found = [Mark(numbers[span.label], span.start_s, span.end_s) for span in one_at_a_time(self.spans)]
        for event in self.events:
            time_s = event.time_s
            if event.frame is not None:
                if event.frame >= len(times_s):
                    raise VideoError(
                        f"{self.path}: has {len(times_s)} frames, and {event.label!r} is said to be at frame "
                        f"{event.frame}; correct the list, or give the video that it is of"
                    )
                time_s = self._time_of(event.frame, event, times_s)
            if time_s is not None:
                found.append(Mark(numbers[event.label], time_s, time_s))
        return [self._within(mark, times_s) for mark in found]

    def _check_length(self, num_frames: int) -> None:
        if self.num_frames is not None and abs(num_frames - self.num_frames) > max(LENGTH_SLACK * num_frames, 1):
            raise VideoError(
                f"{self.path}: has {num_frames} frames, and its list says {self.num_frames}, as of a file of another "
                "frame rate or length; give the video that the list is of, or correct the list"
            )

    def _time_of(self, frame: int, event: Event, times_s: Floats) -> float:
        """When the frame of an event is shown, which a time beside it, if there is one, must not contradict."""
        first_s, last_s = times_s[max(frame - 1, 0)], times_s[min(frame + 1, len(times_s) - 1)]
        if event.time_s is not None and not first_s - FRAME_SLACK_S <= event.time_s <= last_s + FRAME_SLACK_S:
            raise VideoError(
                f"{self.path}: {event.label!r} is said to be at frame {frame} and at {event.time_s:g} s, and that "
                f"frame is shown at {times_s[frame]:.3f} s; correct the list, leave out its column `frame` or "
                "`time_s`, or give the video that it is of"
            )
        return float(times_s[frame])

    def _within(self, mark: Mark, times_s: Floats) -> Mark:
        """A mark, which if it is an event just before the first frame or after the last one, is at that frame."""
        first_s, last_s, is_event = times_s[0], times_s[-1], mark.start_s == mark.end_s
        is_early = is_event and mark.start_s < first_s - END_SLACK_S
        if is_early or mark.start_s > last_s + END_SLACK_S:
            edge = f"begins at {first_s:.3f}" if is_early else f"ends at {last_s:.3f}"
            raise VideoError(
                f"{self.path}: {edge} s, and something is said to happen at {mark.start_s:.3f} s; correct the list, or "
                "give the video that it is of"
            )
        time_s = float(np.clip(mark.start_s, first_s, last_s))
        return replace(mark, start_s=time_s, end_s=time_s) if is_event else mark


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


def read_recordings(
    source: str | PathLike[str],
    task: str,
    *,
    root: str | PathLike[str] | None = None,
    fps: float | None = None,
    box: Region | None = None,
) -> list[Recording]:
    """The recordings of a list, with their events (``task`` "spot") or spans ("segment").

    Args:
        source: Of events any file that :func:`gateshift.read_events` takes; of spans a CSV ``path,label,start,end``.
        task: "spot" or "segment".
        root: Folder where names of videos start; the list's own by default.
        fps: Frames a second of images of which the list does not say it.
        box: The region of the recordings for which the list has none in a column ``box``; None for whole frames.

    Raises:
        ManifestError: If the list cannot be read, has nothing in it, or a video is not there or has two names.
    """
    source = Path(source)
    base = base_of(source, root)
    if task == "segment":
        listed = read_spans(source)
        found = [replace(find_video(base, name, source), spans=tuple(own), fps=fps) for name, own in listed.items()]
    else:
        events = read_events(source)
        infos = events.videos
        found = [
            replace(
                find_video(base, name, source, infos[name]),
                events=tuple(own),
                fps=infos[name].fps or fps,
                num_frames=infos[name].num_frames,
            )
            for name, own in events.by_video().items()
        ]
    if not found:
        raise ManifestError(f"{source}: lists no videos; add some")
    _check_one_name(found, source)
    boxes = read_boxes(source)
    return [replace(each, box=boxes.get(each.name, box)) for each in found]


def _check_one_name(recordings: Sequence[Recording], source: Path) -> None:
    """Raise ManifestError if one video has two names: what happens under one would be nothing under the other."""
    names: dict[tuple[str, range | None], str] = {}
    for each in recordings:
        first = names.setdefault((os.path.abspath(each.path), each.part), each.name)  # noqa: PTH100 - links stay as they are
        if first != each.name:
            raise ManifestError(f"{source}: {first} and {each.name} are one video; name it alike in all of its rows")


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


def find_video(base: Path, name: str, source: Path, info: VideoInfo | None = None) -> Recording:
    """The recording that a list calls so, without what happens in it.

    Raises:
        ManifestError: If it is not there.
    """
    found = find_recording(base, name, info or VideoInfo())
    if found is None:
        hint = hint_for(base / name) or "correct the list, or set `root` to the folder of the videos"
        raise ManifestError(f"{source}: {name}: {base / name} is not there; {hint}")
    path, part = found
    return Recording(name, path, part=part)


def lists_events(source: str | PathLike[str]) -> bool:
    """Whether a list is one of events: a JSON, or a table with their times or frames."""
    source = Path(source)
    if source.suffix.lower() != ".csv" or not source.is_file():
        return source.suffix.lower() == ".json" and source.is_file()
    return bool({"time_s", "frame"} & columns_of(source))
