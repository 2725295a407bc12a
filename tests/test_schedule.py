"""The learning rate of every update."""

import json
import math

import pytest
import torch
from golden_data import GOLDEN

from gateshift.recipes.options import OptimOptions
from gateshift.training.schedule import epoch_rate, set_rates, step_rate

SCHEDULES = json.loads((GOLDEN / "schedule.json").read_text())


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_learning_rate_of_each_epoch_is_that_of_the_release(name: str) -> None:
    warmup, epochs = (int("".join(filter(str.isdigit, part))) for part in name.split("_")[1:])
    found = [epoch_rate(e, peak=0.01, warmup_epochs=warmup, num_epochs=epochs) for e in range(epochs)]
    assert found == pytest.approx(SCHEDULES[name], rel=1e-9)


def test_cosine_step_rises_in_a_line_to_the_peak_and_falls_along_a_cosine() -> None:
    rates = [step_rate(u, peak=0.5, warmup_updates=4, num_updates=20) for u in range(20)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[12] == pytest.approx(0.25)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_cosine_step_counts_updates_of_all_epochs() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr_scale": 2.0, "warmup_epochs": 1}], lr=1.0)
    optim = OptimOptions(epochs=4, warmup_epochs=1, lr=1.0, schedule="cosine-step")
    rate = set_rates(optimizer, optim, epoch=2, update=1, updates_per_epoch=5)
    assert rate == pytest.approx((1 + math.cos(math.pi * (11 - 5) / 15)) / 2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2 * rate)
