"""What is trained, at which rate. Gathered batches are in test_accumulation.py."""

import pytest
import torch

import gateshift as gs
from gateshift.devices import create_accelerator
from gateshift.model.temporal.modules import GateShift
from gateshift.recipes.options import OptimOptions
from gateshift.training.batch_norms import freeze_batch_norms
from gateshift.training.optimizer import (
    GATE_LIMIT,
    GATE_STEP,
    POSITIVE_MEAN,
    TrainingStep,
    create_optimizer,
    freeze_backbone,
    layer_scales,
    trained_parameters,
)
from gateshift.training.schedule import set_rates


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


@pytest.mark.slow
def test_steps_learn(model: gs.VideoClassifier) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = [step(model, optimizer) for _ in range(15)]
    assert losses[-1] < losses[0] / 2


def rates_by_name(model: gs.VideoClassifier, optim: OptimOptions, **when: int) -> dict[str, float]:
    optimizer = create_optimizer(model, optim)
    set_rates(optimizer, optim, **when)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: rate_of[id(p)] for name, p in model.named_parameters()}


def test_gates_can_warm_up_for_longer_than_the_rest(model: gs.VideoClassifier) -> None:
    optim = OptimOptions(epochs=10, warmup_epochs=0, gates_warmup_epochs=5, lr=1.0, new_layers_lr=2.0)
    rates = rates_by_name(model, optim, epoch=0, update=0, updates_per_epoch=3)
    assert rates["backbone.layer1.0.conv2.temporal.weight"] == pytest.approx(2 * 0.1)
    assert rates["head.weight"] == 2.0
    assert rates["backbone.layer1.0.conv1.weight"] == 1.0


@pytest.mark.parametrize(("temporal", "other"), [("gsm", "bn.weight"), ("gsf", "fuse.weight")])
def test_the_convolutions_of_the_gates_have_a_rate_of_their_own(temporal: str, other: str) -> None:
    model = gs.create_model("test_resnet", temporal, num_classes=3)
    optim = OptimOptions(warmup_epochs=0, lr=1.0, new_layers_lr=5.0, gates_lr=0.01, layer_decay=0.5)
    rates = rates_by_name(model, optim, epoch=0, update=0, updates_per_epoch=1)
    gate = "backbone.layer4.0.conv2.temporal"
    assert rates[f"{gate}.weight"] == rates[f"{gate}.bias"] == pytest.approx(0.01)
    assert rates[f"{gate}.{other}"] == rates["head.weight"] == 5.0
    assert rates["backbone.layer4.0.conv1.weight"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 10, 100])
def test_gates_open_early_and_no_further_than_their_limit_whatever_their_inputs_and_the_steps(epochs: int) -> None:
    """Where every update opens a gate, for inputs of ``POSITIVE_MEAN`` each."""
    model = gs.create_model("test_resnet", "gsm", num_classes=3)
    optim = OptimOptions(optimizer="adamw", schedule="cosine-step", epochs=epochs, warmup_epochs=0, gates_lr="auto")
    optimizer = create_optimizer(model, optim, num_updates=10 * epochs)
    gates = [module for module in model.modules() if isinstance(module, GateShift)]
    assert len({gate.channels for gate in gates}) > 1
    before_tanh = []
    for update in range(10 * epochs):
        set_rates(optimizer, optim, epoch=update // 10, update=update % 10, updates_per_epoch=10)
        for gate in gates:
            gate.weight.grad, gate.bias.grad = -torch.ones_like(gate.weight), -torch.ones_like(gate.bias)
        optimizer.step()
        found = [POSITIVE_MEAN * half.sum() for gate in gates for half in gate.weight.detach().unflatten(0, (2, 3))]
        before_tanh.append(torch.stack(found))
    values = torch.stack(before_tanh)  # [updates, gates]
    assert values[0].max() <= GATE_STEP * 1.01
    assert values.max() <= GATE_LIMIT * 1.01
    torch.testing.assert_close(values.amax(1), values.amin(1))  # all gates alike
    half_open = int((values[:, 0] > 0.5).nonzero()[0])
    assert half_open <= max(2, epochs)  # within a tenth of the training
    if epochs > 1:
        assert values[-1].min() > 0.8 * GATE_LIMIT


def test_the_rate_of_the_backbones_layers_falls_towards_the_input(model: gs.VideoClassifier) -> None:
    rates = rates_by_name(
        model, OptimOptions(warmup_epochs=0, lr=1.0, layer_decay=0.5), epoch=0, update=0, updates_per_epoch=1
    )
    assert rates["head.weight"] == rates["backbone.layer1.0.conv2.temporal.weight"] == 1.0
    chain = ["layer4.0.conv1", "layer3.0.conv1", "layer2.0.conv1", "layer1.0.conv1", "conv1.0"]
    assert [rates[f"backbone.{name}.weight"] for name in chain] == [0.5**n for n in range(1, 6)]
    assert len(rates) == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["bninception", "torchvision/mobilenet_v2", "convnext_atto"])
def test_every_parameter_of_a_backbone_has_a_layer(name: str) -> None:
    backbone = gs.create_model(name, "gsm", num_classes=2).backbone
    scales = layer_scales(backbone, 0.9)
    ordered = [scales[id(p)] for p in backbone.parameters()]
    assert len(set(ordered)) > 10
    assert min(ordered) == ordered[0]
    assert max(ordered) == pytest.approx(0.9)


def test_a_frozen_backbone_keeps_weights_and_statistics_while_gates_and_classifier_learn(
    model: gs.VideoClassifier,
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = create_optimizer(model, OptimOptions(lr=0.1))
    step = TrainingStep(create_accelerator("no"), model, optimizer, clip_norm=20.0)
    frozen = freeze_backbone(model)
    for _ in range(2):  # gates get a gradient once the classifier has one
        step(*batch(0), frozen=frozen)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"head.weight", "backbone.layer1.0.conv2.temporal.weight"} <= moved
    assert all(".temporal." in name or name.startswith("head.") for name in moved)
    model.train()
    step(*batch(0))
    assert not torch.equal(model.state_dict()["backbone.conv1.0.weight"], before["backbone.conv1.0.weight"])
