"""What each verb of the command line but train can be told. The text under a field is its ``--help``.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gateshift.run.train_settings import Precision, ShortVideos


@dataclass(frozen=True)
class TestSettings:
    """Test a model by the papers' protocol: top-1, top-5 and mean class accuracy.

    Accuracies are printed with their protocol, segments × clips × crops, and written as JSON beside the scores.
    """

    __test__ = False  # not a test of pytest

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, or a released GSM checkpoint (.pth.tar)."""
    videos: Annotated[Positional[Path], arg(metavar="VAL")]
    """Labelled videos: a CSV, a videofolder.txt list, or a folder of class folders."""
    segments: int | None = None
    """Frames of a clip; by default as in training. Released checkpoints do not say: give it."""
    clips: int = 1
    """Clips of each video."""
    crops: int = 1
    """Crops of each clip: 1 (centre), 3 (along the long side), 5 (corners, centre) or 10 (those and mirrored)."""
    scores: Path | None = None
    """Write ids, labels, logits and classes to this .npz, and the accuracies to a .json beside it."""
    overwrite: bool = False
    """Replace the scores file if there is one."""
    root: Path | None = None
    """Where relative paths of the list start; its own folder by default."""
    short_videos: ShortVideos = "spread"
    """Videos of at most SEGMENTS frames: spread over them, or first-frame, as the released code
    validates by mistake."""
    batch_size: int = 4
    """Videos of one forward pass."""
    precision: Precision = "no"
    """Mixed precision."""
    workers: int = 2
    """Processes that load videos; 0 loads in the main process."""


@dataclass(frozen=True)
class EnsembleSettings:
    """Average the scores of several models, video by video, and print the accuracy.

    The files must be of the same videos, labels and classes, in any order.
    """

    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="SCORES.npz ...")]
    """Two or more files written by gateshift test --scores."""
    scores: Path | None = None
    """Write the averaged scores to this .npz, and the accuracies to a .json beside it."""
    overwrite: bool = False
    """Replace the scores file if there is one."""


@dataclass(frozen=True)
class PredictSettings:
    """Say what happens in videos, with a saved model.

    Prints a table, or with --json one JSON record a line: {"video", "top": [{"class", "probability"}], "error"}.
    A video that cannot be read gets a record with its error, and the exit code is then 2.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, or a released GSM checkpoint (.pth.tar)."""
    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="VIDEO|FOLDER ...")]
    """Video files, folders of frames, or folders with videos at any depth."""
    top: int = 5
    """How many classes to name."""
    json: bool = False
    """Print JSON records instead of a table."""
    segments: int | None = None
    """Frames of a clip; by default as in training. Released checkpoints do not say: give it."""
    clips: int = 1
    """Clips of each video."""
    crops: int = 1
    """Crops of each clip: 1, 3, 5 or 10."""


@dataclass(frozen=True)
class DemoSettings:
    """Show on this machine that gate-shift knows the order of events, in a few minutes.

    Draws a small data set of mp4 files whose classes are each other played backwards, trains a small network
    on them with gate-shift and without, tests both on unseen clips, and leaves demo.png and demo.json.
    """

    out: Path = Path("demo")
    """Folder to write; it must not exist."""
    seed: int = 0
    """Another seed draws other clips and starts from other weights."""
    workers: int = 1
    """Processes that load videos beside the training."""
