"""Modules on a share of the channels: as with slices and concatenation, in fewer passes over memory."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

import gateshift as gs
from gateshift.model.deploy.fold import fold_backbone
from gateshift.model.deploy.split import part_channels
from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalModule, TemporalShift
from gateshift.model.temporal.site import on_share

NUM_FRAMES = 4
Mix = Callable[[Tensor], Tensor]


def open_gates(module: nn.Module) -> None:
    for gate in module.modules():
        if isinstance(gate, GateShift):
            nn.init.normal_(gate.weight, std=0.3)
            nn.init.normal_(gate.bias, std=0.3)


@pytest.fixture(params=[GateShift, GateShiftFuse, TemporalShift])
def temporal(request: pytest.FixtureRequest) -> TemporalModule:
    torch.manual_seed(0)
    module: TemporalModule = request.param(8, NUM_FRAMES).double()
    open_gates(module)
    return module


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_slices_put_together(
    temporal: TemporalModule, in_place: bool, layout: torch.memory_format
) -> None:
    conv = nn.Conv2d(3, 20, 3, dtype=torch.float64).to(memory_format=layout)
    frames = torch.randn(8, 3, 9, 7, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    leaves = [frames, *conv.parameters(), *temporal.parameters()]

    def value_and_gradients(mix: Mix) -> list[Tensor]:
        features = mix(conv(frames))
        value = features.detach().clone()
        return [value, *torch.autograd.grad((features.sin() * torch.arange(20).view(-1, 1, 1)).sum(), leaves)]

    ours = value_and_gradients(lambda x: on_share(temporal, x, 8, in_place=in_place))
    plain = value_and_gradients(lambda x: torch.cat((temporal(x[:, :8]), x[:, 8:]), dim=1))
    assert ours[0].is_contiguous(memory_format=layout)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_what_others_need_is_not_written_to() -> None:
    gate = GateShift(8, NUM_FRAMES)
    open_gates(gate)
    frames = torch.randn(8, 20, 5, 5)
    before = frames.clone()
    mixed = on_share(gate.eval(), frames, 8, in_place=False)
    assert torch.equal(frames, before)
    assert not torch.equal(mixed, before)


def test_a_site_before_a_layer_leaves_the_shortcut_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1))
    features = net[0](torch.randn(8, 3, 5, 5))
    before = features.detach().clone()
    gs.insert_temporal(net, "tsm", num_frames=NUM_FRAMES, sites=["1"], ratio=0.5)
    net[1](features).sum().backward()
    assert torch.equal(features, before)


def folded_resnet(name: str, ratio: float) -> tuple[nn.Module, fx.GraphModule]:
    torch.manual_seed(0)
    model = gs.create_model(name, "gsm", num_classes=2, ratio=ratio).double()
    open_gates(model)
    with torch.no_grad():
        model.train()(torch.rand(2, 8, 3, 64, 64, dtype=torch.float64))
    net = model.eval().backbone
    folded = fold_backbone(net)
    assert isinstance(folded, fx.GraphModule)
    return net, folded


def joins(net: fx.GraphModule) -> int:
    return sum(node.target is torch.cat for node in net.graph.nodes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet26"])  # basic blocks and bottlenecks
def test_parts_of_a_residual_network_are_joined_only_where_a_stage_ends_in_a_pool(name: str) -> None:
    net, folded = folded_resnet(name, 0.25)
    frames = torch.rand(8, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(folded(frames), net(frames), rtol=1e-10, atol=1e-10)
    assert joins(folded) == 1


@pytest.mark.slow
def test_a_network_whose_sites_gate_all_channels_is_left_alone() -> None:
    _, folded = folded_resnet("resnet18", 1.0)
    assert part_channels(folded) is folded


class Meeting(nn.Module):
    """Channels in parts meet a whole value, another share, a product and a reshape."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(8, 16, 1) for _ in range(3))
        self.d = nn.Conv2d(16, 8, 1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.a(x), self.b(x), self.c(x)
        pooled = nn.functional.avg_pool2d(third, 3, 1, 1)
        mixed = (first + pooled).relu() * third + torch.add(first, pooled, alpha=2) + second
        return self.d(mixed + first).flatten(1).sum(1)


def test_parts_that_meet_what_is_whole_give_the_same_result() -> None:
    net = Meeting().double()
    for name, ratio in (("a", 0.25), ("b", 0.5)):
        part = nn.Sequential(getattr(net, name))
        gs.insert_temporal(part, "gsm", num_frames=NUM_FRAMES, sites=["0"], ratio=ratio)
        setattr(net, name, part[0])
    open_gates(net)
    frames = torch.rand(8, 8, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        expected = net.eval()(frames)
        torch.testing.assert_close(fold_backbone(copy.deepcopy(net))(frames), expected, rtol=1e-10, atol=1e-10)
