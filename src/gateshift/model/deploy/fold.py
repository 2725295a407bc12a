"""Fold a trained backbone for inference: the same features from fewer and smaller steps.

The network's graph is taken by torch.fx. Batch norms go into the convolutions before them; where a gate-shift
module stands between the two, see :mod:`gateshift.model.deploy.folded_gate`; 1x1 convolutions behind an average pool go
before it, where they make the maps that are pooled fewer.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gateshift.errors import GateShiftWarning
from gateshift.model.deploy.folded_gate import FoldedGateShift, interleave_order
from gateshift.model.deploy.split import part_channels
from gateshift.model.temporal.modules import GateShift
from gateshift.model.temporal.site import TemporalSite

# Below this share of the largest scale a channel is as good as switched off, and dividing by it would lose digits.
SMALLEST_SCALE = 1e-6


class _Tracer(fx.Tracer):
    """Keeps the layers that are folded whole; timm's own convolutions and batch norms, and our pools, among them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, TemporalSite | nn.Conv2d | nn.BatchNorm2d | nn.AvgPool2d)
        return whole or super().is_leaf_module(m, module_qualified_name)


class PoolThenBias(nn.Module):
    """An average pool that takes over the bias of the convolution that was moved before it."""

    bias: Tensor

    def __init__(self, pool: nn.Module, bias: Tensor) -> None:
        super().__init__()
        self.pool = pool
        self.register_buffer("bias", bias.detach().clone().view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x) + self.bias


@torch.no_grad()
def fold_backbone(net: nn.Module) -> nn.Module:
    """Fold a copy of a network in eval mode; one whose graph torch.fx cannot take is copied as it is, with a warning.

    Args:
        net: [N, 3, H, W] -> [N, F], with temporal modules or without; left as it is. The copy is on the CPU.
    """
    net = copy.deepcopy(net).cpu().eval().requires_grad_(False)
    try:
        graph = _Tracer().trace(net)
    except Exception as error:  # a network may do anything in its forward; tracing then fails in as many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        warnings.warn(
            f"{type(net).__name__} is deployed as it is, and no faster: torch.fx cannot follow its forward, and says: "
            f"{reason}",
            GateShiftWarning,
            stacklevel=5,  # who calls deploy()
        )
        return net
    folded = fx.GraphModule(net, graph)
    _call_each_once(folded)
    for node in list(graph.nodes):
        if isinstance(_module(folded, node), nn.BatchNorm2d):
            _fold_batch_norm(folded, node)
    for node in list(graph.nodes):
        _fold_leading_gate(folded, node)
    for node in list(graph.nodes):
        _move_before_pool(folded, node)
    folded.delete_all_unused_submodules()
    graph.lint()
    folded.recompile()
    return part_channels(folded)


def _call_each_once(net: fx.GraphModule) -> None:
    """Give each call of a layer that may be folded a layer of its own, as what is before and behind it may differ."""
    read = [str(node.target).split(".") for node in net.graph.nodes if node.op == "get_attr"]
    called = {
        ".".join(parts[:end]) for parts in read for end in range(len(parts))
    }  # layers whose weights are used apart
    for node in net.graph.nodes:
        layer = _module(net, node)
        if not isinstance(layer, nn.Conv2d | TemporalSite):
            continue
        if node.target in called:
            own = copy.deepcopy(layer)
            node.target = f"{str(node.target).replace('.', '_')}_{node.name}"
            net.add_submodule(node.target, own)
        called.add(node.target)


def _module(net: fx.GraphModule, node: Any) -> nn.Module | None:
    """The layer that a node of the graph calls, or None."""
    is_call = isinstance(node, fx.Node) and node.op == "call_module"
    return net.get_submodule(str(node.target)) if is_call else None


def _is_convolution(layer: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether a layer convolves with its weight as it is, unlike those that standardize or normalize it first."""
    if not isinstance(layer, nn.Conv2d) or type(layer).__name__ not in ("Conv2d", "Conv2dSame"):  # the latter is timm's
        return False
    return not (layer._forward_pre_hooks or layer._forward_hooks)


def _fold_batch_norm(net: fx.GraphModule, node: fx.Node) -> None:
    """Put a batch norm into the layer before it, if that is a convolution, or a site with one, and feeds it alone."""
    source, norm = node.args[0], _module(net, node)
    layer = _module(net, source)
    if not (isinstance(source, fx.Node) and isinstance(norm, nn.BatchNorm2d)) or len(source.users) != 1:
        return
    if norm.running_mean is None:  # it takes the statistics of each batch, in eval mode too
        return
    if _is_convolution(layer):
        _put(net, source, fuse_conv_bn_eval(layer, norm))
    elif isinstance(layer, TemporalSite) and layer.side == "before" and _is_convolution(layer.layer):
        layer.layer = fuse_conv_bn_eval(layer.layer, norm)
    elif not (isinstance(layer, TemporalSite) and _fold_site(layer, norm)):
        return
    activation = getattr(norm, "act", None)  # timm's batch norms may hold one
    if isinstance(activation, nn.Module) and not isinstance(activation, nn.Identity):
        _put(net, node, activation)
    else:
        node.replace_all_uses_with(source)
        net.graph.erase_node(node)


def _fold_site(site: TemporalSite, norm: nn.BatchNorm2d) -> bool:
    """Fold convolution, gate-shift and batch norm of a site in place. Returns whether that could be done."""
    conv, gate = site.layer, site.temporal
    if type(gate) is not GateShift or not _is_convolution(conv):
        return False
    var, mean = norm.running_var.double(), norm.running_mean.double()  # type: ignore[union-attr]
    scale = torch.rsqrt(var + norm.eps) if norm.weight is None else norm.weight.double() / torch.sqrt(var + norm.eps)
    shift = (0 if norm.bias is None else norm.bias.double()) - mean * scale
    order = interleave_order(site.num_gated, interleave=gate.interleave)
    small = scale.abs().min() <= SMALLEST_SCALE * scale.abs().max()
    if small or (gate.interleave and conv.groups > 1):
        return False
    rows = torch.cat((order, torch.arange(site.num_gated, len(scale))))
    bias = torch.zeros_like(scale) if conv.bias is None else conv.bias.double()
    bias = bias[rows] * scale
    bias[site.num_gated :] += shift[site.num_gated :]
    weight = conv.weight.double()[rows] * scale.view(-1, 1, 1, 1)
    # New ones, as others may share the old.
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    gated = slice(0, site.num_gated)
    site.temporal = FoldedGateShift(gate, scale[gated], shift[gated], order)
    return True


def _fold_leading_gate(net: fx.GraphModule, node: fx.Node) -> None:
    """Fold a gate-shift that stands before its convolution: the interleave goes into the convolution's input."""
    site = _module(net, node)
    if not isinstance(site, TemporalSite) or site.side != "before" or type(site.temporal) is not GateShift:
        return
    conv, gate = site.layer, site.temporal
    if not _is_convolution(conv) or (gate.interleave and conv.groups > 1):
        return
    order = interleave_order(site.num_gated, interleave=gate.interleave)
    if gate.interleave:
        weight = conv.weight.clone()
        weight[:, order] = conv.weight[:, : site.num_gated]
        conv.weight = nn.Parameter(weight, requires_grad=False)
    # The channels come in the module's own order: their halves are as they were.
    own = torch.arange(site.num_gated)
    site.temporal = FoldedGateShift(gate, torch.ones(len(own)), torch.zeros(len(own)), own)


def _move_before_pool(net: fx.GraphModule, node: fx.Node) -> None:
    """Let a 1x1 convolution behind an average pool go first: both are linear, and fewer channels are pooled."""
    conv = _module(net, node)
    source = node.args[0] if node.args else None
    pool = _module(net, source)
    if not (isinstance(source, fx.Node) and type(conv) is nn.Conv2d and isinstance(pool, nn.AvgPool2d)):
        return
    plain = conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding == (0, 0)
    if not plain or len(source.users) != 1 or conv.out_channels >= conv.in_channels:
        return
    if conv.bias is not None:
        _put(net, source, PoolThenBias(pool, conv.bias))
        conv.bias = None
    node.replace_all_uses_with(source)
    node.args = (source.args[0],)
    source.args = (node,)
    node.append(source)


def _put(net: fx.GraphModule, node: fx.Node, layer: nn.Module) -> None:
    net.set_submodule(str(node.target), layer)
