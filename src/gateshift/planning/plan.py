"""A training planned for the videos and the machine: every option that the user leaves open, and why it is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateshift.data.clips.loader import default_workers
from gateshift.errors import SettingsError
from gateshift.model.backbones.factory import PAPER_BACKBONES
from gateshift.planning.machine import Machine, Timing
from gateshift.planning.videos import Videos
from gateshift.probing.probe import MOST_CLIPS
from gateshift.recipes.starts import IMAGENET, MOTION

BACKBONE = "tf_efficientnet_lite0"  # which the start that knows motion is of; another one starts from ImageNet
CLEARLY = 0.05  # how much more of the held-out videos another start has to know
OTHER_GATES = ("num_sites", "ratio", "interleave", "causal")  # than that start has

SMALL_PX = 112  # on a machine without an accelerator
FEW_PER_CLASS = 100
FEW_UPDATES = 300
CLIPS_OF_A_SMALL_SET = 4000  # that a training sees in all, each video in another way each time
MOST_EPOCHS, FEWEST_EPOCHS = 30, 10
OUTSIDE = 0.35  # share of the movement outside of the center crop from which on the whole frame is used
EPOCHS_WITHIN = ("warmup_epochs", "gates_warmup_epochs", "freeze_epochs")  # fewer than all
LONG_S = 3600.0
MINUTES_KEPT = 0.92  # of what is asked for: to set up, to draw pages, and for what a machine does besides


@dataclass(frozen=True)
class Plan:
    """Options of a training by their flat names, and a line for each thing that was decided."""

    options: dict[str, Any]
    reasons: tuple[str, ...]


def may_start_from_motion(given: Mapping[str, Any]) -> bool:
    """Whether the start is open, and the network the one that the start that knows motion is of.

    Its weights mean nothing without its gate-shift: a TSN of them began with a loss of 378.
    """
    is_its_network = given.get("backbone", BACKBONE) == BACKBONE and given.get("temporal", "gsm") == "gsm"
    return is_its_network and not {"start", "weights", *OTHER_GATES} & {*given}


def open_start(given: Mapping[str, Any]) -> dict[str, str]:
    """Where a network starts if that is open: what its backbone knows of motion, or else of photographs."""
    if may_start_from_motion(given):
        return {"start": MOTION}  # motion is what networks that start from photographs learn last
    if {"start", "weights"} & {*given} or given.get("backbone") in PAPER_BACKBONES:
        return {}  # of the papers' backbones there are no weights to fetch
    return {"start": IMAGENET}


def plan_network(
    videos: Videos,
    machine: Machine,
    given: Mapping[str, Any],
    *,
    size_px: int | None,
    known: Mapping[str, float] | None = None,
) -> Plan:
    """The network, where it starts, and what it sees.

    Args:
        videos: What is learned.
        machine: Where.
        given: Options of the user.
        size_px: Side of its input; None for its own.
        known: Of starts that were compared, accuracy on held-out training videos without training, in 0..1.
    """
    chosen: dict[str, Any] = {"backbone": BACKBONE, "temporal": "gsm", "segments": 8, "dropout": 0.3}
    chosen |= open_start(given)
    known = known or {}
    if known.get(IMAGENET, 0) > known.get(MOTION, 0) + CLEARLY:
        chosen["start"] = IMAGENET
    if size_px is not None:
        chosen["size"] = size_px
    chosen["whole_frame"] = videos.moves_outside > OUTSIDE and not videos.mixed_shapes
    options = {**chosen, **given}
    start = options.get("start") or options.get("weights") or "random weights"
    if known:
        told = " and ".join(f"{share:.0%} from {name}" for name, share in known.items())
        start += f" (a classifier on it untrained gets {told} of held-out training videos)"
    outside = f"{videos.moves_outside:.0%} of the movement is outside of the center crop"
    picture = "whole frames" if options["whole_frame"] else "crops"
    if "whole_frame" not in given and videos.mixed_shapes:
        picture += ", as upright and wide videos would be squashed apart"
    elif "whole_frame" not in given:
        picture += f", as {outside}" if options["whole_frame"] else f", as only {outside}"
    why = "what a machine without a GPU trains in minutes" if machine.is_slow else f"for {machine}"
    return Plan(
        {name: value for name, value in chosen.items() if name not in given},
        (
            f"network: {options['backbone']} with {options['temporal']} from {start}, {options['segments']} frames of "
            f"{size_text(options)}: {why}",
            f"picture: {picture}",
        ),
    )


def plan_training(
    videos: Videos, machine: Machine, timing: Timing, given: dict[str, Any], *, minutes: float | None = None
) -> Plan:
    """How it is trained, and for how long.

    Args:
        videos: What is learned.
        machine: Where.
        timing: Of the network there.
        given: Options of the user and of :func:`plan_network`.
        minutes: At most; None for as long as the videos are worth.
    """
    pretrained = given.get("start") or given.get("weights")
    few, knows_motion = videos.per_class < FEW_PER_CLASS, pretrained == MOTION and given.get("temporal", "gsm") == "gsm"
    keeps_statistics = given.get("frozen_bn", few and knows_motion and not given.get("partial_bn", False))
    chosen: dict[str, Any] = {
        "schedule": "cosine-step",
        "batch_size": (8 if machine.is_slow else 16) * machine.processes,
        "optimizer": "adamw",
        "weight_decay": 0.02,
        "color_jitter": 0.3,
        "label_smoothing": 0.1 if few else 0.0,
        "precision": timing.precision,
        # Those of a batch of a few clips are other ones from batch to batch, and than the start's.
        "frozen_bn": keeps_statistics,
        # A random classifier's first gradients would undo what the start knows of motion; one that was fitted to other
        # statistics would too.
        "fit_classifier": knows_motion and keeps_statistics and not given.get("multi_label", False),
    }
    if given.get("optimizer", "adamw") == "adamw":
        chosen |= {"lr": 5e-4 if pretrained else 2e-3, "new_layers_lr": 2.0, "gates_lr": "auto"}
    epochs = min(max(round(CLIPS_OF_A_SMALL_SET / videos.num_train), FEWEST_EPOCHS), MOST_EPOCHS)
    if minutes is not None:
        every, probed = given.get("validate_every"), given.get("probe") is not False
        seconds = training_s(videos, machine, timing, every=every, probed=probed)
        epochs = fit_minutes(minutes, seconds, f"{videos.num_train} videos", at_most=epochs)
    epochs = epochs_of(given, epochs)
    chosen |= {"epochs": epochs, **schedule_of(epochs)}
    updates = epochs * math.ceil(videos.num_train / (chosen | given)["batch_size"])
    chosen["ema"] = average_of(updates)
    chosen = {name: value for name, value in chosen.items() if name not in given}
    reasons = _training_reasons(videos, machine, timing, {**chosen, **given}, updates, may_shorten=minutes is None)
    return Plan(chosen, reasons)


def _training_reasons(
    videos: Videos, machine: Machine, timing: Timing, options: Mapping[str, Any], updates: int, *, may_shorten: bool
) -> tuple[str, str]:
    """What is said of a training, and of how long it takes."""
    epochs, num_val = options["epochs"], videos.num_val / options["validate_every"]
    all_s = epochs * timing.epoch_s(machine, num_train=videos.num_train, num_val=num_val, read_s=videos.read_s)
    against = {"label smoothing": options.get("label_smoothing"), "averaged weights": options["ema"]}
    regular = " and ".join(name for name, value in against.items() if value) or "neither smoothing nor averages"
    regular += ", as clips are few" if videos.per_class < FEW_PER_CLASS else ""
    kept = {"batch norms as in the start": options["frozen_bn"], "first a classifier alone": options["fit_classifier"]}
    regular += "".join(f"; {name}" for name, value in kept.items() if value)
    rate, precision = options.get("lr", 0.01), "float32" if options["precision"] == "no" else options["precision"]
    workers = default_workers() if options.get("workers") is None else options["workers"]
    length = f"{epochs} epoch{'s' * (epochs > 1)}, {updates} steps"
    reads_long = videos.read_s / machine.cores > timing.step_s
    slow = "; reading takes most of it, and videos packed by `prepare` are read faster" if reads_long else ""
    shorter = "; `minutes` shortens it" if may_shorten and all_s > LONG_S else ""
    return (
        f"training: {length} of {options['optimizer']} up to {rate:g}; {regular}",
        f"time: about {minutes_text(all_s)}, {timing.step_s:.2g} s a video on {machine} in {precision}, "
        f"measured; {workers} loading{slow}{shorter}",
    )


def training_s(
    videos: Videos, machine: Machine, timing: Timing, *, every: int | None, probed: bool
) -> Callable[[int], float]:
    """How long a training of so many epochs takes, in seconds.

    Args:
        videos: What is learned.
        machine: Where.
        timing: Of the network there.
        every: Epochs between validations, if that is decided.
        probed: Whether a probe takes some of the time.
    """
    seen = min(videos.num_train, MOST_CLIPS) + min(videos.num_val, MOST_CLIPS)
    probe_s = timing.epoch_s(machine, num_train=0, num_val=seen, read_s=videos.read_s)

    def seconds(epochs: int) -> float:
        num_val = videos.num_val / (every or schedule_of(epochs)["validate_every"])
        epoch_s = timing.epoch_s(machine, num_train=videos.num_train, num_val=num_val, read_s=videos.read_s)
        return epochs * epoch_s + probed * probe_s

    return seconds


def fit_minutes(minutes: float, seconds: Callable[[int], float], what: str, *, at_most: int) -> int:
    """How many epochs fit into a time.

    Args:
        minutes: The time.
        seconds: How long so many epochs take.
        what: An epoch is of.
        at_most: Epochs.

    Raises:
        SettingsError: If not even one does.
    """
    fitting = [epochs for epochs in range(1, at_most + 1) if seconds(epochs) <= 60 * minutes * MINUTES_KEPT]
    if not fitting:
        raise SettingsError(
            f"`minutes` {minutes:g}, but an epoch of {what} takes {minutes_text(seconds(1))} here; "
            "give more, or a smaller `size`"
        )
    return fitting[-1]


def schedule_of(epochs: int) -> dict[str, Any]:
    """Warm-up and validations of a training of so many epochs."""
    return {"warmup_epochs": min(max(1, epochs // 10), epochs - 1), "validate_every": max(1, epochs // 10)}


def average_of(updates: int) -> float:
    """How slowly an average of the weights moves in a training of so many steps; 0 for none.

    One over 100 steps of a training of not many more would hold where it started.
    """
    return 0.0 if updates < FEW_UPDATES else 0.99 if updates < 2000 else 0.999


def epochs_of(given: Mapping[str, Any], planned: int) -> int:
    """As many as are asked for, or planned, and more than those within them that are asked for."""
    return given.get("epochs", max(planned, *((given.get(name) or 0) + 1 for name in EPOCHS_WITHIN)))


def size_text(options: Mapping[str, Any]) -> str:
    return f"{options['size']} px" if options.get("size") else "the size that it is made for"


def minutes_text(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
