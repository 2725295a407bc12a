"""Where a temporal module goes in each family of backbones: one table.

A *site* is a layer and the side of it on which the module is put. A family is recognised by its structure
(layers that only it has), its sites by their dotted names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from gateshift.errors import ModelError

Side = Literal["before", "after"]


@dataclass(frozen=True)
class Family:
    """How one family of backbones is recognised and where its temporal modules go.

    Attributes:
        name: As it is reported.
        marker: Dotted name of a layer that every net of the family has and no family above it.
        sites: Regular expressions of sites' whole dotted names, whose first group is the block they are in.
            Each block has one site: of the first expression that matches in it.
        side: On which side of the layer the module goes.
        interleave: Whether gate-shift mixes channels here unless asked otherwise: as in the released
            networks where there are some, and not where ImageNet features should survive the insertion.
        source: Where the placement is from.
        temporal: The one module that this row is for; None where every module goes to the same sites.
    """

    name: str
    marker: str
    sites: tuple[str, ...]
    side: Side
    interleave: bool
    source: str
    temporal: str | None = None


FAMILIES = (
    Family(
        name="bninception",
        marker="inception_5b.conv_1x1.conv",
        sites=(r"(inception_\d[a-e])\.conv_1x1\.conv", r"(inception_\d[a-e])\.conv_3x3_reduce\.conv"),
        side="after",
        interleave=True,
        source="GSM: the branch with the fewest convolutions, between convolution and batch norm",
    ),
    Family(
        name="inceptionv3 (GSF)",
        marker="mixed_10.tower_conv.conv",
        sites=(r"(mixed(?:_[1-79]|_10)?)\.conv\.conv", r"(mixed_8)\.tower_conv\.conv"),
        side="after",
        interleave=True,
        source="GSF: the branch with the fewest convolutions, every block, as released",
        temporal="gsf",
    ),
    Family(
        name="inceptionv3",
        marker="mixed_10.tower_conv.conv",
        sites=(r"(mixed(?:_1|_2|_4|_5|_7|_9|_10)?)\.conv\.conv", r"(mixed_[38])\.tower_conv\.conv"),
        side="after",
        interleave=True,
        source="GSM: the branch with the fewest convolutions, without mixed_6, as released",
    ),
    Family(
        name="resnet",
        marker="layer4.0.conv2",
        sites=(r"(layer\d\.\d+)\.conv3", r"(layer\d\.\d+)\.conv2"),
        side="after",
        interleave=False,
        source="GSF: the last convolution of each residual branch, before its batch norm",
    ),
    Family(
        name="efficientnet",
        marker="blocks.1.1.conv_dw",
        sites=(r"(blocks\.\d+\.[1-9]\d*)\.conv_pw",),
        side="before",
        interleave=False,
        source="TSM on MobileNetV2: before the expansion of each residual block",
    ),
)


@dataclass(frozen=True)
class Site:
    """A place for a temporal module: a layer's dotted name, the side of it, and the channels there."""

    name: str
    side: Side
    channels: int


def find_family(net: nn.Module, temporal: str) -> Family | None:
    """The first row of the table for this module whose marker the net has, or None."""
    names = {name for name, _ in net.named_modules()}
    fitting = (family for family in FAMILIES if family.temporal in (None, temporal))
    return next((family for family in fitting if family.marker in names), None)


def find_sites(net: nn.Module, temporal: str, names: Sequence[str] | None = None) -> tuple[Family | None, list[Site]]:
    """Find the sites of a net by its family, or take convolutions given by name, after each of them.

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
    convolutions = {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    if names is not None:
        unknown = [name for name in names if name not in convolutions]
        if len(set(names)) != len(names):
            raise ModelError(f"sites {', '.join(names)}: one is named twice; name each convolution once")
        if unknown or not names:
            raise ModelError(
                f"no convolution named {', '.join(unknown) or '(empty list)'} in {type(net).__name__}; "
                f"sites are names such as {_examples(convolutions)}"
            )
        return family, [Site(name, "after", convolutions[name].out_channels) for name in names]
    if family is None:
        known = [row.name for row in FAMILIES if row.temporal is None]
        raise ModelError(
            f"no known sites in {type(net).__name__}; known families: {', '.join(known)}; "
            f"name convolutions yourself with sites=[...], such as {_examples(convolutions)}"
        )
    by_block: dict[str, str] = {}
    for pattern in family.sites:
        for name in convolutions:
            if match := re.fullmatch(pattern, name):
                by_block.setdefault(match[1], name)
    chosen = set(by_block.values())
    if not chosen:
        raise ModelError(
            f"{type(net).__name__} looks like {family.name}, but has no plain convolution at its sites; "
            f"name convolutions yourself with sites=[...], such as {_examples(convolutions)}"
        )
    return family, [
        Site(name, family.side, conv.out_channels if family.side == "after" else conv.in_channels)
        for name, conv in convolutions.items()
        if name in chosen
    ]


def _examples(convolutions: dict[str, nn.Conv2d]) -> str:
    return ", ".join(list(convolutions)[-3:]) or "none: this net has no nn.Conv2d"
