"""Options of a training that a recipe can hold: those of the network, the optimizer, the clips and the classes.

Nothing heavy is imported here, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tyro.conf import UseAppendAction, arg

from gateshift.data.choices import CROP_SCALES, Mirroring
from gateshift.devices import Precision
from gateshift.errors import GateShiftWarning, SettingsError

Accumulation = Literal["exact", "release"]
Schedule = Literal["cosine-epoch", "cosine-step"]
Options = TypeVar("Options", bound="RecipeOptions")

# Former names of a training's options and of their values. They work for one release more, from everywhere.
OLD_NAMES = {"brightness": "color_jitter", "smallest_crop": "min_crop_scale"}
OLD_VALUES = {"schedule": {"epochs": "cosine-epoch", "one-cycle": "cosine-step"}}
_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    tuple[str, ...]: "a list of texts",
}
_CONVERT: dict[Any, Callable[[Any], Any]] = {str: os.fspath, Path: Path, int: int, float: float, tuple[str, ...]: tuple}


def rename_old(options: Mapping[str, Any], *, warn: bool = True) -> dict[str, Any]:
    """The same options by their present names; a warning says each new name.

    Raises:
        SettingsError: If one is given by both of its names.
    """
    renamed: dict[str, Any] = {}
    for old, value in options.items():
        name = OLD_NAMES.get(old, old)
        if name != old and name in options:
            raise SettingsError(f"`{old}` and `{name}` are one option by two names; leave one of them out")
        renamed[name] = OLD_VALUES.get(name, {}).get(value, value) if isinstance(value, str) else value
        if warn and name != old:
            warnings.warn(f"`{old}` is called `{name}` now", GateShiftWarning, stacklevel=3)
        if warn and renamed[name] is not value:
            warnings.warn(f"`{name}={value}` is called `{name}={renamed[name]}` now", GateShiftWarning, stacklevel=3)
    return renamed


def as_type(value: Any, hint: Any) -> Any:
    """A value as an option of this type holds it, such as a text as a path.

    Raises:
        TypeError: If it is of another type. Its text says what it must be.
    """
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for kind in kinds:
        if kind is type(None):
            fits = value is None
        elif get_origin(kind) is Literal:
            fits = isinstance(value, str) and value in get_args(kind)
        elif kind == tuple[str, ...]:
            fits = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        elif kind in (str, Path):
            fits = isinstance(value, str | os.PathLike)
        else:
            fits = isinstance(value, {int: Integral, float: Real}.get(kind, kind))
            fits &= isinstance(value, bool) == (kind is bool)
        if fits:
            return _CONVERT[kind](value) if kind in _CONVERT else value
    texts = (_KINDS.get(kind) or _one_of(get_args(kind)) for kind in kinds if kind is not type(None))
    raise TypeError(" or ".join(texts))


def _one_of(values: Sequence[str]) -> str:
    return f"one of {', '.join(values)}" if values[1:] else repr(values[0])


def option_types(options: type[Any]) -> dict[str, Any]:
    """The type of each field of a class of options."""
    hints = get_type_hints(options)
    return {item.name: hints[item.name] for item in dataclasses.fields(options)}


def convert_fields(options: Any) -> None:
    """Convert each field of a frozen dataclass of options to its type, such as texts to paths.

    Raises:
        SettingsError: If a value is of another type.
    """
    for name, hint in option_types(type(options)).items():
        value = rename_old({name: getattr(options, name)})[name]
        try:
            object.__setattr__(options, name, as_type(value, hint))
        except TypeError as wanted:
            raise SettingsError(f"`{name}` {value!r}; it must be {wanted}; correct it") from None


def suggest(name: str, known: Iterable[str], quote: str = "") -> str:
    """What to do about an unknown name: the nearest one, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {quote}{close[0]}{quote}?" if close else f"choose from {', '.join(sorted(known))}"


class RecipeOptions:
    """Options that know which of them were given, so that a recipe can replace the defaults of the others."""

    _given: frozenset[str]

    def __new__(cls, *values: Any, **named: Any) -> Any:
        options = super().__new__(cls)
        names = [name for name in cls.__annotations__ if name != "_given"]
        object.__setattr__(options, "_given", frozenset((*names[: len(values)], *named)))
        return options

    def __post_init__(self) -> None:
        convert_fields(self)

    def filled(self: Options, others: Mapping[str, Any]) -> Options:
        """The same options, with these in place of defaults."""
        missing = {name: value for name, value in others.items() if name not in self._given}
        filled = dataclasses.replace(self, **missing)  # type: ignore[type-var]
        object.__setattr__(filled, "_given", self._given)
        return filled


@dataclass(frozen=True)
class ModelOptions(RecipeOptions):
    """The network."""

    backbone: str = "bninception"
    """bninception or inceptionv3 (the papers' networks), any timm name, such as resnet50, or torchvision/NAME."""
    temporal: str = "gsm"
    """Temporal module: gsm (gate-shift), gsf (gate-shift-fuse), tsm (temporal shift), or none (average of frames)."""
    num_sites: int | None = None
    """Number of sites of the backbone that get a temporal module, counted from the last; gateshift inspect lists them.
    All by default; 0 is --temporal none."""
    ratio: float | None = None
    """Fraction of the channels at each site that pass through the module, rounded up to a multiple of 4. Default: all,
    but a quarter for gates in RegNets and ConvNeXts."""
    segments: int = 8
    """Frames per clip: one from each of this many equal parts of the video."""
    weights: str | None = None
    """Pretrained weights: "imagenet" (timm's own), "motion", path or URL of a weight file, or None: random weights."""
    start: str | None = None
    """Where to start: motion (gateshift's own weights of an EfficientNet-Lite0 with gate-shift, which knows motion from
    drawn clips), imagenet, a published recipe, whose model is downloaded, or a trained model's file: backbone, temporal
    modules, and the classifier rows of the classes that both have. A named start brings its network with it. To
    continue a stopped training, use --resume."""
    fit_classifier: bool = False
    """Begin with a classifier fitted to the features of the network as it starts (linear probing, then fine-tuning),
    instead of a random one."""
    size: int | None = None
    """Side of the square input in pixels; default: the backbone's own (224, inceptionv3 229)."""
    whole_frame: bool = False
    """Squash whole frames to a square instead of cropping a square: for actions near the edges of the picture.
    Random crops are then fractions of height and width."""
    keep_squashed: bool = False
    """Use frames with non-square pixels (DVDs, camcorders) as stored, like the released code. By default they are
    resized to their display shape first."""
    interleave: bool | None = None
    """Whether gate-shift interleaves channels; default: as in the published networks of the backbone's family."""
    causal: bool = False
    """Temporal modules use past frames only, for streams without delay."""
    dropout: float = 0.5
    """Dropout probability before the classifier."""
    drop_path: float = 0.0
    """Stochastic depth: drop probability of the last residual branch, decreasing towards the first. For long trainings
    of deep networks on little data: 0.1 to 0.3. Most timm networks support it."""


@dataclass(frozen=True)
class OptimOptions(RecipeOptions):
    """Optimization. The defaults are the papers'."""

    epochs: int = 60
    """Passes over the training videos."""
    warmup_epochs: int = 10
    """Epochs of linear warm-up, before the cosine decay."""
    gates_warmup_epochs: int | None = None
    """Warm-up epochs of the temporal modules; default: --warmup-epochs, or 0 with --gates-lr auto. Raise it if the
    gates are unstable at first."""
    schedule: Schedule = "cosine-epoch"
    """Learning rate: warm-up and cosine decay, updated after each epoch (cosine-epoch, as in the papers) or after each
    optimizer step (cosine-step, better for short trainings)."""
    batch_size: int = 8
    """Videos per forward pass, over all devices."""
    accumulate: int = 1
    """Forward passes per optimizer step: their gradients are accumulated."""
    accumulation: Accumulation = "exact"
    """exact: the update of one large batch, gradient norm clipped once. release: the papers' code, which divides each
    pass by --accumulate even in an incomplete last group, and clips after every pass."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd (as in the papers, momentum 0.9) or adamw."""
    lr: float = 0.01
    """Peak learning rate."""
    lr_batch: int | None = None
    """Linear scaling: videos per optimizer step that --lr is meant for. The learning rate is multiplied by
    batch-size x accumulate / lr-batch. Default: no scaling."""
    new_layers_lr: float = 1.0
    """Learning rate of the temporal modules and the classifier, relative to --lr; 2 to 5 helps with a pretrained
    backbone or a short training."""
    gates_lr: float | Literal["auto"] | None = None
    """Learning rate of the gates' convolutions, relative to --lr; default: --new-layers-lr, with which adamw saturates
    the gates within an epoch. auto, for adamw: by their numbers of inputs and the number of steps, with a weight decay
    of their own, so that gates open early in a training, however long it is, and do not saturate."""
    layer_decay: float = 1.0
    """Layer-wise decay: learning rate of each backbone layer relative to the next; 0.7 to 0.9 preserves a pretrained
    backbone, mostly with adamw."""
    freeze_epochs: int = 0
    """First epochs with a frozen backbone: only temporal modules and classifier are trained. For a pretrained backbone
    and little data: 1 to 5."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, which is then validated and saved: 0.99 for hundreds of
    steps in total, 0.999 for thousands, 0.9998 for more."""
    weight_decay: float = 5e-4
    """Weight decay, of every parameter."""
    clip_norm: float = 20.0
    """Maximum gradient norm."""
    label_smoothing: float = 0.0
    """Label smoothing: fraction of the target that is spread over all classes."""
    validate_every: int = 1
    """Epochs between validations; the last epoch is always validated."""
    partial_bn: bool = False
    """Freeze all batch norms but the first (TSN's partial batch norm)."""
    frozen_bn: bool = False
    """Normalize by the statistics that the network starts with, not by those of each batch; scale and shift are still
    trained. For few videos, and a start that has such statistics."""
    precision: Precision = "no"
    """Mixed precision."""

    @property
    def gates_warmup(self) -> int:
        """Warm-up epochs of the temporal modules."""
        if self.gates_warmup_epochs is not None:
            return self.gates_warmup_epochs
        return 0 if self.gates_lr == "auto" else self.warmup_epochs

    @property
    def peak_lr(self) -> float:
        """The peak learning rate at the actual number of videos per optimizer step."""
        if self.lr_batch is None:
            return self.lr
        return self.lr * self.batch_size * self.accumulate / self.lr_batch


@dataclass(frozen=True)
class AugmentOptions(RecipeOptions):
    """Data augmentation, in addition to random frames and multi-scale crops."""

    mirror: Mirroring = "all"
    """Flip half the clips horizontally: of all classes, only of classes that swap (pairs), or none. A class that names
    a side and has no counterpart, or is a bare number, is never flipped."""
    mirror_pairs: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="'A=B'")] = ()
    """Two classes that swap when flipped; repeatable. Default: found by the words left and right, clockwise and
    counterclockwise or anticlockwise, cw and ccw."""
    min_crop_scale: float = CROP_SCALES[-1]
    """Smallest random crop, relative to the frame's short side: 0.66 as in the papers, up to 1 for actions that are
    small or near the edges of the picture."""
    color_jitter: float = 0.0
    """Maximum relative change of brightness and contrast, such as 0.3."""
    reverse: bool = False
    """Play half the clips backwards and change their label accordingly, for the class pairs in reversal_pairs.csv
    (class,reversed) beside TRAIN. Classes in no pair are never reversed."""
    reversal_pairs: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="'A=B'")] = ()
    """Two classes that are each other's reversal, or A=A for one that looks the same backwards; repeatable. Implies
    --reverse and replaces the file."""
    rand_augment: int = 0
    """Magnitude, up to 30, of RandAugment with two operations per clip: 7 to 15 for long trainings on little data."""
    erasing: float = 0.0
    """Probability of random erasing: a rectangle of the clip becomes gray. Such as 0.25."""
    mixup: float = 0.0
    """Mixup alpha: 0.2 to 0.8."""
    cutmix: float = 0.0
    """CutMix alpha: 1. With --mixup, each batch uses one of the two."""


@dataclass(frozen=True)
class SkewOptions(RecipeOptions):
    """Class imbalance; --balanced and --class-weights are exclusive."""

    balanced: bool = False
    """Sample every class equally often; an epoch keeps its number of videos."""
    class_weights: bool = False
    """Weight the loss so that every class has the same total weight."""
    focal_gamma: float = 0.0
    """Focal loss: exponent that down-weights videos which are already classified with confidence; 1 to 3, 2 in its
    paper."""


@dataclass(frozen=True)
class FrameOptions(RecipeOptions):
    """Long recordings and an answer for each frame. With --task spot or segment the optimizer is adamw with
    cosine-step, lr 0.001 from random weights, weight decay 0.01, for up to 50 epochs; --mixup is 0.2; and the plan
    chooses a network, whole frames, and what fits the machine, and says so."""

    task: Literal["clip", "spot", "segment"] = "clip"
    """clip: a video has one answer. spot: events, which have a time; TRAIN and VAL are a CSV (path,time_s,label or
    path,frame,label), E2E-Spot's JSON, or SoccerNet's. segment: what goes on from when to when; a CSV
    (path,label,start,end)."""
    head: Literal["gru", "gru-forward", "tcn", "none"] = "gru"
    """What goes from frame to frame behind the backbone: gru (both directions), gru-forward, tcn (dilated
    convolutions) or none. The last three can be streamed."""
    fps: float | None = None
    """Frames a second that the network sees, whatever the rates of the files; default: the median of the training
    recordings', or with segment and no --recipe what shows short spans well. Images have no clock: give it."""
    context: Annotated[float, arg(metavar="SECONDS")] = 4.0
    """Length of a training clip; as long as what happens around an event."""
    look_ahead: Annotated[float, arg(metavar="SECONDS")] = 0.32
    """How far --head tcn looks ahead: so late its answers come in a stream."""
    label_width: Annotated[float, arg(metavar="SECONDS")] = 0.0
    """Frames up to so far from an event are labelled as it is; 0 for its frame alone."""
    displacement: Annotated[float, arg(metavar="SECONDS")] = 0.0
    """Frames up to so far from an event are labelled as it is, and say how far it is (T-DEED); 0 for none."""
    event_weight: float = 5.0
    """Weight of the classes in the loss, relative to nothing; for spot."""
    background: float = 0.5
    """Share of the training clips that are drawn anywhere, in 0..1; the others show something that happens."""
    rate_jitter: float | None = None
    """Share of the training clips, in 0..1, that are read as if their recording had been converted to a lower or an
    irregular frame rate, so that the network knows such files too. Default: 0.5, but none with --fps below 10, which
    files seldom are."""
    epoch_clips: int | None = None
    """Training clips of an epoch; default: as many as show each moment of the recordings once."""
    tolerance: Annotated[float | None, arg(metavar="SECONDS")] = None
    """How far an answer may be from its event in validation; default: the mean of 1, 2 and 4 frames, as E2E-Spot."""

    @property
    def is_dense(self) -> bool:
        """Whether each frame has an answer."""
        return self.task != "clip"


# What stands in place of the plain defaults where each frame has an answer: as E2E-Spot was trained.
DENSE_DEFAULTS: dict[str, dict[str, Any]] = {
    "optim": {
        "optimizer": "adamw",
        "lr": 1e-3,
        "epochs": 50,
        "warmup_epochs": 3,
        "schedule": "cosine-step",
        "weight_decay": 0.01,
    },
    "augment": {"mixup": 0.2},
}
TABLES: dict[str, type[RecipeOptions]] = {
    "model": ModelOptions,
    "optim": OptimOptions,
    "augment": AugmentOptions,
    "skew": SkewOptions,
    "frames": FrameOptions,
}
