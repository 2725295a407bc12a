"""Networks and recordings that tests of streams share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.surgery.insert import insert_temporal, set_num_frames
from gateshift.model.temporal.causal import make_causal
from gateshift.model.temporal.modules import GateShift


def trained(model: VideoClassifier) -> VideoClassifier:
    """A model as after a training: gates open, batch norms with statistics of its own activations, in eval mode."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, GateShift):
            nn.init.normal_(module.weight, std=0.02 if module.bn.num_features > 8 else 0.3)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics of what comes next alone
    nn.init.normal_(model.head.weight, std=0.1)
    size_px = model.config.size_px
    scene = torch.from_numpy(moving_scene(32, size_px, size_px)).permute(0, 3, 1, 2)  # [32, 3, s, s]
    with torch.no_grad():
        model.train()(scene.unflatten(0, (4, 8)))
    return model.eval()


class TinyNet(nn.Module):
    """A residual connection and a concatenation around temporal sites: what streams have to line up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv_a, self.bn_a = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv_b, self.bn_b = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.conv_c = nn.Conv2d(16, 12, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.relu(self.bn_a(self.conv_a(x)) + x)
        x = torch.cat((x, self.bn_b(self.conv_b(x))), dim=1)
        return self.conv_c(x).mean((2, 3))  # [N, 12]


def tiny_model(temporal: str, *, causal: bool = False, ratio: float = 1.0) -> VideoClassifier:
    """A small classifier of 3 classes, in float64 and eval mode, on frames of 8 px."""
    torch.manual_seed(1)
    net = TinyNet()
    insert_temporal(net, temporal, sites=["conv_a", "conv_b"], ratio=ratio)
    if causal:
        make_causal(net)
    config = ModelConfig(
        backbone="tiny",
        temporal=temporal,
        classes=("open", "close", "wave"),
        interleave=False,
        dropout=0.0,
        size_px=8,
        mean=(120.0, 120.0, 120.0),
        std=(60.0, 60.0, 60.0),
        bgr=False,
        num_segments=4,
        causal=causal,
    )
    return trained(VideoClassifier(net, 12, config)).double()


@torch.no_grad()
def offline_features(model: VideoClassifier, frames: Tensor) -> Tensor:
    """Features [T, F] of a recording [T, 3, H, W] processed at once, as one clip."""
    set_num_frames(model.backbone, len(frames))
    return model.backbone(model.normalize(frames))


def moving_scene(num_frames: int, height: int = 60, width: int = 80) -> np.ndarray:
    """Frames [n, H, W, 3] of a coarse texture that turns and changes its colours, none like the one before."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (8, 10, 3)), np.ones((height // 8 + 1, width // 10 + 1, 1)))
    texture = texture[:height, :width]
    scenes = [
        np.roll(texture, (3 * t, -2 * t), axis=(0, 1)) + 30 * np.sin(t / 7 + np.arange(3)) for t in range(num_frames)
    ]
    return np.clip(scenes, 0, 255).astype(np.uint8)
