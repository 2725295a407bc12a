"""What is minimised: cross-entropy, with classes weighted or easy clips discounted where the data are skewed.

Where a video may have several labels, it is the sum of each class's own, a yes or a no.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

SMALLEST_MISS = 1e-6  # a power of 0 has no slope that a step could follow


@dataclass(frozen=True, eq=False)
class Loss:
    """The mean loss of a batch: logits [B, K] and targets -> a scalar.

    Attributes:
        label_smoothing: Share of the target spread over all classes, in 0..1.
        focal_gamma: How much clips that the network is sure of are discounted (focal loss, Lin et al., ICCV 2017):
            each class's part of cross-entropy is multiplied by (1 - its probability) to this power; 0 for not at all.
        class_weights: [K], a factor for each class; None for none.
        multi_label: Whether a clip may be of several classes, or of none.
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    class_weights: Tensor | None = None
    multi_label: bool = False

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Targets are classes [B] int64, or shares of the classes [B, K]."""
        if self.multi_label:
            return self._of_sets(logits, targets)
        if not self.focal_gamma and self.class_weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        num_classes = logits.shape[1]
        shares = targets if targets.dim() == 2 else F.one_hot(targets, num_classes).to(logits.dtype)
        shares = shares * (1 - self.label_smoothing) + self.label_smoothing / num_classes  # [B, K]
        if self.class_weights is not None:
            shares = shares * self.class_weights.to(shares)
        log_probabilities = F.log_softmax(logits, dim=1)
        if self.focal_gamma:
            misses = -torch.expm1(log_probabilities)  # 1 - p
            shares = shares * misses.clamp(min=SMALLEST_MISS) ** self.focal_gamma
        return -(shares * log_probabilities).sum(1).mean()

    def _of_sets(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed over classes, so that a video weighs as much as in cross-entropy; both [B, K]."""
        shares = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        if not self.focal_gamma:
            return F.binary_cross_entropy_with_logits(logits, shares, reduction="none").sum(1).mean()
        said = logits.sigmoid()
        yes, no = (miss.clamp(min=SMALLEST_MISS) ** self.focal_gamma for miss in (1 - said, said))
        parts = shares * yes * F.logsigmoid(logits) + (1 - shares) * no * F.logsigmoid(-logits)
        return -parts.sum(1).mean()

    def count_right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """How many clips are right: of a mixture the larger part, of sets of labels the share of right yes and no."""
        if self.multi_label:
            return ((logits > 0) == (targets > 0.5)).float().mean(1).sum()
        labels = targets if targets.dim() == 1 else targets.argmax(1)
        return (logits.argmax(1) == labels).sum()


def balancing_weights(labels: NDArray[np.int64], num_classes: int) -> Tensor:
    """Factors [K] by which the loss of every class weighs the same; of all videos their mean is 1.

    A class without a video, which a mirrored or reversed clip may still show, weighs as one with a single video.

    >>> balancing_weights(np.array([0, 0, 0, 1]), 2).tolist()
    [0.6666666865348816, 2.0]
    """
    counts = torch.bincount(torch.as_tensor(labels), minlength=num_classes).float()  # [K]
    return len(labels) / (counts.clamp(min=1) * (counts > 0).sum())
