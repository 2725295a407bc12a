"""BN-Inception, the smaller backbone of the gate-shift papers.

"Batch Normalization: Accelerating Deep Network Training" (Ioffe and Szegedy, 2015), table of appendix A,
in its Caffe form: every convolution has a bias, and pooling rounds sizes up and counts its padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gateshift.model.backbones.conv_bn import AveragePool, ConvBN


@dataclass(frozen=True)
class BlockWidths:
    """Output channels of the convolutions of one Inception block."""

    conv_1x1: int
    reduce_3x3: int
    conv_3x3: int
    reduce_double: int
    conv_double: int
    pool_proj: int


class InceptionBlock(nn.Module):
    """1x1, 3x3, double 3x3 and pooled branches, side by side: [N, in, H, W] -> [N, out, H, W]."""

    def __init__(self, in_channels: int, widths: BlockWidths, *, pool: nn.Module) -> None:
        super().__init__()
        w = widths
        self.conv_1x1 = ConvBN(in_channels, w.conv_1x1, 1)
        self.conv_3x3_reduce = ConvBN(in_channels, w.reduce_3x3, 1)
        self.conv_3x3 = ConvBN(w.reduce_3x3, w.conv_3x3, 3)
        self.double_3x3_reduce = ConvBN(in_channels, w.reduce_double, 1)
        self.double_3x3_1 = ConvBN(w.reduce_double, w.conv_double, 3)
        self.double_3x3_2 = ConvBN(w.conv_double, w.conv_double, 3)
        self.pool = pool
        self.pool_proj = ConvBN(in_channels, w.pool_proj, 1)
        self.out_channels = w.conv_1x1 + w.conv_3x3 + w.conv_double + w.pool_proj

    def forward(self, x: Tensor) -> Tensor:
        branches = (
            self.conv_1x1(x),
            self.conv_3x3(self.conv_3x3_reduce(x)),
            self.double_3x3_2(self.double_3x3_1(self.double_3x3_reduce(x))),
            self.pool_proj(self.pool(x)),
        )
        return torch.cat(branches, dim=1)


class ReductionBlock(nn.Module):
    """An Inception block that halves the map: [N, in, H, W] -> [N, out, ceil(H/2), ceil(W/2)]."""

    def __init__(self, in_channels: int, reduce_3x3: int, conv_3x3: int, reduce_double: int, conv_double: int) -> None:
        super().__init__()
        self.conv_3x3_reduce = ConvBN(in_channels, reduce_3x3, 1)
        self.conv_3x3 = ConvBN(reduce_3x3, conv_3x3, 3, stride=2)
        self.double_3x3_reduce = ConvBN(in_channels, reduce_double, 1)
        self.double_3x3_1 = ConvBN(reduce_double, conv_double, 3)
        self.double_3x3_2 = ConvBN(conv_double, conv_double, 3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.out_channels = conv_3x3 + conv_double + in_channels

    def forward(self, x: Tensor) -> Tensor:
        branches = (
            self.conv_3x3(self.conv_3x3_reduce(x)),
            self.double_3x3_2(self.double_3x3_1(self.double_3x3_reduce(x))),
            self.pool(x),
        )
        return torch.cat(branches, dim=1)


class BNInception(nn.Module):
    """Frames to features: [N, 3, H, W] -> [N, 1024]; published at 224 px, BGR 0..255 minus the mean."""

    num_features = 1024
    # Layers that follow each other, of whose activations those in between need not be kept in training.
    runs = (("conv1_7x7_s2", "pool1"), ("conv2_3x3_reduce", "conv2_3x3", "pool2"))

    def __init__(self) -> None:
        super().__init__()
        self.conv1_7x7_s2 = ConvBN(3, 64, 7, stride=2)
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2_3x3_reduce = ConvBN(64, 64, 1)
        self.conv2_3x3 = ConvBN(64, 192, 3)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception_3a = InceptionBlock(192, BlockWidths(64, 64, 64, 64, 96, 32), pool=AveragePool())
        self.inception_3b = InceptionBlock(256, BlockWidths(64, 64, 96, 64, 96, 64), pool=AveragePool())
        self.inception_3c = ReductionBlock(320, 128, 160, 64, 96)
        self.inception_4a = InceptionBlock(576, BlockWidths(224, 64, 96, 96, 128, 128), pool=AveragePool())
        self.inception_4b = InceptionBlock(576, BlockWidths(192, 96, 128, 96, 128, 128), pool=AveragePool())
        self.inception_4c = InceptionBlock(576, BlockWidths(160, 128, 160, 128, 160, 128), pool=AveragePool())
        self.inception_4d = InceptionBlock(608, BlockWidths(96, 128, 192, 160, 192, 128), pool=AveragePool())
        self.inception_4e = ReductionBlock(608, 128, 192, 192, 256)
        self.inception_5a = InceptionBlock(1056, BlockWidths(352, 192, 320, 160, 224, 128), pool=AveragePool())
        self.inception_5b = InceptionBlock(
            1024, BlockWidths(352, 192, 320, 192, 224, 128), pool=nn.MaxPool2d(3, stride=1, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.conv1_7x7_s2(x))  # [N, 64, H/4, W/4]
        x = self.pool2(self.conv2_3x3(self.conv2_3x3_reduce(x)))  # [N, 192, H/8, W/8]
        x = self.inception_3c(self.inception_3b(self.inception_3a(x)))  # [N, 576, H/16, W/16]
        x = self.inception_4d(self.inception_4c(self.inception_4b(self.inception_4a(x))))
        x = self.inception_5b(self.inception_5a(self.inception_4e(x)))  # [N, 1024, H/32, W/32]
        return x.mean((2, 3))  # [N, 1024]
