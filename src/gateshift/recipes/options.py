"""What a recipe can say of a training: options of the network, the optimizer, the clips and the classes.

Nothing heavy is imported here, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from tyro.conf import UseAppendAction, arg

from gateshift.data.choices import CROP_SCALES, Mirroring

Accumulation = Literal["exact", "release"]
Options = TypeVar("Options", bound="_Options")


class _Options:
    """Options that know which of them were given, so that a recipe can stand for the others."""

    _given: frozenset[str]

    def __new__(cls, *values: Any, **named: Any) -> Any:
        options = super().__new__(cls)
        names = [name for name in cls.__annotations__ if name != "_given"]
        object.__setattr__(options, "_given", frozenset((*names[: len(values)], *named)))
        return options

    def filled(self: Options, others: Mapping[str, Any]) -> Options:
        """The same options, with these in place of defaults."""
        missing = {name: value for name, value in others.items() if name not in self._given}
        return replace(self, **missing) if missing else self  # type: ignore[type-var]


@dataclass(frozen=True)
class ModelOptions(_Options):
    """The network."""

    backbone: str = "bninception"
    """bninception, inceptionv3 (the papers' networks), any timm name, such as resnet50, or torchvision/NAME."""
    temporal: str = "gsm"
    """Temporal module: gsm (gate-shift), gsf (gate-shift-fuse), tsm (temporal shift), or none (frames are only
    averaged)."""
    num_sites: int | None = None
    """How many of the backbone's sites get a module: the last ones, as gateshift inspect lists them. By default all; 0
    is --temporal none."""
    ratio: float | None = None
    """Share of the channels at each site that go through the module, rounded up to a multiple of 4. By default all,
    and a quarter for gates in RegNets, ConvNeXts and vision transformers."""
    segments: int = 8
    """Frames that are taken from each video, one from each of as many equal parts."""
    weights: str | None = None
    """ImageNet start: "imagenet" (timm's own), or path or URL of a weight file."""
    start: Path | None = None
    """Start from a trained model of the same network: backbone, temporal modules, and the classifier's part of the
    classes that both have. To go on with other videos or other classes; a stopped training goes on with --resume."""
    size: int | None = None
    """Side of the input square in pixels; the backbone's own by default (224, inceptionv3 229)."""
    whole_frame: bool = False
    """Show the network whole frames, made square, in place of squares cut out of them: where what matters comes near
    the edges of the picture. Random crops are then shares of height and width."""
    keep_squashed: bool = False
    """Take frames whose pixels are not square, as of DVDs and camcorders, as they are stored, as the released code
    does. Otherwise they are resized first, so that they look as players show them."""
    interleave: bool | None = None
    """Whether gate-shift mixes channels; by default as in the family's published networks."""
    causal: bool = False
    """Let the temporal modules look only back, for streams without delay."""
    dropout: float = 0.5
    """Probability of dropping a feature before the classifier."""
    drop_path: float = 0.0
    """Stochastic depth: probability that a frame skips the last residual branch, less for earlier ones. For long
    trainings of deep networks on little data: 0.1 to 0.3. Most of timm's networks have it."""


@dataclass(frozen=True)
class OptimOptions(_Options):
    """The training. The defaults are the papers' recipe."""

    epochs: int = 60
    """Passes over the training videos."""
    warmup_epochs: int = 10
    """Epochs of linear warm-up; a cosine follows."""
    gates_warmup_epochs: int | None = None
    """Epochs of warm-up of the temporal modules; None: as of the rest. Give more where gates are unsteady at first."""
    schedule: Literal["epochs", "one-cycle"] = "epochs"
    """When the learning rate changes: after each epoch, as in the papers, or after each update (one-cycle), which
    suits trainings of few epochs."""
    batch_size: int = 8
    """Videos of one forward pass, over all devices together."""
    accumulate: int = 1
    """Passes whose gradients are added up before the weights change."""
    accumulation: Accumulation = "exact"
    """How they are added up: exact is the update of one batch of the same videos, its norm clipped once. release is the
    papers' code: each pass is divided by accumulate, also where an epoch ends with fewer, and the norm of what is
    gathered is clipped after every pass."""
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
    gates_lr: float | None = None
    """Learning rate of the gates' convolutions, as a multiple of lr; None: new-layers-lr. With adamw they have hundreds
    of inputs that all move at once: 0.02 keeps them from being nearly open after an epoch, and so for good."""
    layer_decay: float = 1.0
    """Learning rate of each layer of the backbone as a multiple of that of the next; 0.7 to 0.9 keeps what a
    pretrained backbone knows, mostly with adamw."""
    freeze_epochs: int = 0
    """Epochs at the start in which only the temporal modules and the classifier learn, for a pretrained backbone
    and little data: 1 to 5."""
    ema: float = 0.0
    """Validate and save a moving average of the weights, of which each update keeps this share: 0.99 for hundreds of
    updates in all, 0.999 for thousands, 0.9998 for more."""
    weight_decay: float = 5e-4
    """Weight decay of every parameter."""
    clip_norm: float = 20.0
    """Largest norm of the gradients of an update."""
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
class AugmentOptions(_Options):
    """How training clips are varied, beside random frames and multi-scale crops."""

    mirror: Mirroring = "all"
    """Mirror half the clips: of all classes, of the classes that swap alone, or none.
    A class that names a side and has no counterpart, or that is a bare number, is never mirrored."""
    mirror_pairs: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="'A=B'")] = ()
    """Two classes that swap in a mirror; repeat for more. By default found by the words
    left and right, clockwise and counterclockwise or anticlockwise, cw and ccw."""
    smallest_crop: float = CROP_SCALES[-1]
    """Smallest side of the random crops, as a share of the frame's short side: 0.66 as in the papers, up to 1 where
    what matters comes near the edges of the picture, or is small in it."""
    brightness: float = 0.0
    """Largest relative change of brightness and contrast, such as 0.3."""
    reverse: bool = False
    """Play half the clips backwards, with the label that they then have: of the pairs of classes in a
    reversal_pairs.csv (class,reversed) beside TRAIN. Classes in no pair are never reversed."""
    reversal_pairs: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="'A=B'")] = ()
    """Two classes that are each other played backwards, or A=A for one that looks the same; repeat for more. Turns
    --reverse on and takes the file's place."""
    rand_augment: int = 0
    """Magnitude, up to 30, of two random changes of colours or geometry of each clip (RandAugment): 7 to 15 for long
    trainings on little data."""
    erasing: float = 0.0
    """Probability that a rectangle of a clip is greyed out, such as 0.25."""
    mixup: float = 0.0
    """Mix the clips of a batch in pairs, by shares that a Beta distribution of this alpha gives: 0.2 to 0.8."""
    cutmix: float = 0.0
    """Put a rectangle of one clip into another, as large as a Beta distribution of this alpha says: 1. With --mixup,
    each batch takes one of the two."""


@dataclass(frozen=True)
class SkewOptions(_Options):
    """Classes that have very different numbers of videos. Take one of the first two."""

    balanced: bool = False
    """Show every class equally often: in each epoch as many videos as before, of rare classes the same several
    times."""
    class_weights: bool = False
    """Weigh the loss of each video so that every class counts the same in all."""
    focal_gamma: float = 0.0
    """Discount videos that the network is already sure of (focal loss), by this power: 1 to 3, 2 in its paper."""
