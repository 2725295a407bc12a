"""The numbers of a report: arrays in, numbers out; nothing is drawn here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def probabilities_of(logits: NDArray[np.float32]) -> Floats:
    """Softmax of logits, row by row: [videos, classes] -> [videos, classes], in 0..1."""
    raised = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))


@dataclass(frozen=True)
class Bin:
    """Videos whose answer has a probability above ``low`` and up to ``high``.

    Attributes:
        low: Not included.
        high: Included.
        num_videos: How many; 0 leaves the other two at 0.
        confidence: Their mean probability.
        accuracy: Share of them that is right.
    """

    low: float
    high: float
    num_videos: int
    confidence: float
    accuracy: float


def reliability(confidence: Floats, is_right: NDArray[np.bool_], *, num_bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """Compare probabilities with how often they come true, in bins of equal width.

    Args:
        confidence: Probability of each video's answer: [videos], in 0..1.
        is_right: Whether that answer is the label: [videos].
        num_bins: How many bins cut 0..1.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    # A probability on an edge belongs to the bin below it.
    place = np.searchsorted(edges[1:-1], confidence, side="left")  # [videos]
    bins = []
    for number in range(num_bins):
        inside = place == number
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(is_right[inside].mean())) if count else (0.0, 0.0)
        bins.append(Bin(float(edges[number]), float(edges[number + 1]), count, *means))
    return tuple(bins)


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error: gap of accuracy and mean probability, averaged over videos; 0..1, 0 is best.

    >>> calibration_error((Bin(0.0, 0.5, 1, 0.5, 0.0), Bin(0.5, 1.0, 3, 0.75, 1.0)))
    0.3125
    """
    total = sum(each.num_videos for each in bins)
    return sum(each.num_videos * abs(each.accuracy - each.confidence) for each in bins) / total


@dataclass(frozen=True)
class ClassFigures:
    """How well one class was told from the others.

    Attributes:
        index: Of the class.
        num_videos: Videos that are of it.
        num_called: Videos that were called it.
        precision: Share of those called it that are of it; NaN if none was called it.
        recall: Share of those of it that were called it; NaN if none is of it.
        f1: Harmonic mean of both; 0 if the class occurs but is never right, NaN if it neither occurs nor is called.
        mistaken_for: The class that its videos were most often called by mistake, or None.
    """

    index: int
    num_videos: int
    num_called: int
    precision: float
    recall: float
    f1: float
    mistaken_for: int | None


def class_figures(matrix: Ints) -> tuple[ClassFigures, ...]:
    """Figures of each class, in the order of a confusion matrix [labels, answers]."""
    right, called, present = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        precision, recall, f1 = right / called, right / present, 2 * right / (called + present)
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    return tuple(
        ClassFigures(
            index=index,
            num_videos=int(present[index]),
            num_called=int(called[index]),
            precision=float(precision[index]),
            recall=float(recall[index]),
            f1=float(f1[index]),
            mistaken_for=int(wrong[index].argmax()) if wrong[index].any() else None,
        )
        for index in range(len(matrix))
    )


def confused_pairs(matrix: Ints) -> list[tuple[int, int, int]]:
    """Mistakes of a confusion matrix [labels, answers] as (label, answer, videos), the most frequent first.

    >>> confused_pairs(np.array([[5, 1, 0], [3, 9, 0], [0, 0, 2]]))
    [(1, 0, 3), (0, 1, 1)]
    """
    rows, columns = np.nonzero(matrix * (1 - np.eye(len(matrix), dtype=np.int64)))
    counts = matrix[rows, columns]
    order = np.lexsort((columns, rows, -counts))
    return [(int(rows[place]), int(columns[place]), int(counts[place])) for place in order]


def confusion_order(matrix: Ints) -> list[int]:
    """Classes so that those confused most come first and stand beside each other; the others keep their order.

    >>> confusion_order(np.array([[5, 0, 0, 0], [1, 9, 0, 0], [0, 0, 2, 4], [0, 0, 0, 7]]))
    [2, 3, 1, 0]
    """
    pairs = [index for label, answer, _ in confused_pairs(matrix) for index in (label, answer)]
    return list(dict.fromkeys([*pairs, *range(len(matrix))]))


@dataclass(frozen=True, eq=False)
class Agreement:
    """What the views of the videos say alone, and together. Shares are in 0..1.

    Attributes:
        accuracy: Of each view alone: float64 [clips, crops].
        levels: (what the views do, videos, share of these that is right) for videos whose views all, for the larger
            part, or for half or less choose the merged answer; the share is NaN where there is no video.
    """

    accuracy: Floats
    levels: tuple[tuple[str, int, float], ...]


def agreement(choices: Ints, answers: Ints, labels: Ints) -> Agreement:
    """Compare the views of each video with its merged answer.

    Args:
        choices: Class that each view chose: [videos, clips, crops].
        answers: Class with the largest merged logit: [videos].
        labels: [videos].
    """
    share = (choices == answers[:, None, None]).mean((1, 2))  # [videos]
    groups = {
        "all views agree": share == 1,
        "more than half agree with the answer": (share > 0.5) & (share < 1),
        "half or fewer agree with the answer": share <= 0.5,
    }
    is_right = answers == labels
    levels = tuple(
        (name, int(group.sum()), float(is_right[group].mean()) if group.any() else float("nan"))
        for name, group in groups.items()
    )
    return Agreement(np.asarray((choices == labels[:, None, None]).mean(0)), levels)
