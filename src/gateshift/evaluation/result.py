"""What a test found: accuracies, a table, a threshold, a comparison, and all of it as one page of HTML."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gateshift.data.lists.labels import LABEL_SEPARATOR
from gateshift.data.lists.manifest import Manifest
from gateshift.errors import ScoresError, SettingsError
from gateshift.evaluation import report_figures as figures
from gateshift.evaluation.metrics import confusion
from gateshift.evaluation.scores import Scores, check_output, load_scores, save_scores
from gateshift.files import check_writable, write_text
from gateshift.version import __version__

if TYPE_CHECKING:
    from gateshift.evaluation.comparison import Comparison
    from gateshift.evaluation.confidence import ConfidenceThreshold

MOST_LABELLED_CLASSES = 30  # in a confusion matrix whose rows are named
COLUMNS = ("id", "label", "predicted", "probability", "correct", "error")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model on labelled videos. What is not given is left out of the report.

    Attributes:
        scores: Of the videos that could be read.
        model: What the model is called.
        manifest: The videos, to show frames of.
        choices: The class that each view alone would have chosen: int64 [videos, clips, crops]; None for an ensemble.
        skipped: Why other videos could not be read, by their id.
        other: Scores of another model on the same videos. Videos that only one of both has are left out of the
            comparison, and counted.
        other_name: What that model is called.
        threshold: How the model does with its confidence threshold.
        parts: Of an ensemble, what each model found.
        precision: Of ``precision="auto"``, which was chosen and why.
    """

    scores: Scores
    model: str = "model"
    manifest: Manifest | None = None
    choices: figures.Ints | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    other: Scores | None = None
    other_name: str = "other model"
    threshold: ConfidenceThreshold | None = None
    parts: tuple[Evaluation, ...] = ()
    precision: str | None = None

    def __str__(self) -> str:
        return f"{self.scores.protocol}: {self.scores.metrics()}"

    def accuracies(self) -> dict[str, float]:
        """Fractions in 0..1: ``top1``, ``top5``, ``mean_class``; with several labels a video ``mean_ap`` and ``f1``."""
        return self.scores.metrics().accuracies()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the list of videos, and the precision that was chosen, a line each."""
        manifest, chosen = self.manifest, () if self.precision is None else (self.precision,)
        return chosen if manifest is None else (*manifest.notes, *manifest.describe_numbers(train=False), *chosen)

    @cached_property
    def comparison(self) -> Comparison | None:
        """This model beside the other one, if there is one.

        Raises:
            ScoresError: If they share no video, or are of different classes or labels.
        """
        from gateshift.evaluation.comparison import compare

        return None if self.other is None else compare(self.scores, self.other, names=(self.model, self.other_name))

    def fit_threshold(self, accuracy: float) -> ConfidenceThreshold:
        """The lowest probability from which this share of the answers is correct, such as 0.95.

        Raises:
            SettingsError: If no threshold reaches this accuracy, or videos have several labels.
        """
        from gateshift.evaluation.confidence import fit_threshold

        self._check_one_label("fit_threshold")
        return fit_threshold(self.scores, accuracy)

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write ids, labels, logits and classes as .npz, which ``ensemble`` takes, and the accuracies as .json beside.

        Raises:
            SettingsError: If the file cannot be written there.
        """
        check_output(Path(path), overwrite=overwrite, argument="path")
        save_scores(self.scores, Path(path))

    def to_csv(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write a row for each video: id, label, predicted, probability (of the likeliest class), correct, error.

        Several labels of a video have semicolons between; predicted are then all classes with a logit above 0.

        Raises:
            SettingsError: If the file cannot be written there.
        """
        check_writable("path", Path(path), overwrite=overwrite, suffixes=[".csv"])
        scores, text = self.scores, io.StringIO(newline="")
        if scores.multi_label:
            answers = (scores.logits > 0).astype(np.int64)
            labels, predicted = ([self._joined(row) for row in rows] for rows in (scores.labels, answers))
            confidence = 1 / (1 + np.exp(-scores.logits.max(1).astype(np.float64)))
        else:
            labels, predicted = (
                [scores.classes[index] for index in rows] for rows in (scores.labels, scores.logits.argmax(1))
            )
            confidence = figures.probabilities_of(scores.logits).max(1)
        table = csv.writer(text)
        table.writerow(COLUMNS)
        for row in zip(scores.ids, labels, predicted, confidence, strict=True):
            table.writerow((*row[:3], f"{row[3]:.6f}", int(row[1] == row[2]), ""))
        table.writerows((video_id, "", "", "", "", reason) for video_id, reason in self.skipped.items())
        write_text(Path(path), text.getvalue())

    def _joined(self, row: figures.Ints) -> str:
        return LABEL_SEPARATOR.join(self.scores.classes[index] for index in np.flatnonzero(row))

    def report(
        self,
        path: str | PathLike[str],
        *,
        compare: str | PathLike[str] | Scores | Evaluation | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write one page of HTML that needs no other file, no network and no script.

        Args:
            path: The .html file.
            compare: Another model on the same videos: its score file, scores or evaluation.
            overwrite: Whether a file that is there may be replaced.

        Raises:
            SettingsError: If the file cannot be written there, or videos have several labels.
            ScoresError: If the other model's scores do not fit.
        """
        check_writable("path", Path(path), overwrite=overwrite, suffixes=[".html"])
        found = self
        if compare is not None:
            found = replace(self, other=scores_of(compare), other_name=name_of(compare))
        write_text(Path(path), found.html(), errors="backslashreplace")

    def html(self) -> str:
        """The page: the same text for the same scores and videos.

        Raises:
            SettingsError: If videos have several labels.
            ScoresError: As for :attr:`comparison`.
        """
        from gateshift.drawing.html_page import render_template

        self._check_one_label("report")
        return render_template("evaluation/templates/report.html.jinja", **self._values())

    def _check_one_label(self, argument: str) -> None:
        if self.scores.multi_label:
            raise SettingsError(f"`{argument}` of videos with several labels; it is for one; take `scores` or a CSV")

    def _values(self) -> dict[str, Any]:
        from gateshift.evaluation.report_drawing import draw_cases, draw_matrix, draw_reliability, matrix_ticks

        scores = self.scores
        matrix = confusion(scores.logits, scores.labels)
        order = figures.confusion_order(matrix)
        probabilities = figures.probabilities_of(scores.logits)
        answers = scores.logits.argmax(1)
        bins = figures.reliability(probabilities[np.arange(len(answers)), answers], answers == scores.labels)
        by_f1 = sorted(figures.class_figures(matrix), key=lambda each: (math.isnan(each.f1), each.f1, -each.num_videos))
        wrong, right = draw_cases(scores, probabilities, self.manifest)
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
            "most_pairs": 20,
            "most_changed": 50,
            "by_f1": by_f1,
            "bins": bins,
            "calibration_error": figures.calibration_error(bins),
            "reliability": draw_reliability(bins),
            "wrong": wrong,
            "right": right,
            "views": None if self.choices is None else figures.agreement(self.choices, answers, scores.labels),
        }


def scores_of(source: str | PathLike[str] | Scores | Evaluation) -> Scores:
    """Scores, from a file if need be."""
    if isinstance(source, Scores):
        return source
    if isinstance(source, Evaluation):
        return source.scores
    if not isinstance(source, str | PathLike):
        raise ScoresError(f"scores of type {type(source).__name__}; give a .npz file, scores or an evaluation")
    return load_scores(Path(source))


def name_of(source: str | PathLike[str] | Scores | Evaluation) -> str:
    """What a report calls the model that scores are of."""
    if isinstance(source, Scores):
        return Evaluation.other_name
    return source.model if isinstance(source, Evaluation) else str(source)
