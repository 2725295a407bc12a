"""Timelines of a video as one picture: frames of its events, and for each network the truth above its answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateshift.data.events.events import Event
from gateshift.data.video.files import open_video
from gateshift.drawing.figures import new_figure, save_png
from gateshift.evaluation.events.event_scores import EventScores

TRUTH, RIGHT, WRONG = "#222222", "#2a7f3f", "#c23b22"
SHOWN_FROM = 0.1  # an answer's score
TOLERANCE = 1  # frames, within which an answer is right


def draw_timelines(video: Path, name: str, scores: Mapping[str, EventScores], path: Path) -> None:
    """Draw what happens in a video, and what networks answer.

    Args:
        video: The file.
        name: What the scores call it.
        scores: Title of each timeline -> truth and answers of a network; all of the same truth.
        path: The PNG to write.
    """
    truth = next(iter(scores.values())).compared.truth
    events = [event for event in truth.events if event.video == name]
    labels = list(dict.fromkeys(truth.labels()))
    figure = new_figure(13, 1.6 + 2.6 * len(scores))
    grid = figure.add_gridspec(1 + len(scores), len(labels), height_ratios=[1.4, *[2.6] * len(scores)])
    _draw_frames(figure, grid, video, events, labels)
    for row, (title, each) in enumerate(scores.items(), start=1):
        axes = figure.add_subplot(grid[row, :], sharex=figure.axes[-1] if row > 1 else None)
        _draw_lanes(axes, events, _answers(each, name), labels)
        axes.set_title(f"{title}: mAP within a frame {each['mAP'][TOLERANCE]:.1%} on all unseen videos", fontsize=10)
    figure.axes[-1].set_xlabel(
        f"seconds; of each class what happens is above (black), answers below, as high as their score: green within "
        f"{TOLERANCE} frame, red else"
    )
    save_png(figure, path)


def _answers(scores: EventScores, name: str) -> list[tuple[Event, bool]]:
    """The answers about a video that are shown, and whether each is right."""
    shown = [each for each in scores.compared.answers.events if each.video == name and _score(each) >= SHOWN_FROM]
    hits = {id(answer) for _, answer in scores.pairs(shown, TOLERANCE)}
    return [(each, id(each) in hits) for each in shown]


def _score(answer: Event) -> float:
    return 1.0 if answer.score is None else answer.score


def _draw_frames(figure: Any, grid: Any, video: Path, events: list[Event], labels: list[str]) -> None:
    """The frame of the first event of each class."""
    first = {event.label: event for event in reversed(events)}
    with open_video(video) as opened:
        for column, label in enumerate(labels):
            axes = figure.add_subplot(grid[0, column])
            axes.axis("off")
            if label in first:
                event = first[label]
                axes.imshow(opened.read([event.frame or 0])[0].permute(1, 2, 0).numpy())
                axes.set_title(f"{label}, {event.time_s:.2f} s", fontsize=8)


def _draw_lanes(axes: Any, events: list[Event], answers: list[tuple[Event, bool]], labels: list[str]) -> None:
    """A lane for each class: events in its upper half, answers in its lower one."""
    for lane, label in enumerate(labels):
        middle = -lane
        axes.vlines([each.time_s for each in events if each.label == label], middle, middle + 0.42, TRUTH, lw=2)
        for is_right, ink in ((True, RIGHT), (False, WRONG)):
            own = [each for each, right in answers if each.label == label and right == is_right]
            heights = [middle - 0.42 * _score(each) for each in own]
            axes.vlines([each.time_s for each in own], middle, heights, ink, lw=2)
        axes.axhline(middle, color="#bbbbbb", lw=0.5)
    axes.set_yticks([-lane for lane in range(len(labels))], labels, fontsize=8)
    axes.set_ylim(0.5 - len(labels), 0.5)
