"""Selective classification: a model that answers only from a probability on, which labelled videos decide.

As in "Selective Classification for Deep Neural Networks" (Geifman and El-Yaniv, 2017), with the probability of the
answer as confidence. The threshold is fitted to the accuracy on the list itself; what it promises for other videos is
stated as a lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateshift.errors import SettingsError
from gateshift.evaluation.report_figures import Floats, probabilities_of
from gateshift.evaluation.scores import Scores

CONFIDENCE = 0.95  # of the bound
_SAME = 1e-6  # probabilities no further apart may change places by rounding, from one batch size to another


@dataclass(frozen=True)
class ConfidenceThreshold:
    """How a model with a confidence threshold does on labelled videos.

    Attributes:
        probability: In 0..1, from which the model answers.
        num_videos: How many videos there are.
        num_answered: How many of them it answers.
        num_correct: How many of these answers are correct.
        num_tries: Among how many thresholds this one was chosen by these same videos; 1 if by others.
    """

    probability: float
    num_videos: int
    num_answered: int
    num_correct: int
    num_tries: int = 1

    @property
    def accuracy(self) -> float:
        """Share of the answers that are correct, in 0..1; 0 without an answer."""
        return self.num_correct / self.num_answered if self.num_answered else 0.0

    @property
    def accuracy_bound(self) -> float:
        """Accuracy, in 0..1, that answers for other videos of the same kind exceed with a confidence of 0.95.

        The bound is Clopper and Pearson's, with Bonferroni's correction for the thresholds that were tried.
        """
        from scipy.stats import beta

        alpha = (1 - CONFIDENCE) / self.num_tries
        wrong = self.num_answered - self.num_correct
        return float(beta.ppf(alpha, self.num_correct, wrong + 1)) if self.num_correct else 0.0

    def __str__(self) -> str:
        return (
            f"from probability {self.probability:.4f} on, {self.num_answered} of {self.num_videos} videos are answered "
            f"({self.num_answered / self.num_videos:.2%}), {self.num_correct} of them correctly ({self.accuracy:.2%}); "
            f"on other videos of this kind at least {self.accuracy_bound:.2%}, with confidence {CONFIDENCE}"
        )


def fit_threshold(scores: Scores, accuracy: float) -> ConfidenceThreshold:
    """Find the lowest threshold that reaches an accuracy, so that the most videos are answered.

    Args:
        scores: Of labelled videos that the model was not trained on.
        accuracy: Share of the answers that is to be correct, above 0 and up to 1.

    Returns:
        How the model does with it. It lies half-way between the last answer that it lets through and the first that it
        does not, and is 0 where all are let through.

    Raises:
        SettingsError: If the accuracy is out of range, or no threshold reaches it.
    """
    check_accuracy(accuracy)
    confidence, is_correct = _answers(scores)
    order = np.argsort(-confidence, kind="stable")
    falling, num_correct = confidence[order], is_correct[order].cumsum()
    next_one = np.append(falling[1:], -1.0)  # below all
    shares = num_correct / np.arange(1, len(order) + 1)
    ends = falling - next_one > _SAME  # equal ones are answered together
    enough = np.flatnonzero(ends & (shares >= accuracy))
    if not len(enough):
        raise SettingsError(
            f"`fit_threshold={accuracy}`: no threshold reaches this accuracy, the best reaches "
            f"{shares[ends].max():.4g}; ask for less, or train a better model"
        )
    last = enough[-1]
    probability = 0.0 if last + 1 == len(order) else float(falling[last] + next_one[last]) / 2
    return ConfidenceThreshold(
        probability, len(order), int(last) + 1, int(num_correct[last]), num_tries=int(ends.sum())
    )


def measure_threshold(scores: Scores, probability: float) -> ConfidenceThreshold:
    """How a model does with a threshold that was not fitted to these videos."""
    confidence, is_correct = _answers(scores)
    answered = confidence >= probability
    return ConfidenceThreshold(probability, len(answered), int(answered.sum()), int(is_correct[answered].sum()))


def check_accuracy(accuracy: float) -> None:
    """Raise SettingsError unless this is an accuracy that can be asked for."""
    if not 0 < accuracy <= 1:
        raise SettingsError(f"`fit_threshold={accuracy}`; it is an accuracy, above 0 and up to 1; try 0.95")


def _answers(scores: Scores) -> tuple[Floats, NDArray[np.bool_]]:
    """The probability of each video's answer, and whether it is correct: [videos] both."""
    return probabilities_of(scores.logits).max(1), scores.logits.argmax(1) == scores.labels
