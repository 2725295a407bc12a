"""The building blocks of both Inception networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.model.temporal.clip_length import runs_plainly


class ConvBN(nn.Module):
    """Convolution, batch norm, rectifier: [N, in, H, W] -> [N, out, H', W'].

    Padding keeps the size of the map at stride 1, unless ``padding`` says otherwise.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        same = (height // 2, width // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, (height, width), stride, same if padding is None else padding)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class AveragePool(nn.AvgPool2d):
    """Means over 3x3 places, those beyond the edges counting as zeros: [N, C, H, W] -> [N, C, H, W]."""

    def __init__(self) -> None:
        super().__init__(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if runs_plainly() and x.requires_grad:
            return _AveragePool.apply(x)
        return super().forward(x)


class _AveragePool(torch.autograd.Function):
    """The pool with a backward pass that is the pool again, being symmetric: torch's own is slow on CPUs."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=1, padding=1)

    @staticmethod
    def backward(_: Any, upstream: Tensor) -> Tensor:
        return F.avg_pool2d(upstream, 3, stride=1, padding=1)
