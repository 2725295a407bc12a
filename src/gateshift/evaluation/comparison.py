"""Two models on the same videos: what changed, and McNemar's exact test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gateshift.errors import ScoresError
from gateshift.evaluation.scores import Scores, align

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    """One video that two models do not both classify correctly or alike."""

    video_id: str
    label: str
    here: str
    there: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the videos that both were tested on. Masks are of these videos: bool [videos].

    Attributes:
        here: Scores of this model.
        there: Scores of the other one, in the same order.
        left_out: Videos that only one of both has.
    """

    here: Scores
    there: Scores
    left_out: int = 0

    @cached_property
    def _right(self) -> tuple[Mask, Mask]:
        here, there = (each.logits.argmax(1) == self.here.labels for each in (self.here, self.there))
        return here, there

    @property
    def gained(self) -> Mask:
        """Right here alone."""
        return self._right[0] & ~self._right[1]

    @property
    def lost(self) -> Mask:
        """Right there alone."""
        return self._right[1] & ~self._right[0]

    @property
    def both_right(self) -> Mask:
        """Right in both."""
        return self._right[0] & self._right[1]

    @property
    def both_wrong(self) -> Mask:
        """Wrong in both."""
        return ~(self._right[0] | self._right[1])

    @property
    def swapped(self) -> Mask:
        """Wrong in both, with different answers."""
        return self.both_wrong & (self.here.logits.argmax(1) != self.there.logits.argmax(1))

    @property
    def p_value(self) -> float:
        """Of McNemar's exact test, two-sided.

        How often a fair coin, thrown for each video that one model alone has right, lands at least as unevenly.
        """
        return mcnemar(self.gained.sum(), self.lost.sum())

    @property
    def groups(self) -> tuple[tuple[str, list[Change]], ...]:
        """The videos that changed, group by group."""
        masks = {
            "Right here alone": self.gained,
            "Right there alone": self.lost,
            "Wrong in both, with different answers": self.swapped,
        }
        return tuple(
            (name, [self._change(row) for row in np.flatnonzero(mask).tolist()]) for name, mask in masks.items()
        )

    def _change(self, row: int) -> Change:
        names = self.here.classes
        here, there = (names[int(each.logits[row].argmax())] for each in (self.here, self.there))
        return Change(self.here.ids[row], names[self.here.labels[row]], here, there)

    def __str__(self) -> str:
        return (
            f"top-1 {self._right[1].mean():.2%} ({self.there.protocol}); {self.gained.sum()} videos right here "
            f"alone, {self.lost.sum()} there alone; McNemar's exact test: p = {self.p_value:.3g}"
        )


def compare(scores: Scores, other: Scores, *, names: tuple[str, str] = ("this model", "the other one")) -> Comparison:
    """Compare two models on the videos that both were tested on.

    Args:
        scores: Of this model.
        other: Of the other one, its videos and classes in any order.
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
    return Comparison(here, there, left_out=len(known ^ set(scores.ids)))


def mcnemar(first_alone: int, second_alone: int) -> float:
    """P value of McNemar's exact test, two-sided, from the videos that one model alone has right.

    >>> mcnemar(5, 0)
    0.0625
    """
    from scipy.stats import binomtest

    total = int(first_alone) + int(second_alone)
    return float(binomtest(int(first_alone), total).pvalue) if total else 1.0
