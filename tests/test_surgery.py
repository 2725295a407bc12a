"""Temporal modules in and out of 2D networks; tests/test_families.py has the families."""

import pytest
import timm
import torch
from torch import nn

from gateshift import insert_temporal, set_num_frames
from gateshift.errors import ModelError
from gateshift.model.backbones.bninception import BNInception
from gateshift.model.surgery.sites import find_sites
from gateshift.model.temporal.modules import GateShift, TemporalModule


def small_net(channels: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), nn.Conv2d(channels, 6, 3), nn.AdaptiveAvgPool2d(1))


def test_a_net_of_no_family_takes_sites_by_name() -> None:
    net = small_net()
    report = insert_temporal(net, "gsm", sites=["0"], num_frames=2)
    assert report.family == "given by name"
    assert [(site.name, site.channels) for site in report.sites] == [("0", 8)]
    assert net(torch.rand(4, 3, 9, 9)).shape == (4, 6, 1, 1)


def test_a_net_of_no_family_without_names_lists_what_could_be_named() -> None:
    with pytest.raises(ModelError, match=r"no known sites in Sequential; known families: bninception.*such as 0, 2"):
        insert_temporal(small_net(), "gsm")


def test_a_name_that_is_no_convolution_is_refused() -> None:
    with pytest.raises(ModelError, match="no convolution named 1, 7 in Sequential"):
        insert_temporal(small_net(), "gsm", sites=["0", "1", "7"])


@pytest.mark.parametrize("temporal", ["gsm", "gsf"])
def test_a_share_of_the_channels_goes_through_the_module_rounded_up_to_four(temporal: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 24, 1), nn.Conv2d(24, 40, 1))
    report = insert_temporal(net, temporal, sites=["0", "1"], num_frames=3, ratio=0.25, interleave=True)
    assert report.num_gated == (8, 12)
    assert "after 0: 8 of 24 channels (rounded up from 6)" in str(report)
    assert "after 1: 12 of 40 channels (rounded up from 10)" in str(report)
    frames = torch.rand(6, 3, 5, 5)
    with torch.no_grad():
        before, after = net[0].layer(frames), net[0](frames)
    torch.testing.assert_close(after[:, 8:], before[:, 8:], rtol=0, atol=0)
    assert not torch.equal(after[:, :8], before[:, :8])


def test_a_share_that_needs_no_rounding_is_reported_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1))
    report = insert_temporal(net, "gsm", sites=["0", "1"], ratio=0.25)
    assert str(report).splitlines()[1:] == ["  after 0: 4 of 16 channels", "  after 1: 4 of 16 channels"]


def test_a_shift_goes_before_a_convolution_given_by_name_and_moves_an_eighth_each_way() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 6, 1))
    report = insert_temporal(net, "tsm", sites=["1"], num_frames=3)
    assert "before 1: 2 + 2 of 16 channels" in str(report)
    assert (report.num_parameters, report.interleave, report.ratio) == (0, False, 1.0)
    frames = torch.rand(6, 3, 5, 5)
    with torch.no_grad():
        source = net[0](frames).unflatten(0, (2, 3))  # [B, T, C, H, W]
        shifted = torch.zeros_like(source)
        shifted[:, :2, :2], shifted[:, 1:, 2:4], shifted[:, :, 4:] = (
            source[:, 1:, :2],
            source[:, :2, 2:4],
            source[:, :, 4:],
        )
        torch.testing.assert_close(net(frames), net[1].layer(shifted.flatten(0, 1)))


def test_too_few_channels_for_a_shift_are_refused_before_anything_is_changed() -> None:
    net = nn.Sequential(nn.Conv2d(16, 4, 1), nn.Conv2d(4, 6, 1))
    with pytest.raises(ModelError, match="before 1: tsm got 4 channels; it shifts an eighth of at least 8"):
        insert_temporal(net, "tsm", sites=["0", "1"])
    assert not any(isinstance(m, TemporalModule) for m in net.modules())


def test_a_shift_that_is_to_mix_channels_is_refused() -> None:
    with pytest.raises(ModelError, match="`interleave=True` with tsm, which does not mix channels; leave it out"):
        insert_temporal(small_net(), "tsm", sites=["2"], interleave=True)


def test_a_familys_own_share_is_not_taken_where_one_is_given_or_sites_are() -> None:
    net = timm.create_model("convnext_atto", num_classes=0)
    assert insert_temporal(net, "gsm", ratio=1.0).num_gated[0] == 40
    net = timm.create_model("convnext_atto", num_classes=0)
    assert insert_temporal(net, "gsm", sites=["stages.0.blocks.0.conv_dw"]).num_gated == (40,)


@pytest.mark.parametrize("ratio", [0, -0.25, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(ratio: float) -> None:
    with pytest.raises(ModelError, match="`ratio` .*; it must be a share of the channels above 0 and up to 1"):
        insert_temporal(small_net(), "gsf", sites=["0"], ratio=ratio)


def test_odd_channels_are_refused_before_anything_is_changed() -> None:
    net = small_net()
    with pytest.raises(ModelError, match="after 2: gate-shift got 6 channels; it needs a positive multiple of 4"):
        insert_temporal(net, "gsm", sites=["0", "2"], interleave=True)
    assert not any(isinstance(m, GateShift) for m in net.modules())


def test_a_look_alike_without_plain_convolutions_is_refused_not_left_without_modules() -> None:
    with pytest.raises(ModelError, match="ResNet looks like resnet, but has no plain convolution at its sites"):
        insert_temporal(timm.create_model("skresnet18"), "gsm")


def test_a_site_named_twice_or_a_clip_of_no_frames_is_refused() -> None:
    with pytest.raises(ModelError, match="one is named twice"):
        insert_temporal(small_net(), "gsm", sites=["0", "0"])
    with pytest.raises(ModelError, match="`num_frames` 0; it must be at least 1"):
        insert_temporal(small_net(), "gsm", sites=["0"], num_frames=0)


def test_an_unknown_module_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="unknown temporal module 'lstm'; choose one of gsm, gsf, tsm, none"):
        insert_temporal(small_net(), "lstm", sites=["0"])


def test_a_net_wrapped_for_several_devices_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot change a net wrapped in DataParallel; insert first"):
        insert_temporal(nn.DataParallel(small_net()), "gsm", sites=["module.0"])


def test_none_changes_nothing() -> None:
    net = small_net()
    assert insert_temporal(net, "none").sites == ()
    assert not any(isinstance(m, GateShift) for m in net.modules())


def test_a_layer_shared_by_two_parents_gets_one_module() -> None:
    shared = nn.Conv2d(8, 8, 3, padding=1)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(shared), nn.Sequential(shared))
    insert_temporal(net, "gsm", sites=["1.0"], num_frames=2)
    assert net[1][0] is net[2][0]
    assert sum(isinstance(m, GateShift) for m in net.modules()) == 1


def test_new_modules_have_the_layers_precision_and_mode() -> None:
    net = small_net().double().eval()
    insert_temporal(net, "gsm", sites=["0"])
    gate = next(m for m in net.modules() if isinstance(m, GateShift))
    assert gate.weight.dtype == torch.float64
    assert not gate.bn.training


def test_the_number_of_frames_can_be_set_and_is_checked() -> None:
    net = small_net()
    insert_temporal(net, "gsm", sites=["0"], num_frames=8)
    with pytest.raises(ModelError, match="batch of 6 frames is not a whole number of clips of num_frames=8"):
        net(torch.rand(6, 3, 9, 9))
    set_num_frames(net, 3)
    assert net(torch.rand(6, 3, 9, 9)).shape[0] == 6
    with pytest.raises(ModelError, match="`num_frames` 0; it must be at least 1"):
        set_num_frames(net, 0)


def test_a_resnet_of_mixed_blocks_has_the_last_convolution_of_each() -> None:
    _, sites = find_sites(timm.create_model("test_resnet"), "gsm")
    assert [site.name for site in sites] == ["layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv3", "layer4.0.conv2"]


def test_only_blocks_with_a_residual_have_sites_in_mobile_networks() -> None:
    net = timm.create_model("efficientnet_b1", num_classes=0)
    _, sites = find_sites(net, "tsm")
    names = [site.name for site in sites]
    assert names[:3] == ["blocks.0.1.conv_dw", "blocks.1.1.conv_pw", "blocks.1.2.conv_pw"]
    assert all(net.get_submodule(name.rpartition(".")[0]).has_skip for name in names)
    assert len(names) == sum(getattr(module, "has_skip", False) for module in net.modules())


def test_sites_stand_in_the_order_of_the_layers() -> None:
    _, sites = find_sites(BNInception(), "gsm")
    blocks = [site.name.split(".")[0].removeprefix("inception_") for site in sites]
    assert blocks == ["3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
