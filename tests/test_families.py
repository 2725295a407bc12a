"""One body of tests for every family of backbones and every temporal module."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from golden_data import golden_clips, relative_error
from timm.models._efficientnet_builder import decode_arch_def
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.regnet import BlockParams

import gateshift as gs
from gateshift.exported.formats import FORMAT_SUFFIXES, Format
from gateshift.exporting.writing import write_export
from gateshift.model.backbones.bninception import BNInception
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.surgery.families import FAMILIES
from gateshift.model.surgery.sites import find_family
from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalModule, TemporalShift
from gateshift.model.temporal.site import describe_sites


@dataclass(frozen=True)
class Net:
    """A small network of a family, how many sites it has, the first of them by gates and tsm, and a side it takes."""

    family: str
    num_sites: int
    first: str
    first_of_tsm: str = ""  # as for gates
    size_px: int = 32


# A new family, and a new member whose layers have other names, adds one line.
NETS = {
    "bninception": Net(
        "bninception", 10, "after inception_3a.conv_1x1.conv", "before inception_3a.conv_1x1.conv", size_px=64
    ),
    "inceptionv3": Net("inceptionv3", 11, "after mixed.conv.conv", "before mixed.conv.conv", size_px=75),
    "resnet18": Net("resnet", 8, "after layer1.0.conv2", "before layer1.0.conv1"),
    "resnext50_32x4d": Net("resnet", 16, "after layer1.0.conv3", "before layer1.0.conv1"),
    "regnetx_002": Net("regnet", 13, "before s1.b1.conv1.conv"),
    "regnety_002": Net("regnet", 13, "before s1.b1.conv1.conv"),
    "convnext_atto": Net("convnext", 12, "before stages.0.blocks.0.conv_dw"),
    "tf_efficientnet_lite0": Net("efficientnet/mobilenet", 9, "before blocks.1.1.conv_pw"),
    "tf_efficientnetv2_b0": Net("efficientnet/mobilenet", 15, "before blocks.1.1.conv_exp"),
    "mobilenetv2_035": Net("efficientnet/mobilenet", 10, "before blocks.1.1.conv_pw"),
    "mobilenetv3_small_050": Net("efficientnet/mobilenet", 7, "before blocks.1.1.conv_pw"),
    "mobilenetv4_conv_small_035": Net("efficientnet/mobilenet", 10, "before blocks.2.1.pw_exp.conv"),
    "densenet121": Net(
        "densenet",
        58,
        "after features.denseblock1.denselayer1.conv2",
        "before features.denseblock1.denselayer1.conv1",
    ),
    "torchvision/resnet18": Net("resnet", 8, "after layer1.0.conv2", "before layer1.0.conv1"),
    "torchvision/regnet_y_400mf": Net("regnet", 16, "before trunk_output.block1.block1-0.f.a.0"),
    "torchvision/convnext_tiny": Net("convnext", 18, "before features.1.0.block.0"),
    "torchvision/mobilenet_v2": Net("efficientnet/mobilenet", 10, "before features.3.conv.0.0"),
    "torchvision/mobilenet_v3_small": Net("efficientnet/mobilenet", 6, "before features.3.block.0.0"),
    "torchvision/efficientnet_b0": Net("efficientnet/mobilenet", 9, "before features.2.1.block.0.0"),
}
GATED_IN_PART = ("regnet", "convnext")  # a quarter of their channels
MODULES = {"gsm": GateShift, "gsf": GateShiftFuse, "tsm": TemporalShift, "none": None}
# Every network computes with one module, one of each family with the others too.
WITH_EVERY_MODULE = (
    "bninception",
    "inceptionv3",
    "resnet18",
    "regnety_002",
    "convnext_atto",
    "mobilenetv3_small_050",
    "densenet121",
)
MODELS = [(name, temporal) for name in NETS for temporal in MODULES if temporal == "gsm" or name in WITH_EVERY_MODULE]


@dataclass(frozen=True)
class Plain:
    """A network without modules, in eval mode, and its answer to some frames. Tests that change it take a copy."""

    name: str
    net: nn.Module
    frames: Tensor
    answer: Tensor


@pytest.fixture(params=NETS, scope="module")
def plain(request: pytest.FixtureRequest) -> Plain:
    torch.manual_seed(0)
    name, size_px = request.param, NETS[request.param].size_px
    net = gs.create_model(name, "none", num_classes=5, size_px=size_px).eval().backbone
    frames = torch.rand(2, 3, size_px, size_px)
    with torch.no_grad():
        return Plain(name, net, frames, net(frames))


@pytest.fixture(params=MODELS, ids="-".join, scope="module")
def model(request: pytest.FixtureRequest) -> VideoClassifier:
    """In eval mode, as after a training: gates open, no branch closed or faint. Tests that change it take a copy."""
    name, temporal = request.param
    torch.manual_seed(0)
    model = gs.create_model(name, temporal, num_classes=5, size_px=NETS[name].size_px).eval()
    for key, parameter in model.named_parameters():
        if key.endswith((".gamma", ".layer_scale")):  # ConvNeXt's branches start a millionth wide
            nn.init.ones_(parameter)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):  # torchvision's own start lets signals fade in grouped convolutions
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    for gate in gates_of(model):
        nn.init.normal_(gate.weight, std=0.03)
        nn.init.normal_(gate.bias, std=0.1)
    nn.init.normal_(model.head.weight, std=0.1)
    calibrate(model)
    return model


@torch.no_grad()
def calibrate(model: VideoClassifier) -> None:
    """Move the statistics of every batch norm towards those of a clip, not all the way: no variance is then tiny."""
    norms = {module: module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    for norm in norms:
        norm.momentum = 0.9
    model.train()(clips_for(model, 4))
    for norm, momentum in norms.items():
        norm.momentum = momentum
    model.eval()


def gates_of(net: nn.Module) -> list[GateShift]:
    return [module for module in net.modules() if isinstance(module, GateShift)]


def clips_for(model: VideoClassifier, num_frames: int, count: int = 2) -> Tensor:
    return golden_clips(0, count=count, num_frames=num_frames, size_px=model.config.size_px)


def num_sites(name: str, temporal: str) -> int:
    if temporal == "none":
        return 0
    return 10 if (name, temporal) == ("inceptionv3", "gsm") else NETS[name].num_sites  # GSM leaves mixed_6 out


def test_every_family_of_the_table_is_tested() -> None:
    families = {family.name for family in FAMILIES}
    assert families == {net.family for net in NETS.values()} == {NETS[name].family for name in WITH_EVERY_MODULE}


@pytest.mark.slow
@pytest.mark.parametrize("temporal", MODULES)
def test_each_family_is_recognised_and_all_its_sites_are_found(temporal: str, plain: Plain) -> None:
    expected, net = NETS[plain.name], copy.deepcopy(plain.net)
    report = gs.insert_temporal(net, temporal)
    modules = [module for module in net.modules() if isinstance(module, TemporalModule)]
    assert len(report.sites) == len(modules) == num_sites(plain.name, temporal)
    assert report.num_parameters == sum(parameter.numel() for m in modules for parameter in m.parameters())
    if temporal != "none":
        family = find_family(net, temporal)
        assert family is not None
        assert report.family == family.name == expected.family
        assert report.ratio == (0.25 if temporal != "tsm" and expected.family in GATED_IN_PART else 1)
        assert all(type(module) is MODULES[temporal] for module in modules)
        first = expected.first_of_tsm if temporal == "tsm" and expected.first_of_tsm else expected.first
        assert f"{report.sites[0].side} {report.sites[0].name}" == first
        assert len(str(report).splitlines()) == 2 + len(report.sites)


@pytest.mark.slow
def test_a_model_is_made_with_the_modules_that_are_inserted_in_its_network(model: VideoClassifier) -> None:
    backbone, temporal = copy.deepcopy(model.backbone), model.config.temporal
    sites = describe_sites(backbone)
    assert gs.remove_temporal(backbone) == len(sites) == num_sites(model.config.backbone, temporal)
    assert gs.insert_temporal(backbone, temporal).ratio == model.config.ratio
    assert describe_sites(backbone) == sites


@pytest.mark.slow
@torch.no_grad()
def test_clips_of_any_length_have_logits_that_know_the_order_only_with_a_module(model: VideoClassifier) -> None:
    for num_frames in (1, 2, 5):
        clips = clips_for(model, num_frames, count=1)
        logits = model(clips)
        assert logits.shape == (1, 5)
        # Averaged over frames, a network that sees each frame alone answers both ways alike.
        change = relative_error(model(clips.flip(1)), logits)
        assert change > 1e-4 if model.config.temporal != "none" and num_frames > 1 else change <= 1e-5


@pytest.mark.slow
@torch.no_grad()
def test_a_clip_has_the_same_answer_alone_and_beside_another(model: VideoClassifier) -> None:
    clips = clips_for(model, 2)
    assert relative_error(model(clips[1:]), model(clips)[1:]) <= 1e-4


@pytest.mark.slow
def test_gradients_reach_every_module_and_each_of_its_weights(model: VideoClassifier) -> None:
    trained = copy.deepcopy(model).train()
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    modules = [module for module in trained.modules() if isinstance(module, TemporalModule)]
    for module in modules:
        module.register_forward_hook(keep)
    nn.functional.cross_entropy(trained(clips_for(model, 4)), torch.tensor([0, 3])).backward()
    assert len(outputs) == num_sites(model.config.backbone, model.config.temporal)
    assert all(output.grad is not None and output.grad.abs().sum() > 0 for output in outputs)
    weights = [parameter for module in modules for parameter in module.parameters()]
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in weights)
    assert all(parameter.grad is not None for parameter in trained.parameters())


@pytest.mark.slow
@torch.no_grad()
def test_a_saved_model_comes_back_bit_for_bit(model: VideoClassifier, tmp_path: Path) -> None:
    gs.save_model(model, tmp_path / "model.safetensors")
    again = gs.load_model(tmp_path / "model.safetensors")
    assert again.config == model.config
    state, saved = model.state_dict(), again.state_dict()
    assert list(saved) == list(state)
    assert all(torch.equal(saved[key], tensor) for key, tensor in state.items())
    clips = clips_for(model, 3)
    assert torch.equal(again(clips), model(clips))


@pytest.mark.parametrize("temporal", MODULES)
@torch.no_grad()
def test_taking_modules_out_restores_the_network_bit_for_bit(temporal: str, plain: Plain) -> None:
    net, before = copy.deepcopy(plain.net), plain.net.state_dict()
    layers = list(net.named_modules())
    gs.insert_temporal(net, temporal)
    if temporal != "none":
        with pytest.raises(gs.GateShiftError, match="already has temporal modules"):
            gs.insert_temporal(net, temporal)
    assert gs.remove_temporal(net) == num_sites(plain.name, temporal)
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    assert list(net.named_modules()) == layers  # the very same layers
    assert torch.equal(net(plain.frames), plain.answer)


@torch.no_grad()
def test_without_interleave_a_new_gate_shift_changes_nothing(plain: Plain) -> None:
    net = copy.deepcopy(plain.net)
    gs.insert_temporal(net, "gsm", num_frames=2, interleave=False)
    assert torch.equal(net(plain.frames), plain.answer)


@pytest.mark.slow
@torch.no_grad()
def test_deployed_it_gives_the_same_logits(model: VideoClassifier) -> None:
    exact = copy.deepcopy(model).double()
    clips = clips_for(model, 3, count=1)
    deployed = exact.deploy()
    assert relative_error(deployed(clips), exact(clips)) <= 1e-10
    # DenseNet's batch norms stand before activations.
    if model.config.temporal == "tsm" and "densenet" not in model.config.backbone:
        # A shift stands before its convolution, and the batch norm behind that goes into it.
        assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())


# The same families in a few blocks: writing files takes long.
SMALL_NETS: dict[str, Callable[[], nn.Module]] = {
    "bninception": BNInception,
    "resnet": lambda: timm.create_model("test_resnet", num_classes=0, zero_init_last=False),
    "resnext": lambda: timm.create_model(
        "resnext50_32x4d", num_classes=0, layers=(1, 1, 1, 1), cardinality=4, zero_init_last=False
    ),
    "regnetx": lambda: timm.models.regnet.RegNet(
        timm.models.regnet.RegNetCfg(w0=16, wa=16, wm=1.6, group_size=8, depth=4), num_classes=0
    ),
    "convnext": lambda: timm.create_model("convnext_atto", num_classes=0, depths=(1, 1, 1, 1), dims=(8, 16, 24, 40)),
    "efficientnet": lambda: inverted_residuals("ds_r1_k3_s1_e1_c16", "er_r2_k3_s2_e2_c24", "ir_r2_k3_s2_e2_c40_se0.25"),
    "mobilenetv2": lambda: inverted_residuals("ds_r1_k3_s1_c16", "ir_r2_k3_s2_e2_c24", "ir_r3_k3_s1_e2_c24"),
    "mobilenetv3": lambda: inverted_residuals("ds_r1_k3_s2_e1_c16_se0.25_nre", "ir_r2_k5_s2_e2_c24_se0.25"),
    "mobilenetv4": lambda: inverted_residuals("cn_r1_k3_s2_c16", "uir_r3_a3_k3_s2_e2_c24", "uir_r2_a0_k3_s1_e2_c24"),
    "densenet": lambda: timm.create_model("densenet121", num_classes=0, growth_rate=8, block_config=(2, 2, 1, 1)),
    "torchvision regnet": lambda: models.RegNet(BlockParams.from_init_params(6, 16, 8.0, 2.0, 8), num_classes=16),
    "torchvision convnext": lambda: models.ConvNeXt(
        [CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 2)], num_classes=16
    ),
    "torchvision mobilenet": lambda: models.MobileNetV2(
        num_classes=16, inverted_residual_setting=[[1, 16, 1, 1], [2, 24, 3, 2]]
    ),
}


# A module is written alike wherever it stands, and a network whatever stands in it: every network is written with one
# module or two, every family with gates, and the two ways in which modules take their channels with all of them.
EXPORTED = {
    "bninception": ("gsm", "tsm"),
    "resnet": tuple(MODULES),  # all channels, after a convolution and, by tsm, before one
    "resnext": ("gsf",),
    "regnetx": ("gsm",),
    "convnext": tuple(MODULES),  # a quarter of the channels
    "efficientnet": ("gsf",),
    "mobilenetv2": ("tsm",),
    "mobilenetv3": ("gsm",),
    "mobilenetv4": ("gsf",),
    "densenet": ("gsf", "tsm"),
    "torchvision regnet": ("gsf",),
    "torchvision convnext": ("gsm",),
    "torchvision mobilenet": ("gsm",),
}


def inverted_residuals(*stages: str) -> nn.Module:
    """An EfficientNet or MobileNet of these stages, in timm's notation."""
    blocks = decode_arch_def([[stage] for stage in stages])
    return timm.models.efficientnet.EfficientNet(blocks, num_classes=0, num_features=32, stem_size=16)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch", "onnx"])
@pytest.mark.parametrize(("small", "temporal"), [(small, each) for small in SMALL_NETS for each in EXPORTED[small]])
def test_an_exported_file_gives_the_same_logits(small: str, temporal: str, kind: Format, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, size_px = SMALL_NETS[small]().eval(), 32
    assert len(gs.insert_temporal(net, temporal).sites) > 0 or temporal == "none"
    for gate in gates_of(net):
        nn.init.normal_(gate.weight, std=0.1)
    with torch.no_grad():
        num_features = net(torch.zeros(8, 3, size_px, size_px)).shape[1]
    config = ModelConfig(
        backbone=small,
        temporal=temporal,
        classes=("a", "b"),
        interleave=False,
        dropout=0.0,
        size_px=size_px,
        mean=(128.0, 128.0, 128.0),
        std=(64.0, 64.0, 64.0),
        bgr=False,
    )
    model = VideoClassifier(net, num_features, config).eval()
    nn.init.normal_(model.head.weight, std=0.1)
    path = tmp_path / f"model{FORMAT_SUFFIXES[kind]}"
    assert write_export(model, path, kind, clips=clips_for(model, 3, count=3)) <= 1e-4
    assert path.is_file()
