"""E2E-Spot's released checkpoints, by a network with their names and shapes that is computed here as the paper says."""

import math
from pathlib import Path

import pytest
import timm
import torch
from golden_data import relative_error
from reference import slow_gate_shift
from torch import Tensor, nn
from torch.nn import functional as F

import gateshift as gs
from gateshift.errors import ModelError

pytestmark = pytest.mark.slow

NUM_FRAMES = 3


class Gate(nn.Module):
    """Gate-shift as the released file has it: a convolution in 3D and a batch norm, interleaved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3D = nn.Conv3d(channels, 2, 3, padding=1, groups=2)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        clip = x.transpose(0, 1)  # [C, T, H, W]
        gates = torch.tanh(self.conv3D(F.relu(self.bn(clip[None]))))[0]  # [2, T, H, W]
        return slow_gate_shift(clip, gates, interleave=True).transpose(0, 1)


class Gated(nn.Module):
    """The first convolution of a block behind a gate on a quarter of its channels."""

    def __init__(self, net: nn.Module, channels: int) -> None:
        super().__init__()
        self.fold = math.ceil(channels // 4 / 4) * 4
        self.gsm = Gate(self.fold)
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.cat((self.gsm(x[:, : self.fold]), x[:, self.fold :]), dim=1))


class Linear(nn.Module):
    def __init__(self, features: int, answers: int) -> None:
        super().__init__()
        self._fc_out = nn.Linear(features, answers)

    def forward(self, x: Tensor) -> Tensor:
        return self._fc_out(x)


class Recurrent(nn.Module):
    def __init__(self, features: int, answers: int) -> None:
        super().__init__()
        self._gru = nn.GRU(features, features, batch_first=True, bidirectional=True)
        self._fc_out = Linear(2 * features, answers)

    def forward(self, x: Tensor) -> Tensor:
        return self._fc_out(self._gru(x)[0])


class Published(nn.Module):
    """RegNetY-200MF, with gates or not, and a head, by the names of the release."""

    def __init__(self, head: nn.Module, *, has_gates: bool, backbone: str = "regnety_002") -> None:
        super().__init__()
        self._features = timm.create_model(backbone, num_classes=0)
        for stage in (self._features.s1, self._features.s2, self._features.s3, self._features.s4):
            for block in stage.children() if has_gates else ():
                block.conv1 = Gated(block.conv1, block.conv1.conv.in_channels)
        self._pred_fine = head

    def forward(self, frames: Tensor) -> Tensor:
        return self._pred_fine(self._features(frames)[None])[0]


def published(head: nn.Module, *, has_gates: bool = True) -> Published:
    """A network whose every layer counts, in eval mode."""
    torch.manual_seed(0)
    net = Published(head, has_gates=has_gates)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point() and ("gsm" in name or "bn" in name):
            with torch.no_grad():
                tensor.copy_(torch.rand_like(tensor) * 0.5 + 0.5 if tensor.dim() <= 1 else torch.randn_like(tensor) / 8)
    return net.eval()


@pytest.mark.parametrize(
    ("head", "has_gates"), [(Recurrent(368, 5), True), (Linear(368, 5), True), (Recurrent(368, 5), False)]
)
@torch.no_grad()
def test_a_released_checkpoint_loads_and_answers_as_the_published_network(
    head: nn.Module, has_gates: bool, tmp_path: Path
) -> None:
    net = published(head, has_gates=has_gates)
    torch.save({f"module.{key}": tensor for key, tensor in net.state_dict().items()}, tmp_path / "checkpoint_042.pt")
    model = gs.load_model(tmp_path / "checkpoint_042.pt", classes=["serve", "bounce", "hit", "net"])
    assert model.classes == ("serve", "bounce", "hit", "net")
    assert (model.config.task, model.config.backbone, model.config.temporal) == (
        "spot",
        "regnety_002",
        "gsm" if has_gates else "none",
    )
    clip = torch.randint(0, 256, (1, NUM_FRAMES, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = net((clip[0] / 255 - mean) / std)
    assert expected.shape == (NUM_FRAMES, 5)
    assert relative_error(model(clip)[0], expected) <= 1e-5
    gs.save_model(model, tmp_path / "ours.safetensors")
    assert torch.equal(gs.load_model(tmp_path / "ours.safetensors")(clip), model(clip))


def test_a_checkpoint_of_another_network_of_the_release_is_refused_in_one_line(tmp_path: Path) -> None:
    net = published(nn.Sequential(nn.Linear(368, 5)))
    torch.save(net.state_dict(), tmp_path / "tcn.pt")
    with pytest.raises(
        ModelError, match=r"an E2E-Spot checkpoint with .* and a head of 0.weight, 0.bias; RegNetY-200MF"
    ):
        gs.load_model(tmp_path / "tcn.pt")
    fewer = {key: tensor for key, tensor in net.state_dict().items() if ".s4.b7." not in key}
    torch.save(fewer, tmp_path / "fewer.pt")
    with pytest.raises(ModelError, match=r"checkpoint with \(1, 1, 4, 6\) blocks"):
        gs.load_model(tmp_path / "fewer.pt")
