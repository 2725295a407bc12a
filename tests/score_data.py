"""Scores that tests of reports, comparisons and ensembles share."""

from collections.abc import Sequence

import numpy as np

from gateshift.evaluation.scores import Scores


def random_scores(
    seed: int, *, videos: int = 60, classes: Sequence[str] = tuple("abcdef"), gain: float = 1.0
) -> Scores:
    rng = np.random.default_rng(seed)
    labels = np.arange(videos) % len(classes)
    logits = rng.normal(size=(videos, len(classes))).astype(np.float32)
    logits[np.arange(videos), labels] += gain
    ids = tuple(f"{number}.mp4" for number in range(videos))
    return Scores(ids, labels, logits, tuple(classes), "8 segments × 1 clips × 1 crops")
