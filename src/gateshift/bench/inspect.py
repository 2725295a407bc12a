"""What temporal modules cost in a network: where they go, parameters and multiply-adds before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from gateshift.errors import ModelError, SettingsError
from gateshift.model.backbones.factory import fit_size
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.cost import Cost, count_cost
from gateshift.model.io import load_model
from gateshift.model.surgery.insert import InsertReport, check_temporal, insert_temporal, remove_temporal
from gateshift.model.surgery.sites import find_convolutions, find_family

FILE_SUFFIXES = (".safetensors", ".tar", ".pth")  # what has one of these and is not there is no backbone either
NUM_CLASSES = 174  # of a backbone's classifier: as Something-Something has


@dataclass(frozen=True)
class NetworkReport:
    """A network with temporal modules.

    Attributes:
        net: What it is called.
        num_classes: Outputs of its classifier.
        num_frames: Frames per clip (T).
        size_px: Side of the input square.
        inserted: The sites, their channels, and how many of them the modules move.
        before: Cost without temporal modules.
        after: Cost with them.
    """

    net: str
    num_classes: int
    num_frames: int
    size_px: int
    inserted: InsertReport
    before: Cost
    after: Cost


class UnknownFamilyError(ModelError):
    """A backbone of no known family.

    Attributes:
        convolutions: Those that can be named as ``sites`` of :func:`gateshift.insert_temporal`.
    """

    def __init__(self, text: str, convolutions: Mapping[str, nn.Conv2d]) -> None:
        super().__init__(text)
        self.convolutions = convolutions


def inspect(
    net: str | PathLike[str],
    *,
    temporal: str | None = None,
    num_sites: int | None = None,
    ratio: float | None = None,
    segments: int | None = None,
    size: int | None = None,
) -> NetworkReport:
    """Find where temporal modules go in a network, and what they cost. Nothing is downloaded.

    Args:
        net: A .safetensors model, a released checkpoint, or the name of a backbone as for
            :func:`gateshift.create_model`.
        temporal: "gsm", "gsf", "tsm" or "none"; None for that of the model, and "gsm" for a backbone.
        num_sites: How many of the sites get a module, the last ones; None for as many as in the model, or all.
        ratio: Share of the channels at each site that go through the module; None for that of the model or the family.
        segments: Frames of the clip whose cost is counted; None for as many as in training, or 8.
        size: Side of the input square in pixels; None for the network's own.

    Raises:
        UnknownFamilyError: If the backbone's family has no known sites.
        ModelError: If there is no such network or temporal module, or the options do not fit it.
        SettingsError: If ``segments`` is below 1.

    >>> found = inspect("resnet18", temporal="tsm")
    >>> len(found.inserted.sites), found.after.parameters - found.before.parameters
    (8, 0)
    """
    if not isinstance(net, str | PathLike):
        raise ModelError(f"`net` is a {type(net).__name__}; give the path of a model, or the name of a backbone")
    if segments is not None and segments < 1:
        raise SettingsError(f"`segments={segments}`; a clip has at least 1 frame; raise it")
    if temporal is not None:
        check_temporal(temporal)
    model, kind, placement = _plain_model(net, temporal, size, num_sites=num_sites, ratio=ratio)
    num_frames, size_px = segments or model.config.num_segments or 8, size or model.config.size_px
    known = kind == "none" or find_family(model.backbone, kind) is not None
    before = count_cost(model, num_frames=num_frames, size_px=size_px)
    try:
        inserted = insert_temporal(model.backbone, kind, **placement)
    except ModelError as error:
        raise error if known else UnknownFamilyError(str(error), find_convolutions(model.backbone)) from None
    after = count_cost(model, num_frames=num_frames, size_px=size_px)
    return NetworkReport(str(net), len(model.classes), num_frames, size_px, inserted, before, after)


def _plain_model(
    net: str | PathLike[str], temporal: str | None, size: int | None, **asked: Any
) -> tuple[VideoClassifier, str, dict[str, Any]]:
    """The network without temporal modules, and the kind and placement of those to be put in."""
    path = Path(net)
    if not path.is_file() and path.suffix not in FILE_SUFFIXES:
        return create_model(str(net), "none", num_classes=NUM_CLASSES, size_px=size), temporal or "gsm", asked
    model = load_model(path)
    own = model.config
    remove_temporal(model.backbone)
    if size is not None:
        fit_size(model.backbone, own.backbone, size)
    if temporal not in (None, own.temporal):
        return model, str(temporal), asked
    placement = {name: getattr(own, name) if value is None else value for name, value in asked.items()}
    return model, own.temporal, placement | {"interleave": own.interleave}
