"""The options of ``bench``; the text under a field is its help.

Nothing heavy is imported here, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class BenchSettings:
    """Time a network on this machine: as it is, deployed and exported, and one of the same backbone without modules.

    All programs run in turn, and the medians are compared with the first: the network as it is, in a training step as
    train trains it. Relative errors of the logits are told too.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A .safetensors model, a released checkpoint (.pth.tar), or the name of a backbone, for random weights."""
    temporal: str = "gsm"
    """Temporal module; for a backbone alone."""
    ratio: float | None = None
    """Share of the channels at each site that go through the module; for a backbone alone. By default the family's."""
    segments: int | None = None
    """Frames of a clip; by default as in training, or 8."""
    batch_size: int = 1
    """Clips of one run."""
    rounds: int = 9
    """How often each program is run."""
    threads: int | None = None
    """CPU threads; by default torch's own choice."""
    training: bool = False
    """Time training steps too."""
    compile: bool = False
    """Time compiled programs too, which take minutes to get ready."""
    others: bool = False
    """Time torchvision's video networks too, each on as many clips of 16 frames: seconds for each run of one."""
    videos: Annotated[Path | None, arg(metavar="LIST")] = None
    """Say too whether these videos or the model slow a training down, and by how much: how many are loaded in a second,
    as train does, when nothing else runs, and how many the model takes. Times training steps too."""
    root: Path | None = None
    """Where relative paths of LIST start; its own folder by default."""
    workers: int | None = None
    """Processes that load LIST; 0 loads in the main process. By default one less than there are cores, at most 8."""
    csv: Path | None = None
    """Write the table to this .csv too."""
    plot: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw the ratios to this .png or .svg too."""
    overwrite: bool = False
    """Replace these files if there are some."""
