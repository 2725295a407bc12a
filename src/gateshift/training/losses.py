"""The training loss: cross-entropy, with class weights or focal discount for class imbalance.

With several labels per video it is the sum of a binary cross-entropy for each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

MIN_MISS = 1e-6  # a fractional power has an infinite slope at 0


@dataclass(frozen=True, eq=False)
class Loss:
    """The mean loss of a batch: logits [B, K] and targets -> a scalar.

    Attributes:
        label_smoothing: Fraction of the target that is spread over all classes, in 0..1.
        focal_gamma: Focal loss (Lin et al., ICCV 2017): each class's part of cross-entropy is multiplied by
            (1 - its probability) to this power; 0 for plain cross-entropy.
        class_weights: [K], a factor for each class; None for none.
        multi_label: Whether a clip may have several classes, or none.
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    class_weights: Tensor | None = None
    multi_label: bool = False

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Targets are classes [B] int64, or soft targets [B, K]."""
        if self.multi_label:
            return self._binary(logits, targets)
        if not self.focal_gamma and self.class_weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        num_classes = logits.shape[1]
        soft = targets if targets.dim() == 2 else F.one_hot(targets, num_classes).to(logits.dtype)
        soft = soft * (1 - self.label_smoothing) + self.label_smoothing / num_classes  # [B, K]
        if self.class_weights is not None:
            soft = soft * self.class_weights.to(soft)
        log_probabilities = F.log_softmax(logits, dim=1)
        if self.focal_gamma:
            misses = -torch.expm1(log_probabilities)  # 1 - p
            soft = soft * misses.clamp(min=MIN_MISS) ** self.focal_gamma
        return -(soft * log_probabilities).sum(1).mean()

    def _binary(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed over classes, so that a video has the weight that it has in cross-entropy; both [B, K]."""
        soft = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        if not self.focal_gamma:
            return F.binary_cross_entropy_with_logits(logits, soft, reduction="none").sum(1).mean()
        probabilities = logits.sigmoid()
        yes, no = (miss.clamp(min=MIN_MISS) ** self.focal_gamma for miss in (1 - probabilities, probabilities))
        parts = soft * yes * F.logsigmoid(logits) + (1 - soft) * no * F.logsigmoid(-logits)
        return -parts.sum(1).mean()

    def num_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Correctly classified clips: a mixture by its larger part; several labels by the fraction of correct ones."""
        if self.multi_label:
            return ((logits > 0) == (targets > 0.5)).float().mean(1).sum()
        labels = targets if targets.dim() == 1 else targets.argmax(1)
        return (logits.argmax(1) == labels).sum()


@dataclass(frozen=True, eq=False)
class FrameLoss:
    """The mean loss of the frames of a batch: logits [B, T, A] and soft targets [B, T, A] -> a scalar.

    Cross-entropy of the first K + 1 of them; frames without a target, beyond the ends of a recording, count nothing.
    With displacement, the last number adds its squared error (T-DEED, CVPRW 2024).

    Attributes:
        loss: Of the K + 1 classes.
        num_classes: K.
    """

    loss: Loss
    num_classes: int
    multi_label: ClassVar[bool] = False

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        known = targets[..., : self.num_classes + 1].sum(-1) > 0  # [B, T]
        wanted, given = targets[known], logits[known]  # [n, A]
        value = self.loss(given[:, : self.num_classes + 1], wanted[:, : self.num_classes + 1])
        if given.shape[1] > self.num_classes + 1:
            value = value + F.mse_loss(given[:, -1], wanted[:, -1])
        return value

    def num_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The share of correct frames of each clip, summed over clips; of mixed frames the larger part counts."""
        classes = [each[..., : self.num_classes + 1] for each in (logits, targets)]
        return (classes[0].argmax(-1) == classes[1].argmax(-1)).float().mean(1).sum()


def balancing_weights(labels: NDArray[np.int64], num_classes: int) -> Tensor:
    """Class weights [K] that give every class the same total weight; their mean over all videos is 1.

    A class without videos, which a flipped or reversed clip may still show, is treated as having one.

    >>> balancing_weights(np.array([0, 0, 0, 1]), 2).tolist()
    [0.6666666865348816, 2.0]
    """
    counts = torch.bincount(torch.as_tensor(labels), minlength=num_classes).float()  # [K]
    return len(labels) / (counts.clamp(min=1) * (counts > 0).sum())
