"""Temporal modules in and out of 2D networks: one body for every family."""

import copy

import pytest
import timm
import torch
from golden_data import relative_error
from torch import nn

from gateshift import insert_temporal, remove_temporal, set_num_frames
from gateshift.errors import ModelError
from gateshift.model.bninception import BNInception
from gateshift.model.gates import GateShift
from gateshift.model.inceptionv3 import InceptionV3
from gateshift.model.sites import FAMILIES, find_family, find_sites

# A new family adds one line: name, a small net of it, its number of sites.
NETS = {
    "bninception": (BNInception, 10),
    "inceptionv3": (InceptionV3, 10),
    "inceptionv3 (GSF)": (InceptionV3, 11),
    "resnet": (lambda: timm.create_model("resnet26", num_classes=0, zero_init_last=False), 8),
    "efficientnet": (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=0), 9),
}
SIZE_PX = {"inceptionv3": 107, "inceptionv3 (GSF)": 107}


@pytest.fixture(params=NETS, scope="module")
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def net(family: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[family][0]()


def module_of(family: str) -> str:
    """The module that a row of the table is for; gate-shift where it is for every one."""
    return next(row.temporal for row in FAMILIES if row.name == family) or "gsm"


def frames_for(family: str, count: int) -> torch.Tensor:
    size = SIZE_PX.get(family, 64)
    return torch.rand(count, 3, size, size)


def test_every_family_of_the_table_is_tested() -> None:
    assert {family.name for family in FAMILIES} == set(NETS)


def test_each_family_is_recognised_and_all_its_sites_are_found(family: str, net: nn.Module) -> None:
    module = module_of(family)
    assert find_family(net, module).name == family
    report = insert_temporal(net, module)
    assert report.family == family
    assert len(report.sites) == NETS[family][1] == sum(isinstance(m, GateShift) for m in net.modules())
    assert report.num_parameters == sum(
        p.numel() for m in net.modules() if isinstance(m, GateShift) for p in m.parameters()
    )
    assert all(site.name in str(report) for site in report.sites)


def test_every_gate_gets_a_gradient_and_changes_the_answer(family: str, net: nn.Module) -> None:
    insert_temporal(net, module_of(family), num_frames=4)
    gates = [m for m in net.modules() if isinstance(m, GateShift)]
    for gate in gates:
        nn.init.normal_(gate.weight, std=0.1)
    frames = frames_for(family, 8)
    net(frames).square().mean().backward()
    assert all(gate.weight.grad.abs().sum() > 0 and gate.bias.grad.abs().sum() > 0 for gate in gates)
    net.double().eval()
    frames = frames.double()
    with torch.no_grad():
        backwards = frames.unflatten(0, (-1, 4)).flip(1).flatten(0, 1)
        # Averaged over frames, a network that sees each frame alone answers both alike, to 1e-15.
        assert relative_error(net(backwards).mean(0), net(frames).mean(0)) > 1e-11


def test_without_interleave_a_new_gate_shift_changes_nothing(family: str, net: nn.Module) -> None:
    frames = frames_for(family, 4)
    net.eval()
    with torch.no_grad():
        before = net(frames)
        insert_temporal(net, "gsm", num_frames=2, interleave=False)
        torch.testing.assert_close(net(frames), before, rtol=0, atol=0)


def test_removing_restores_the_network_bit_for_bit(family: str, net: nn.Module) -> None:
    before = copy.deepcopy(net.state_dict())
    names = [name for name, _ in net.named_modules()]
    assert insert_temporal(net, module_of(family)).sites
    assert remove_temporal(net) == NETS[family][1]
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert [name for name, _ in net.named_modules()] == names


def test_a_second_insertion_is_refused_and_changes_nothing(net: nn.Module) -> None:
    insert_temporal(net, "gsm")
    keys = list(net.state_dict())
    with pytest.raises(ModelError, match="already has temporal modules; call remove_temporal"):
        insert_temporal(net, "gsm")
    assert list(net.state_dict()) == keys


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
    assert "after 0: 8 of 24 channels" in str(report)
    frames = torch.rand(6, 3, 5, 5)
    with torch.no_grad():
        before, after = net[0].layer(frames), net[0](frames)
    torch.testing.assert_close(after[:, 8:], before[:, 8:], rtol=0, atol=0)
    assert not torch.equal(after[:, :8], before[:, :8])


@pytest.mark.parametrize("ratio", [0, -0.25, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(ratio: float) -> None:
    with pytest.raises(ModelError, match="give a share above 0 and up to 1"):
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
    with pytest.raises(ModelError, match="a clip of 0 frames"):
        insert_temporal(small_net(), "gsm", sites=["0"], num_frames=0)


def test_an_unknown_module_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="unknown temporal module 'lstm'; choose one of gsm, gsf, none"):
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
    with pytest.raises(ModelError, match="a clip of 0 frames"):
        set_num_frames(net, 0)


def test_a_resnet_of_mixed_blocks_has_the_last_convolution_of_each() -> None:
    _, sites = find_sites(timm.create_model("test_resnet"), "gsm")
    assert [site.name for site in sites] == ["layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv3", "layer4.0.conv2"]


def test_sites_stand_in_the_order_of_the_layers() -> None:
    _, sites = find_sites(BNInception(), "gsm")
    blocks = [site.name.split(".")[0].removeprefix("inception_") for site in sites]
    assert blocks == ["3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
