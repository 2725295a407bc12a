"""Finding the places for temporal modules in a network: by its family, or by names.

A *site* is a layer and the side of it on which the module is put: a convolution, or the attention of a block of a
vision transformer. The families are in :mod:`gateshift.model.surgery.families`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from gateshift.errors import ModelError
from gateshift.model.surgery.families import FAMILIES, Family
from gateshift.model.temporal.site import Side

# Of timm's vision transformers, behind the name of the transformer where that is a part of a network.
ATTENTION = re.compile(r"(?:(.+)\.)?blocks\.\d+\.attn")


@dataclass(frozen=True)
class TokenGrid:
    """How the tokens [N, L, C] of a vision transformer lie on its frames.

    Attributes:
        num_prefix: How many tokens, class and register tokens, stand before the patches and lie nowhere.
        height: How many patches are below each other.
        width: How many are beside each other; row by row they are the last ``height * width`` tokens.
    """

    num_prefix: int
    height: int
    width: int


@dataclass(frozen=True)
class Site:
    """A place for a temporal module.

    Attributes:
        name: The layer's dotted name.
        side: On which side of it the module is.
        channels: How many there are.
        grid: How tokens lie on the frame; None where the layer is a convolution.
    """

    name: str
    side: Side
    channels: int
    grid: TokenGrid | None = None


def find_family(net: nn.Module, temporal: str) -> Family | None:
    """The first row of the table for this module whose marker the net has, or None."""
    names = [name for name, _ in net.named_modules()]
    fitting = (family for family in FAMILIES if not family.temporal or temporal in family.temporal)
    return next((family for family in fitting if any(re.fullmatch(family.marker, name) for name in names)), None)


def find_sites(net: nn.Module, temporal: str, names: Sequence[str] | None = None) -> tuple[Family | None, list[Site]]:
    """Find the sites of a net by its family, or take layers given by name.

    A module goes before an attention layer given by name, and after a convolution; "tsm", as in its paper, before it.

    Args:
        net: A 2D network on [N, C, H, W].
        temporal: The module that is to go there.
        names: Dotted names of convolutions or attention layers of the net, instead of the family's sites.

    Returns:
        The family (None where the net belongs to none) and its sites, in the order of the net's layers.

    Raises:
        ModelError: If the family is unknown and no names are given, a name is not of such a layer, or it is not known
            how the tokens before an attention layer lie on the frame.
    """
    family = find_family(net, temporal)
    layers = _find_layers(net)
    if names is not None:
        _check_names(net, layers, names)
        return family, [_site(net, name, "before" if temporal == "tsm" else "after") for name in names]
    if family is None:
        known = dict.fromkeys(row.name for row in FAMILIES)
        raise ModelError(
            f"no known sites in {type(net).__name__}; known families: {', '.join(known)}; "
            f"name convolutions yourself with sites=[...], such as {_examples(layers)}"
        )
    chosen = _choose(family, layers)
    if not chosen:
        raise ModelError(
            f"{type(net).__name__} looks like {family.name}, but has no plain convolution at its sites; "
            f"name convolutions yourself with sites=[...], such as {_examples(layers)}"
        )
    return family, [_site(net, name, family.side) for name in layers if name in chosen]


def find_convolutions(net: nn.Module) -> dict[str, nn.Conv2d]:
    """The layers that can be sites in any net, by dotted name, in the order of the net's layers."""
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}


def _find_layers(net: nn.Module) -> dict[str, nn.Module]:
    """The layers that can be sites, by dotted name, in the order of the net's layers."""
    named = net.named_modules()
    return {name: module for name, module in named if isinstance(module, nn.Conv2d) or _transformer(net, name)}


def _transformer(net: nn.Module, name: str) -> nn.Module | None:
    """The vision transformer that a layer of this name is an attention layer of, or None."""
    match = ATTENTION.fullmatch(name)
    owner = net.get_submodule(match.group(1) or "") if match else None
    return owner if hasattr(owner, "patch_embed") else None


def _check_names(net: nn.Module, layers: Mapping[str, nn.Module], names: Sequence[str]) -> None:
    """Raise ModelError unless these are different names of layers that can be sites."""
    unknown = [name for name in names if name not in layers]
    if len(set(names)) != len(names):
        raise ModelError(f"sites {', '.join(names)}: one is named twice; name each layer once")
    if unknown or not names:
        kinds = "convolution" if find_convolutions(net).keys() == layers.keys() else "convolution or attention layer"
        raise ModelError(
            f"no {kinds} named {', '.join(unknown) or '(empty list)'} in {type(net).__name__}; "
            f"sites are names such as {_examples(layers)}"
        )


def _choose(family: Family, layers: Mapping[str, nn.Module]) -> set[str]:
    """The names of the family's sites: one in each block."""
    by_block: dict[str, str] = {}
    for pattern in family.sites:
        for name in layers:
            if match := re.fullmatch(pattern, name):
                by_block.setdefault(next(filter(None, match.groups())), name)
    if family.identity:
        by_block = {block: name for block, name in by_block.items() if _keeps_shape(block, layers)}
    return set(by_block.values())


def _keeps_shape(block: str, layers: Mapping[str, nn.Module]) -> bool:
    """Whether as many channels come out of a block's last convolution as go into its first, at stride 1."""
    inside = (layer for name, layer in layers.items() if name.startswith(f"{block}."))
    own = [layer for layer in inside if isinstance(layer, nn.Conv2d)]
    return own[0].in_channels == own[-1].out_channels and all(conv.stride == (1, 1) for conv in own)


def _site(net: nn.Module, name: str, side: Side) -> Site:
    layer = net.get_submodule(name)
    if isinstance(layer, nn.Conv2d):
        return Site(name, side, layer.out_channels if side == "after" else layer.in_channels)
    return _token_site(_transformer(net, name), name)


def _token_site(transformer: nn.Module | None, name: str) -> Site:
    """The site before an attention layer; ModelError unless its transformer says how tokens lie on the frame."""
    kind, embed = type(transformer).__name__, getattr(transformer, "patch_embed", None)
    size = getattr(embed, "grid_size", None)
    num_prefix, channels = (getattr(transformer, key, None) for key in ("num_prefix_tokens", "embed_dim"))
    if size is None or num_prefix is None or channels is None:
        raise ModelError(
            f"{kind} does not say how the tokens at {name} lie on a frame; vision transformers that do have a "
            "patch_embed.grid_size, as vit_tiny_patch16_224 of timm; take one, or name convolutions with sites=[...]"
        )
    if not getattr(embed, "strict_img_size", True):
        raise ModelError(
            f"{kind} takes frames of any size, so that the grid of its tokens is not known; a module needs one grid; "
            "create it with dynamic_img_size=False and img_size=..., or take another, such as vit_tiny_patch16_224"
        )
    return Site(name, "before", channels, TokenGrid(num_prefix, *size))


def _examples(layers: Mapping[str, nn.Module]) -> str:
    return ", ".join(list(layers)[-3:]) or "none: this net has no nn.Conv2d"
