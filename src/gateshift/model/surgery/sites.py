"""Finding the places for temporal modules in a network: by its family, or by names.

A *site* is a convolution and the side of it on which the module is put. The families are in
:mod:`gateshift.model.surgery.families`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from gateshift.errors import ModelError
from gateshift.model.surgery.families import FAMILIES, Family
from gateshift.model.temporal.site import Side

ATTENTION = re.compile(r"blocks\.\d+\.attn")  # a layer of timm's vision transformers


@dataclass(frozen=True)
class Site:
    """A place for a temporal module.

    Attributes:
        name: The convolution's dotted name.
        side: On which side of it the module is.
        channels: How many there are.
    """

    name: str
    side: Side
    channels: int


def find_family(net: nn.Module, temporal: str) -> Family | None:
    """The first row of the table for this module whose marker the net has, or None."""
    names = [name for name, _ in net.named_modules()]
    fitting = (family for family in FAMILIES if not family.temporal or temporal in family.temporal)
    return next((family for family in fitting if any(re.fullmatch(family.marker, name) for name in names)), None)


def find_sites(net: nn.Module, temporal: str, names: Sequence[str] | None = None) -> tuple[Family | None, list[Site]]:
    """Find the sites of a net by its family, or take layers given by name.

    A module goes after a convolution given by name; "tsm", as in its paper, before it.

    Args:
        net: A 2D network on [N, C, H, W].
        temporal: The module that is to go there.
        names: Dotted names of convolutions of the net, instead of the family's sites.

    Returns:
        The family (None where the net belongs to none) and its sites, in the order of the net's layers.

    Raises:
        ModelError: If the family is unknown and no names are given, or a name is not of such a layer.
    """
    family = find_family(net, temporal)
    layers = find_convolutions(net)
    if names is not None:
        _check_names(net, layers, names)
        return family, [_site(name, layers[name], default_side(temporal)) for name in names]
    if family is None:
        _refuse_transformer(net)
        known = dict.fromkeys(row.name for row in FAMILIES)
        raise ModelError(
            f"no known sites in {type(net).__name__}; known families: {', '.join(known)}; "
            f"name convolutions yourself as `sites`, such as {_examples(layers)}"
        )
    chosen = _choose(family, layers)
    if not chosen:
        raise ModelError(
            f"{type(net).__name__} looks like {family.name}, but has no plain convolution at its sites; "
            f"name convolutions yourself as `sites`, such as {_examples(layers)}"
        )
    return family, [_site(name, layer, family.side) for name, layer in layers.items() if name in chosen]


def default_side(temporal: str) -> Side:
    """On which side of a layer given by name a module goes: as in its paper."""
    return "before" if temporal == "tsm" else "after"


def find_convolutions(net: nn.Module) -> dict[str, nn.Conv2d]:
    """The layers that can be sites in any net, by dotted name, in the order of the net's layers."""
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}


def _refuse_transformer(net: nn.Module) -> None:
    """Raise ModelError if the net is a vision transformer: naming its convolutions would help nobody."""
    if any(ATTENTION.fullmatch(name) for name, _ in net.named_modules()):
        raise ModelError(
            f"{type(net).__name__} is a vision transformer, and no published placement of temporal modules in these is "
            'known; take temporal "none", or a network of convolutions, such as resnet50'
        )


def _check_names(net: nn.Module, layers: Mapping[str, nn.Conv2d], names: Sequence[str]) -> None:
    """Raise ModelError unless these are different names of layers that can be sites."""
    unknown = [name for name in names if name not in layers]
    if len(set(names)) != len(names):
        raise ModelError(f"`sites` {', '.join(names)}: one is named twice; name each layer once")
    if unknown or not names:
        raise ModelError(
            f"no convolution named {', '.join(unknown) or '(empty list)'} in {type(net).__name__}; "
            f"`sites` are names such as {_examples(layers)}"
        )


def _choose(family: Family, layers: Mapping[str, nn.Conv2d]) -> set[str]:
    """The names of the family's sites: one in each block."""
    by_block: dict[str, str] = {}
    for pattern in family.sites:
        for name in layers:
            if match := re.fullmatch(pattern, name):
                by_block.setdefault(next(filter(None, match.groups())), name)
    if family.identity:
        by_block = {block: name for block, name in by_block.items() if _keeps_shape(block, layers)}
    return set(by_block.values())


def _keeps_shape(block: str, layers: Mapping[str, nn.Conv2d]) -> bool:
    """Whether as many channels come out of a block's last convolution as go into its first, at stride 1."""
    own = [layer for name, layer in layers.items() if name.startswith(f"{block}.")]
    return own[0].in_channels == own[-1].out_channels and all(conv.stride == (1, 1) for conv in own)


def _site(name: str, layer: nn.Conv2d, side: Side) -> Site:
    return Site(name, side, layer.out_channels if side == "after" else layer.in_channels)


def _examples(layers: Mapping[str, nn.Conv2d]) -> str:
    return ", ".join(list(layers)[-3:]) or "none: this net has no nn.Conv2d"
