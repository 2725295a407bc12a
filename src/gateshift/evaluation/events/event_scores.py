"""How good answers about events are: mean average precision, and figures at a threshold that people can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from gateshift.data.events.events import Event
from gateshift.data.events.files import Events, read_events
from gateshift.data.events.suppression import Floats, Ints
from gateshift.errors import SettingsError, check_choice
from gateshift.evaluation.events.counting import Compared
from gateshift.evaluation.events.matching import (
    Moments,
    average_precision,
    eleven_point_precision,
    match_best,
    match_nearest,
    one_score_a_place,
)
from gateshift.evaluation.events.settings import Rule
from gateshift.files import check_writable, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

TIGHT_S, LOOSE_S = (1, 2, 3, 4, 5), (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60)
SOCCERNET_FPS = 2.0  # of SoccerNet's own evaluation
ALL_CLASSES = "all classes"


@dataclass(frozen=True)
class EventFigures:
    """Answers from a threshold on, of one class or of all.

    Attributes:
        label: The class.
        num_events: How many there are.
        num_answers: How many answers reach the threshold.
        hits: How many of them hit an event.
        median_error_ms: Median distance in time of these, in milliseconds; None without hits or a known frame rate.
        p90_error_ms: 90th percentile of that distance.
    """

    label: str
    num_events: int
    num_answers: int
    hits: int
    median_error_ms: float | None
    p90_error_ms: float | None

    @property
    def misses(self) -> int:
        """How many events no answer hits."""
        return self.num_events - self.hits

    @property
    def precision(self) -> float:
        """Share of the answers that hit; 0 without answers."""
        return self.hits / self.num_answers if self.num_answers else 0.0

    @property
    def recall(self) -> float:
        """Share of the events that are hit; 0 without events."""
        return self.hits / self.num_events if self.num_events else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / max(self.num_answers + self.num_events, 1)


class EventScores(dict[str, Any]):
    """Scores of answers about events: a dict, with figures and a report beside.

    Its keys are ``mAP``, tolerance -> mean average precision in 0..1; ``per_class``, class -> tolerance -> average
    precision; ``average_mAP_tight`` and ``average_mAP_loose``, SoccerNet's averages over 1 to 5 and 5 to 60 seconds,
    None where the frame rate is not known.

    Args:
        values: What the dict holds.

    Attributes:
        compared: The answers beside the truth.
        rule: How answers were matched to events.
    """

    def __init__(self, values: Mapping[str, Any], compared: Compared, rule: Rule) -> None:
        super().__init__(values)
        self.compared, self.rule = compared, rule

    def __str__(self) -> str:
        means = ", ".join(f"{tolerance:g}: {value:.2%}" for tolerance, value in self["mAP"].items())
        unit = "frames" if self.rule == "nearest" else "seconds"
        spans = [f"{name} {self[f'average_mAP_{name}']:.2%}" for name in ("tight", "loose") if self.is_timed]
        average = f"; average mAP {', '.join(spans)}" if spans else ""
        return f"mAP ({unit}) {means}{average}; {len(self.compared.truth)} events, {len(self.compared.answers)} answers"

    @property
    def is_timed(self) -> bool:
        """Whether the frame rate is known, and so the averages over seconds."""
        return self["average_mAP_tight"] is not None

    @property
    def mean_ap(self) -> float:
        """Mean of the mAP at all tolerances but 0, as E2E-Spot chooses its best epoch; at 0 if there is no other."""
        values = [value for tolerance, value in self["mAP"].items() if tolerance] or list(self["mAP"].values())
        return float(np.mean(values))

    def figures(self, threshold: float = 0.5, tolerance: float | None = None) -> dict[str, EventFigures]:
        """Precision, recall, misses and errors in time of the answers from a threshold on.

        Args:
            threshold: Answers with this score and more count.
            tolerance: How far an answer may be from its event, in frames; by default the largest that was scored, which
                for SoccerNet's rule is half of so many seconds.

        Returns:
            The figures of each class, in alphabetical order, and last of "all classes" together.
        """
        compared = self.compared
        answers = self._answers_from(threshold)
        pairs = self.pairs(answers, tolerance)
        events = compared.truth.events
        labels = sorted({each.label for each in (*events, *answers)})
        found = {}
        for label in (*labels, ALL_CLASSES):
            counts = [sum(label in (ALL_CLASSES, each.label) for each in listed) for listed in (events, answers)]
            own = [pair for pair in pairs if label in (ALL_CLASSES, pair[0].label)]
            errors = compared.errors_ms(own)
            median, p90 = np.percentile(errors, (50, 90)).tolist() if errors else (None, None)
            found[label] = EventFigures(label, counts[0], counts[1], len(own), median, p90)
        return found

    def pairs(self, answers: Sequence[Event], tolerance: float | None = None) -> list[tuple[Event, Event]]:
        """The events that answers hit, each with its answer, as the rule "nearest" matches them.

        Args:
            answers: Some of ``compared.answers``.
            tolerance: As for :meth:`figures`.
        """
        if tolerance is None:
            tolerance = max(self["mAP"])
            if self.rule == "soccernet":
                rates = [self.compared.rate(video) or 1.0 for video in self.compared.truth.videos]
                tolerance *= float(np.mean(rates)) / 2
        events = self.compared.truth.events
        hit = match_nearest(self.compared.moments(events), self.compared.moments(answers), tolerance)
        return [(events[row], answer) for answer, row in zip(answers, hit.tolist(), strict=True) if row >= 0]

    def report(
        self,
        path: str | PathLike[str],
        *,
        root: str | PathLike[str] | None = None,
        threshold: float = 0.5,
        overwrite: bool = False,
    ) -> None:
        """Write one page of HTML that needs no other file: figures, timelines, and frames of the worst misses.

        Args:
            path: The .html file.
            root: Folder where the videos' names start; by default that of the truth's file. A video that is not there
                has no frames.
            threshold: Answers with this score and more are drawn as found.
            overwrite: Whether a file that is there may be replaced.

        Raises:
            SettingsError: If the file cannot be written there.
        """
        from gateshift.drawing.html_page import render_template
        from gateshift.evaluation.events.event_report import report_values

        check_writable("path", Path(path), overwrite=overwrite, suffixes=[".html"])
        answers = self._answers_from(threshold)
        values = report_values(self.compared, answers, self.pairs(answers), root)
        figures, template = self.figures(threshold), "evaluation/templates/event_report.html.jinja"
        page = render_template(template, scores=self, figures=figures, threshold=threshold, **values)
        write_text(Path(path), page, errors="backslashreplace")

    def _answers_from(self, threshold: float) -> list[Event]:
        return [each for each in self.compared.answers.events if each.score is None or each.score >= threshold]


def score_events(
    truth: Events,
    answers: Events,
    tolerances: Sequence[float] = (0, 1, 2, 4),
    rule: Rule = "nearest",
    fps: float | None = None,
) -> EventScores:
    """Score answers about events: mean average precision (mAP) at several tolerances.

    Two rules. "nearest" is that of E2E-Spot (Hong et al., ECCV 2022): from the highest score down, each answer takes
    the nearest event of its class and video that is still free, and hits if that is within the tolerance; AP is the
    area under precision over recall; mAP averages the classes that occur in the truth. "soccernet" is that of SoccerNet
    (Giancola et al., CVPRW 2018): one score a frame and class, the last one; events in order of time each take the
    highest free answer within half of the tolerance; 200 thresholds in 0..1, 11-point AP, mean over all classes of
    truth and answers.

    Args:
        truth: Events: a CSV, E2E-Spot's JSON, SoccerNet's ``Labels-*.json``, or dicts of ``video``, ``frame`` or
            ``time_s``, and ``label``; see :func:`read_events`.
        answers: The same with ``score``, which is 1 where there is none. Names of videos may have another folder or
            suffix than in the truth. In a video that the truth does not have, all answers are false alarms.
        tolerances: Of "nearest" in frames, inclusive; of "soccernet" in seconds, in frames where no rate is known.
        rule: "nearest" or "soccernet".
        fps: Frames a second to count in, so that times become frames: 1000 counts in milliseconds. By default each
            video's own, as files say; where all events have frames alone it is needed only for the averages over
            seconds.
            The rule of SoccerNet counts 2 a second, as its own code does, where nothing but times is known.

    Returns:
        A dict: ``mAP``, ``per_class``, ``average_mAP_tight`` and ``average_mAP_loose``, with more beside; see
        :class:`EventScores`.

    Raises:
        ManifestError: If a file cannot be read.
        ScoresError: If the truth has no events, files have no video in common, or frames cannot be counted.
        SettingsError: If a number is out of range, or there is no such rule.

    >>> truth = [{"video": "v", "frame": frame, "label": "bounce"} for frame in (10, 12)]
    >>> answers = [{**truth[0], "frame": f, "score": s} for f, s in ((11, 0.9), (12, 0.8), (13, 0.7))]
    >>> score_events(truth, answers, tolerances=(0, 1))["mAP"]
    {0: 0.25, 1: 1.0}
    """
    check_choice("rule", rule, get_args(Rule))
    if not tolerances or not all(0 <= tolerance < float("inf") for tolerance in tolerances):
        raise SettingsError(f"`tolerances` {tuple(tolerances)}; give at least one, each at least 0")
    default_fps = SOCCERNET_FPS if rule == "soccernet" else None
    compared = Compared.of(read_events(truth), read_events(answers), fps, default_fps=default_fps)
    soccernet = _SoccerNet(compared)
    if rule == "soccernet":
        by_tolerance = {tolerance: soccernet.average_precisions(tolerance) for tolerance in tolerances}
    else:
        by_tolerance = _nearest(compared, tolerances)
    classes = next(iter(by_tolerance.values()))
    averages = [soccernet.average(deltas_s) if soccernet.is_timed else None for deltas_s in (TIGHT_S, LOOSE_S)]
    values = {
        "mAP": {tolerance: float(np.mean(list(found.values()))) for tolerance, found in by_tolerance.items()},
        "per_class": {label: {each: found[label] for each, found in by_tolerance.items()} for label in classes},
        "average_mAP_tight": averages[0],
        "average_mAP_loose": averages[1],
    }
    return EventScores(values, compared, rule)


def _nearest(compared: Compared, tolerances: Sequence[float]) -> dict[float, dict[str, float]]:
    """tolerance -> class -> average precision, by the rule of E2E-Spot."""
    truth, answers = compared.truth, compared.answers
    classes = truth.labels()
    own, counts = _class_numbers(answers.events, classes), np.bincount(_class_numbers(truth.events, classes))
    events, given = compared.moments(truth.events), compared.moments(answers.events)
    found: dict[float, dict[str, float]] = {}
    for tolerance in tolerances:
        is_hit = (match_nearest(events, given, tolerance) >= 0).astype(np.int64)
        found[tolerance] = {
            label: average_precision(given.scores[own == k], is_hit[own == k], int(counts[k]))
            for k, label in enumerate(classes)
        }
    return found


class _SoccerNet:
    """Truth and answers as SoccerNet evaluates them."""

    def __init__(self, compared: Compared) -> None:
        self._compared = compared
        self.classes = sorted({*compared.truth.labels(), *compared.answers.labels()})
        self.is_timed = None not in map(compared.rate, compared.truth.videos)

    @cached_property
    def _counted(self) -> tuple[Moments, Ints, Floats, Moments, Ints]:
        """Events, the class of each and the frames a second of its video; answers, and the class of each."""
        truth, answers = self._compared.truth.events, self._compared.answers.events
        events, given = (self._compared.moments(each, int) for each in (truth, answers))
        rates = np.array([self._compared.rate(event.video) or 1.0 for event in truth])
        of_events, of_answers = (_class_numbers(each, self.classes) for each in (truth, answers))
        rows, own = one_score_a_place(events), one_score_a_place(given)
        own = own[given.scores[own] >= 0]
        return events[rows], of_events[rows], rates[rows], given[own], of_answers[own]

    def average_precisions(self, delta_s: float) -> dict[str, float]:
        """Class -> average precision with events that reach half of so many seconds to either side."""
        events, of_events, rates, answers, of_answers = self._counted
        is_hit = match_best(events, answers, delta_s * rates / 2)
        counts = np.bincount(of_events, minlength=len(self.classes))
        return {
            label: eleven_point_precision(answers.scores[of_answers == k], is_hit[of_answers == k], int(counts[k]))
            for k, label in enumerate(self.classes)
        }

    def average(self, deltas_s: Sequence[float]) -> float:
        """The mean of the mAP over these tolerances, by the trapezoid rule."""
        means = [float(np.mean(list(self.average_precisions(delta_s).values()))) for delta_s in deltas_s]
        return float(np.mean((np.array(means[1:]) + means[:-1]) / 2))


def _class_numbers(events: Sequence[Event], classes: Sequence[str]) -> Ints:
    """The number of each event's class: [n]; -1 if it is none of them."""
    number = {label: index for index, label in enumerate(classes)}
    return np.array([number.get(event.label, -1) for event in events], np.int64)
