"""Two models on the same videos: what changed, and McNemar's exact test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateshift.errors import ScoresError
from gateshift.evaluation.metrics import Metrics
from gateshift.evaluation.report_figures import Ints
from gateshift.evaluation.scores import Scores, align


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the same videos. The masks are of the videos: [videos].

    Attributes:
        gained: Right here alone.
        lost: Right there alone.
        both_right: Right in both.
        both_wrong: Wrong in both.
        swapped: Wrong in both, with different answers.
        p_value: Of McNemar's exact test: how often a fair coin, thrown for each video that one model alone has
            right, would land at least as unevenly.
    """

    gained: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    both_right: NDArray[np.bool_]
    both_wrong: NDArray[np.bool_]
    swapped: NDArray[np.bool_]
    p_value: float


def compare(answers: Ints, others: Ints, labels: Ints) -> Comparison:
    """Compare the answers of this model and of another one: each [videos], as ``labels``."""
    here, there = answers == labels, others == labels
    gained, lost, both_wrong = here & ~there, there & ~here, ~here & ~there
    p_value = mcnemar(gained.sum(), lost.sum())
    return Comparison(gained, lost, here & there, both_wrong, both_wrong & (answers != others), p_value)


def mcnemar(first_alone: int, second_alone: int) -> float:
    """P value of McNemar's exact test, two-sided, from the videos that one model alone has right.

    >>> mcnemar(5, 0)
    0.0625
    """
    from scipy.stats import binomtest

    total = int(first_alone) + int(second_alone)
    return float(binomtest(int(first_alone), total).pvalue) if total else 1.0


@dataclass(frozen=True)
class Change:
    """One video that two models do not both have right or answer alike."""

    video_id: str
    label: str
    here: str
    there: str


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
    figures: Comparison

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
    found = compare(here.logits.argmax(1), there.logits.argmax(1), here.labels)
    return Pairing(here, there, left_out, found)
