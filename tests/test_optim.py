"""What is trained, at which rate."""

import json

import pytest
import torch
from golden_data import GOLDEN

import gateshift as gs
from gateshift.devices import create_accelerator
from gateshift.model.temporal.modules import GateShift
from gateshift.training.optimizer import (
    TrainingStep,
    batch_norms,
    freeze_batch_norms,
    learning_rate,
    trained_parameters,
)

SCHEDULES = json.loads((GOLDEN / "schedule.json").read_text())


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_learning_rate_of_each_epoch_is_that_of_the_release(name: str) -> None:
    warmup, epochs = (int("".join(filter(str.isdigit, part))) for part in name.split("_")[1:])
    found = [learning_rate(e, peak=0.01, warmup_epochs=warmup, num_epochs=epochs) for e in range(epochs)]
    assert found == pytest.approx(SCHEDULES[name], rel=1e-9)


@pytest.fixture
def model() -> gs.VideoClassifier:
    torch.manual_seed(0)
    return gs.create_model("test_resnet", "gsm", num_classes=3, dropout=0.0).train()


def batch(seed: int, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randint(0, 256, (count, 4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return clips, torch.randint(0, 3, (count,), generator=generator)


def step(model: gs.VideoClassifier, optimizer: torch.optim.Optimizer) -> float:
    loss, _, _ = TrainingStep(create_accelerator("no"), model, optimizer, clip_norm=1e9)(*batch(0))
    return float(loss)


def test_partial_batch_norm_freezes_all_of_the_backbone_but_the_first(model: gs.VideoClassifier) -> None:
    freeze_batch_norms(model)
    backbone = [norm for inside, norm in batch_norms(model) if not inside]
    assert [norm.training for norm in backbone] == [True] + [False] * (len(backbone) - 1)
    assert not any(p.requires_grad for norm in backbone[1:] for p in norm.parameters())
    gates = [m for m in model.modules() if isinstance(m, GateShift)]
    assert len(gates) == 4
    assert all(gate.bn.training and gate.bn.weight.requires_grad for gate in gates)


def test_with_partial_batch_norm_gates_norms_count_but_do_not_move(model: gs.VideoClassifier) -> None:
    freeze_batch_norms(model)
    for module in model.modules():
        if isinstance(module, GateShift):  # open, so that a gradient reaches what lies before the gate
            torch.nn.init.normal_(module.weight, std=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step(model, torch.optim.SGD(trained_parameters(model, partial_bn=True), lr=0.1))
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert not any(".temporal.bn." in name for name in moved)
    assert any(name.endswith(".temporal.weight") for name in moved)
    assert "backbone.conv1.1.weight" in moved  # the first batch norm
    assert "backbone.layer1.0.bn1.weight" not in moved


def test_without_it_everything_is_trained(model: gs.VideoClassifier) -> None:
    assert len(trained_parameters(model, partial_bn=False)) == len(list(model.parameters()))


def test_steps_learn(model: gs.VideoClassifier) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = [step(model, optimizer) for _ in range(15)]
    assert losses[-1] < losses[0] / 2
