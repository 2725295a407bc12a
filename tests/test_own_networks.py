"""Classifiers around networks of one's own: made, saved, and loaded again with the network."""

import dataclasses
from pathlib import Path

import pytest
import torch
from streaming_data import TinyNet, trained
from torch import Tensor, nn

import gateshift as gs
from gateshift.errors import ModelError
from gateshift.model.classifier import VideoClassifier
from gateshift.model.temporal.causal import make_causal
from gateshift.model.temporal.site import describe_sites

SITES = ["conv_a", "conv_b"]
CLIPS = torch.randint(0, 256, (2, 4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def wrap(temporal: str | None = "gsm", net: nn.Module | None = None) -> VideoClassifier:
    torch.manual_seed(1)
    sites = SITES if temporal not in (None, "none") else None
    net = TinyNet() if net is None else net
    classes = ["open", "close"]
    model = VideoClassifier.wrap(net, 12, classes=classes, temporal=temporal, sites=sites, size_px=8, num_segments=4)
    return trained(model)


def net_with(temporal: str, *, causal: bool = False, **options: float) -> nn.Module:
    net = TinyNet()
    gs.insert_temporal(net, temporal, sites=SITES, **options)
    if causal:
        make_causal(net)
    return net


def same_logits(one: VideoClassifier, other: VideoClassifier) -> bool:
    with torch.no_grad():
        return torch.equal(one(CLIPS), other(CLIPS))


@pytest.mark.parametrize("temporal", ["gsm", "gsf", "tsm", "none"])
def test_a_network_is_saved_and_loaded_with_another_made_alike(temporal: str, tmp_path: Path) -> None:
    model, path = wrap(temporal), tmp_path / "m.safetensors"
    assert model.config.backbone == "own/TinyNet"
    assert (model.config.temporal, model.config.num_segments) == (temporal, 4)
    gs.save_model(model, path)
    loaded = gs.load_model(path, backbone=TinyNet())  # its modules are put in
    assert loaded.config == model.config
    assert same_logits(loaded, model)
    if temporal != "none":
        assert same_logits(gs.load_model(path, backbone=net_with(temporal)), model)  # they are in it
    gs.save_model(loaded, path)
    assert same_logits(gs.load_model(path, backbone=TinyNet()), model)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"ratio": 0.5}, {"interleave": True}])
def test_a_network_with_modules_inside_says_itself_what_they_are(options: dict, tmp_path: Path) -> None:
    model = wrap(None, net_with("gsm", **options))
    assert model.config.sites == tuple(SITES)
    for name, value in {"causal": False, "ratio": 1.0, "interleave": False, **options}.items():
        assert getattr(model.config, name) == value
    gs.save_model(model, tmp_path / "m.safetensors")
    assert same_logits(gs.load_model(tmp_path / "m.safetensors", backbone=TinyNet()), model)


def test_a_network_of_a_known_family_needs_no_names(tmp_path: Path) -> None:
    import timm

    def resnet() -> nn.Module:
        return timm.create_model("test_resnet", num_classes=0)

    model = VideoClassifier.wrap(resnet(), 96, num_classes=2, temporal="gsf", size_px=32)
    gs.save_model(model, tmp_path / "m.safetensors")
    loaded = gs.load_model(tmp_path / "m.safetensors", backbone=resnet())
    assert describe_sites(loaded.backbone) == describe_sites(model.backbone) != ()


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (None, r"its network is your own, own/TinyNet; give it: load_model\(path, backbone=net\)"),
        (nn.Conv2d(3, 12, 1), "no convolution named conv_a, conv_b in Conv2d"),
        (net_with("gsf"), "its temporal is gsm, and that of the network is gsf; give a network made as it was"),
        (net_with("gsm", interleave=True), "its interleave is False, and that of the network is True"),
        (net_with("gsm", causal=True), "its causal is False, and that of the network is True"),
        (net_with("gsm", ratio=0.5), "weights do not fit own/TinyNet with gsm: size mismatch for backbone.conv_a"),
    ],
)
def test_a_network_that_the_file_is_not_of_is_refused_in_one_line(
    net: nn.Module | None, message: str, tmp_path: Path
) -> None:
    gs.save_model(wrap(), tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=f"m.safetensors: {message}") as caught:
        gs.load_model(tmp_path / "m.safetensors", backbone=net)
    assert "\n" not in str(caught.value)


def test_a_network_with_fewer_layers_is_refused(tmp_path: Path) -> None:
    class Smaller(TinyNet):
        def __init__(self) -> None:
            super().__init__()
            self.bn_b = nn.Identity()

    gs.save_model(wrap(), tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="weights do not fit own/TinyNet with gsm: Unexpected key.*backbone.bn_b"):
        gs.load_model(tmp_path / "m.safetensors", backbone=Smaller())


class ManyFeatures(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x)] * 2, dim=1)


def test_features_that_are_not_as_many_as_said_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"`num_features` 10: TinyNet makes \[1, 12\] of a frame \[1, 3, 8, 8\]; it"):
        VideoClassifier.wrap(TinyNet(), 10, num_classes=2, size_px=8)
    with pytest.raises(ModelError, match=r"`num_features` 12: Conv2d makes \[1, 12, 8, 8\] of a frame"):
        VideoClassifier.wrap(nn.Conv2d(3, 12, 1), 12, num_classes=2, size_px=8)
    gs.save_model(wrap(), tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"`num_features` 12: ManyFeatures makes \[1, 24\]"):
        gs.load_model(tmp_path / "m.safetensors", backbone=ManyFeatures())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}, "are of pixels in 0..1; give those of 0..255"),
        ({"std": (1.0, 0.0, 1.0)}, r"`std` \(1.0, 0.0, 1.0\); it must be a tuple of three finite numbers above 0"),
        ({"num_crops": 3, "whole_frame": True}, "`num_crops` 3 with `whole_frame=True`"),
        ({"mirror_pairs": [("0", "2")]}, "`mirror_pairs` .*; both of a pair must be classes"),
        ({"temporal": "gsm"}, "no known sites in TinyNet"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        VideoClassifier.wrap(TinyNet(), 12, num_classes=2, **{"size_px": 8, **options})


def test_modules_of_several_kinds_are_refused() -> None:
    net = net_with("gsm")
    net.conv_b.temporal = net_with("tsm").conv_a.temporal
    with pytest.raises(ModelError, match="temporal modules of several kinds, gsm, tsm; use one kind"):
        VideoClassifier.wrap(net, 12, num_classes=2, size_px=8)


def test_a_file_from_before_sites_were_kept_is_loaded_with_a_network_that_has_its_modules(tmp_path: Path) -> None:
    model, path = wrap(), tmp_path / "m.safetensors"
    gs.save_model(model, path, config=dataclasses.replace(model.config, sites=None, backbone="own/tiny"))
    assert same_logits(gs.load_model(path, backbone=net_with("gsm")), model)
    with pytest.raises(ModelError, match="no known sites in TinyNet"):
        gs.load_model(path, backbone=TinyNet())
