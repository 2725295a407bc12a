"""A temporal module at a layer, on a share of the channels, in few passes over memory.

Written with slices and ``torch.cat``, forward and backward pass would copy the whole map, and autograd would fill the
gradient of each slice with zeros and add them up: more work than the module itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gateshift.model.temporal.clip_length import runs_plainly
from gateshift.model.temporal.functional import memory_format
from gateshift.model.temporal.modules import TemporalModule

Side = Literal["before", "after"]


class TemporalSite(nn.Module):
    """A layer of the network with a temporal module before or after it, on the first of its channels.

    Args:
        layer: The layer.
        temporal: The module.
        side: On which side of the layer the module is.
        num_gated: How many channels go through the module; the others pass by.
    """

    def __init__(self, layer: nn.Module, temporal: TemporalModule, side: Side, num_gated: int) -> None:
        super().__init__()
        self.layer = layer
        self.temporal = temporal
        self.side = side
        self.num_gated = num_gated

    @property
    def channels(self) -> int:
        """How many channels there are on the module's side of the layer."""
        return int(self.layer.in_channels if self.side == "before" else self.layer.out_channels)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        if self.side == "before":
            return self.layer(on_share(self.temporal, x, self.num_gated, in_place=False))
        # What a convolution has just made is nobody else's.
        return on_share(self.temporal, self.layer(x), self.num_gated, in_place=isinstance(self.layer, nn.Conv2d))


def fit_layers(state: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The weights of a network's layers, without those of temporal modules, by the names that they have in ``net``."""
    layers = {_without_site(name): tensor for name, tensor in state.items() if ".temporal." not in name}
    return {name: layers[_without_site(name)] for name in net.state_dict()}


def _without_site(name: str) -> str:
    return name.replace(".layer.", ".")


SiteDescription = tuple[str, str, int, bool]  # kind of module, side of the layer, channels that it takes, interleave


def describe_sites(net: nn.Module) -> tuple[SiteDescription, ...]:
    """What stands at each site of a network, in order."""
    return tuple(
        (type(site.temporal).__name__, site.side, site.num_gated, getattr(site.temporal, "interleave", False))
        for site in net.modules()
        if isinstance(site, TemporalSite)
    )


def on_share(temporal: Callable[[Tensor], Tensor], x: Tensor, num_gated: int, *, in_place: bool) -> Tensor:
    """Send the first channels through a module and let the others pass.

    Args:
        temporal: [N, num_gated, H, W] -> the same shape.
        x: [N, C, H, W].
        num_gated: How many channels the module takes, up to C.
        in_place: Whether ``x`` may be overwritten: nobody else needs it.

    Returns:
        [N, C, H, W]; ``x`` itself, changed, if ``in_place``, but not while a compiler looks on.
    """
    if x.shape[1] == num_gated:
        return temporal(x)
    if not runs_plainly():
        return torch.cat((temporal(x[:, :num_gated]), x[:, num_gated:]), dim=1)
    share, whole = _Take.apply(x, num_gated, in_place)
    return _PutBack.apply(whole, temporal(share), in_place)


class _Take(torch.autograd.Function):
    """A copy of the first channels, and the map; their gradients meet in one pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_gated: int, in_place: bool) -> tuple[Tensor, Tensor]:
        if in_place:
            ctx.mark_dirty(x)  # an output that is an input and not marked so could not be written to later
        share = x[:, :num_gated]
        return share.clone(memory_format=memory_format(x)), x

    @staticmethod
    def backward(ctx: Any, share: Tensor, whole: Tensor) -> tuple[Tensor, None, None]:  # noqa: ARG004
        return torch.cat((share, whole[:, share.shape[1] :]), dim=1), None, None


class _PutBack(torch.autograd.Function):
    """The map with other first channels."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, share: Tensor, in_place: bool) -> Tensor:
        ctx.num_gated = share.shape[1]
        if not in_place:
            return torch.cat((share, whole[:, ctx.num_gated :]), dim=1)
        ctx.mark_dirty(whole)
        whole[:, : ctx.num_gated] = share
        return whole

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        return upstream, upstream[:, : ctx.num_gated], None
