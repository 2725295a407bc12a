"""A test as one page of HTML that needs nothing else: no other file, no network, no script."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gateshift.data.lists.manifest import Manifest
from gateshift.drawing.html_page import render_template
from gateshift.errors import ScoresError
from gateshift.evaluation import report_figures as figures
from gateshift.evaluation.confidence import Answered
from gateshift.evaluation.metrics import Metrics, confusion
from gateshift.evaluation.report_drawing import Strip, draw_matrix, draw_reliability, draw_strip, matrix_ticks
from gateshift.evaluation.scores import Scores, align
from gateshift.files import write_text
from gateshift.version import __version__

MOST_LABELLED_CLASSES = 30  # in a confusion matrix whose rows are named
MOST_PAIRS = 20
MOST_CASES = 8
MOST_CHANGED = 50


@dataclass(frozen=True)
class Case:
    """One video and what was said of it; ``strip`` is None where it is not known where the video lies."""

    video_id: str
    label: str
    answer: str
    probability: float
    strip: Strip | None


@dataclass(frozen=True)
class Change:
    """One video that two models do not both have right or answer alike."""

    video_id: str
    label: str
    here: str
    there: str


@dataclass(frozen=True, eq=False)
class Report:
    """What a report is made of. Parts that are not given are left out of it.

    Attributes:
        scores: Of the model.
        model: What it is called.
        manifest: Where the videos are, to show frames of.
        choices: What each view chose: int64 [videos, clips, crops]; see ``Evaluation``.
        skipped: Why videos could not be read, by their id.
        other: Scores of another model on the same videos. Videos that only one of both has are left out of the
            comparison, and the report says how many.
        other_name: What that model is called.
        answered: How the model does where it answers from a probability on.
    """

    scores: Scores
    model: str = "model"
    manifest: Manifest | None = None
    choices: figures.Ints | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    other: Scores | None = None
    other_name: str = "other model"
    answered: Answered | None = None

    @cached_property
    def comparison(self) -> Pairing | None:
        """This model beside the other one, if there is one.

        Raises:
            ScoresError: If they share no video, or are of different classes or labels.
        """
        return None if self.other is None else pair(self.scores, self.other, names=(self.model, self.other_name))

    def html(self) -> str:
        """The page: the same text for the same scores and videos.

        Raises:
            ScoresError: As for :attr:`comparison`.
        """
        return render_template("evaluation/templates/report.html.jinja", **self._values())

    def _values(self) -> dict[str, Any]:
        scores = self.scores
        matrix = confusion(scores.logits, scores.labels)
        order = figures.confusion_order(matrix)
        probabilities = figures.probabilities_of(scores.logits)
        answers = scores.logits.argmax(1)
        bins = figures.reliability(probabilities[np.arange(len(answers)), answers], answers == scores.labels)
        by_f1 = sorted(figures.class_figures(matrix), key=lambda each: (math.isnan(each.f1), each.f1, -each.num_videos))
        views = None if self.choices is None else figures.agreement(self.choices, answers, scores.labels)
        wrong, right = self._cases(probabilities, answers)
        return {
            "report": self,
            "version": __version__,
            "metrics": scores.metrics(),
            "classes": scores.classes,
            "order": order,
            "place": {index: number for number, index in enumerate(order, start=1)},
            "matrix": matrix,
            "is_labelled": len(order) <= MOST_LABELLED_CLASSES,
            "matrix_image": draw_matrix(matrix[np.ix_(order, order)]),
            "ticks": matrix_ticks(len(order)),
            "pairs": figures.confused_pairs(matrix),
            "most_pairs": MOST_PAIRS,
            "most_changed": MOST_CHANGED,
            "by_f1": by_f1,
            "bins": bins,
            "calibration_error": figures.calibration_error(bins),
            "reliability": draw_reliability(bins),
            "wrong": wrong,
            "right": right,
            "views": views,
        }

    def _cases(self, probabilities: figures.Floats, answers: figures.Ints) -> tuple[list[Case], list[Case]]:
        """The surest of the wrong answers, and the least sure of the right ones."""
        confidence = probabilities[np.arange(len(answers)), answers]  # [videos]
        is_right = answers == self.scores.labels
        wrong = [row for row in np.argsort(-confidence, kind="stable") if not is_right[row]][:MOST_CASES]
        right = [row for row in np.argsort(confidence, kind="stable") if is_right[row]][:MOST_CASES]
        ids = [self.scores.ids[row] for row in (*wrong, *right)]
        strips = self._strips(set(ids))
        cases = [
            Case(
                ids[number],
                self.scores.classes[self.scores.labels[row]],
                self.scores.classes[answers[row]],
                float(confidence[row]),
                strips.get(ids[number]),
            )
            for number, row in enumerate((*wrong, *right))
        ]
        return cases[: len(wrong)], cases[len(wrong) :]

    def _strips(self, ids: set[str]) -> dict[str, Strip]:
        if self.manifest is None:
            return {}
        entries = self.manifest.entries
        places = {video_id: place for place, video_id in enumerate(entries.video_ids()) if video_id in ids}
        missing = Strip(error="the list of videos does not have it")
        return {each: draw_strip(entries[places[each]]) if each in places else missing for each in sorted(ids)}


@dataclass(frozen=True, eq=False)
class Pairing:
    """Two models on the videos that both were tested on.

    Attributes:
        here: Scores of this model.
        there: Scores of the other one, in the same order.
        left_out: Videos that only one of both has.
        figures: What changed.
    """

    here: Scores
    there: Scores
    left_out: int
    figures: figures.Comparison

    @property
    def groups(self) -> tuple[tuple[str, list[Change]], ...]:
        """The videos that changed, group by group."""
        masks = {
            "Right here alone": self.figures.gained,
            "Right there alone": self.figures.lost,
            "Wrong in both, with different answers": self.figures.swapped,
        }
        rows = {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}
        return tuple((name, [self._change(row) for row in rows[name]]) for name in rows)

    def _change(self, row: int) -> Change:
        names = self.here.classes
        here, there = (names[int(each.logits[row].argmax())] for each in (self.here, self.there))
        return Change(self.here.ids[row], names[self.here.labels[row]], here, there)

    def __str__(self) -> str:
        counts, top1 = self.figures, Metrics.of(self.there.logits, self.there.labels).top1
        return (
            f"top-1 {top1:.2%} ({self.there.protocol}); {counts.gained.sum()} videos right here "
            f"alone, {counts.lost.sum()} there alone; McNemar's exact test: p = {counts.p_value:.3g}"
        )


def pair(scores: Scores, other: Scores, *, names: tuple[str, str]) -> Pairing:
    """Compare two models on the videos that both were tested on.

    Args:
        scores: Of this model.
        other: Of the other one.
        names: What an error calls the two.

    Raises:
        ScoresError: If they share no video, or are of different classes or labels.
    """
    known = set(other.ids)
    shared = [video_id for video_id in scores.ids if video_id in known]
    if not shared:
        raise ScoresError(
            f"{names[1]} and {names[0]} have no video in common, as {other.ids[0]} and {scores.ids[0]} show; "
            "test both models on the same list"
        )
    here = scores.select(shared)
    there = align(other.select(shared), here, names=(names[1], names[0]))
    left_out = len(known ^ set(scores.ids))
    found = figures.compare(here.logits.argmax(1), there.logits.argmax(1), here.labels)
    return Pairing(here, there, left_out, found)


def write_report(report: Report, path: Path) -> None:
    """Write a report as one HTML file, which appears when it is whole.

    Raises:
        ScoresError: If the other model's scores do not fit.
    """
    write_text(path, report.html(), errors="backslashreplace")
