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
    """List the published rows that train and test reproduce with --recipe, or print one.

    A printed recipe saved as a .toml file and edited is a recipe too: --recipe my.toml.
    """

    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None
    """The recipe to print."""
    cost: bool = False
    """List instead what each published network costs at its input size, without and with its temporal modules."""


@dataclass(frozen=True)
class DownloadSettings:
    """Fetch models that the GSM and GSF papers' releases publish, as files of ours.

    Each is checked, gets its class names and test protocol, and is written as OUT/NAME.safetensors. A download that was
    interrupted goes on when it is started again. A file that you have already is taken from OUT, under its
    published name.
    """

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="NAME ...")]
    """Names of recipes, see gateshift recipes."""
    out: Path = Path("models")
    """Folder to write."""
    url: str | None = None
    """Where to fetch one model from, instead of the release's place on Google Drive."""
