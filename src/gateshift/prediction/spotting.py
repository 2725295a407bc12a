"""Events of a recording, to the frame: answers for every frame made into moments, or into spans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gateshift.data.clips.frame_rates import seen_frames, seen_times
from gateshift.data.clips.recordings import frame_times
from gateshift.data.events.events import Event, EventList, Span, VideoInfo
from gateshift.data.events.files import EVENT_SUFFIXES, write_events
from gateshift.data.events.suppression import MIN_SCORE, Suppression, suppress_scores
from gateshift.data.labelling.programs import Program
from gateshift.data.labelling.writing import check_program, write_labels
from gateshift.data.regions import AnyRegion
from gateshift.data.video.files import mean_rate, open_video, with_end
from gateshift.data.video.sources import Source, name_of
from gateshift.devices import AnyPrecision
from gateshift.errors import ModelError, SettingsError, check_choice
from gateshift.evaluation.fast_form import fast_form
from gateshift.evaluation.protocol import choose_box
from gateshift.files import check_writable
from gateshift.model.config import ModelConfig
from gateshift.prediction.frames import score_frames
from gateshift.prediction.predict import check_not_live, ready_model
from gateshift.prediction.scoring import AnyModel
from gateshift.prediction.windows import check_positive

SUPPRESS_S = 0.2


def spot_events(
    model: AnyModel | str | PathLike[str],
    video: Source,
    *,
    threshold: float = 0.5,
    suppress: float = SUPPRESS_S,
    suppression: Suppression = "e2e-spot",
    fps: float | None = None,
    classes: str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    format: Program | None = None,
    overwrite: bool = False,
    precision: AnyPrecision = "no",
    box: AnyRegion | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Event]:
    """The events of a recording of any length, each at a frame; memory does not grow with the recording.

    Args:
        model: Trained with ``task="spot"``, in eval mode; or the path of one.
        video: A video file, as a path, an address, bytes or a file object; or a folder of frames.
        threshold: Events with at least this score, in 0..1.
        suppress: Answers within so many seconds of a better one of their class are dropped; 0 keeps all.
        suppression: How; see :func:`gateshift.suppress`.
        fps: Frames a second of images, which have no clock.
        classes: A file with names for the class numbers of a released checkpoint, one a line.
        out: A file to write: .csv, .json (E2E-Spot's), or subtitles as .srt or .vtt; with ``format`` that program's.
        format: The labelling program in which a person is to correct ``out``; see :func:`gateshift.write_labels`.
        overwrite: Replace ``out`` if it is there.
        precision: As of :func:`gateshift.predict`.
        box: As of :func:`gateshift.predict`.
        progress: Called with the number of frames that are done and of all.

    Returns:
        The events in order of time, with time and frame of the file, and with their scores.

    Raises:
        VideoError: If the video cannot be read.
        SettingsError: If a number is out of range, or ``out`` cannot be written.
        ModelError: If the model cannot be loaded, is in training mode, or finds no events.
    """
    if not 0 <= threshold <= 1:
        raise SettingsError(f"`threshold` {threshold}; it must be in 0..1; try 0.5")
    check_suppression(suppress, suppression)
    check_positive("fps", fps)
    if isinstance(video, str):
        check_not_live([video])
    if out is not None:
        check_out(Path(out), format, overwrite=overwrite, suffixes=EVENT_SUFFIXES)
    model = fast_form(ready_model(model, classes=classes), precision)
    check_task(model.config, "spot")
    name, region = name_of(video), choose_box(model.config, box)
    with open_video(video, square_pixels=model.config.square_pixels, box=region) as opened:
        seen = Seen.of(frame_times(opened, name, fps), model.config)
        rows = score_frames(model, opened, seen.frames, progress=progress)
        moments = find_moments(rows, model.config, threshold=min(threshold, MIN_SCORE))
    events = moments.events(name, seen, suppress_s=suppress, suppression=suppression, threshold=threshold)
    listed = EventList(tuple(events), {name: seen.info})
    if out is not None and format is not None:
        write_labels(listed, out, format, overwrite=overwrite)
    elif out is not None:
        write_events(listed, out, overwrite=overwrite)
    return events


def check_out(out: Path, format: Program | None, *, overwrite: bool, suffixes: Sequence[str]) -> None:
    """Raise SettingsError unless the file of answers can be written, before any work is done."""
    if format is None:
        check_writable("out", out, overwrite=overwrite, suffixes=suffixes)
    else:
        check_program(format, out, overwrite=overwrite, argument="out")


def check_suppression(suppress_s: float, suppression: str) -> None:
    """Raise SettingsError unless this is a time and a way to suppress events."""
    if not suppress_s >= 0:
        raise SettingsError(f"`suppress` {suppress_s}; it must be at least 0 seconds; raise it")
    check_choice("suppression", suppression, get_args(Suppression))


def check_task(config: ModelConfig, task: str) -> None:
    """Raise ModelError unless a model is of this task."""
    if config.task != task:
        raise ModelError(
            f"this model was trained with `task={config.task}`, and `task={task}` is wanted; train one with "
            f"`task={task}`" + ("" if config.is_dense else ", or find what happens when by `timeline`")
        )


@dataclass(frozen=True, eq=False)
class Seen:
    """Which frames of a file a network saw.

    Attributes:
        times_s: When each frame of the file is shown.
        frames: The numbers of those that it saw, one after the other.
        ends_s: When each of these is, as of ``seen_times``, and when the file ends: [n + 1].
    """

    times_s: NDArray[np.float64]
    frames: NDArray[np.int64]
    ends_s: NDArray[np.float64]

    @classmethod
    def of(cls, times_s: NDArray[np.float64], config: ModelConfig) -> Seen:
        """What a network sees of a file whose frames are shown at these times."""
        end_s = with_end(times_s)[-1]  # of the file: the network's own period may be many frames, or less than one
        if len(times_s) == 1 and config.fps:
            end_s += 1 / config.fps
        return cls(times_s, seen_frames(times_s, config.fps), np.append(seen_times(times_s, config.fps), end_s))

    @property
    def info(self) -> VideoInfo:
        """Rate and length of the file."""
        return VideoInfo(mean_rate(self.times_s), len(self.times_s))


@dataclass(frozen=True, eq=False)
class Moments:
    """Answers about events, as numbers: small, however long the recording is.

    Attributes:
        classes: K names.
        places: Which of the frames that the network saw: [n].
        labels: Number of the class of each, from 0: [n].
        scores: [n].
    """

    classes: tuple[str, ...]
    places: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]

    def events(
        self,
        video: str,
        seen: Seen,
        *,
        suppress_s: float = 0.0,
        suppression: Suppression = "e2e-spot",
        threshold: float = 0.0,
    ) -> list[Event]:
        """Events in order of time, after suppression.

        Args:
            video: The video's name.
            seen: The frames that the network saw.
            suppress_s: As of :func:`spot_events`.
            suppression: As of :func:`spot_events`.
            threshold: As of :func:`spot_events`.
        """
        numbers, times_s = seen.frames[self.places], seen.ends_s[self.places]
        kept, scores = np.arange(len(numbers)), self.scores
        if suppress_s > 0:
            kept, scores = suppress_scores(self.labels, times_s, self.scores, suppress_s, suppression)
        order = kept[np.lexsort((self.labels[kept], self.places[kept]))]
        return [
            Event(video, self.classes[label], frame=number, time_s=round(time_s, 6), score=score)
            for number, time_s, label, score in zip(
                *(each[order].tolist() for each in (numbers, times_s, self.labels, scores)), strict=True
            )
            if score >= threshold
        ]


def find_moments(rows: Iterable[Tensor], config: ModelConfig, *, threshold: float = MIN_SCORE) -> Moments:
    """Every frame and class with at least this probability; at the frame that a displacement says it is at.

    Args:
        rows: Answers [m, A] of frames that follow each other.
        config: Of the model.
        threshold: In 0..1.
    """
    places: list[Tensor] = []
    labels: list[Tensor] = []
    scores: list[Tensor] = []
    done, num_classes = 0, len(config.classes)
    for answers in rows:
        at, label = (answers[:, 1 : num_classes + 1] >= threshold).nonzero(as_tuple=True)
        moved = answers[at, -1].round().long() if config.displacement else torch.zeros_like(at)
        places.append(done + at + moved)
        labels.append(label)
        scores.append(answers[at, label + 1])
        done += len(answers)
    place = torch.cat(places).clamp(0, max(done - 1, 0)).numpy()
    label_, score = torch.cat(labels).numpy(), torch.cat(scores).double().numpy()
    # Several may be said to be at one frame: the best counts.
    order = np.lexsort((-score, label_, place))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(place[order]) != 0) | (np.diff(label_[order]) != 0)
    order = order[first]
    return Moments(config.classes, place[order], label_[order], score[order])


def find_spans(rows: Iterable[Tensor], config: ModelConfig, seen: Seen) -> list[Span]:
    """From when to when each frame's likeliest class is the same; nothing is none.

    Args:
        rows: Answers [m, A] of frames that follow each other.
        config: Of the model.
        seen: The frames that the network saw.
    """
    spans: list[Span] = []
    state, begun, total, done = 0, 0, 0.0, 0

    def close(end: int) -> None:
        if state:
            mean = total / (end - begun)
            spans.append(Span(float(seen.ends_s[begun]), float(seen.ends_s[end]), config.classes[state - 1], mean))

    for answers in rows:
        best = answers[:, : len(config.classes) + 1].max(1)
        for score, label in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            if label != state:
                close(done)
                state, begun, total = label, done, 0.0
            total, done = total + score, done + 1
    close(done)
    return [span for span in spans if span.start_s < span.end_s]
