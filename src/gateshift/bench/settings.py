"""The options of ``bench`` and ``inspect``; the text under a field is its help.

Nothing heavy is imported here, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class BenchSettings:
    """Time a network on this machine: as it is, deployed and exported, beside one of the same backbone without modules.

    Programs run in turn, and their medians are compared with the first: the network as it is, or a training step as
    train does it. Relative errors of the logits are shown, too.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A .safetensors model, a released checkpoint (.pth.tar), or the name of a backbone, for random weights."""
    temporal: str = "gsm"
    """Temporal module; for a backbone only."""
    ratio: float | None = None
    """Share of the channels at each site that go through the module; for a backbone only. By default the family's."""
    segments: int | None = None
    """Frames per clip; by default as in training, or 8."""
    batch_size: int = 1
    """Clips of one run."""
    rounds: int = 9
    """Runs of each program."""
    threads: int | None = None
    """CPU threads; by default torch's own choice."""
    training: bool = False
    """Time training steps, too."""
    compile: bool = False
    """Time compiled programs, too; compiling takes minutes."""
    others: bool = False
    """Time torchvision's video networks, too, on as many clips of 16 frames: seconds for each run of one."""
    videos: Annotated[Path | None, arg(metavar="LIST")] = None
    """Find whether loading these videos or the model is the bottleneck of a training: videos a second of each alone.
    Times training steps, too."""
    root: Path | None = None
    """Where relative paths of LIST start; its own folder by default."""
    workers: int | None = None
    """Processes that load LIST; 0 loads in the main process. By default one fewer than there are cores, at most 8."""
    csv: Path | None = None
    """Write the table to this .csv."""
    plot: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw the ratios to this .png or .svg."""
    overwrite: bool = False
    """Replace these files if they exist."""


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
