"""Scores of events as one page of HTML: figures, a timeline of each video, and the worst mistakes as frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from gateshift.data.clips.frame_rates import nearest_frames
from gateshift.data.clips.recordings import Recording
from gateshift.data.events.events import Event, VideoInfo
from gateshift.data.events.videos import base_of, find_recording
from gateshift.data.video.files import Video, VideoFile
from gateshift.errors import VideoError
from gateshift.evaluation.events.counting import Compared
from gateshift.evaluation.report_drawing import Strip, frame_address
from gateshift.version import __version__

MOST_TIMELINES, MOST_MISTAKES, MOST_SHOWN = 20, 8, 2000
AROUND = 4  # frames shown to either side of an event
WIDTH, LANE, GAP = 1000, 26, 4  # of a timeline


@dataclass(frozen=True)
class Mark:
    """One event or answer of a timeline.

    Attributes:
        x: Its place.
        y: Its upper end.
        height: By its score.
        hue: Of its class, in degrees.
        is_right: Whether an event was found, or an answer hit.
        title: What it is, in words.
    """

    x: float
    y: float
    height: float
    hue: int
    is_right: bool
    title: str


@dataclass(frozen=True)
class Timeline:
    """A video from left to right: events above, answers below."""

    video: str
    marks: Sequence[Mark]
    num_events: int
    num_hits: int
    num_false: int


@dataclass(frozen=True)
class Mistake:
    """A missed event, or an answer that hit none, and the frames around it; which of these is its own."""

    event: Event
    note: str
    strip: Strip
    own: int = 0


def report_values(
    compared: Compared,
    answers: Sequence[Event],
    pairs: Sequence[tuple[Event, Event]],
    root: str | PathLike[str] | None,
) -> dict[str, Any]:
    """What the template of the page is filled with, beside the scores and figures.

    Args:
        compared: All answers beside the truth.
        answers: Those from the threshold on.
        pairs: The events that these hit, each with its answer; the same objects as in the lists.
        root: As for :meth:`gateshift.EventScores.report`.
    """
    found, hits = {id(event) for event, _ in pairs}, {id(answer) for _, answer in pairs}
    missed = [event for event in compared.truth.events if id(event) not in found]
    false = [answer for answer in answers if id(answer) not in hits]
    base, infos = base_of(compared.truth.source, root), compared.truth.videos
    of_class: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for answer in compared.answers.events:
        of_class[answer.video, answer.label].append(answer)
    near = [_nearest(compared, event, of_class.get((event.video, event.label), ())) for event in missed]
    worst = sorted(range(len(missed)), key=lambda place: near[place][0])[:MOST_MISTAKES]
    surest = sorted(false, key=lambda answer: -_score(answer))[:MOST_MISTAKES]
    labels = sorted({event.label for event in (*compared.truth.events, *answers)})
    hues = {label: round(137.5 * place) % 360 for place, label in enumerate(labels)}
    timelines = _timelines(compared, answers, found | hits, hues)
    return {
        "compared": compared,
        "hues": hues,
        "timelines": timelines[:MOST_TIMELINES],
        "num_timelines": len(timelines),
        "missed": [Mistake(missed[each], near[each][1], *_strip(base, missed[each], infos)) for each in worst],
        "num_missed": len(missed),
        "false_alarms": [Mistake(each, f"score {_score(each):.2f}", *_strip(base, each, infos)) for each in surest],
        "num_false_alarms": len(false),
        "size": (WIDTH, 2 * LANE + GAP),
        "version": __version__,
    }


def _score(event: Event) -> float:
    return 1.0 if event.score is None else event.score


def _nearest(compared: Compared, event: Event, own: Sequence[Event]) -> tuple[float, str]:
    """Of all answers of the class and video of a missed event the nearest: its score, and the two in words."""
    if not own:
        return -1.0, "no answer of this class in the video"
    place = compared.place(event)
    best = min(own, key=lambda each: (abs(compared.place(each) - place), -_score(each)))
    return _score(best), f"nearest answer {compared.place(best) - place:+} frames, score {_score(best):.2f}"


def _timelines(compared: Compared, answers: Sequence[Event], right: set[int], hues: dict[str, int]) -> list[Timeline]:
    """A timeline for each video in which anything happens, those with the most mistakes first."""
    lanes: dict[str, tuple[list[Event], list[Event]]] = {name: ([], []) for name in compared.truth.videos}
    for side, events in enumerate((compared.truth.events, answers)):
        for event in events:
            lanes.setdefault(event.video, ([], []))[side].append(event)
    found = []
    for video, (own, given) in lanes.items():
        if own or given:
            info = compared.truth.videos.get(video)
            last = max(compared.place(event) for event in (*own, *given))
            length = max(last, (info.num_frames or 0) - 1 if info and compared.fps is None else 0, 1)
            marks = [
                _mark(compared.place(event) / length, side, event, id(event) in right, hues[event.label])
                for side, events in enumerate((own, given[:MOST_SHOWN]))
                for event in events
            ]
            hits = sum(id(event) in right for event in own)
            found.append(Timeline(video, marks, len(own), hits, len(given) - sum(id(each) in right for each in given)))
    return sorted(found, key=lambda each: each.num_hits - each.num_events - each.num_false)


def _mark(share: float, side: int, event: Event, is_right: bool, hue: int) -> Mark:
    height = LANE * max(0.2, min(_score(event), 1.0)) if side else LANE
    y = LANE + GAP if side else 0
    when = f"frame {event.frame}" if event.frame is not None else f"{event.time_s:.3f} s"
    wrong = "" if is_right else (", hits nothing" if side else ", missed")
    score = f", score {_score(event):.2f}" if side else ""
    return Mark(2 + share * (WIDTH - 6), y, height, hue, is_right, f"{event.label}, {when}{score}{wrong}")


def _strip(base: Path, event: Event, infos: Mapping[str, VideoInfo]) -> tuple[Strip, int]:
    """The frames around an event, and which of them is its own; or why there are none."""
    try:
        found = find_recording(base, event.video, infos.get(event.video) or VideoInfo())
        if found is None:
            return Strip(error=f"{event.video} is not in {base}; give `root`, the folder where videos are"), 0
        path, part = found
        with Recording(event.video, path, part=part).open_frames(square_pixels=True) as video:
            middle = _frame_of(event, video)
            around = range(max(middle - AROUND, 0), min(middle + AROUND + 1, video.num_frames))
            frames = video.read(list(around))  # [T, 3, H, W]
    except VideoError as error:
        return Strip(error=str(error)), 0
    return Strip(tuple(frame_address(frame.permute(1, 2, 0).numpy()) for frame in frames)), middle - around.start


def _frame_of(event: Event, video: Video) -> int:
    if event.frame is not None:
        return min(event.frame, video.num_frames - 1)
    if not isinstance(video, VideoFile):
        raise VideoError(f"{event.video}: images have no clock; give the frame of the event at {event.time_s} s")
    return int(nearest_frames(video.clock_s(), np.array([event.time_s]))[0])
