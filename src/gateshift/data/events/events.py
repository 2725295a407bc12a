"""What happens in videos, to the frame or from when to when; and all events of a list of videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from gateshift.data.lists.tables import read_number
from gateshift.errors import ManifestError

Form = Literal["csv", "e2e-spot", "soccernet"]
_OWN = frozenset(("video", "label", "frame", "time_s", "score"))
_NOTHING: Mapping[str, Any] = {}  # one for all events, of which there may be very many


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at one moment of a video.

    At least one of ``frame`` and ``time_s`` must be given, or a ManifestError is raised.

    Attributes:
        video: The video's name or path, as its list has it.
        label: The class.
        frame: The frame at which it happens, counted from 0.
        time_s: When it happens, in seconds on the video's clock.
        score: Of an answer, how sure it is, such as a probability; None for a label.
        extra: Other fields that its file has for it, as they are there.
    """

    video: str
    label: str
    frame: int | None = None
    time_s: float | None = None
    score: float | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, repr=False)

    def __post_init__(self) -> None:
        if self.frame is None and self.time_s is None:
            raise ManifestError(f"{self.label!r} of {self.video} has neither frame nor time_s; give one of them")


@dataclass(frozen=True)
class Span:
    """A stretch of a recording in which one class happens.

    Attributes:
        start_s: When it begins, in seconds on the recording's clock.
        end_s: When it ends.
        label: The class.
        score: Of an answer, the mean probability of the class in it; None for a label.
    """

    start_s: float
    end_s: float
    label: str
    score: float | None = None


@dataclass(frozen=True)
class VideoInfo:
    """What a list of events says of one video.

    Attributes:
        fps: Frames a second; None if it does not say.
        num_frames: Length in frames; None if it does not say.
        extra: All fields that its file has for it, but the events.
    """

    fps: float | None = None
    num_frames: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class EventList:
    """The events of some videos.

    Attributes:
        events: In the order of their file.
        videos: Every video by its name, those without events too.
        form: Which kind of file it was read from, and is written as if nothing else is asked for.
        extra: Other fields of the file as a whole, such as a table's columns.
        source: The file; None for events that stand in none.
    """

    events: tuple[Event, ...]
    videos: Mapping[str, VideoInfo]
    form: Form = "csv"
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    source: Path | None = None

    def __len__(self) -> int:
        return len(self.events)

    def labels(self) -> list[str]:
        """The classes that occur, in alphabetical order."""
        return sorted({event.label for event in self.events})

    def by_video(self) -> dict[str, list[Event]]:
        """The events of each video, in the order of their file; of a video without any an empty list."""
        found: dict[str, list[Event]] = {name: [] for name in self.videos}
        for event in self.events:
            found[event.video].append(event)
        return found

    @classmethod
    def of(cls, events: Iterable[Event | Mapping[str, Any]]) -> EventList:
        """A list of events that stand in no file.

        Args:
            events: Events, or dicts with ``video``, ``label``, at least one of ``frame`` and ``time_s``, and perhaps
                ``score``; other keys are kept. A dict with an empty label is a video in which nothing happens.

        Raises:
            ManifestError: If one of them is something else.
        """
        found: list[Event] = []
        videos: dict[str, VideoInfo] = {}
        for place, each in enumerate(events, start=1):
            if isinstance(each, Event):
                event: Event | None = each
                name = each.video
            elif isinstance(each, dict | Mapping):
                event, name = _event_of(each, f"event {place}")
            else:
                raise ManifestError(f"event {place}: {each!r}; give dicts of video, frame or time_s, and label")
            videos.setdefault(name, VideoInfo())
            if event is not None:
                found.append(event)
        return cls(tuple(found), videos)


def _event_of(fields: Mapping[str, Any], where: str) -> tuple[Event | None, str]:
    """One event, None if there is no label, and the name of its video."""
    if "video" not in fields or "label" not in fields:
        raise ManifestError(f"{where}: {dict(fields)}; give it video, label, and frame or time_s")
    name = str(fields["video"])
    if not fields["label"]:
        return None, name
    return read_event(name, fields, where), name


def read_event(video: str, fields: Mapping[str, Any], where: str, *, extra: Mapping[str, Any] | None = None) -> Event:
    """One event from its fields ``label``, ``frame``, ``time_s`` and ``score``, checked.

    Args:
        video: The video's name.
        fields: The fields; of numbers None and "" are none.
        where: The place of the event in its file, for errors.
        extra: What is kept of the other fields; by default all of them.

    Raises:
        ManifestError: If a field is not what it should be, or neither frame nor time is there.
    """
    label = fields.get("label")
    if not isinstance(label, str) or not label.strip():
        raise ManifestError(f"{where}: label {label!r}; it must be the name of a class; correct it")
    frame = number_if_any(fields.get("frame"), "frame", where)
    if frame is not None and (frame < 0 or frame != int(frame)):
        raise ManifestError(f"{where}: frame {fields['frame']!r}; frames are whole numbers from 0; correct it")
    time_s = number_if_any(fields.get("time_s"), "time_s", where)
    if time_s is not None and time_s < 0:
        raise ManifestError(f"{where}: time_s {time_s}; times are seconds from 0; correct it")
    if frame is None and time_s is None:
        raise ManifestError(f"{where}: {label!r} has neither frame nor time_s; give one of them")
    score = number_if_any(fields.get("score"), "score", where)
    if extra is None:
        extra = _NOTHING if fields.keys() <= _OWN else {name: fields[name] for name in fields if name not in _OWN}
    return Event(video, label.strip(), None if frame is None else int(frame), time_s, score, extra)


def number_if_any(value: Any, name: str, where: str) -> float | None:
    """A number or its text; None where there is none."""
    is_none = value is None or (isinstance(value, str) and not value.strip())
    return None if is_none else read_number(value, name, where)


def one_at_a_time(spans: Iterable[Span]) -> list[Span]:
    """Spans of one video in order of time, none of which overlap: where several do, the one that starts last counts.

    Those of one class that touch become one, and lose their score if they differ in it.

    >>> one_at_a_time([Span(0, 5, "walk"), Span(4, 6, "sit"), Span(6, 7, "sit")])
    [Span(start_s=0, end_s=4, label='walk', score=None), Span(start_s=4, end_s=7, label='sit', score=None)]
    """
    waiting = sorted(spans, key=lambda span: (span.start_s, -span.end_s), reverse=True)
    times = sorted({time for span in waiting for time in (span.start_s, span.end_s)})
    open_: list[Span] = []
    found: list[Span] = []
    for start, end in pairwise(times):
        while waiting and waiting[-1].start_s <= start:
            open_.append(waiting.pop())
        open_ = [span for span in open_ if span.end_s > start]
        if not open_:
            continue
        now, last = open_[-1], found[-1] if found else None
        if last is not None and last.end_s == start and last.label == now.label:
            score = last.score if last.score == now.score else None
            found[-1] = Span(last.start_s, end, now.label, score)
        else:
            found.append(Span(start, end, now.label, now.score))
    return found
