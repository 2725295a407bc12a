"""What ``gateshift train`` can be told. The text under a field is its ``--help``.

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
    """bninception, inceptionv3 (the papers' networks), any timm name, such as resnet50, or torchvision/NAME."""
    temporal: str = "gsm"
    """Temporal module: gsm (gate-shift), gsf (gate-shift-fuse), tsm (temporal shift), or none (frames are only
    averaged)."""
    ratio: float | None = None
    """Share of the channels at each site that go through the module, rounded up to a multiple of 4. By default all,
    and a quarter for gates in RegNet and ConvNeXt."""
    segments: int = 8
    """Frames that are taken from each video, one from each of as many equal parts."""
    weights: str | None = None
    """ImageNet start: "imagenet" (timm's own), or path or URL of a weight file."""
    size: int | None = None
    """Side of the input square in pixels; the backbone's own by default (224, inceptionv3 229)."""
    interleave: bool | None = None
    """Whether gate-shift mixes channels; by default as in the family's published networks."""
    causal: bool = False
    """Let the temporal modules look only back, for streams without delay."""
    dropout: float = 0.5
    """Probability of dropping a feature before the classifier."""


@dataclass(frozen=True)
class OptimOptions:
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
    lr_batch: int | None = None
    """Videos between two updates that lr is meant for: lr is scaled by the real number, batch-size x accumulate,
    over this. None: lr as it is."""
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

    @property
    def peak_lr(self) -> float:
        """The peak learning rate at the real number of videos between two updates."""
        if self.lr_batch is None:
            return self.lr
        return self.lr * self.batch_size * self.accumulate / self.lr_batch


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
    recipe: str | None = None
    """A published row, see gateshift recipes, or a .toml file of yours: its options replace the defaults below
    on the command line. What is given beside it wins."""
    model: ModelOptions = field(default_factory=ModelOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    root: Path | None = None
    """Where relative paths of the lists start; each list's own folder by default."""
    short_videos: ShortVideos = "spread"
    """Validation of videos of at most SEGMENTS frames: spread over them, or first-frame, as the
    released code does by mistake."""
    precision: Precision = "no"
    """Mixed precision."""
    workers: int | None = None
    """Processes that load videos; 0 loads in the main process. By default one less than there are cores, at most 8."""
    checkpointing: bool = False
    """Keep the input of each block alone and compute the rest again in the backward pass: a third of the memory
    for activations, at 1.3 to 1.4 times the time, and the same weights."""
    compile: bool = False
    """Compile the network with torch.compile: faster steps after minutes of preparation."""
    seed: int = 0
    """Everything random follows from it."""
    resume: bool = False
    """Go on where the run in RUN stopped."""

    def check(self) -> None:
        """Raise SettingsError if a number is out of its range."""
        optim = self.optim
        at_least_one = {
            "segments": self.model.segments,
            "epochs": optim.epochs,
            "batch-size": optim.batch_size,
            "accumulate": optim.accumulate,
            "validate-every": optim.validate_every,
            "lr-batch": 1 if optim.lr_batch is None else optim.lr_batch,
        }
        for name, value in at_least_one.items():
            if value < 1:
                raise SettingsError(f"--{name} {value}; it must be at least 1; raise it")
        if not 0 <= optim.warmup_epochs < optim.epochs:
            raise SettingsError(
                f"--warmup-epochs {optim.warmup_epochs} of --epochs {optim.epochs}; "
                "it must be 0 or more and less than the epochs; lower it"
            )
        for name, number in (
            ("lr", optim.lr),
            ("new-layers-lr", optim.new_layers_lr),
            ("clip-norm", optim.clip_norm),
        ):
            if not 0 < number < math.inf:
                raise SettingsError(f"--{name} {number}; it must be above 0 and finite; try the default")
        for name, number in (("weight-decay", optim.weight_decay), ("workers", self.workers or 0)):
            if not 0 <= number < math.inf:
                raise SettingsError(f"--{name} {number}; it must be 0 or more, and finite; try the default")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"--seed {self.seed}; it must be from 0 to {2**32 - 1}; choose another")
        shares = {"label-smoothing": optim.label_smoothing, "brightness": self.augment.brightness}
        for name, number in shares.items():
            if not 0 <= number < 1:
                raise SettingsError(f"--{name} {number}; it is a share from 0 up to, not including, 1; lower it")
