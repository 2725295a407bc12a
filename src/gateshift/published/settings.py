"""The options of ``recipes`` and ``download``; the text under a field is their help.

Nothing heavy is imported here, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class RecipesSettings:
    """List the published recipes that train and test accept as --recipe, or print one.

    A printed recipe, saved as a .toml file and edited, is a recipe too: --recipe my.toml.
    """

    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None
    """Recipe to print."""
    cost: bool = False
    """List parameters and multiply-adds of each network instead, without and with its temporal modules."""


@dataclass(frozen=True)
class DownloadSettings:
    """Download the models published with the GSM and GSF papers, and convert them.

    Each is checked, gets its class names and test protocol, and is written as OUT/NAME.safetensors. An interrupted
    download is resumed when it is started again. A file that you have already is taken from OUT, under its published
    name.
    """

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="NAME ...")]
    """Names of recipes, see gateshift recipes."""
    out: Path = Path("models")
    """Output folder."""
    url: str | None = None
    """Address of one model, instead of its place on Google Drive."""
