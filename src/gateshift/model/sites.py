"""Finding the places for temporal modules in a network: by its family, or by names.

A *site* is a layer and the side of it on which the module is put. The families are in :mod:`gateshift.model.families`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from gateshift.errors import ModelError
from gateshift.model.families import FAMILIES, Family, Side


@dataclass(frozen=True)
class Site:
    """A place for a temporal module: a layer's dotted name, the side of it, and the channels there."""

    name: str
    side: Side
    channels: int


def find_family(net: nn.Module, temporal: str) -> Family | None:
    """The first row of the table for this module whose marker the net has, or None."""
    names = [name for name, _ in net.named_modules()]
    fitting = (family for family in FAMILIES if not family.temporal or temporal in family.temporal)
    return next((family for family in fitting if any(re.fullmatch(family.marker, name) for name in names)), None)


def find_sites(net: nn.Module, temporal: str, names: Sequence[str] | None = None) -> tuple[Family | None, list[Site]]:
    """Find the sites of a net by its family, or take convolutions given by name.

    A module goes after a convolution given by name; "tsm", as in its paper, before it.

    Args:
        net: A 2D network on [N, C, H, W].
        temporal: The module that is to go there.
        names: Dotted names of convolutions of the net, instead of the family's sites.

    Returns:
        The family (None where the net belongs to none) and its sites, in the order of the net's layers.

    Raises:
        ModelError: If the family is unknown and no names are given, or a name is not a convolution.
    """
    family = find_family(net, temporal)
    convolutions = find_convolutions(net)
    if names is not None:
        _check_names(net, convolutions, names)
        return family, [_site(name, convolutions[name], "before" if temporal == "tsm" else "after") for name in names]
    if family is None:
        known = dict.fromkeys(row.name for row in FAMILIES)
        raise ModelError(
            f"no known sites in {type(net).__name__}; known families: {', '.join(known)}; "
            f"name convolutions yourself with sites=[...], such as {_examples(convolutions)}"
        )
    chosen = _choose(family, convolutions)
    if not chosen:
        raise ModelError(
            f"{type(net).__name__} looks like {family.name}, but has no plain convolution at its sites; "
            f"name convolutions yourself with sites=[...], such as {_examples(convolutions)}"
        )
    return family, [_site(name, conv, family.side) for name, conv in convolutions.items() if name in chosen]


def find_convolutions(net: nn.Module) -> dict[str, nn.Conv2d]:
    """The layers that can be sites, by dotted name, in the order of the net's layers."""
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}


def _check_names(net: nn.Module, convolutions: Mapping[str, nn.Conv2d], names: Sequence[str]) -> None:
    """Raise ModelError unless these are different names of convolutions."""
    unknown = [name for name in names if name not in convolutions]
    if len(set(names)) != len(names):
        raise ModelError(f"sites {', '.join(names)}: one is named twice; name each convolution once")
    if unknown or not names:
        raise ModelError(
            f"no convolution named {', '.join(unknown) or '(empty list)'} in {type(net).__name__}; "
            f"sites are names such as {_examples(convolutions)}"
        )


def _choose(family: Family, convolutions: Mapping[str, nn.Conv2d]) -> set[str]:
    """The names of the family's sites: one in each block."""
    by_block: dict[str, str] = {}
    for pattern in family.sites:
        for name in convolutions:
            if match := re.fullmatch(pattern, name):
                by_block.setdefault(next(filter(None, match.groups())), name)
    if family.identity:
        by_block = {block: name for block, name in by_block.items() if _keeps_shape(block, convolutions)}
    return set(by_block.values())


def _keeps_shape(block: str, convolutions: Mapping[str, nn.Conv2d]) -> bool:
    """Whether as many channels come out of a block's last convolution as go into its first, at stride 1."""
    own = [conv for name, conv in convolutions.items() if name.startswith(f"{block}.")]
    return own[0].in_channels == own[-1].out_channels and all(conv.stride == (1, 1) for conv in own)


def _site(name: str, conv: nn.Conv2d, side: Side) -> Site:
    return Site(name, side, conv.out_channels if side == "after" else conv.in_channels)


def _examples(convolutions: Mapping[str, nn.Conv2d]) -> str:
    return ", ".join(list(convolutions)[-3:]) or "none: this net has no nn.Conv2d"
