"""What each verb of the command line can be told. The text under a field is its ``--help``.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from gateshift.errors import SettingsError

Precision = Literal["no", "bf16", "fp16"]
ShortVideos = Literal["spread", "first-frame"]


@dataclass(frozen=True)
class ModelOptions:
    """The network."""

    backbone: str = "bninception"
    """bninception, inceptionv3 (the papers' networks) or any timm name, such as resnet50."""
    temporal: str = "gsm"
    """Temporal module: gsm (gate-shift), or none (frames are only averaged)."""
    segments: int = 8
    """Frames that are taken from each video, one from each of as many equal parts."""
    weights: str | None = None
    """ImageNet start: "imagenet" (timm's own), or path or URL of a weight file."""
    size: int | None = None
    """Side of the input square in pixels; the backbone's own by default (224, inceptionv3 229)."""
    interleave: bool | None = None
    """Whether gate-shift mixes channels; by default as in the family's published networks."""
    dropout: float = 0.5
    """Probability of dropping a feature before the classifier."""


@dataclass(frozen=True)
class RecipeOptions:
    """The training. The defaults are the papers' recipe."""

    epochs: int = 60
    """Passes over the training videos."""
    warmup_epochs: int = 10
    """Epochs of linear warm-up; a cosine follows."""
    batch_size: int = 8
    """Videos of one forward pass, over all devices together."""
    accumulate: int = 1
    """Passes whose gradients are added up before the weights change."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd (the papers', momentum 0.9) or adamw."""
    lr: float = 0.01
    """Peak learning rate."""
    new_layers_lr: float = 1.0
    """Learning rate of the temporal modules and the classifier, as a multiple of lr; 2 to 5 helps where
    the backbone starts from ImageNet or the training is short."""
    weight_decay: float = 5e-4
    """Weight decay of every parameter."""
    clip_norm: float = 20.0
    """Largest norm of the gradients."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    validate_every: int = 1
    """Validate after every so many epochs, and after the last."""
    partial_bn: bool = False
    """Freeze all batch norms but the first (TSN's partial batch norm)."""


@dataclass(frozen=True)
class AugmentOptions:
    """How training clips are varied, beside random frames and multi-scale crops."""

    mirror: Literal["all", "pairs", "none"] = "all"
    """Mirror half the clips: of all classes, of the classes that swap alone, or none.
    A class that names a side and has no counterpart, or that is a bare number, is never mirrored."""
    mirror_pairs: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="'A=B'")] = ()
    """Two classes that swap in a mirror; repeat for more. By default found by the words
    left and right, clockwise and counterclockwise or anticlockwise, cw and ccw."""
    brightness: float = 0.0
    """Largest relative change of brightness and contrast, such as 0.3."""


@dataclass(frozen=True)
class TrainSettings:
    """Train a network on your videos.

    TRAIN and VAL are each a CSV (path,label[,start,end]), a videofolder.txt list (path frames label), or a
    folder with one sub-folder of videos for each class. RUN receives best.safetensors and last.safetensors
    (each a whole model), log.csv, log.jsonl, TensorBoard curves, settings.json, and what --resume needs.
    Several GPUs: accelerate launch -m gateshift train ...
    """

    train: Annotated[Positional[Path], arg(metavar="TRAIN")]
    """Videos to learn from."""
    val: Annotated[Positional[Path], arg(metavar="VAL")]
    """Videos to validate on after each epoch."""
    out: Annotated[Path, arg(metavar="RUN")]
    """Folder to write; it must not exist, unless --resume."""
    model: ModelOptions = field(default_factory=ModelOptions)
    recipe: RecipeOptions = field(default_factory=RecipeOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    root: Path | None = None
    """Where relative paths of the lists start; each list's own folder by default."""
    short_videos: ShortVideos = "spread"
    """Validation of videos of at most SEGMENTS frames: spread over them, or first-frame, as the
    released code does by mistake."""
    precision: Precision = "no"
    """Mixed precision."""
    workers: int = 2
    """Processes that load videos; 0 loads in the main process."""
    seed: int = 0
    """Everything random follows from it."""
    resume: bool = False
    """Go on where the run in RUN stopped."""

    def check(self) -> None:
        """Raise SettingsError if a number is out of its range."""
        recipe = self.recipe
        at_least_one = {
            "segments": self.model.segments,
            "epochs": recipe.epochs,
            "batch-size": recipe.batch_size,
            "accumulate": recipe.accumulate,
            "validate-every": recipe.validate_every,
        }
        for name, value in at_least_one.items():
            if value < 1:
                raise SettingsError(f"--{name} {value}; it must be at least 1; raise it")
        if not 0 <= recipe.warmup_epochs < recipe.epochs:
            raise SettingsError(
                f"--warmup-epochs {recipe.warmup_epochs} of --epochs {recipe.epochs}; "
                "it must be 0 or more and less than the epochs; lower it"
            )
        for name, number in (
            ("lr", recipe.lr),
            ("new-layers-lr", recipe.new_layers_lr),
            ("clip-norm", recipe.clip_norm),
        ):
            if not 0 < number < math.inf:
                raise SettingsError(f"--{name} {number}; it must be above 0 and finite; try the default")
        for name, number in (("weight-decay", recipe.weight_decay), ("workers", self.workers)):
            if not 0 <= number < math.inf:
                raise SettingsError(f"--{name} {number}; it must be 0 or more, and finite; try the default")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"--seed {self.seed}; it must be from 0 to {2**32 - 1}; choose another")
        shares = {"label-smoothing": recipe.label_smoothing, "brightness": self.augment.brightness}
        for name, number in shares.items():
            if not 0 <= number < 1:
                raise SettingsError(f"--{name} {number}; it is a share from 0 up to, not including, 1; lower it")


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
