"""Temporal modules in vision transformers, as an experiment: no published placement of gates is known to us.

The patch tokens of a frame lie on a grid. Seen as maps [N, C, H, W] they go through the same modules as the features of
a convolution, and come back as tokens. Class and register tokens, which lie nowhere, pass by.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.model.surgery.sites import TokenGrid
from gateshift.model.temporal.modules import TemporalModule
from gateshift.model.temporal.site import TemporalSite


class TokenSite(TemporalSite):
    """An attention layer with a temporal module before it, on the first channels of its patch tokens [N, L, C].

    Args:
        layer: The attention layer.
        temporal: The module.
        grid: How the tokens lie on the frame.
        num_gated: How many channels go through the module; the others pass by.
    """

    def __init__(self, layer: nn.Module, temporal: TemporalModule, grid: TokenGrid, num_gated: int) -> None:
        super().__init__(layer, temporal, "before", num_gated)
        self.grid = grid

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Arguments behind the tokens, as attention masks, are the layer's own."""
        maps = tokens_to_maps(x, self.grid, self.num_gated)
        return self.layer(put_maps(x, self.temporal(maps)), *args, **kwargs)


def tokens_to_maps(tokens: Tensor, grid: TokenGrid, channels: int) -> Tensor:
    """The first channels of the patch tokens as maps: [N, L, C] -> [N, channels, H, W], a view in channels-last memory.

    Raises:
        ModelError: If these are not the prefix tokens, or none, and a token for each patch of the grid.

    >>> tokens_to_maps(torch.arange(7.0).view(1, 7, 1), TokenGrid(1, 2, 3), 1).tolist()
    [[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]
    """
    num_patches = grid.height * grid.width
    if tokens.dim() != 3 or tokens.shape[1] not in (num_patches, grid.num_prefix + num_patches):
        raise ModelError(
            f"tokens of shape {list(tokens.shape)} at an attention layer with a temporal module; it takes [N, L, C] of "
            f"{grid.num_prefix} tokens and {grid.height} x {grid.width} patches; feed frames of the size that the net "
            "was made for, or call remove_temporal(net), change the net's size, and insert again"
        )
    patches = tokens[:, -num_patches:, :channels].transpose(1, 2)  # [N, channels, H * W]
    return patches.unflatten(2, (grid.height, grid.width))  # [N, channels, H, W]


def put_maps(tokens: Tensor, maps: Tensor) -> Tensor:
    """The same tokens [N, L, C], the first channels of the last, the patches, from maps [N, channels, H, W]."""
    mixed = maps.flatten(2).transpose(1, 2)  # [N, H * W, channels]
    first = tokens.shape[1] - mixed.shape[1]
    patches = torch.cat((mixed, tokens[:, first:, mixed.shape[2] :]), dim=2)  # [N, H * W, C]
    return torch.cat((tokens[:, :first], patches), dim=1)  # [N, L, C]
