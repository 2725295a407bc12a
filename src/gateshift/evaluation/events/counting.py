"""Events and answers put on one scale: their videos by the same names, their moments in frames or seconds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from gateshift.data.choices import VIDEO_SUFFIXES
from gateshift.data.events.events import Event, EventList
from gateshift.errors import ScoresError, SettingsError
from gateshift.evaluation.events.matching import Moments


def _nearest(place: float) -> int:
    """The nearest whole number; halves always upwards, so that frames stay one apart where all are between two.

    >>> _nearest(37.5), _nearest(38.5), _nearest(39.5 - 1e-12)
    (38, 39, 40)
    """
    return math.floor(place + 0.5 + 1e-6)


@dataclass(frozen=True)
class Compared:
    """Answers beside the truth.

    Attributes:
        truth: The events.
        answers: The answers, with the truth's names of their videos.
        fps: In which rate frames are counted; None for each video's own.
        default_fps: The same for videos whose own is not known; None if that is an error where only times are known.
    """

    truth: EventList
    answers: EventList
    fps: float | None
    default_fps: float | None = None
    _groups: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, truth: EventList, answers: EventList, fps: float | None, *, default_fps: float | None = None
    ) -> Compared:
        """Put them side by side.

        Args:
            truth: The events.
            answers: The answers.
            fps: As above.
            default_fps: As above, where no event has a frame.

        Raises:
            SettingsError: If ``fps`` is not above 0.
            ScoresError: If the truth has no events.
        """
        if fps is not None and not 0 < fps < float("inf"):
            raise SettingsError(f"`fps` {fps}; it must be above 0; correct it")
        if not len(truth):
            raise ScoresError("`truth` has no events, so nothing can be found or missed; give labels with events")
        only_times = all(event.frame is None for each in (truth, answers) for event in each.events)
        return cls(truth, _named_alike(truth, answers), fps, default_fps if only_times else None)

    @cached_property
    def by_frames(self) -> bool:
        """Whether all moments are frames, of the one rate that is asked for."""
        events = (*self.truth.events, *self.answers.events)
        if any(event.frame is None for event in events):
            return False
        rates = set(map(self.own_rate, self.truth.videos))
        is_timed = all(event.time_s is not None for event in events)
        # Frames of a rate that no file says may be of any, and times say more.
        return self.fps is None or (rates <= {None, self.fps} and not (None in rates and is_timed))

    def own_rate(self, video: str) -> float | None:
        """Frames a second of a video, as truth or answers say."""
        infos = (each.videos[video] for each in (self.truth, self.answers) if video in each.videos)
        return next((info.fps for info in infos if info.fps is not None), None)

    def rate(self, video: str) -> float | None:
        """Frames a second in which a video's moments are counted, if it is known."""
        return self.fps or self._own_rates.get(video) or self.default_fps

    @cached_property
    def _own_rates(self) -> dict[str, float | None]:
        return {video: self.own_rate(video) for video in (*self.truth.videos, *self.answers.videos)}

    def place(self, event: Event, whole: Callable[[float], int] = _nearest) -> int:
        """The frame of an event, in the rate that is asked for.

        Where not all events have frames, times count before frames: of a variable rate, frames are no times.

        Args:
            event: Of either list.
            whole: Makes a frame of a time: the nearest one by default, ``int`` for the one that is shown.

        Raises:
            ScoresError: If it has a time, and no rate is known.
        """
        rate = self.rate(event.video)
        if event.frame is not None and (self.by_frames or event.time_s is None or rate is None):
            own = None if self.by_frames or self.fps is None else self._own_rates[event.video]
            return event.frame if own is None or rate is None else _nearest(event.frame / own * rate)
        assert event.time_s is not None
        if rate is None:
            raise ScoresError(
                f"{event.label!r} of {event.video} at {event.time_s} s: its frame is not known, as no file says the "
                "frame rate; give `fps`"
            )
        return whole(event.time_s * rate)

    def moments(self, events: Sequence[Event], whole: Callable[[float], int] = _nearest) -> Moments:
        """Events of either list as numbers; a group is a class of a video."""
        groups = [self._groups.setdefault((event.label, event.video), len(self._groups)) for event in events]
        places = [self.place(event, whole) for event in events]
        scores = [1.0 if event.score is None else event.score for event in events]
        return Moments(np.array(groups, np.int64), np.array(places, float), np.array(scores, float))

    def errors_ms(self, pairs: Sequence[tuple[Event, Event]]) -> list[float]:
        """How far answers are from their events, in milliseconds; of those of which it is known."""
        found = []
        for event, answer in pairs:
            rate = self.rate(event.video)
            if event.time_s is not None and answer.time_s is not None:
                found.append(1000 * abs(event.time_s - answer.time_s))
            elif rate is not None:
                found.append(1000 * abs(self.place(event) - self.place(answer)) / rate)
        return found


def _named_alike(truth: EventList, answers: EventList) -> EventList:
    """The answers with the truth's names of their videos.

    Raises:
        ScoresError: If both come from files and have no video in common.
    """
    name_of = match_names(truth.videos, answers.videos)
    events = tuple(
        event if name_of[event.video] == event.video else replace(event, video=name_of[event.video])
        for event in answers.events
    )
    videos = {name_of[name]: info for name, info in answers.videos.items()}
    check_common(truth.videos, name_of, are_files=None not in (truth.source, answers.source))
    return replace(answers, events=events, videos=videos)


def check_common(truth: Collection[str], name_of: Mapping[str, str], *, are_files: bool) -> None:
    """Raise ScoresError if truth and answers, both of files, have no video in common.

    Args:
        truth: Its videos.
        name_of: The truth's name of each video of the answers, as of :func:`match_names`.
        are_files: Whether both come from files.
    """
    if are_files and name_of and not {*name_of.values()}.intersection(truth):
        raise ScoresError(
            f"`answers` are of other videos than `truth`, such as {next(iter(name_of))} and {next(iter(truth))}; give "
            "files that name the same videos alike"
        )


def match_names(truth: Collection[str], answers: Collection[str]) -> dict[str, str]:
    """The truth's name of each video of the answers, which may have another folder, and a suffix or none.

    A name that fits several videos stays as it is.

    >>> match_names(["match_1"], ["videos/match_1.mp4", "other.mp4"])
    {'videos/match_1.mp4': 'match_1', 'other.mp4': 'other.mp4'}
    """
    of_truth, of_answers = (Counter(map(_stem, names)) for names in (truth, answers))
    known = {_stem(name): name for name in truth if of_truth[_stem(name)] == 1}
    return {
        name: name if name in truth or of_answers[_stem(name)] > 1 else known.get(_stem(name), name) for name in answers
    }


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name
