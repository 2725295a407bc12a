"""What the verb inspect does with its settings, and prints.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

from rich.console import Console
from rich.table import Column, Table
from tyro.conf import Positional, arg

from gateshift.errors import SettingsError
from gateshift.terminal import print_line

if TYPE_CHECKING:
    from gateshift.model.classifier import VideoClassifier
    from gateshift.model.cost import Cost
    from gateshift.model.surgery.insert import InsertReport


@dataclass(frozen=True)
class InspectSettings:
    """Show where temporal modules go in a network, and what they cost.

    Prints each site, its channels and how many of them the module moves, and parameters and multiply-adds of a frame,
    before and after. For a backbone of no known family, prints the convolutions that can be named as sites=[...]
    to gateshift.insert_temporal, and the exit code is 2. Nothing is downloaded.
    """

    net: Annotated[Positional[str], arg(metavar="BACKBONE|MODEL")]
    """bninception, inceptionv3, a timm name, torchvision/NAME, or a .safetensors model or released checkpoint
    (.pth.tar)."""
    temporal: str | None = None
    """Temporal module: gsm, gsf, tsm or none; by default that of MODEL, and gsm for a backbone."""
    num_sites: int | None = None
    """How many of the sites get a module, the last ones; by default as many as in MODEL, and all in a backbone."""
    ratio: float | None = None
    """Share of the channels at each site that go through the module; by default that of MODEL, or the family's."""
    segments: int | None = None
    """Frames of the clip whose cost is counted; by default as in training, or 8."""
    size: int | None = None
    """Side of the input square in pixels; the network's own by default."""


FILE_SUFFIXES = (".safetensors", ".tar", ".pth")  # what has one of these and is not there is no backbone either
NUM_CLASSES = 174  # of a backbone's classifier: as Something-Something has


class Placement(TypedDict):
    """How temporal modules are put in: see :func:`gateshift.insert_temporal`."""

    num_sites: int | None
    ratio: float | None
    interleave: bool | None


def run_inspect(settings: InspectSettings) -> None:
    """Verb ``inspect``."""
    from gateshift.model.cost import count_cost
    from gateshift.model.surgery.insert import check_temporal, insert_temporal
    from gateshift.model.surgery.sites import find_convolutions, find_family

    if settings.segments is not None and settings.segments < 1:
        raise SettingsError(f"--segments {settings.segments}; a clip has at least 1 frame; raise it")
    if settings.temporal is not None:
        check_temporal(settings.temporal)
    model, temporal, placement = _plain_model(settings)
    num_frames = settings.segments or model.config.num_segments or 8
    if temporal != "none" and find_family(model.backbone, temporal) is None:
        table = Table("convolution", _right("channels in"), _right("channels out"), title="candidates for sites=[...]")
        for name, conv in find_convolutions(model.backbone).items():
            table.add_row(name, str(conv.in_channels), str(conv.out_channels))
        Console(markup=False).print(table)
    size_px = settings.size or model.config.size_px
    before = count_cost(model, num_frames=num_frames, size_px=size_px)
    report = insert_temporal(model.backbone, temporal, **placement)
    after = count_cost(model, num_frames=num_frames, size_px=size_px)
    _print_sites(report)
    _print_costs(before, after, report.temporal)
    print_line(f"{settings.net}, {len(model.classes)} classes, clips of {num_frames} frames of {size_px} px")


def _plain_model(settings: InspectSettings) -> tuple[VideoClassifier, str, Placement]:
    """The network without temporal modules, and the kind and placement of those to be put in."""
    from gateshift.model.backbones.factory import fit_size
    from gateshift.model.classifier import create_model
    from gateshift.model.io import load_model
    from gateshift.model.surgery.insert import remove_temporal

    path, asked = Path(settings.net), Placement(num_sites=settings.num_sites, ratio=settings.ratio, interleave=None)
    if not path.is_file() and path.suffix not in FILE_SUFFIXES:
        model = create_model(settings.net, "none", num_classes=NUM_CLASSES, size_px=settings.size)
        return model, settings.temporal or "gsm", asked
    model = load_model(path)
    own = model.config
    remove_temporal(model.backbone)
    if settings.size is not None:
        fit_size(model.backbone, own.backbone, settings.size)
    if settings.temporal not in (None, own.temporal):
        return model, settings.temporal, asked
    num_sites = own.num_sites if settings.num_sites is None else settings.num_sites
    ratio = own.ratio if settings.ratio is None else settings.ratio
    return model, own.temporal, Placement(num_sites=num_sites, ratio=ratio, interleave=own.interleave)


def _right(title: str) -> Column:
    return Column(title, justify="right")


def _print_sites(report: InsertReport) -> None:
    table = Table(_right("#"), "side", Column("layer", no_wrap=True), "moves", title=report.title)
    for number, site in enumerate(report.sites):
        table.add_row(str(number + 1), site.side, site.name, report.describe_share(number))
    if report.sites:
        Console(markup=False).print(table)
        print_line(f"placement: {report.source}")


def _print_costs(before: Cost, after: Cost, temporal: str) -> None:
    table = Table("", _right("parameters"), _right("GMAC a frame"))
    rows = {"without a module": before} if temporal == "none" else {"before": before, f"with {temporal}": after}
    for name, cost in rows.items():
        table.add_row(name, f"{cost.parameters:,}", f"{cost.macs / 1e9:.4f}")
    if temporal != "none":
        more = (after.parameters / before.parameters - 1, after.macs / before.macs - 1)
        table.add_row("more", *(f"{share:.2%}" for share in more))
    Console(markup=False).print(table)
