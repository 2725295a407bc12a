"""A training on long recordings, planned: what the network sees of them, and for how long it is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from gateshift.data.clips.frame_rates import sampled_frames
from gateshift.data.clips.recordings import Recording
from gateshift.errors import VideoError
from gateshift.planning.machine import Machine, Timing
from gateshift.planning.plan import (
    BACKBONE,
    LONG_S,
    Plan,
    average_of,
    epochs_of,
    fit_minutes,
    minutes_text,
    open_start,
    size_text,
)
from gateshift.recipes.options import FrameOptions, OptimOptions

SHORT = 10  # percent of the spans that are shorter than a short one
SPAN_FRAMES, CONTEXT_FRAMES = 8, 32  # of a short span, and of a training clip: four of these
LOWEST_FPS = 2.0  # of longer spans too, as movement is not seen at less
SLOW_FRAMES, AT_ONCE = 256, 128  # of a step without an accelerator, and of each pass of it, for the memory
SLOW_CONTEXT_S = 2.0  # of events
FRAMES_CROP = 0.875  # an event near the edge of the picture is still in most of the clips
SLOW_CLIPS = {"spot": 4000, "segment": 2500}  # in all, unless recordings are very long
MOST_FRAME_EPOCHS, FEWEST_FRAME_EPOCHS = 50, 10
READ = 8  # recordings of which a clip is read, to see how long that takes


@dataclass(frozen=True)
class Recordings:
    """What a plan is made for.

    Attributes:
        train_s: How long the training recordings are together, in seconds.
        val_s: The same of the validation recordings.
        fps: Frames a second of the median training recording, or of the network if that is given.
        short_span_s: Length of a short span in training, in seconds; None of events.
    """

    train_s: float
    val_s: float
    fps: float
    short_span_s: float | None = None


def look_at_recordings(train: Sequence[Recording], val: Sequence[Recording], *, fps: float) -> Recordings:
    """See how long recordings are, and what goes on in them; those that cannot be read are passed over."""
    lengths_s = [span.end_s - span.start_s for recording in train for span in recording.spans]
    return Recordings(
        _total_s(train),
        _total_s(val),
        fps,
        float(np.percentile(lengths_s, SHORT)) if lengths_s else None,
    )


def _total_s(recordings: Sequence[Recording]) -> float:
    total_s = 0.0
    for recording in recordings:
        with suppress(VideoError):
            video, times_s = recording.open()
            video.close()
            total_s += float(times_s[-1] - times_s[0])
    return total_s


def clip_read_s(recordings: Sequence[Recording], frames: FrameOptions) -> float:
    """Seconds to read a training clip, as one in the middle of a recording; of the median one of a few."""
    seconds, fps = [], frames.fps or 1.0
    for recording in recordings[:: -(-len(recordings) // READ)]:
        with suppress(VideoError):
            video, times_s = recording.open()
            with closing(video):
                wanted_s = (times_s[0] + times_s[-1]) / 2 + np.arange(max(round(frames.context * fps), 1)) / fps
                began_s = time.perf_counter()
                video.read(sampled_frames(times_s, wanted_s, fps).tolist())
                seconds.append(time.perf_counter() - began_s)
    return median(seconds) if seconds else 0.0


def plan_frame_network(
    recordings: Recordings, machine: Machine, given: Mapping[str, Any], *, size_px: int | None
) -> Plan:
    """A network with an answer for each frame, where it starts, and what it sees.

    Args:
        recordings: What is learned.
        machine: Where.
        given: Options of the user.
        size_px: Side of its input; None for its own.
    """
    chosen: dict[str, Any] = {"backbone": BACKBONE, "temporal": "gsm", **open_start(given)}
    chosen |= {"whole_frame": True, "min_crop_scale": FRAMES_CROP}
    if size_px is not None:
        chosen["size"] = size_px
    why = ""
    if recordings.short_span_s is not None:
        chosen["fps"] = min(recordings.fps, max(round(SPAN_FRAMES / recordings.short_span_s, 1), LOWEST_FPS))
        chosen["context"] = max(round(CONTEXT_FRAMES / given.get("fps", chosen["fps"]), 1), FrameOptions.context)
        why = f", as one span in {100 // SHORT} is shorter than {recordings.short_span_s:.1f} s" * ("fps" not in given)
    elif machine.is_slow:
        chosen["context"] = SLOW_CONTEXT_S
    options = {**chosen, **given}
    start = options.get("start") or options.get("weights") or "random weights"
    picture = "whole frames" if options["whole_frame"] else "crops"
    return Plan(
        {name: value for name, value in chosen.items() if name not in given},
        (
            f"network: {options['backbone']} with {options['temporal']} from {start}, "
            f"{picture} of {size_text(options)}",
            f"sees: {options.get('fps', recordings.fps):g} frames a second{why}",
        ),
    )


def plan_frame_training(
    recordings: Recordings,
    machine: Machine,
    timing: Timing,
    given: Mapping[str, Any],
    *,
    frames: FrameOptions,
    read_s: float,
    minutes: float | None = None,
) -> Plan:
    """How a network with an answer for each frame is trained, and for how long.

    Args:
        recordings: What is learned.
        machine: Where.
        timing: Of the network there, for a clip.
        given: Options of the user and of :func:`plan_frame_network`.
        frames: What the network sees of them.
        read_s: Seconds to read a clip.
        minutes: At most; None for as long as the recordings are worth.
    """
    chosen: dict[str, Any] = {"precision": timing.precision}
    if given.get("optimizer", "adamw") == "adamw":
        chosen["gates_lr"] = "auto"
        if given.get("start") or given.get("weights"):
            chosen |= {"lr": 5e-4, "new_layers_lr": 2.0}
    clips, num_frames = clips_of(recordings, frames)
    epochs = MOST_FRAME_EPOCHS
    if machine.is_slow:
        at_once = min(max(AT_ONCE // num_frames, 2), 8)
        chosen["batch_size"] = at_once * machine.processes
        if "batch_size" not in given:
            chosen["accumulate"] = max(min(SLOW_FRAMES // num_frames, 8) // at_once, 1)
        epochs = min(max(round(SLOW_CLIPS[frames.task] / clips), FEWEST_FRAME_EPOCHS), epochs)
    every = given.get("validate_every", OptimOptions.validate_every)
    seconds = frame_training_s(recordings, frames, machine, timing, read_s=read_s, every=every)
    if minutes is not None:
        epochs = fit_minutes(minutes, seconds, f"{clips} clips", at_most=epochs)
    epochs = epochs_of(given, epochs)
    chosen |= {"epochs": epochs, "warmup_epochs": min(max(1, epochs // 10), 3, epochs - 1)}
    if frames.task == "segment":  # of few rooms and people: what one step learns the next undoes
        step = {"batch_size": OptimOptions.batch_size, "accumulate": 1, **chosen, **given}
        updates = epochs * math.ceil(clips / (step["batch_size"] * step["accumulate"]))
        chosen |= {"color_jitter": 0.3, "ema": average_of(updates)}
    shorter = "; `minutes` shortens it" if minutes is None and seconds(epochs) > LONG_S else ""
    precision = "float32" if timing.precision == "no" else timing.precision
    return Plan(
        {name: value for name, value in chosen.items() if name not in given},
        (
            f"training: {epochs} epoch{'s' * (epochs > 1)} of {clips} clips of {frames.context:g} s",
            f"time: about {minutes_text(seconds(epochs))}, {timing.step_s:.2g} s a clip on {machine} in {precision}, "
            f"measured{shorter}",
        ),
    )


def clips_of(recordings: Recordings, frames: FrameOptions) -> tuple[int, int]:
    """How many clips an epoch has, and how many frames a clip."""
    clips = frames.epoch_clips or max(round(recordings.train_s / frames.context), 1)
    return clips, max(round(frames.context * (frames.fps or 1.0)), 1)


def frame_training_s(
    recordings: Recordings,
    frames: FrameOptions,
    machine: Machine,
    timing: Timing,
    *,
    read_s: float,
    every: int,
) -> Callable[[int], float]:
    """How long a training of so many epochs takes, in seconds.

    Args:
        recordings: What is learned.
        frames: What the network sees of them.
        machine: Where.
        timing: Of the network there, for a clip.
        read_s: Seconds to read a clip.
        every: Epochs between validations.
    """
    windows = 2 * recordings.val_s / frames.context  # each begins in the middle of another
    epoch_s = timing.epoch_s(machine, num_train=clips_of(recordings, frames)[0], num_val=windows / every, read_s=read_s)
    return lambda epochs: epochs * epoch_s
