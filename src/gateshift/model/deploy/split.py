"""Keep the gated share of a folded network's channels in a tensor of its own.

Where modules work on a share of the channels, putting them and the rest together again costs passes over the whole map,
and keeps runtimes from fusing a convolution with the sum and the rectifier behind it. In a residual network the
parts need not meet: sums and rectifiers work on each alone, and a convolution is the sum of one over each.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_aggregate

from gateshift.model.temporal.site import TemporalSite

ADDITIONS = (operator.add, operator.iadd, torch.add)
CHANNEL_BY_CHANNEL = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.Identity)


# Values of the graph are fx.Proxy, whose operators type checkers do not know.
Value = Any


@dataclass(frozen=True)
class _Parts:
    """A value [N, C, H, W] of the graph: its first, gated channels, and the rest."""

    gated: Value
    rest: Value
    num_gated: int


def part_channels(net: fx.GraphModule) -> fx.GraphModule:
    """Split the channels behind sites that gate a share of them, as far as the parts can stay apart.

    Args:
        net: A folded network, in eval mode; it is used up.

    Returns:
        The network in parts, or ``net`` where no site gates a share of its channels.
    """
    if not any(isinstance(module, TemporalSite) and _can_part(module) for module in net.modules()):
        return net
    parted = _Parting(net).transform()
    parted.graph.eliminate_dead_code()
    parted.delete_all_unused_submodules()
    parted.recompile()
    return parted


def _can_part(site: TemporalSite) -> bool:
    conv: Any = site.layer
    return site.side == "after" and _is_dense(conv) and bool(site.num_gated < conv.out_channels)


def _is_dense(layer: nn.Module | None) -> bool:
    return type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"


class _Parting(fx.Transformer):
    """Builds the graph anew with values in parts; where a layer takes only whole values, they are joined."""

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer, value = self.submodules[target], args[0] if args else None
        if isinstance(layer, TemporalSite) and _can_part(layer):
            return self._split_rows(target, layer.layer, _join(value), layer.num_gated, layer.temporal)
        if isinstance(value, _Parts) and isinstance(layer, CHANNEL_BY_CHANNEL):
            gated = super().call_module(target, (value.gated,), kwargs)
            return _Parts(gated, super().call_module(target, (value.rest,), kwargs), value.num_gated)
        if isinstance(value, _Parts) and _is_dense(layer):
            return self._sum_over_parts(target, layer, value)
        return super().call_module(target, map_aggregate(args, _join), kwargs)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        shares = {value.num_gated for value in args if isinstance(value, _Parts)}
        are_values = all(isinstance(value, _Parts | fx.Proxy) for value in args)
        if target in ADDITIONS and len(shares) == 1 and are_values and not kwargs:
            num_gated = shares.pop()
            first, second = (self._split(value, num_gated) for value in args)
            return _Parts(first.gated + second.gated, first.rest + second.rest, num_gated)
        return super().call_function(target, map_aggregate(args, _join), kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().call_method(target, map_aggregate(args, _join), kwargs)

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().output(target, map_aggregate(args, _join), kwargs)

    def _split(self, value: _Parts | Value, num_gated: int) -> _Parts:
        """Take a whole value apart: that of a convolution, as on a shortcut, by computing it in parts."""
        if isinstance(value, _Parts):
            return value
        node = value.node
        layer = self.submodules.get(str(node.target)) if node.op == "call_module" else None
        if _is_dense(layer):
            return self._split_rows(str(node.target), layer, fx.Proxy(node.args[0], self.tracer), num_gated)
        return _Parts(value[:, :num_gated], value[:, num_gated:], num_gated)

    def _split_rows(self, target: str, conv: Any, value: Value, num_gated: int, temporal: Any = None) -> _Parts:
        """A convolution as one for each part of its output channels, the gated one with its temporal module."""
        gated: nn.Module = _slice(conv, slice(0, num_gated), slice(None))
        rest = _slice(conv, slice(num_gated, None), slice(None))
        if temporal is not None:
            gated = TemporalSite(gated, temporal, "after", num_gated)
        return _Parts(self._call(f"{target}_gated", gated, value), self._call(f"{target}_rest", rest, value), num_gated)

    def _sum_over_parts(self, target: str, conv: Any, value: _Parts) -> Value:
        over_rest = _slice(conv, slice(None), slice(value.num_gated, None))
        over_gated = _slice(conv, slice(None), slice(0, value.num_gated))
        over_gated.bias = None  # to be added once
        both = (
            self._call(f"{target}_gated", over_gated, value.gated),
            self._call(f"{target}_rest", over_rest, value.rest),
        )
        return operator.add(*both)

    def _call(self, name: str, layer: nn.Module, value: Value) -> Value:
        self.module.set_submodule(name, layer)
        return self.tracer.create_proxy("call_module", name, (value,), {})


def _slice(conv: nn.Conv2d, rows: slice, columns: slice) -> nn.Conv2d:
    """A convolution from some channels to some channels."""
    weight = conv.weight[rows, columns].clone()
    part = nn.utils.skip_init(
        nn.Conv2d,
        weight.shape[1],
        weight.shape[0],
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        bias=conv.bias is not None,
    )
    part.weight = nn.Parameter(weight, requires_grad=False)
    if conv.bias is not None:
        part.bias = nn.Parameter(conv.bias[rows].clone(), requires_grad=False)
    return part.eval()


def _join(value: Any) -> Any:
    return torch.cat((value.gated, value.rest), dim=1) if isinstance(value, _Parts) else value
