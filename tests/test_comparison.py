"""Two models on the same videos."""

import dataclasses
from math import comb

import numpy as np
import pytest
from score_data import random_scores

from gateshift.errors import ScoresError
from gateshift.evaluation.comparison import Comparison, compare, mcnemar
from gateshift.evaluation.result import Evaluation
from gateshift.evaluation.scores import Scores


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 0), (0, 5), (7, 7), (3, 30), (30, 29), (1, 2)])
def test_mcnemars_test_is_exact(first: int, second: int) -> None:
    total, smaller = first + second, min(first, second)
    tail = sum(comb(total, k) for k in range(smaller + 1)) / 2**total
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))


def test_a_comparison_sorts_the_videos_by_who_is_right() -> None:
    here, there = (
        Scores(tuple("abcde"), np.zeros(5, np.int64), np.eye(3, dtype=np.float32)[answers], tuple("xyz"), "p")
        for answers in ([0, 0, 1, 1, 1], [0, 1, 0, 1, 2])
    )
    found = Comparison(here, there)
    masks = (found.both_right, found.gained, found.lost, found.swapped, found.both_wrong)
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [[0], [1], [2], [4], [3, 4]]
    assert [[change.video_id for change in changes] for _, changes in found.groups] == [["b"], ["c"], ["e"]]


def test_the_other_models_videos_and_classes_may_stand_in_any_order() -> None:
    scores, other = random_scores(0), random_scores(1)
    order = np.random.default_rng(0).permutation(60)
    columns = [5, 4, 3, 2, 1, 0]
    mixed = Scores(
        tuple(other.ids[row] for row in order),
        5 - other.labels[order],
        other.logits[np.ix_(order, columns)],
        tuple("fedcba"),
        other.protocol,
    )
    plain, found = compare(scores, other, names=("a", "b")), compare(scores, mixed, names=("a", "b"))
    np.testing.assert_array_equal(found.there.logits, plain.there.logits)
    assert str(found) == str(plain)


def test_videos_of_one_test_alone_are_left_out_and_counted() -> None:
    scores, other = random_scores(0), random_scores(1)
    found = compare(scores.select(scores.ids[2:]), other.select(other.ids[:-3]), names=("a", "b"))
    assert (found.left_out, found.here.ids) == (5, scores.ids[2:-3])
    page = Evaluation(scores, other=other.select(other.ids[:-3])).html()
    assert "3 videos are in one of the two tests alone and left out here" in page


def test_models_without_a_common_video_cannot_be_compared() -> None:
    scores = random_scores(0)
    other = dataclasses.replace(scores, ids=tuple(f"x{video}" for video in scores.ids))
    with pytest.raises(ScoresError, match="b and a have no video in common, as x0.mp4 and 0.mp4 show; test both"):
        compare(scores, other, names=("a", "b"))
    with pytest.raises(ScoresError, match="b has 6 classes and a has 6, or other names"):
        compare(scores, dataclasses.replace(scores, classes=tuple("ABCDEF")), names=("a", "b"))
