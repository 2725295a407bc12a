"""What makes things faster or smaller changes no answer. No test here depends on a time."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_data import golden_clips, relative_error
from safetensors.torch import load_file
from test_deploy import trained
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import gateshift as gs
from gateshift.cli.main import main
from gateshift.devices import create_accelerator
from gateshift.model.backbones.conv_bn import AveragePool
from gateshift.model.classifier import VideoClassifier
from gateshift.model.stand_ins.activation_checkpointing import checkpoint_blocks
from gateshift.model.stand_ins.depthwise import keep_depthwise_float32

NETS = {"bninception": 64, "inceptionv3": 107, "resnet26": 64, "tf_efficientnet_lite0": 64}


def one_step(model: VideoClassifier, clips: torch.Tensor) -> None:
    torch.manual_seed(1)
    loss = nn.functional.cross_entropy(model.train()(clips), torch.arange(len(clips)))
    loss.backward()


def saved_bytes(model: VideoClassifier, clips: torch.Tensor) -> int:
    """What a forward pass keeps for the backward pass, weights aside."""
    sizes: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = model.train()(clips)
    assert answer.requires_grad
    return sum(size for place, size in sizes.items() if place not in weights)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 6)])
def test_the_average_pool_and_its_gradient_are_those_of_the_published_layer(size: tuple[int, int]) -> None:
    published = nn.AvgPool2d(3, stride=1, padding=1, ceil_mode=True, count_include_pad=True)
    frames = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    expected, found = published(frames), AveragePool()(frames)
    assert torch.equal(found, expected)
    upstream = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad(found, frames, upstream)
    torch.testing.assert_close(gradient, *torch.autograd.grad(expected, frames, upstream), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", NETS)
def test_checkpointing_changes_no_gradient_and_no_statistic_and_keeps_a_third(backbone: str) -> None:
    size_px = NETS[backbone]
    model = trained(gs.create_model(backbone, num_classes=5, size_px=size_px))
    saving = copy.deepcopy(model)
    assert checkpoint_blocks(saving.backbone) > 5
    clips = golden_clips(0, count=2, num_frames=2, size_px=size_px)
    one_step(model, clips)
    one_step(saving, clips)
    for (name, ours), theirs in zip(saving.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad), name
    for (name, ours), theirs in zip(saving.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name  # batch norms counted the clips once
    assert saved_bytes(saving, clips) <= 0.35 * saved_bytes(model, clips)
    with torch.no_grad():
        assert torch.equal(saving.eval()(clips), model.eval()(clips))


@pytest.mark.slow
def test_checkpointing_keeps_the_names_of_weights_and_copies_compute_with_their_own() -> None:
    model = trained(gs.create_model("bninception", num_classes=5, size_px=64))
    saving = copy.deepcopy(model)
    checkpoint_blocks(saving.backbone)
    assert list(saving.state_dict()) == list(model.state_dict())
    assert not any("forward" in vars(module) for module in saving.modules())
    before = model.state_dict()
    with torch.no_grad():
        for weight in saving.parameters():
            weight.mul_(1.1)
    copied = copy.deepcopy(saving)
    for target in (model, copied):  # from one without it, and from one with it
        target.load_state_dict(saving.state_dict())
        saving.load_state_dict(model.state_dict())
    clips = golden_clips(0, count=1, num_frames=2, size_px=64)
    with torch.no_grad():
        answer = model.eval()(clips)
        assert torch.equal(copied.eval()(clips), answer)
        for weight in saving.parameters():
            weight.zero_()
        assert torch.equal(copied(clips), answer)
    copied.load_state_dict(before)


class ConvolutionGradients(TorchDispatchMode):
    """Notes for each convolution's backward pass whether it is depthwise, and its dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[bool, torch.dtype]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            weight, groups = args[2], args[9]
            self.found[groups == weight.shape[0], weight.dtype] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.slow
def test_depthwise_convolutions_learn_in_float32_under_bf16_with_checkpointing_too() -> None:
    plain = trained(gs.create_model("tf_efficientnet_lite0", num_classes=5, size_px=64))
    clips = golden_clips(0, count=2, num_frames=2, size_px=64)
    kept = copy.deepcopy(plain)
    assert keep_depthwise_float32(kept.backbone) == 16
    checkpoint_blocks(kept.backbone)
    with torch.autocast("cpu", torch.bfloat16), ConvolutionGradients() as gradients:
        one_step(kept, clips)
    assert gradients.found[True, torch.float32] == 16
    assert gradients.found[False, torch.bfloat16] > 16
    assert len(gradients.found) == 2
    kept.load_state_dict(plain.state_dict())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kept.eval()(clips), plain.eval()(clips))


def test_a_depthwise_convolution_under_bf16_is_rounded_once() -> None:
    layer = nn.Conv2d(6, 6, 3, groups=6)
    rounded, features = nn.Sequential(copy.deepcopy(layer)), torch.randn(2, 6, 9, 9).bfloat16()
    keep_depthwise_float32(rounded)
    with torch.autocast("cpu", torch.bfloat16):
        found = rounded(features)
    expected = layer(features.float()).bfloat16()
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)
    found.float().square().sum().backward()
    expected.float().square().sum().backward()
    assert torch.equal(rounded[0].weight.grad, layer.weight.grad)


@pytest.mark.slow
def test_what_computes_in_float32_computes_the_same() -> None:
    model = trained(gs.create_model("tf_efficientnet_lite0", num_classes=5, size_px=64))
    kept = copy.deepcopy(model)
    keep_depthwise_float32(kept.backbone)
    clips = golden_clips(0, count=2, num_frames=2, size_px=64)
    one_step(model, clips)
    one_step(kept, clips)
    for ours, theirs in zip(kept.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.slow
def test_a_training_in_bf16_keeps_them_in_float32(clips: Path, tmp_path: Path) -> None:
    with ConvolutionGradients() as gradients:
        weights = train(clips, tmp_path / "run", "--backbone", "test_convnext", "--precision", "bf16", "--ema", "0.9")
    assert {dtype for depthwise, dtype in gradients.found if depthwise} == {torch.float32}
    assert {dtype for depthwise, dtype in gradients.found if not depthwise} == {torch.bfloat16}
    assert all(weight.isfinite().all() for weight in weights.values())


def test_one_process_can_take_one_precision_after_the_other() -> None:
    assert [create_accelerator(each).mixed_precision for each in ("no", "bf16", "bf16", "no")] == [
        "no",
        "bf16",
        "bf16",
        "no",
    ]


def train(clips: Path, out: Path, *options: str) -> dict[str, torch.Tensor]:
    words = ["train", str(clips / "train.csv"), str(clips / "val.csv"), "--out", str(out), "--backbone", "test_resnet"]
    words += ["--size", "32", "--segments", "2", "--batch-size", "5", "--epochs", "1", "--warmup-epochs", "0"]
    main([*words, "--workers", "0", "--recipe", "papers", *options])
    return load_file(out / "last.safetensors")


@pytest.mark.slow
def test_training_with_checkpointing_ends_with_the_same_weights(clips: Path, tmp_path: Path) -> None:
    plain, saving = train(clips, tmp_path / "plain"), train(clips, tmp_path / "saving", "--checkpointing")
    assert all(torch.equal(plain[name], saving[name]) for name in plain)


@pytest.mark.slow
def test_a_compiled_training_ends_with_nearly_the_same_weights(clips: Path, tmp_path: Path) -> None:
    # A compiled network draws other random numbers, and compiling takes long for each gate.
    options = ["--dropout", "0", "--num-sites", "1"]
    plain = train(clips, tmp_path / "plain", *options)
    compiled = train(clips, tmp_path / "compiled", *options, "--compile")
    assert plain.keys() == compiled.keys()
    assert any(not torch.equal(plain[name], compiled[name]) for name in plain)
    for name in plain:
        torch.testing.assert_close(compiled[name], plain[name], rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@torch.no_grad()
def test_a_compiled_network_of_real_size_answers_as_it_does_eagerly() -> None:
    model = trained(gs.create_model("bninception", num_classes=174))
    clips = golden_clips(0, count=1, num_frames=8, size_px=224)
    compiled = torch.compile(model.deploy())
    assert relative_error(compiled(clips), model(clips)) <= 1e-4
    assert relative_error(compiled(clips.flip(1)), model(clips.flip(1))) <= 1e-4
