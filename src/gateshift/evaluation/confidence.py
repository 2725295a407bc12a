"""A model that may say nothing: it answers from a probability on, which a list of labelled videos decides.

Selective classification, as in "Selective Classification for Deep Neural Networks" (Geifman and El-Yaniv, 2017), with
the probability of the answer as confidence. The threshold is fitted to the share that is right on the list itself; what
that promises for other videos is told beside it, as a bound.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from gateshift.data.clips.views import EvalProtocol
from gateshift.errors import SettingsError
from gateshift.evaluation.report_figures import Floats, probabilities_of
from gateshift.evaluation.scores import Scores
from gateshift.model.classifier import VideoClassifier
from gateshift.model.io import save_model

CONFIDENCE = 0.95  # of the bound
_SAME = 1e-6  # probabilities no further apart may change places by rounding, from one batch size to another


@dataclass(frozen=True)
class Answered:
    """How a model with a threshold does on labelled videos.

    Attributes:
        threshold: Probability, in 0..1, from which it answers.
        num_videos: How many videos there are.
        num_answered: How many of them it answers.
        num_right: How many of these answers are right.
        num_tries: Of how many thresholds this one was chosen by these same videos; 1 if by others.
    """

    threshold: float
    num_videos: int
    num_answered: int
    num_right: int
    num_tries: int = 1

    @property
    def accuracy_bound(self) -> float:
        """Share of right answers, in 0..1, that other videos of the same kind exceed with a confidence of 0.95.

        The bound is Clopper and Pearson's, its doubt shared out among all thresholds that were tried.
        """
        doubt = (1 - CONFIDENCE) / self.num_tries
        wrong = self.num_answered - self.num_right
        return float(beta.ppf(doubt, self.num_right, wrong + 1)) if self.num_right else 0.0

    def __str__(self) -> str:
        accuracy = self.num_right / self.num_answered if self.num_answered else 0.0
        return (
            f"from probability {self.threshold:.4f} on, {self.num_answered} of {self.num_videos} videos are answered "
            f"({self.num_answered / self.num_videos:.2%}), {self.num_right} of them right ({accuracy:.2%}); on other "
            f"videos of this kind at least {self.accuracy_bound:.2%}, with confidence {CONFIDENCE}"
        )


def fit_abstaining(scores: Scores, accuracy: float) -> Answered:
    """Find the lowest threshold from which a share of the answers is right, so that the most videos are answered.

    Args:
        scores: Of labelled videos that the model did not learn from.
        accuracy: The share of the answers that is to be right, above 0 and up to 1.

    Returns:
        How the model does with it. It lies half-way between the last answer that it lets through and the first that it
        does not, and is 0 where all are let through.

    Raises:
        SettingsError: If the share is out of range, or not even the surest answers are as often right.
    """
    check_accuracy(accuracy)
    confidence, is_right = _answers(scores)
    order = np.argsort(-confidence, kind="stable")
    falling, num_right = confidence[order], is_right[order].cumsum()
    next_one = np.append(falling[1:], -1.0)  # below all
    shares = num_right / np.arange(1, len(order) + 1)
    ends = falling - next_one > _SAME  # equal ones are answered together
    enough = np.flatnonzero(ends & (shares >= accuracy))
    if not len(enough):
        raise SettingsError(
            f"--fit-threshold {accuracy}: from no probability on are so many answers right, at best "
            f"{shares[ends].max():.4g}; ask for less, or train a better model"
        )
    last = enough[-1]
    threshold = 0.0 if last + 1 == len(order) else float(falling[last] + next_one[last]) / 2
    return Answered(threshold, len(order), int(last) + 1, int(num_right[last]), num_tries=int(ends.sum()))


def measure_abstaining(scores: Scores, threshold: float) -> Answered:
    """How a model does that answers from a probability on; that must not come from these videos."""
    confidence, is_right = _answers(scores)
    answered = confidence >= threshold
    return Answered(threshold, len(answered), int(answered.sum()), int(is_right[answered].sum()))


def save_abstaining(model: VideoClassifier, path: Path, threshold: float, protocol: EvalProtocol) -> None:
    """Write a model that answers from a probability on; ``predict`` says that it is unsure below.

    Args:
        model: Left as it is.
        path: As of :func:`gateshift.save_model`.
        threshold: In 0..1.
        protocol: That it was fitted by, which becomes the model's own: other views have other probabilities.
    """
    config = dataclasses.replace(
        model.config,
        abstain_below=threshold,
        num_segments=protocol.num_segments,
        num_clips=protocol.num_clips,
        num_crops=protocol.num_crops,
    )
    save_model(model, path, config=config)


def check_accuracy(accuracy: float) -> None:
    """Raise SettingsError unless this is a share of answers that can be asked for."""
    if not 0 < accuracy <= 1:
        raise SettingsError(f"--fit-threshold {accuracy}; it is a share of the answers, above 0 and up to 1; try 0.95")


def _answers(scores: Scores) -> tuple[Floats, NDArray[np.bool_]]:
    """The probability of each video's answer, and whether it is right: [videos] both."""
    return probabilities_of(scores.logits).max(1), scores.logits.argmax(1) == scores.labels
