"""Training losses; those of several labels per video are in test_multi_label.py."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gateshift.training.losses import Loss, balancing_weights


def logits_and_targets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.randn(5, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])


def test_the_plain_loss_is_cross_entropy_of_classes_and_of_shares() -> None:
    logits, targets = logits_and_targets()
    shares = F.one_hot(targets, 3).double()
    expected = F.cross_entropy(logits, targets, label_smoothing=0.2)
    assert torch.equal(Loss(0.2)(logits, targets), expected)
    torch.testing.assert_close(Loss(0.2)(logits, shares), expected)
    ones = Loss(0.2, class_weights=torch.ones(3))
    torch.testing.assert_close(ones(logits, targets), expected)
    torch.testing.assert_close(ones(logits, shares), expected)


def test_focal_loss_is_that_of_its_paper() -> None:
    logits, targets = logits_and_targets()
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        probability = math.exp(row[target]) / sum(math.exp(value) for value in row)
        total += -((1 - probability) ** 2) * math.log(probability)
    assert float(Loss(focal_gamma=2.0)(logits, targets)) == pytest.approx(total / 5)


def test_focal_loss_has_a_finite_slope_where_the_network_is_sure() -> None:
    logits = torch.tensor([[80.0, 0.0, 0.0]], requires_grad=True)
    Loss(focal_gamma=0.5)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_class_weights_let_every_class_count_the_same() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = balancing_weights(labels, 5)
    totals = [float(weights[label] * (labels == label).sum()) for label in (0, 1, 3)]
    assert totals == pytest.approx([10 / 3] * 3)
    assert float(weights[labels].mean()) == pytest.approx(1.0)
    assert torch.isfinite(weights).all()
    logits = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    each = F.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
    found = Loss(class_weights=weights)(logits, torch.from_numpy(labels))
    torch.testing.assert_close(found, (each * weights[labels]).mean())


def test_class_weights_count_by_videos() -> None:
    """The mean of a batch is over its videos, not over their weights, so that parts of it can be added up."""
    loss = Loss(class_weights=balancing_weights(torch.tensor([0, 0, 0, 1]).numpy(), 2))
    logits, labels = torch.randn(4, 2), torch.tensor([0, 0, 0, 1])
    parts = torch.stack([loss(logits[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(loss(logits, labels), parts.mean())
