"""What happens when in a long recording: windows scored in one pass over the file, merged into events."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from gateshift.data.events.events import Span
from gateshift.data.labelling.programs import Program
from gateshift.data.labelling.writing import write_labels
from gateshift.data.regions import AnyRegion, Region
from gateshift.data.video.files import Video, VideoFile, open_video
from gateshift.data.video.sources import Source, name_of
from gateshift.devices import AnyPrecision
from gateshift.errors import SettingsError, VideoError, check_whole
from gateshift.evaluation.fast_form import device_of, fast_form
from gateshift.evaluation.protocol import choose_box, choose_protocol
from gateshift.prediction.frames import score_frames
from gateshift.prediction.predict import check_not_live, ready_model
from gateshift.prediction.scoring import AnyModel
from gateshift.prediction.spotting import Seen, check_out, find_spans
from gateshift.prediction.timeline_files import TIMELINE_SUFFIXES, write_timeline
from gateshift.prediction.windows import (
    Thresholds,
    Windows,
    check_positive,
    frames_in,
    in_batches,
    stack_clips,
    window_clips,
)


def find_events(
    model: AnyModel | str | PathLike[str],
    video: Source,
    *,
    classes: str | PathLike[str] | None = None,
    segments: int | None = None,
    window: float = 2.0,
    hop: float = 0.5,
    smooth: int = 1,
    enter: float = 0.5,
    leave: float = 0.4,
    fps: float | None = None,
    precision: AnyPrecision = "no",
    box: AnyRegion | None = None,
    out: str | PathLike[str] | None = None,
    format: Program | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Span]:
    """What happens when in a recording: windows of it are classified, and neighbors of one class become an event.

    A model that was trained with ``task="segment"`` says it of each frame; windows and thresholds are then nothing.

    Args:
        model: In eval mode; or the path of any model.
        video: A video file, as a path, an http or https address, bytes or a file object opened with "rb".
        classes: A file with names for the class numbers of a released checkpoint, one a line.
        segments: T, frames of a window that are classified; by default as in training.
        window: Length of a window, in seconds.
        hop: Time from one window to the next, in seconds.
        smooth: Each answer is the mean of this many around it; odd, so that nothing is moved in time.
        enter: A class begins when its probability reaches this, in 0..1.
        leave: It ends when its probability falls below this, in 0..1.
        fps: Frames a second, where they are not those that the file says; window and hop are counted in frames.
        precision: As for ``predict_with``.
        box: As for ``predict_with``.
        out: A file to write: .json, .csv, or subtitles as .srt or .vtt; with ``format`` that program's.
        format: The labelling program in which a person is to correct ``out``; see :func:`gateshift.write_labels`.
        overwrite: Replace ``out`` if it is there.
        progress: Called with the number of windows that are done and of all.

    Returns:
        The events by their start, in seconds on the recording's clock.

    Raises:
        VideoError: If the video cannot be read, or has no clock, as images have none.
        SettingsError: If a number is out of range, or ``out`` cannot be written.
        ModelError: If the model cannot be loaded, or is in training mode.
    """
    thresholds = Thresholds(enter, leave)
    _check_odd(smooth)
    check_positive("fps", fps)
    if isinstance(video, str):
        check_not_live([video])
    if out is not None:
        check_out(Path(out), format, overwrite=overwrite, suffixes=TIMELINE_SUFFIXES)
    model = fast_form(ready_model(model, classes=classes), precision)
    config = model.config
    region = choose_box(config, box)
    protocol = None if config.task == "segment" else choose_protocol(config, segments=segments)
    with open_recording(video, square_pixels=config.square_pixels, box=region) as recording:
        if protocol is None:
            seen = Seen.of(recording.clock_s(), config)
            events = find_spans(score_frames(model, recording, seen.frames, progress=progress), config, seen)
        else:
            rate = fps or recording.rate
            windows = Windows(frames_in("window", window, rate), frames_in("hop", hop, rate), protocol.num_segments)
            found = score_windows(model, recording, windows, progress=progress)
            spans, ends_s = windows.covering(recording.num_frames), recording.ends_s()
            if recording.num_frames == 1 and rate:  # no file says for how long its only frame is shown
                ends_s = [ends_s[0], ends_s[0] + 1 / rate]
            events = merge_windows(
                found, spans, ends_s, config.classes, thresholds=thresholds, smooth=smooth, apart=config.multi_label
            )
    if out is not None and format is not None:
        write_labels({name_of(video): events}, out, format, overwrite=overwrite)
    elif out is not None:
        write_timeline(events, out, video=name_of(video))
    return events


def open_recording(source: Source, *, square_pixels: bool, box: Region | None) -> VideoFile:
    """Open a video file for a timeline.

    Raises:
        VideoError: If it cannot be opened, or has no clock, as images have none.
    """
    video = open_video(source, square_pixels=square_pixels, box=box)
    if not isinstance(video, VideoFile):
        video.close()
        raise VideoError(
            f"{name_of(source)}: images have no clock, which a timeline needs; give the video that they came from"
        )
    return video


@torch.inference_mode()
def score_windows(
    model: AnyModel,
    video: Video,
    windows: Windows,
    *,
    batch_size: int = 4,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Tensor:
    """Classify the windows that cover a video; each frame is decoded once, and few are in memory at a time.

    Args:
        model: In eval mode.
        video: Open.
        windows: Their size and hop.
        batch_size: Windows of one forward pass.
        progress: Called with the number of windows that are done and of all.

    Returns:
        Probabilities [windows, K], of ``windows.covering(video.num_frames)``.

    Raises:
        VideoError: If a frame cannot be decoded.
    """
    device, total, done = device_of(model), len(windows.covering(video.num_frames)), 0
    found = []
    clips = window_clips(video, windows, size_px=model.config.size_px, resize_px=model.config.resize_px)
    for batch in in_batches(clips, batch_size):
        found.append(model.config.probabilities(model(stack_clips(batch).to(device))).cpu())
        done += len(batch)
        progress(done, total)
    return torch.cat(found)


def merge_windows(
    probabilities: Tensor,
    windows: Sequence[range],
    times_s: Sequence[float],
    classes: Sequence[str],
    *,
    thresholds: Thresholds,
    smooth: int = 1,
    apart: bool = False,
) -> list[Span]:
    """Merge the answers of windows into events; where nothing happens there is none.

    A window speaks for the time that is nearer to its middle than to that of the others.

    Args:
        probabilities: [windows, K].
        windows: Frames of each window, in order.
        times_s: When each frame of the video is shown, and when the last one ends.
        classes: Class names.
        thresholds: When a class begins and ends.
        smooth: Each answer is replaced by the mean of this many around it; odd, so that nothing is moved in time.
        apart: Whether each class begins and ends for itself, so that events of several can overlap.

    Returns:
        Events by their start.

    Raises:
        SettingsError: If ``smooth`` is even, or below 1.
    """
    smoothed = smooth_over_time(probabilities, smooth)
    middles = [(window.start + window.stop) / 2 for window in windows]
    # Halves always upwards: rounded to even, a border would fall on the one before it where windows are a frame apart.
    borders = [0, *(math.floor((a + b) / 2 + 0.5) for a, b in pairwise(middles)), windows[-1].stop]
    if not apart:
        runs = _runs(smoothed, thresholds)
    else:
        begun = (smoothed.amax(0) >= thresholds.enter).nonzero().flatten().tolist()  # few of many classes ever begin
        runs = [(k, numbers) for k in begun for _, numbers in _runs(smoothed[:, k : k + 1], thresholds)]
    return [
        Span(
            start_s=times_s[borders[numbers[0]]],
            end_s=times_s[borders[numbers[-1] + 1]],
            label=classes[index],
            score=float(smoothed[numbers, index].mean()),
        )
        for index, numbers in sorted(runs, key=lambda run: run[1][0])
    ]


def _runs(probabilities: Tensor, thresholds: Thresholds) -> list[tuple[int, list[int]]]:
    """What happens in windows with probabilities [windows, K]: a class, and its windows, which follow each other."""
    runs: list[tuple[int, list[int]]] = []
    state: int | None = None
    for number, answer in enumerate(probabilities):
        before, state = state, thresholds.next_state(state, answer)
        if state is not None and state == before:
            runs[-1][1].append(number)
        elif state is not None:
            runs.append((state, [number]))
    return runs


def smooth_over_time(probabilities: Tensor, size: int) -> Tensor:
    """Mean of each answer and those around it, fewer at the ends: [n, K] -> [n, K].

    >>> smooth_over_time(torch.tensor([[0.0], [3.0], [0.0]]), 3).flatten().tolist()
    [1.5, 1.0, 1.5]
    """
    _check_odd(size)
    reach = size // 2
    around = (probabilities[max(i - reach, 0) : i + reach + 1] for i in range(len(probabilities)))
    return torch.stack([part.mean(0) for part in around])


def _check_odd(smooth: int) -> None:
    """Raise SettingsError unless the mean of so many answers lies where the middle one does."""
    advice = "a timeline takes an odd number; try `smooth=3`"
    check_whole("smooth", smooth, least=1, advice=advice)
    if smooth % 2 == 0:
        raise SettingsError(f"`smooth` {smooth}; {advice}")
