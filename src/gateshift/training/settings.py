"""The options of ``gateshift train`` and :func:`gateshift.training.train.train`; the text under a field is its help.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from gateshift.data.choices import CROP_SCALES, MAX_MAGNITUDE, ShortVideos
from gateshift.errors import SettingsError
from gateshift.evaluation.settings import Precision
from gateshift.recipes.options import (
    TABLES,
    AugmentOptions,
    ModelOptions,
    OptimOptions,
    SkewOptions,
    convert_fields,
    option_types,
    rename_old,
    suggest,
)
from gateshift.recipes.starts import check_start, start_network

# Options, what their values must fit, and the advice for one that does not.
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
    "label_smoothing ema color_jitter erasing": (
        lambda value: 0 <= value < 1,
        "it must be at least 0 and less than 1; lower it",
    ),
    "seed": (lambda value: 0 <= value < 2**32, f"it must be from 0 to {2**32 - 1}; choose another"),
    "layer_decay": (lambda value: 0 < value <= 1, "it must be above 0 and at most 1; try 0.8"),
    "min_crop_scale": (
        lambda value: CROP_SCALES[-1] <= value <= 1,
        f"it must be from {CROP_SCALES[-1]}, as in the papers, to 1; try 0.875",
    ),
    "rand_augment": (lambda value: 0 <= value <= MAX_MAGNITUDE, f"it must be from 0 to {MAX_MAGNITUDE}; try 9"),
}


@dataclass(frozen=True)
class TrainSettings:
    """Train a network on your videos.

    TRAIN and VAL are each a CSV (path,label[,start,end]), a videofolder.txt list (path frames label), or a
    folder with one sub-folder of videos per class. RUN receives best.safetensors and last.safetensors
    (each a whole model), log.csv, TensorBoard curves, settings.json, and the state that --resume needs.
    Several GPUs: accelerate launch -m gateshift train ...
    """

    train: Annotated[Positional[Path], arg(metavar="TRAIN")]
    """Training videos."""
    val: Annotated[Positional[Path], arg(metavar="VAL")]
    """Validation videos."""
    out: Annotated[Path, arg(metavar="RUN")]
    """Output folder; it must not exist, unless --resume."""
    recipe: str | None = None
    """A published recipe, see gateshift recipes, or a .toml file of yours: its options replace the defaults below.
    Options on the command line override it."""
    model: ModelOptions = field(default_factory=ModelOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    skew: SkewOptions = field(default_factory=SkewOptions)
    multi_label: bool = False
    """Several labels per video, or none: TRAIN and VAL are CSVs with labels separated by semicolons. Each class gets
    an independent probability."""
    root: Path | None = None
    """Folder that relative paths in the lists start from; default: the folder of each list."""
    exclude: Path | None = None
    """CSV with a column path: videos to leave out of TRAIN and VAL."""
    skip_bad: int = 0
    """Skip up to this many unreadable training videos, then abort; they are listed in skipped.csv. Single process
    only."""
    short_videos: ShortVideos = "spread"
    """Validation of videos with at most SEGMENTS frames: spread over them, or first-frame, a defect of the released
    code."""
    precision: Precision = "no"
    """Mixed precision."""
    workers: int | None = None
    """Data loading processes; 0 loads in the main process. Default: number of cores less one, at most 8."""
    checkpointing: bool = False
    """Activation checkpointing: a third of the memory for activations at 1.3 to 1.4 times the time, same weights."""
    compile: bool = False
    """Compile the network with torch.compile: faster steps after minutes of compilation."""
    seed: int = 0
    """Random seed."""
    resume: bool | Literal["auto"] = False
    """Resume the run in RUN where it stopped, optionally with more --epochs; see --extend. auto, for job schedulers:
    resume if there is a saved state, else start."""
    extend: bool = False
    """With --resume and more --epochs: accept that the learning rate has already followed the shorter schedule. It
    jumps to the schedule of --epochs, and decays to 0 again."""
    save_minutes: float = 10.0
    """Minutes between saves within an epoch: what a killed run loses at most. 0 saves after every step. Ctrl-C and
    SIGTERM save before they stop the run."""

    def __post_init__(self) -> None:
        # A command line's defaults, made before its words are read, lack the options that must be given.
        missing = (type(tyro.MISSING), type(tyro.MISSING_NONPROP))
        if not any(isinstance(value, missing) for value in vars(self).values()):
            convert_fields(self)
        if self.recipe is not None:
            from gateshift.recipes.recipe import load_one_recipe

            recipe = load_one_recipe(self.recipe)
            tables = {table: getattr(recipe, table) for table in TABLES}
        else:
            tables = {"model": {}}
        start = tables["model"].get("start") if self.model.start is None else self.model.start
        tables["model"] = start_network(start) | tables["model"]  # a named start is of one network
        for table, options in tables.items():
            object.__setattr__(self, table, getattr(self, table).filled(options))

    @classmethod
    def from_options(
        cls, train: str | os.PathLike[str], val: str | os.PathLike[str], *, out: str | os.PathLike[str], **options: Any
    ) -> TrainSettings:
        """The settings of a training from its options by their flat names, such as ``epochs=20``.

        Raises:
            SettingsError: If there is no such option, or its value is of another type.
        """
        options = rename_old(options)
        tables: dict[str, Any] = {}
        for table, kind in TABLES.items():
            tables[table] = kind(**{name: options.pop(name) for name in option_types(kind) if name in options})
        own = set(option_types(cls)) - {"train", "val", "out", *TABLES}
        for name in options:
            if name not in own:
                known = own.union(*(option_types(kind) for kind in TABLES.values()))
                raise SettingsError(f"`{name}` is not an option of a training; {suggest(name, known, '`')}")
        return cls(train, val, out, **tables, **options)  # type: ignore[arg-type] # paths are converted

    def options(self) -> dict[str, Any]:
        """All options by their flat names; the inverse of :meth:`from_options`."""
        own = {name: value for name, value in vars(self).items() if name not in TABLES}
        tables = {table: getattr(self, table) for table in TABLES}
        return own | {name: getattr(each, name) for each in tables.values() for name in option_types(type(each))}

    def for_part(self, name: str) -> TrainSettings:
        """The settings of one model of a recipe of several: its folder is below ``out``, and resumed if it exists."""
        out = self.out / name
        resume = self.resume if self.resume == "auto" else self.resume and out.exists()
        return dataclasses.replace(self, out=out, resume=resume)

    def check(self) -> None:
        """Raise SettingsError if a number is out of its range, or options contradict each other."""
        values = self.options()
        for names, (fits, rule) in _RANGES.items():
            for name in names.split():
                if values[name] is not None and not fits(values[name]):
                    raise SettingsError(f"`{name}` {values[name]}; {rule}")
        for name in ("warmup_epochs", "gates_warmup_epochs", "freeze_epochs"):
            if not 0 <= (values[name] or 0) < self.optim.epochs:
                raise SettingsError(
                    f"`{name}` {values[name]} of `epochs` {self.optim.epochs}; "
                    "it must be at least 0 and less than the number of epochs; lower it"
                )
        if self.extend and not self.resume:
            raise SettingsError("`extend` needs `resume`: it is for a run that exists; add it, or leave both out")
        if self.model.start is not None and self.model.weights is not None:
            raise SettingsError("`start` and `weights` both initialize the network; leave one of them out")
        if self.model.start is not None:
            check_start(self.model.start)
        if self.multi_label and (self.skew.balanced or self.skew.class_weights):
            raise SettingsError(
                f"`multi_label` and `{'balanced' if self.skew.balanced else 'class_weights'}`, which needs one class "
                "per video; use `focal_gamma=2`, or leave one of them out"
            )
        if self.skew.balanced and self.skew.class_weights:
            raise SettingsError("`balanced` and `class_weights` are exclusive; leave one of them out")
