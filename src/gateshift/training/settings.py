"""What ``gateshift train`` can be told. The text under a field is its ``--help``.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gateshift.data.choices import CROP_SCALES, MAX_MAGNITUDE, ShortVideos
from gateshift.errors import SettingsError
from gateshift.evaluation.settings import Precision
from gateshift.recipes.options import AugmentOptions, ModelOptions, OptimOptions, SkewOptions

# Options, what their values must fit, and what to say of one that does not.
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "segments epochs batch_size accumulate validate_every lr_batch": (
        lambda value: value >= 1,
        "it must be at least 1; raise it",
    ),
    "lr new_layers_lr gates_lr clip_norm": (
        lambda value: 0 < value < math.inf,
        "it must be above 0 and finite; try the default",
    ),
    "weight_decay workers mixup cutmix focal_gamma skip_bad save_minutes": (
        lambda value: 0 <= value < math.inf,
        "it must be 0 or more, and finite; try the default",
    ),
    "label_smoothing ema brightness erasing": (
        lambda value: 0 <= value < 1,
        "it is a share from 0 up to, not including, 1; lower it",
    ),
    "seed": (lambda value: 0 <= value < 2**32, f"it must be from 0 to {2**32 - 1}; choose another"),
    "layer_decay": (lambda value: 0 < value <= 1, "it must be above 0 and at most 1; try 0.8"),
    "smallest_crop": (
        lambda value: CROP_SCALES[-1] <= value <= 1,
        f"it must be from {CROP_SCALES[-1]}, as in the papers, to 1; try 0.875",
    ),
    "rand_augment": (lambda value: 0 <= value <= MAX_MAGNITUDE, f"it must be from 0 to {MAX_MAGNITUDE}; try 9"),
}


@dataclass(frozen=True)
class TrainSettings:
    """Train a network on your videos.

    TRAIN and VAL are each a CSV (path,label[,start,end]), a videofolder.txt list (path frames label), or a
    folder with one sub-folder of videos for each class. RUN receives best.safetensors and last.safetensors
    (each a whole model), log.csv, TensorBoard curves, settings.json, and what --resume needs.
    Several GPUs: accelerate launch -m gateshift train ...
    """

    train: Annotated[Positional[Path], arg(metavar="TRAIN")]
    """Videos to learn from."""
    val: Annotated[Positional[Path], arg(metavar="VAL")]
    """Videos to validate on after each epoch."""
    out: Annotated[Path, arg(metavar="RUN")]
    """Folder to write; it must not exist, unless --resume."""
    recipe: str | None = None
    """A published row, see gateshift recipes, or a .toml file of yours: its options replace the defaults below. What is
    given beside it wins."""
    model: ModelOptions = field(default_factory=ModelOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    skew: SkewOptions = field(default_factory=SkewOptions)
    multi_label: bool = False
    """A video may show several classes at once, or none: TRAIN and VAL are CSVs whose label is all of them, with
    semicolons between, or empty. Each class then has a probability of its own."""
    root: Path | None = None
    """Where relative paths of the lists start; each list's own folder by default."""
    exclude: Path | None = None
    """CSV with a column path: these videos of TRAIN and VAL are left out, and counted."""
    skip_bad: int = 0
    """Go on without videos of TRAIN that cannot be read, up to so many, and list them in skipped.csv; one more stops
    the training. In one process only."""
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
    resume: bool | Literal["auto"] = False
    """Go on where the run in RUN stopped, however it did, with more --epochs too; see --extend. auto, for schedulers
    that start a command again: go on if there is anything to go on from, else begin."""
    extend: bool = False
    """With --resume and more --epochs than the run was begun with: go on although its learning rate has followed the
    shorter plan. From here on it is that of a run of --epochs, so it rises first, and falls to 0 again."""
    save_minutes: float = 10.0
    """Time from one save within an epoch to the next, for a run that is killed: it loses no more. 0 saves after every
    update. A run that is asked to stop, by Ctrl-C or SIGTERM, saves what it has."""

    def __post_init__(self) -> None:
        if self.recipe is not None:
            from gateshift.recipes.recipe import load_one_recipe

            recipe = load_one_recipe(self.recipe)
            for table in ("model", "optim", "augment", "skew"):
                object.__setattr__(self, table, getattr(self, table).filled(getattr(recipe, table)))

    def check(self) -> None:
        """Raise SettingsError if a number is out of its range, or options contradict each other."""
        model, skew = self.model, self.skew
        values = vars(self) | vars(model) | vars(self.optim) | vars(self.augment) | vars(skew)
        for names, (fits, rule) in _RANGES.items():
            for name in names.split():
                if values[name] is not None and not fits(values[name]):
                    raise SettingsError(f"--{name.replace('_', '-')} {values[name]}; {rule}")
        self._check_epochs()
        if self.extend and not self.resume:
            raise SettingsError("--extend goes with --resume: it is for a run that there is; add it, or leave both out")
        if model.start is not None and model.weights is not None:
            raise SettingsError("--start and --weights: both say where the network starts; leave one of them out")
        if self.multi_label and (skew.balanced or skew.class_weights):
            raise SettingsError(
                f"--multi-label and --{'balanced' if skew.balanced else 'class-weights'}, which is for one class a "
                "video; take --focal-gamma 2, or leave one of them out"
            )
        if skew.balanced and skew.class_weights:
            raise SettingsError("--balanced and --class-weights: both even out the classes; leave one of them out")

    def _check_epochs(self) -> None:
        optim = self.optim
        lengths = {
            "warmup-epochs": optim.warmup_epochs,
            "gates-warmup-epochs": optim.gates_warmup_epochs or 0,
            "freeze-epochs": optim.freeze_epochs,
        }
        for name, value in lengths.items():
            if not 0 <= value < optim.epochs:
                raise SettingsError(
                    f"--{name} {value} of --epochs {optim.epochs}; "
                    "it must be 0 or more and less than the epochs; lower it"
                )
