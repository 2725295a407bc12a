"""Whole networks against the figures of the released program.

The plain networks are held to 1e-5. Those with gate-shift cannot be in float32: with the recorded seeded weights a
rounding error grows by about five at each of ten gates, so that the released order of operations itself misses
its own figures by 1e-4 to 8e-3 on another processor. They are held to what float32 allows, and shown to be
exact three ways: in float64 against the release's order of operations to 1e-10; in float32 layer by layer on the
recorded network's own activations to 5e-5; and in float32 end to end to 1e-5 once the batch norms know their
statistics, as those of any trained network do.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_data import (
    GOLDEN,
    GSF_MANIFEST,
    MANIFEST,
    TSM_MANIFEST,
    golden_clips,
    relative_error,
    released_model,
    released_state,
)
from released_order import ReleasedOrder, in_released_order
from torch import nn

from gateshift.devices import create_accelerator
from gateshift.model.classifier import VideoClassifier
from gateshift.model.io import load_model
from gateshift.model.released import rename_backbone
from gateshift.model.temporal.modules import GateShift
from gateshift.training.batch_norms import freeze_batch_norms
from gateshift.training.losses import Loss
from gateshift.training.optimizer import TrainingStep, trained_parameters

FORWARD = MANIFEST["forward"]
GATED = [name for name, case in FORWARD.items() if case["gsm"]]
LOGITS = np.load(GOLDEN / "forward.npz")


@dataclass(frozen=True)
class Released:
    """A recorded network, its clips and its logits. Tests that change the network take a copy.

    Attributes:
        gate_errors: How far each gate is from the released order of operations, on what comes to it.
    """

    name: str
    model: VideoClassifier
    clips: torch.Tensor
    logits: torch.Tensor
    gate_errors: list[float]


@pytest.fixture(scope="module")
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Released:
    case, errors = FORWARD[request.param], []
    model = released_model(tmp_path_factory.mktemp("released"), request.param)
    clips = golden_clips(0, count=case["batch"], num_frames=case["num_segments"], size_px=case["input_size"])

    def compare(gate: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        errors.append(relative_error(output, ReleasedOrder(gate)(*inputs)))

    hooks = [module.register_forward_hook(compare) for module in model.modules() if isinstance(module, GateShift)]
    with torch.inference_mode():
        logits = model(clips)
    for hook in hooks:
        hook.remove()
    return Released(request.param, model, clips, logits, errors)


def calibrate(model: VideoClassifier, clips: torch.Tensor) -> None:
    """Set every batch norm's statistics to those of the clips."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        model.train()(clips)
    model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("released", FORWARD, indirect=True)
def test_a_released_checkpoint_has_the_published_number_of_parameters(released: Released) -> None:
    model, case = released.model, FORWARD[released.name]
    assert sum(p.numel() for p in model.parameters()) == case["parameters"]
    assert len(model.classes) == case["num_class"]
    assert sum(isinstance(m, GateShift) for m in model.modules()) == (10 if case["gsm"] else 0)


@pytest.mark.parametrize("released", FORWARD, indirect=True)
@torch.inference_mode()
def test_logits_are_those_of_the_release(released: Released) -> None:
    name, forwards = released.name, released.logits
    tolerance = 2e-2 if FORWARD[name]["gsm"] else 1e-5  # see the top of this file
    backwards = released.model(released.clips.flip(1))
    assert relative_error(forwards, LOGITS[name]) <= tolerance
    assert relative_error(backwards, LOGITS[f"{name}_reversed"]) <= tolerance
    change = relative_error(backwards, forwards)
    assert change == pytest.approx(FORWARD[name]["reversed_relative_change"], rel=0.2, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", GSF_MANIFEST["forward"])
@torch.inference_mode()
def test_released_gate_shift_fuse_networks_load_and_answer(name: str, tmp_path: Path) -> None:
    case, recorded = GSF_MANIFEST["forward"][name], np.load(GOLDEN / "gsf_forward.npz")
    model = released_model(tmp_path, name)
    assert sum(p.numel() for p in model.parameters()) == case["parameters"]
    assert (model.config.backbone, model.config.temporal) == (case["arch"], "gsf")
    assert model.config.ratio == case["gsf_ch_ratio"] / 100
    clips = golden_clips(0, count=1, num_frames=case["num_segments"], size_px=case["input_size"])
    forwards, backwards = model(clips), model(clips.flip(1))
    # As far as float32 goes with these weights (tests/golden/README.md); the parts of the module in another order,
    # without interleave, or with the axes of the fusion swapped, are off by 0.4 to 0.6.
    assert relative_error(forwards, recorded[name]) <= 5e-2
    assert relative_error(backwards, recorded[f"{name}_reversed"]) <= 5e-2
    assert relative_error(backwards, forwards) == pytest.approx(case["reversed_relative_change"], rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", TSM_MANIFEST["forward"])
@torch.inference_mode()
def test_released_temporal_shift_networks_load_and_have_the_logits_of_the_release(name: str, tmp_path: Path) -> None:
    case, recorded = TSM_MANIFEST["forward"][name], np.load(GOLDEN / "tsm_forward.npz")
    model = released_model(tmp_path, name)
    assert sum(p.numel() for p in model.parameters()) == case["parameters"]
    assert (model.config.backbone, model.config.temporal, model.config.ratio) == (case["arch"], "tsm", 1.0)
    clips = golden_clips(0, count=case["batch"], num_frames=case["num_segments"], size_px=case["input_size"])
    forwards, backwards = model(clips), model(clips.flip(1))
    # Without gates the network is well-conditioned; the other direction is off by a hundredth.
    assert relative_error(forwards, recorded[name]) <= 1e-5
    assert relative_error(backwards, recorded[f"{name}_reversed"]) <= 1e-5
    assert relative_error(backwards, forwards) == pytest.approx(case["reversed_relative_change"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("released", GATED, indirect=True)
@torch.inference_mode()
def test_in_float64_the_whole_network_equals_the_released_order_of_operations(released: Released) -> None:
    model, clips = copy.deepcopy(released.model).double(), released.clips
    clips = torch.cat((clips[:1], clips[1:].flip(1)))  # where there is a second clip, it is seen backwards
    assert relative_error(model(clips), in_released_order(model)(clips)) <= 1e-10


@pytest.mark.parametrize("released", GATED, indirect=True)
def test_in_float32_each_gate_equals_the_released_order_on_the_recorded_networks_activations(
    released: Released,
) -> None:
    assert len(released.gate_errors) == 10
    assert max(released.gate_errors) <= 5e-5  # one gate alone multiplies a rounding error by up to fifty here


@pytest.mark.slow
@pytest.mark.parametrize("released", GATED, indirect=True)
def test_in_float32_a_calibrated_network_equals_the_released_order_of_operations(released: Released) -> None:
    model, clips = copy.deepcopy(released.model), released.clips[:1, :4]
    calibrate(model, clips)
    with torch.inference_mode():
        forwards, in_order = model(clips), in_released_order(model)(clips)
        assert relative_error(forwards, in_order) <= 1e-5
        assert relative_error(model(clips.flip(1)), forwards) > 1e-3  # and it does know the order


@pytest.mark.slow
@pytest.mark.parametrize("name", MANIFEST["train"])
def test_the_first_training_steps_are_those_of_the_release(name: str, tmp_path: Path) -> None:
    case = MANIFEST["train"][name]
    backbone, size = ("bninception", 224) if case["arch"] == "BNInception" else ("inceptionv3", 229)
    state = released_state(f"{backbone}_gsm_T8_C174", num_classes=case["num_class"])
    state["module.new_fc.weight"] *= 0.01
    state["module.new_fc.bias"] *= 0
    torch.save({"state_dict": state}, tmp_path / "start.pth.tar")
    model = load_model(tmp_path / "start.pth.tar")
    model.dropout.p = 0.0
    model.train()
    if case["partial_bn"]:
        freeze_batch_norms(model)
    parameters = trained_parameters(model, partial_bn=case["partial_bn"])
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)
    take_step = TrainingStep(
        create_accelerator("no"),
        model,
        optimizer,
        Loss(),
        clip_norm=case["clip"],
        accumulate=case["iter_size"],
        accumulation="release",
    )
    norms_at_first = {}
    for step, (loss, norm) in enumerate(zip(case["losses"], case["total_grad_norms"], strict=True)):
        clips = golden_clips(100 * step, count=case["batch"], num_frames=case["num_segments"], size_px=size)
        labels = torch.from_numpy(np.random.RandomState(step).randint(0, case["num_class"], case["batch"]))
        if step == 0:
            norms_at_first = record_norms(model)
        found_loss, found_norm, _ = take_step(clips, labels, update=(step + 1) % case["iter_size"] == 0)
        # With partial batch norm activations are not normalized, and after two updates the recorded loss
        # and norm are themselves 3e-4 and 1e-3 from what float64 gives.
        loose = case["partial_bn"] and step == 2
        assert float(found_loss) == pytest.approx(loss, rel=1e-3 if loose else 1e-4)
        assert float(found_norm) == pytest.approx(norm, rel=2e-2 if loose else 1e-3)
        if step == 0:
            compare_norms(norms_at_first, case)


def record_norms(model: VideoClassifier) -> dict[str, float]:
    """Fill a dictionary with the norm of each parameter's gradient as the backward pass leaves it."""
    norms: dict[str, float] = {}

    def record(name: str) -> Callable[[torch.Tensor], None]:
        def hook(parameter: torch.Tensor) -> None:
            norms.setdefault(name, float(parameter.grad.norm()))

        return hook

    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(record(name))
    return norms


def compare_norms(found: dict[str, float], case: dict) -> None:
    """Each parameter's gradient norm at the first step, against the release's."""
    recorded = {key.removeprefix("module."): norm for key, norm in case["first_step_grad_norms"].items()}
    layers = {key.removeprefix("base_model."): torch.tensor([norm]) for key, norm in recorded.items()}
    head = {f"head.{field}": layers.pop(f"new_fc.{field}") for field in ("weight", "bias")}
    backbone = "bninception" if case["arch"] == "BNInception" else "inceptionv3"
    expected = {f"backbone.{key}": norm for key, norm in rename_backbone(layers, backbone).items()} | head
    assert found.keys() == expected.keys()
    for key, norm in expected.items():
        # A bias before a batch norm has no gradient but rounding errors, and the kernels of saturated gates vary
        # by up to 2e-5 of the total norm with the number of threads.
        assert found[key] == pytest.approx(float(norm), rel=1e-2, abs=1e-4 * case["total_grad_norms"][0]), key
