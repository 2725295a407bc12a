"""Deployed models: the same logits from a folded network."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import timm
import torch
from golden_data import golden_clips, relative_error
from timm.models._efficientnet_builder import decode_arch_def
from torch import nn

import gateshift as gs
from gateshift.errors import ModelError
from gateshift.model.backbones.bninception import BNInception
from gateshift.model.backbones.inceptionv3 import InceptionV3
from gateshift.model.classifier import DeployedClassifier, VideoClassifier
from gateshift.model.deploy.fold import PoolThenBias, fold_backbone
from gateshift.model.deploy.folded_gate import FoldedGateShift
from gateshift.model.temporal.modules import GateShift


def small_resnet() -> nn.Module:
    """Bottlenecks with and without a convolution on the shortcut."""
    return timm.create_model("resnet26", num_classes=0, layers=(2, 1, 2, 1), channels=(16, 16, 24, 24))


def small_efficientnet() -> nn.Module:
    """With TensorFlow's padding, as in tf_efficientnet_lite0."""
    stages = ["ds_r1_k3_s1_e1_c24"], ["ir_r2_k3_s2_e2_c32"], ["ir_r3_k5_s2_e2_c40"]
    blocks = decode_arch_def(list(stages))
    return timm.models.efficientnet.EfficientNet(
        blocks, num_classes=0, num_features=32, stem_size=16, pad_type="same", act_layer=nn.ReLU6
    )


# (network, temporal module, options of insert_temporal, side of the input)
NETS: dict[str, tuple[Callable[[], nn.Module], str, dict[str, Any], int]] = {
    "bninception": (BNInception, "gsm", {}, 64),
    "inceptionv3": (InceptionV3, "gsm", {}, 107),
    "resnet": (small_resnet, "gsm", {}, 32),
    "resnet with interleave": (small_resnet, "gsm", {"interleave": True}, 32),
    "resnet, a quarter": (small_resnet, "gsm", {"ratio": 0.25, "interleave": True}, 32),
    "resnet, gsf": (small_resnet, "gsf", {}, 32),
    "resnet, tsn": (small_resnet, "none", {}, 32),
    "efficientnet": (small_efficientnet, "gsm", {}, 32),
    "efficientnet with interleave": (small_efficientnet, "gsm", {"interleave": True}, 32),
}


def trained(model: VideoClassifier) -> VideoClassifier:
    """A model as after a training: gates open, batch norms with statistics and scales of both signs."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats:
            nn.init.normal_(module.weight, mean=1.0, std=0.4)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, GateShift):
            nn.init.normal_(module.weight, std=0.05)
            nn.init.normal_(module.bias, std=0.3)
    nn.init.normal_(model.head.weight, std=0.1)
    return model.eval()


@pytest.fixture(params=NETS, scope="module")
def model(request: pytest.FixtureRequest) -> VideoClassifier:
    build, temporal, options, size_px = NETS[request.param]
    torch.manual_seed(0)
    net = build()
    gs.insert_temporal(net, temporal, **options)
    return trained(VideoClassifier.wrap(net, net.num_features, num_classes=7, size_px=size_px))


@dataclass(frozen=True)
class Forms:
    """A model in float64, and both deployed: only to be called."""

    exact: VideoClassifier
    deployed_exact: DeployedClassifier
    deployed: DeployedClassifier


@pytest.fixture(scope="module")
def forms(model: VideoClassifier) -> Forms:
    exact = copy.deepcopy(model).double()
    return Forms(exact, exact.deploy(), model.deploy())


def clips_for(model: VideoClassifier, num_frames: int, count: int = 2) -> torch.Tensor:
    return golden_clips(0, count=count, num_frames=num_frames, size_px=model.config.size_px)


@pytest.mark.slow
@pytest.mark.parametrize("num_frames", [1, 2, 5])
@torch.no_grad()
def test_a_deployed_model_gives_the_same_logits(forms: Forms, num_frames: int) -> None:
    clips = clips_for(forms.exact, num_frames)
    expected = forms.exact(clips)
    assert relative_error(forms.deployed_exact(clips), expected) <= 1e-10
    assert relative_error(forms.deployed_exact(clips.flip(1)), forms.exact(clips.flip(1))) <= 1e-10
    assert relative_error(forms.deployed(clips), expected) <= 1e-4


# Whether channels are interleaved is in the weights, and not in the form.
@pytest.mark.slow
@pytest.mark.parametrize("model", ["bninception", "resnet, a quarter", "resnet, gsf", "efficientnet"], indirect=True)
@torch.no_grad()
def test_compilers_get_the_same_network_in_another_form(forms: Forms) -> None:
    clips, deployed = clips_for(forms.exact, 3), forms.deployed_exact
    batch = torch.export.Dim("batch", min=1, max=9)
    program = torch.export.export(deployed, (clips,), dynamic_shapes=({0: batch},)).module()
    assert relative_error(program(clips[:1]), deployed(clips[:1])) <= 1e-10
    assert relative_error(program(clips), deployed(clips)) <= 1e-10


@pytest.mark.slow
def test_nothing_that_folds_is_left(model: VideoClassifier, forms: Forms) -> None:
    kinds = [type(module) for module in forms.deployed.modules()]
    sites = sum(isinstance(module, GateShift) for module in model.modules())
    if model.config.temporal == "gsf":
        assert sum(issubclass(kind, nn.BatchNorm2d) for kind in kinds) == 2 * sites  # in the gate, and behind it
    else:
        assert kinds.count(FoldedGateShift) == sites
        assert not any(issubclass(kind, nn.BatchNorm2d) for kind in kinds)


@pytest.mark.slow
@torch.no_grad()
def test_the_model_itself_stays_as_it_is(model: VideoClassifier) -> None:
    before = copy.deepcopy(model.state_dict())
    clips = clips_for(model, 2)
    answer = model(clips)
    model.deploy()(clips)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(model(clips), answer)
    assert any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
@torch.no_grad()
def test_projections_go_before_the_average_pools_that_they_follow() -> None:
    folded = fold_backbone(BNInception())
    assert sum(isinstance(module, PoolThenBias) for module in folded.modules()) == 7  # in 5b it is a maximum


@pytest.mark.slow
@torch.no_grad()
def test_a_channel_that_is_switched_off_stays_so() -> None:
    model = trained(gs.create_model("bninception", num_classes=3, size_px=64)).double()
    nn.init.zeros_(model.backbone.inception_4a.conv_1x1.bn.weight[3:5])
    clips = clips_for(model, 3)
    deployed = model.deploy()
    assert relative_error(deployed(clips), model(clips)) <= 1e-10
    assert sum(isinstance(module, FoldedGateShift) for module in deployed.modules()) == 9


@torch.no_grad()
def test_a_network_that_cannot_be_traced_works_as_it_is_with_one_warning() -> None:
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return x.mean((2, 3)) if x.sum() > 0 else -x.mean((2, 3))

    net = Choosy()
    frames = torch.rand(2, 3, 8, 8)
    with pytest.warns(UserWarning, match="Choosy is deployed as it is, and no faster: .* control flow") as told:
        folded = fold_backbone(net)
    assert len(told) == 1
    assert torch.equal(folded(frames), net(frames))
    assert folded is not net


class CalledTwice(nn.Module):
    """Calls one convolution before two batch norms and before none, and reads its weight; another behind a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)
        self.of_batch, self.pool = nn.BatchNorm2d(4, track_running_stats=False), nn.AvgPool2d(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.first(self.conv(self.second(self.conv(self.first(self.conv(x))))))
        x = self.of_batch(x + self.conv(x))
        layer = getattr(self.conv, "layer", self.conv)  # in a site
        return torch.cat((self.last(self.pool(x)), self.last(x)), 1).mean((2, 3)) * layer.weight.sum()


@pytest.mark.parametrize("temporal", ["none", "gsm", "gsf"])
@torch.no_grad()
def test_a_layer_that_is_called_more_than_once_is_folded_for_each_call(temporal: str) -> None:
    torch.manual_seed(0)
    net = CalledTwice()
    if temporal != "none":
        gs.insert_temporal(net, temporal, sites=["conv"], interleave=False, num_frames=4)
    config = gs.create_model("test_resnet", "none", num_classes=2).config
    model = trained(VideoClassifier(net, 4, config)).double()
    frames = torch.rand(8, 3, 6, 6, dtype=torch.float64)
    assert relative_error(fold_backbone(model.backbone)(frames), model.backbone(frames)) <= 1e-10


@torch.no_grad()
def test_a_convolution_that_changes_its_weight_first_is_left_as_it_is() -> None:
    for change in (nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm):
        net = nn.Sequential(change(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)).eval()
        nn.init.normal_(net[1].weight)
        frames = torch.rand(2, 3, 8, 8)
        assert relative_error(fold_backbone(net)(frames), net(frames)) <= 1e-5


def test_deploying_a_model_draws_no_random_numbers() -> None:
    model = gs.create_model("test_resnet", num_classes=3)
    before = torch.get_rng_state()
    model.deploy()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@torch.no_grad()
def test_bfloat16_costs_digits_and_not_more() -> None:
    model = trained(gs.create_model("bninception", num_classes=7, size_px=64))
    clips = clips_for(model, 4)
    logits = model.deploy(dtype=torch.bfloat16)(clips)
    assert logits.dtype == torch.float32
    assert 1e-4 < relative_error(logits, model(clips)) < 0.2


def test_a_deployed_model_is_a_kind_of_its_own_that_is_neither_trained_nor_saved(tmp_path: object) -> None:
    deployed = gs.create_model("test_resnet", num_classes=3).deploy()
    assert isinstance(deployed, DeployedClassifier)
    with pytest.raises(ModelError, match="cannot be trained; train the model that it was made of"):
        deployed.train()
    with pytest.raises(ModelError, match="is not saved; save the model that it was made of"):
        gs.save_model(deployed, f"{tmp_path}/m.safetensors")
    assert not isinstance(deployed, VideoClassifier)
    assert not hasattr(deployed, "deploy")
    with pytest.raises(ModelError, match="clips of shape"):
        deployed(torch.zeros(4, 3, 32, 32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenetv3_small_050", {}),
        ("regnety_002", {}),
        ("densenet121", {"growth_rate": 8, "block_config": (2, 2, 1, 1)}),
        ("convnext_atto", {}),
        ("vit_tiny_patch16_224", {"img_size": 64}),
    ],
)
@torch.no_grad()
def test_networks_without_temporal_modules_fold_too(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=0, **options).eval().double()
    frames = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    folded = fold_backbone(net)
    assert relative_error(folded(frames), net(frames)) <= 1e-10
    # What is left of batch norms has no convolution before it: some of DenseNet's stand before theirs.
    norms = [sum(isinstance(module, nn.BatchNorm2d) for module in each.modules()) for each in (net, folded)]
    assert norms[1] < norms[0] or norms[0] == 0
