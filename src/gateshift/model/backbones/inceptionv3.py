"""InceptionV3, the larger backbone of the gate-shift papers.

"Rethinking the Inception Architecture for Computer Vision" (Szegedy et al., 2016) as TensorFlow published
it in 2015 and as it was carried over to Caffe: convolutions with a bias, 229 px instead of 299. Names follow
the published graph: a block ``mixed_4`` has the branches ``conv``, ``tower``, ``tower_1`` and ``tower_2``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gateshift.model.backbones.conv_bn import AveragePool, ConvBN


def _halving_pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class FineBlock(nn.Module):
    """1x1, 5x5, double 3x3 and pooled branches: [N, in, H, W] -> [N, 224 + pooled, H, W]."""

    def __init__(self, in_channels: int, pooled: int) -> None:
        super().__init__()
        self.conv = ConvBN(in_channels, 64, 1)
        self.tower_conv = ConvBN(in_channels, 48, 1)
        self.tower_conv_1 = ConvBN(48, 64, 5)
        self.tower_1_conv = ConvBN(in_channels, 64, 1)
        self.tower_1_conv_1 = ConvBN(64, 96, 3)
        self.tower_1_conv_2 = ConvBN(96, 96, 3)
        self.pool = AveragePool()
        self.tower_2_conv = ConvBN(in_channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = (
            self.conv(x),
            self.tower_conv_1(self.tower_conv(x)),
            self.tower_1_conv_2(self.tower_1_conv_1(self.tower_1_conv(x))),
            self.tower_2_conv(self.pool(x)),
        )
        return torch.cat(branches, dim=1)


class FineReduction(nn.Module):
    """Halves the map: [N, 288, H, W] -> [N, 768, H/2, W/2]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ConvBN(288, 384, 3, stride=2, padding=0)
        self.tower_conv = ConvBN(288, 64, 1)
        self.tower_conv_1 = ConvBN(64, 96, 3)
        self.tower_conv_2 = ConvBN(96, 96, 3, stride=2, padding=0)
        self.pool = _halving_pool()

    def forward(self, x: Tensor) -> Tensor:
        tower = self.tower_conv_2(self.tower_conv_1(self.tower_conv(x)))
        return torch.cat((self.conv(x), tower, self.pool(x)), dim=1)


class FactorisedBlock(nn.Module):
    """Branches whose 7x7 windows are split into 7x1 and 1x7: [N, 768, H, W] -> [N, 768, H, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = ConvBN(768, 192, 1)
        self.tower_conv = ConvBN(768, width, 1)
        self.tower_conv_1 = ConvBN(width, width, (7, 1))
        self.tower_conv_2 = ConvBN(width, 192, (1, 7))
        self.tower_1_conv = ConvBN(768, width, 1)
        self.tower_1_conv_1 = ConvBN(width, width, (1, 7))
        self.tower_1_conv_2 = ConvBN(width, width, (7, 1))
        self.tower_1_conv_3 = ConvBN(width, width, (1, 7))
        self.tower_1_conv_4 = ConvBN(width, 192, (7, 1))
        self.pool = AveragePool()
        self.tower_2_conv = ConvBN(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        tower_1 = self.tower_1_conv_2(self.tower_1_conv_1(self.tower_1_conv(x)))
        branches = (
            self.conv(x),
            self.tower_conv_2(self.tower_conv_1(self.tower_conv(x))),
            self.tower_1_conv_4(self.tower_1_conv_3(tower_1)),
            self.tower_2_conv(self.pool(x)),
        )
        return torch.cat(branches, dim=1)


class FactorisedReduction(nn.Module):
    """Halves the map: [N, 768, H, W] -> [N, 1280, H/2, W/2]."""

    def __init__(self) -> None:
        super().__init__()
        self.tower_conv = ConvBN(768, 192, 1)
        self.tower_conv_1 = ConvBN(192, 320, 3, stride=2, padding=0)
        self.tower_1_conv = ConvBN(768, 192, 1)
        self.tower_1_conv_1 = ConvBN(192, 192, (7, 1))
        self.tower_1_conv_2 = ConvBN(192, 192, (1, 7))
        self.tower_1_conv_3 = ConvBN(192, 192, 3, stride=2, padding=0)
        self.pool = _halving_pool()

    def forward(self, x: Tensor) -> Tensor:
        tower_1 = self.tower_1_conv_2(self.tower_1_conv_1(self.tower_1_conv(x)))
        branches = (self.tower_conv_1(self.tower_conv(x)), self.tower_1_conv_3(tower_1), self.pool(x))
        return torch.cat(branches, dim=1)


class CoarseBlock(nn.Module):
    """Branches that end in a 3x1 beside a 1x3 window: [N, in, H, W] -> [N, 2048, H, W]."""

    def __init__(self, in_channels: int, *, pool: nn.Module) -> None:
        super().__init__()
        self.conv = ConvBN(in_channels, 320, 1)
        self.tower_conv = ConvBN(in_channels, 384, 1)
        self.tower_mixed_conv = ConvBN(384, 384, (3, 1))
        self.tower_mixed_conv_1 = ConvBN(384, 384, (1, 3))
        self.tower_1_conv = ConvBN(in_channels, 448, 1)
        self.tower_1_conv_1 = ConvBN(448, 384, 3)
        self.tower_1_mixed_conv = ConvBN(384, 384, (3, 1))
        self.tower_1_mixed_conv_1 = ConvBN(384, 384, (1, 3))
        self.pool = pool
        self.tower_2_conv = ConvBN(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        tower = self.tower_conv(x)
        tower_1 = self.tower_1_conv_1(self.tower_1_conv(x))
        branches = (
            self.conv(x),
            self.tower_mixed_conv(tower),
            self.tower_mixed_conv_1(tower),
            self.tower_1_mixed_conv(tower_1),
            self.tower_1_mixed_conv_1(tower_1),
            self.tower_2_conv(self.pool(x)),
        )
        return torch.cat(branches, dim=1)


class InceptionV3(nn.Module):
    """Frames to features: [N, 3, H, W] -> [N, 2048]; published at 229 px, BGR 0..255 minus the mean."""

    num_features = 2048
    # Layers that follow each other, of whose activations those in between need not be kept in training.
    runs = (("conv", "conv_1"), ("conv_2", "pool"), ("conv_3", "conv_4", "pool_1"))

    def __init__(self) -> None:
        super().__init__()
        self.conv = ConvBN(3, 32, 3, stride=2, padding=0)
        self.conv_1 = ConvBN(32, 32, 3, padding=0)
        self.conv_2 = ConvBN(32, 64, 3)
        self.pool = _halving_pool()
        self.conv_3 = ConvBN(64, 80, 1)
        self.conv_4 = ConvBN(80, 192, 3, padding=0)
        self.pool_1 = _halving_pool()
        self.mixed = FineBlock(192, pooled=32)
        self.mixed_1 = FineBlock(256, pooled=64)
        self.mixed_2 = FineBlock(288, pooled=64)
        self.mixed_3 = FineReduction()
        self.mixed_4 = FactorisedBlock(128)
        self.mixed_5 = FactorisedBlock(160)
        self.mixed_6 = FactorisedBlock(160)
        self.mixed_7 = FactorisedBlock(192)
        self.mixed_8 = FactorisedReduction()
        self.mixed_9 = CoarseBlock(1280, pool=AveragePool())
        self.mixed_10 = CoarseBlock(2048, pool=nn.MaxPool2d(3, stride=1, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv_2(self.conv_1(self.conv(x))))  # [N, 64, H/4, W/4]
        x = self.pool_1(self.conv_4(self.conv_3(x)))  # [N, 192, H/8, W/8]
        x = self.mixed_3(self.mixed_2(self.mixed_1(self.mixed(x))))  # [N, 768, H/16, W/16]
        x = self.mixed_7(self.mixed_6(self.mixed_5(self.mixed_4(x))))
        x = self.mixed_10(self.mixed_9(self.mixed_8(x)))  # [N, 2048, H/32, W/32]
        return x.mean((2, 3))  # [N, 2048]
