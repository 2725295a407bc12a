"""Put temporal modules into a 2D network, and take them out again.

Everything is checked before the first change, so a failure leaves the network as it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from gateshift.errors import ModelError
from gateshift.model.surgery.sites import Site, default_side, find_sites
from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalModule, TemporalShift
from gateshift.model.temporal.site import TemporalSite

GATES = {"gsm": GateShift, "gsf": GateShiftFuse}
TEMPORAL_MODULES = {**GATES, "tsm": TemporalShift}


@dataclass(frozen=True)
class InsertReport:
    """What :func:`insert_temporal` did.

    Attributes:
        temporal: The kind of module.
        family: The family of the network, or "given by name".
        source: Where the placement is from; "" where it was given.
        sites: Where modules were put, in the order of the network's layers.
        num_gated: At each site, how many of its channels go through the module.
        interleave: Whether the modules mix channels.
        num_parameters: How many parameters they added.
        ratio: The share of the channels that was asked for, or the family's.
        num_left: How many of the family's sites, the first ones, were left without a module, as asked.
    """

    temporal: str
    family: str
    source: str
    sites: tuple[Site, ...]
    num_gated: tuple[int, ...]
    interleave: bool
    num_parameters: int
    ratio: float = 1.0
    num_left: int = 0

    def __str__(self) -> str:
        lines = [f"{self.title}, {self.num_parameters:,} parameters"]
        lines += [f"  placement: {self.source}"] if self.source else []
        lines += [f"  {site.side} {site.name}: {self.describe_share(number)}" for number, site in enumerate(self.sites)]
        return "\n".join(lines)

    @property
    def title(self) -> str:
        """What was put where, in a few words."""
        number = len(self.sites)
        where = f"the last {number} of {number + self.num_left} sites" if self.num_left else f"{number} sites"
        return f"{self.temporal} at {where} ({self.family})"

    @property
    def names(self) -> tuple[str, ...] | None:
        """The sites as ``sites`` of :func:`insert_temporal`, if modules that it puts there stand on the same side."""
        side = default_side(self.temporal)
        return tuple(site.name for site in self.sites) if all(site.side == side for site in self.sites) else None

    def describe_share(self, number: int) -> str:
        """How many channels of a site, the first being 0, its module moves, and whether that had to be rounded."""
        channels, gated = self.sites[number].channels, self.num_gated[number]
        wanted = round(self.ratio * channels, 6)
        rounded = f" (rounded up from {wanted:g})" if gated != wanted else ""
        moved = f"{gated // 8} + {gated // 8}" if self.temporal == "tsm" else f"{gated}"
        return f"{moved} of {channels} channels{rounded}"


def check_temporal(temporal: str) -> None:
    """Raise ModelError unless this kind of temporal module exists."""
    known = (*TEMPORAL_MODULES, "none")
    if temporal not in known:
        raise ModelError(f"unknown temporal module {temporal!r}; choose one of {', '.join(known)}")


def gated_channels(channels: int, ratio: float) -> int:
    """How many of a site's channels a share of them is: rounded up to a multiple of 4, which every module can split.

    >>> gated_channels(24, 0.25), gated_channels(40, 0.25), gated_channels(6, 1.0), gated_channels(400, 0.07)
    (8, 12, 6, 28)
    """
    quarters = round(channels * ratio / 4, 6)  # 0.07 of 400 is 28, and not a bit more
    return channels if ratio == 1 else min(math.ceil(quarters) * 4, channels)


def insert_temporal(
    net: nn.Module,
    temporal: str,
    *,
    num_frames: int = 8,
    sites: Sequence[str] | None = None,
    num_sites: int | None = None,
    ratio: float | None = None,
    interleave: bool | None = None,
) -> InsertReport:
    """Put a temporal module at every site of a 2D network, in place.

    The network then takes frames [B*T, 3, H, W], clip after clip, and mixes the T frames of each clip. Create an
    optimizer afterwards: modules may have weights.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3))
    >>> print(insert_temporal(net, "gsm", sites=["2"]))
    gsm at 1 sites (given by name), 466 parameters
      after 2: 16 of 16 channels

    Args:
        net: A network of a known family, or any network with ``sites``.
        temporal: "gsm" (gate-shift), "gsf" (gate-shift-fuse) or "tsm" (temporal shift); "none" changes nothing.
        num_frames: T; change it later with :func:`set_num_frames`.
        sites: Dotted names of convolutions to put a module after ("tsm": before), instead of the family's sites.
        num_sites: How many of the family's sites get a module: the last ones, where features mean most and maps are
            smallest; 0 changes nothing. Default: all.
        ratio: Share of each site's channels that go through the module, above 0 and up to 1; rounded up to a
            multiple of 4 channels. "tsm" moves an eighth of them each way. Default: as the family's source has it
            for gates, a quarter in RegNets and ConvNeXts; else all.
        interleave: Whether gate-shift mixes channels. With it a new module is a fixed permutation of
            the channels; without it, the identity. Default: as the family's published networks.

    Returns:
        Which sites were changed and what it cost.

    Raises:
        ModelError: If the module is unknown, the net already has some, is wrapped for several devices,
            has no known sites or fewer than asked for, or a site's channels cannot be split. The net is
            then unchanged.
    """
    _check_net(net, temporal, num_frames)
    if isinstance(sites, str):
        raise ModelError(f"`sites` {sites!r} is one text; give a list of names, such as [{sites!r}]")
    if ratio is not None and not 0 < ratio <= 1:
        raise ModelError(f"`ratio` {ratio}; it must be a share of the channels above 0 and up to 1, such as 0.25")
    if sites is not None and num_sites is not None:
        raise ModelError(f"`num_sites` {num_sites} and `sites` both say where modules go; give one of them")
    if temporal == "none" or num_sites == 0:
        return InsertReport("none", "no module", "", (), (), False, 0)
    family, every = find_sites(net, temporal, sites)
    found = _take_last(every, num_sites)
    if temporal not in GATES and interleave:
        raise ModelError(f"`interleave=True` with {temporal}, which does not mix channels; leave it out")
    if interleave is None:
        interleave = temporal in GATES and family is not None and family.interleave
    if ratio is None:
        ratio = family.ratio if temporal in GATES and family is not None and sites is None else 1.0
    num_gated = tuple(gated_channels(site.channels, ratio) for site in found)
    modules = []
    for site, gated in zip(found, num_gated, strict=True):
        try:
            modules.append(_build_module(temporal, gated, num_frames, interleave=interleave))
        except ModelError as error:
            raise ModelError(f"{site.side} {site.name}: {error}") from None

    for site, module, gated in zip(found, modules, num_gated, strict=True):
        layer = net.get_submodule(site.name)
        weight = next(layer.parameters())
        module.to(weight.device, weight.dtype).train(layer.training)
        _replace(net, layer, TemporalSite(layer, module, site.side, gated))
    num_parameters = sum(p.numel() for module in modules for p in module.parameters())
    name, source = ("given by name", "") if family is None or sites is not None else (family.name, family.source)
    num_left = len(every) - len(found)
    return InsertReport(temporal, name, source, tuple(found), num_gated, interleave, num_parameters, ratio, num_left)


def _take_last(sites: list[Site], number: int | None) -> list[Site]:
    """The last sites of a family, or all; ModelError if there are not as many."""
    if number is None:
        return sites
    if not 0 <= number <= len(sites):
        raise ModelError(
            f"`num_sites` {number}; the network has {len(sites)} sites; give a number from 0 to {len(sites)}"
        )
    return sites[len(sites) - number :]


def _build_module(temporal: str, channels: int, num_frames: int, *, interleave: bool) -> TemporalModule:
    if temporal == "tsm":
        return TemporalShift(channels, num_frames)
    return GATES[temporal](channels, num_frames, interleave=interleave)


def _check_net(net: nn.Module, temporal: str, num_frames: int) -> None:
    """Raise ModelError unless modules of this kind can be put into the net at all."""
    check_temporal(temporal)
    _check_num_frames(num_frames)
    if isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ModelError(f"cannot change a net wrapped in {type(net).__name__}; insert first, then wrap it")
    if any(isinstance(m, TemporalModule) for m in net.modules()):
        raise ModelError("the net already has temporal modules; call remove_temporal(net) first")


def find_temporal(net: nn.Module) -> InsertReport:
    """What :func:`insert_temporal` has put into a network, as the network itself shows it.

    Raises:
        ModelError: If there are modules of several kinds.
    """
    placed = [(name, module) for name, module in net.named_modules() if isinstance(module, TemporalSite)]
    if not placed:
        return InsertReport("none", "no module", "", (), (), False, 0)
    modules = [site.temporal for _, site in placed]
    # The last form that fits is the most special one: a gate-shift-fuse is a gate-shift too.
    kinds = {[kind for kind, form in TEMPORAL_MODULES.items() if isinstance(each, form)][-1] for each in modules}
    if len(kinds) > 1:
        raise ModelError(f"the network has temporal modules of several kinds, {', '.join(sorted(kinds))}; use one kind")
    sites = tuple(Site(name, site.side, site.channels) for name, site in placed)
    num_gated = tuple(site.num_gated for _, site in placed)
    # Rounding is up, so the smallest share is the one that all of them were rounded up from, or is rounded as that is.
    ratio = min(gated / site.channels for gated, site in zip(num_gated, sites, strict=True))
    interleave = any(getattr(each, "interleave", False) for each in modules)
    num_parameters = sum(parameter.numel() for each in modules for parameter in each.parameters())
    return InsertReport(kinds.pop(), "as it is", "", sites, num_gated, interleave, num_parameters, ratio)


def remove_temporal(net: nn.Module) -> int:
    """Take every temporal module out again, in place; the rest of the network keeps its weights.

    Returns:
        How many modules were removed.
    """
    wrapped = [m for m in net.modules() if isinstance(m, TemporalSite)]
    for site in wrapped:
        _replace(net, site, site.layer)
    return len(wrapped)


def set_num_frames(net: nn.Module, num_frames: int) -> None:
    """Tell every temporal module of a network how many frames a clip has (T).

    Raises:
        ModelError: If ``num_frames`` is below 1.
    """
    _check_num_frames(num_frames)
    for module in net.modules():
        if isinstance(module, TemporalModule):
            module.num_frames = num_frames


def _check_num_frames(num_frames: int) -> None:
    if num_frames < 1:
        raise ModelError(f"`num_frames` {num_frames}; it must be at least 1; raise it")


def _replace(net: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever the network holds ``old``: a layer may be shared by several parents."""
    for parent in list(net.modules()):
        if parent is new:
            continue
        # _modules, as named_children() leaves out a second name of the same layer.
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
