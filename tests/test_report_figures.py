"""The numbers of a report, beside those of scikit-learn and by hand."""

import numpy as np
import pytest
from score_data import random_scores
from sklearn.calibration import calibration_curve
from sklearn.metrics import classification_report, log_loss

from gateshift.evaluation import report_figures as figures
from gateshift.evaluation.metrics import confusion


def test_probabilities_are_a_softmax_that_does_not_overflow() -> None:
    scores = random_scores(0)
    probabilities = figures.probabilities_of(scores.logits)
    by_hand = -np.log(probabilities[np.arange(60), scores.labels]).mean()
    assert log_loss(scores.labels, probabilities, labels=range(6)) == pytest.approx(by_hand)
    assert figures.probabilities_of(np.array([[1000, 0], [0, 0]], np.float32)).tolist() == [[1, 0], [0.5, 0.5]]


@pytest.mark.parametrize("seed", range(5))
def test_the_reliability_curve_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = np.concatenate([rng.random(80), [0.0, 1.0, 0.2, 0.4]])
    is_right = rng.random(84) < confidence
    found = [each for each in figures.reliability(confidence, is_right) if each.num_videos]
    accuracy, mean = calibration_curve(is_right, confidence, n_bins=15, strategy="uniform")
    np.testing.assert_allclose([each.accuracy for each in found], accuracy)
    np.testing.assert_allclose([each.confidence for each in found], mean)
    assert sum(each.num_videos for each in found) == 84


def test_the_calibration_error_by_hand() -> None:
    # 0.90 and 0.92 share the bin above 13/15, 0.5 has its own: gaps |0.5 - 0.91| of 2 videos and |1 - 0.5| of 1
    bins = figures.reliability(np.array([0.90, 0.92, 0.5]), np.array([True, False, True]))
    assert len(bins) == 15
    assert figures.calibration_error(bins) == pytest.approx((2 * 0.41 + 0.5) / 3)


def test_a_probability_on_an_edge_belongs_to_the_bin_below() -> None:
    bins = figures.reliability(np.array([0.5, 0.5000001]), np.array([True, True]), num_bins=2)
    assert [each.num_videos for each in bins] == [1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_classes_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, answers = rng.integers(0, 5, 30), rng.integers(0, 5, 30)
    matrix = confusion(np.eye(5, dtype=np.float32)[answers], labels)
    expected = classification_report(labels, answers, labels=range(5), output_dict=True, zero_division=np.nan)
    for found in figures.class_figures(matrix):
        row = expected[str(found.index)]
        values = (found.precision, found.recall, found.f1, found.num_videos)
        np.testing.assert_allclose(values, [row[name] for name in ("precision", "recall", "f1-score", "support")])
        assert found.num_called == (answers == found.index).sum()


def test_a_class_names_the_one_it_is_most_often_mistaken_for() -> None:
    found = figures.class_figures(np.array([[5, 1, 2], [0, 3, 0], [0, 0, 0]]))
    assert [each.mistaken_for for each in found] == [2, None, None]
    assert np.isnan([found[2].recall, found[1].precision]).tolist() == [True, False]


def test_classes_that_are_confused_most_come_first_and_side_by_side() -> None:
    matrix = np.diag([9] * 6)
    matrix[4, 1], matrix[0, 5], matrix[1, 4] = 7, 3, 2
    assert figures.confused_pairs(matrix) == [(4, 1, 7), (0, 5, 3), (1, 4, 2)]
    assert figures.confusion_order(matrix) == [4, 1, 0, 5, 2, 3]


def test_views_are_counted_by_how_many_agree_with_the_answer() -> None:
    choices = np.array([[[1, 1], [1, 1]], [[1, 1], [1, 0]], [[1, 0], [1, 0]], [[0, 0], [0, 1]]])
    found = figures.agreement(choices, answers=np.array([1, 1, 1, 1]), labels=np.array([1, 0, 1, 1]))
    assert [(count, share) for _, count, share in found.levels] == [(1, 1.0), (1, 0.0), (2, 1.0)]
    assert found.accuracy.tolist() == [[0.5, 0.25], [0.5, 0.75]]
