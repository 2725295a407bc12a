"""The options of ``gateshift train`` and :func:`gateshift.training.train.train`; the text under a field is its help.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from gateshift.data.choices import CROP_SCALES, MAX_MAGNITUDE, ShortVideos
from gateshift.data.regions import box_text, region_of
from gateshift.devices import Tracker, check_tracker
from gateshift.errors import SettingsError
from gateshift.recipes.options import (
    DENSE_DEFAULTS,
    TABLES,
    AugmentOptions,
    FrameOptions,
    ModelOptions,
    OptimOptions,
    SkewOptions,
    convert_fields,
    option_types,
    rename_old,
    suggest,
)
from gateshift.recipes.starts import check_start, start_network

if TYPE_CHECKING:
    from gateshift.recipes.recipe import Recipe

# Options, what their values must fit, and the advice for one that does not.
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "segments epochs batch_size accumulate validate_every lr_batch epoch_clips": (
        lambda value: value >= 1,
        "it must be at least 1; raise it",
    ),
    "lr new_layers_lr gates_lr clip_norm minutes fps context event_weight tolerance": (
        lambda value: 0 < value < math.inf,
        "it must be above 0 and finite; try the default",
    ),
    "weight_decay workers mixup cutmix focal_gamma skip_bad save_minutes look_ahead label_width displacement": (
        lambda value: 0 <= value < math.inf,
        "it must be 0 or more, and finite; try the default",
    ),
    "label_smoothing ema color_jitter erasing": (
        lambda value: 0 <= value < 1,
        "it must be at least 0 and less than 1; lower it",
    ),
    "background rate_jitter": (lambda value: 0 <= value <= 1, "it must be from 0 to 1; try 0.5"),
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

    Without --recipe, a plan for your videos and this machine chooses the options that you do not give, says why, and
    is written to RUN/recipe.toml; the defaults below are those of --recipe papers.

    TRAIN and VAL are each a CSV (path,label[,start,end]), a videofolder.txt list (path frames label), or a
    folder with one sub-folder of videos per class; for events of long recordings see --task. RUN receives
    best.safetensors and last.safetensors (each a whole model), log.csv, TensorBoard curves, settings.json, and the
    state that --resume needs.
    Several GPUs: accelerate launch -m gateshift train ...
    """

    train: Annotated[Positional[Path], arg(metavar="TRAIN")]
    """Training videos."""
    val: Annotated[Positional[Path], arg(metavar="VAL")]
    """Validation videos."""
    out: Annotated[Path, arg(metavar="RUN")]
    """Output folder; it must not exist, unless --resume."""
    recipe: str | None = None
    """A published recipe, see gateshift recipes; papers, for the defaults below; or a .toml file, such as another
    RUN's recipe.toml. Options on the command line override it. Default: planned."""
    minutes: float | None = None
    """Fit the training into so many minutes on this machine, by its number of epochs. The learning rate still falls to
    0 at the end."""
    probe: bool | None = None
    """Before the training, see how far a linear classifier gets on features of the network as it starts: a floor, and
    a learning curve, on RUN/training.html. Default: without a recipe."""
    model: ModelOptions = field(default_factory=ModelOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    skew: SkewOptions = field(default_factory=SkewOptions)
    frames: FrameOptions = field(default_factory=FrameOptions)
    multi_label: bool = False
    """Several labels per video, or none: TRAIN and VAL are CSVs with labels separated by semicolons. Each class gets
    an independent probability."""
    root: Path | None = None
    """Folder that relative paths in the lists start from; default: the folder of each list."""
    box: Annotated[str | None, arg(metavar="X0,Y0,X1,Y1")] = None
    """Region of the picture, of a fixed camera: shares of it, as 0.1,0.2,0.6,0.9, or pixels, as 120,80,520,460. A
    column box of TRAIN and VAL wins. The model keeps it, and sees it by default."""
    exclude: Path | None = None
    """CSV with a column path: videos to leave out of TRAIN and VAL."""
    skip_bad: int = 0
    """Skip up to this many unreadable training videos, then abort; they are listed in skipped.csv. Single process
    only."""
    short_videos: ShortVideos = "spread"
    """Validation of videos with at most SEGMENTS frames: spread over them, or first-frame, a defect of the released
    code."""
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
    log_with: Tracker | None = None
    """Give the curves to another program too: wandb, which writes them to RUN/wandb unless WANDB_MODE says online;
    mlflow, into its own store; or trackio."""
    save_minutes: float = 10.0
    """Minutes between saves within an epoch: what a killed run loses at most. 0 saves after every step. Ctrl-C and
    SIGTERM save before they stop the run."""

    def __post_init__(self) -> None:
        # A command line's defaults, made before its words are read, lack the options that must be given.
        missing = (type(tyro.MISSING), type(tyro.MISSING_NONPROP))
        if not any(isinstance(value, missing) for value in vars(self).values()):
            convert_fields(self)
        others: dict[str, dict[str, Any]] = {}
        if self.recipe is not None:
            from gateshift.recipes.recipe import load_one_recipe

            recipe = load_one_recipe(self.recipe)
            others = {table: getattr(recipe, table) for table in TABLES}
        if self.frames.filled(others.get("frames", {})).is_dense:
            others = {table: DENSE_DEFAULTS.get(table, {}) | others.get(table, {}) for table in TABLES}
        model = others.get("model", {})
        start = model.get("start") if self.model.start is None else self.model.start
        others["model"] = start_network(start) | model  # a named start is of one network
        for table, values in others.items():
            object.__setattr__(self, table, getattr(self, table).filled(values))

    @classmethod
    def from_options(
        cls, train: str | os.PathLike[str], val: str | os.PathLike[str], *, out: str | os.PathLike[str], **options: Any
    ) -> TrainSettings:
        """The settings of a training from its options by their flat names, such as ``epochs=20``.

        Raises:
            SettingsError: If there is no such option, or its value is of another type.
        """
        options = rename_old(options)
        if "box" in options:
            options["box"] = box_text(options["box"])
        tables: dict[str, Any] = {}
        for table, kind in TABLES.items():
            tables[table] = kind(**{name: options.pop(name) for name in option_types(kind) if name in options})
        own = set(option_types(cls)) - {"train", "val", "out", *TABLES}
        for name in options:
            if name not in own:
                known = own.union(*(option_types(kind) for kind in TABLES.values()))
                raise SettingsError(f"`{name}` is not an option of a training; {suggest(name, known, '`')}")
        return cls(train, val, out, **tables, **options)  # type: ignore[arg-type] # paths are converted

    def given(self) -> dict[str, Any]:
        """The options that were given, by their flat names; the others may be planned."""
        mine = set().union(*(getattr(self, table)._given for table in TABLES))
        own = {item.name: item.default for item in dataclasses.fields(self) if item.name not in TABLES}
        return {name: value for name, value in self.options().items() if name in mine or value != own.get(name, value)}

    def mark_given(self, names: Collection[str]) -> None:
        """Say which options of the groups were given, where all were written out, as by a command line."""
        for table in TABLES:
            options = getattr(self, table)
            object.__setattr__(options, "_given", options._given & {*names})

    def options(self) -> dict[str, Any]:
        """All options by their flat names; the inverse of :meth:`from_options`."""
        own = {name: value for name, value in vars(self).items() if name not in TABLES}
        tables = {table: getattr(self, table) for table in TABLES}
        return own | {name: getattr(each, name) for each in tables.values() for name in option_types(type(each))}

    def changed(self, options: Mapping[str, Any]) -> TrainSettings:
        """The same settings with these options, by their flat names, whatever a recipe says."""
        tables = {
            table: dataclasses.replace(
                getattr(self, table), **{name: options[name] for name in option_types(kind) if name in options}
            )
            for table, kind in TABLES.items()
        }
        return dataclasses.replace(self, **tables)

    def filled(self, recipe: Recipe) -> TrainSettings:
        """The same settings with a recipe's options for those that were not given."""
        given = self.given()
        options = {name: value for table in TABLES for name, value in getattr(recipe, table).items()}
        return self.changed({name: value for name, value in options.items() if name not in given})

    def for_part(self, name: str) -> TrainSettings:
        """The settings of one model of a recipe of several: its folder is below ``out``, and resumed if it exists."""
        out = self.out / name
        resume = self.resume if self.resume == "auto" else self.resume and out.exists()
        return dataclasses.replace(self, out=out, resume=resume)

    def check_given(self) -> None:
        """Raise SettingsError if a number is out of its range, or options contradict each other, planned or not."""
        region_of(self.box)
        values = self.options()
        for names, (fits, rule) in _RANGES.items():
            for name in names.split():
                if values[name] not in (None, "auto") and not fits(values[name]):
                    raise SettingsError(f"`{name}` {values[name]}; {rule}")
        if self.compile and self.checkpointing:
            raise SettingsError("`compile` and `checkpointing` do not go together in torch; leave one of them out")
        if self.optim.partial_bn and self.optim.frozen_bn:
            raise SettingsError("`partial_bn` and `frozen_bn` are exclusive; leave one of them out")
        if self.extend and not self.resume:
            raise SettingsError("`extend` needs `resume`: it is for a run that exists; add it, or leave both out")
        if self.model.start is not None and self.model.weights is not None:
            raise SettingsError("`start` and `weights` both initialize the network; leave one of them out")
        if self.model.start is not None:
            check_start(self.model.start)
        if self.log_with is not None:
            check_tracker(self.log_with)
        for name, is_set in (("probe", self.probe), ("fit_classifier", self.model.fit_classifier)):
            if self.multi_label and is_set:
                raise SettingsError(f"`{name}` with `multi_label`; it needs one class per video; leave one of them out")
        if self.multi_label and (self.skew.balanced or self.skew.class_weights):
            raise SettingsError(
                f"`multi_label` and `{'balanced' if self.skew.balanced else 'class_weights'}`, which needs one class "
                "per video; use `focal_gamma=2`, or leave one of them out"
            )
        self._check_frames()
        if self.skew.balanced and self.skew.class_weights:
            raise SettingsError("`balanced` and `class_weights` are exclusive; leave one of them out")

    def _check_frames(self) -> None:
        """Raise SettingsError if options contradict that each frame has an answer, or that none has."""
        frames, plain = self.frames, FrameOptions()
        if not frames.is_dense:
            given = [name for name in option_types(FrameOptions) if getattr(frames, name) != getattr(plain, name)]
            if given:
                raise SettingsError(f"`{given[0]}` is of recordings with an answer for each frame; add `task=spot`")
            return
        unfit = {
            "multi_label": self.multi_label,
            "cutmix": self.augment.cutmix,
            "reverse": self.augment.reverse or self.augment.reversal_pairs,
            "class_weights": self.skew.class_weights,
            "probe": self.probe,
            "fit_classifier": self.model.fit_classifier,
        }
        for name in (name for name, is_given in unfit.items() if is_given):
            raise SettingsError(f"`{name}` with `task={frames.task}`, where each frame has one label; leave it out")
        if frames.displacement and frames.task != "spot":
            raise SettingsError(f"`displacement` with `task={frames.task}`; it is of events; leave it out")

    def check(self) -> None:
        """The same, and that warm-up and freezing end before the training does."""
        self.check_given()
        values = self.options()
        if self.optim.gates_lr == "auto" and self.optim.optimizer != "adamw":
            raise SettingsError("`gates_lr=auto` is for `optimizer=adamw`; give a number, or leave it out")
        for name in ("warmup_epochs", "gates_warmup_epochs", "freeze_epochs"):
            if not 0 <= (values[name] or 0) < self.optim.epochs:
                raise SettingsError(
                    f"`{name}` {values[name]} of `epochs` {self.optim.epochs}; "
                    "it must be at least 0 and less than the number of epochs; lower it"
                )
