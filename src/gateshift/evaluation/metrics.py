"""Accuracies, as fractions in 0..1."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class _Measures:
    def to_dict(self) -> dict[str, float | int]:
        """The fields by name, for JSON."""
        return dataclasses.asdict(self)

    def accuracies(self) -> dict[str, float]:
        """All but the number of videos, by name."""
        return {name: value for name, value in self.to_dict().items() if name != "num_videos"}


@dataclass(frozen=True)
class Metrics(_Measures):
    """How well labelled videos were classified.

    Attributes:
        top1: Share of videos whose label has the largest logit.
        top5: Share whose label is among the five largest.
        mean_class: Share right within each class that occurs, averaged over these classes.
        num_videos: How many videos.
        FIRST: Which of them says which model is better.
        FIRST_NAME: What people call it.
    """

    FIRST: ClassVar = "top1"
    FIRST_NAME: ClassVar = "top-1"
    top1: float
    top5: float
    mean_class: float
    num_videos: int

    @classmethod
    def of(cls, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Metrics:
        """Measure logits [videos, classes] against labels [videos], at least one."""
        order = np.argsort(-logits, axis=1, kind="stable")  # [videos, classes]
        hits = order == labels[:, None]
        mean_class = np.mean([hits[labels == label, 0].mean() for label in np.unique(labels)])
        return cls(float(hits[:, 0].mean()), float(hits[:, :5].any(1).mean()), float(mean_class), len(labels))

    def __str__(self) -> str:
        return (
            f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}, mean class accuracy {self.mean_class:.2%}, "
            f"{self.num_videos} videos"
        )


@dataclass(frozen=True)
class MultiLabelMetrics(_Measures):
    """How well videos were labelled that may have several labels, or none.

    Attributes:
        mean_ap: Average precision of each class that occurs, averaged over these (mAP).
        f1: Harmonic mean of the share of labels found and the share of found ones that are right, a class being found
            where its logit is above 0, over all classes and videos together.
        num_videos: How many videos.
        FIRST: Which of them says which model is better.
        FIRST_NAME: What people call it.
    """

    FIRST: ClassVar = "mean_ap"
    FIRST_NAME: ClassVar = "mAP"
    mean_ap: float
    f1: float
    num_videos: int

    @classmethod
    def of(cls, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> MultiLabelMetrics:
        """Measure logits [videos, classes] against labels [videos, classes] of 0 and 1, at least one of which is 1."""
        from sklearn.metrics import average_precision_score  # takes a second to import, so not before it is needed

        occurs, found = labels.any(0), logits > 0
        precision = average_precision_score(labels[:, occurs], logits[:, occurs], average="macro")
        f1 = 2 * (found & (labels > 0)).sum() / (found.sum() + labels.sum())
        return cls(float(precision), float(f1), len(labels))

    def __str__(self) -> str:
        return f"mAP {self.mean_ap:.2%}, F1 {self.f1:.2%}, {self.num_videos} videos"


def confusion(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each class (row) was called each class (column): [classes, classes]."""
    counts = np.zeros((logits.shape[1],) * 2, np.int64)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    return counts


def pair_accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64], partner: NDArray[np.int64]) -> float:
    """Share of videos whose own class beats the class it is paired with: a coin gives 0.5.

    Args:
        logits: [videos, classes].
        labels: [videos].
        partner: [classes], the class that each class is paired with.
    """
    rows = np.arange(len(labels))
    return float((logits[rows, labels] > logits[rows, partner[labels]]).mean())
