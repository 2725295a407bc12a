"""Test a network that answers for each frame on labelled recordings: events to the frame, or spans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gateshift.data.clips.frame_rates import nearest_frames
from gateshift.data.clips.recordings import Recording, read_recordings
from gateshift.data.events.event_tables import write_spans
from gateshift.data.events.events import Event, EventList, Span, VideoInfo
from gateshift.data.events.files import write_events
from gateshift.data.events.suppression import Suppression
from gateshift.data.events.videos import base_of
from gateshift.data.lists.labels import unknown_label
from gateshift.data.regions import AnyRegion
from gateshift.errors import ModelError, SettingsError, VideoError
from gateshift.evaluation.events.event_scores import EventScores, score_events
from gateshift.evaluation.events.span_scores import SpanScores, score_spans
from gateshift.evaluation.fast_form import fast_form
from gateshift.evaluation.protocol import choose_box
from gateshift.files import check_writable
from gateshift.prediction.frames import score_frames
from gateshift.prediction.predict import ready_model
from gateshift.prediction.scoring import AnyModel
from gateshift.prediction.spotting import SUPPRESS_S, Seen, check_suppression, find_moments, find_spans

if TYPE_CHECKING:
    from accelerate import Accelerator

TOLERANCES = (0, 1, 2, 4)  # in frames, E2E-Spot's


@dataclass(frozen=True)
class FrameEvaluation:
    """How good answers for each frame are.

    Attributes:
        scores: Of events after suppression, or of spans.
        unsuppressed: Of events before suppression; None for spans.
        spans: The spans that were found, by recording; empty for events.
        skipped: Why recordings could not be read, by their name.
    """

    scores: EventScores | SpanScores
    unsuppressed: EventScores | None = None
    spans: dict[str, list[Span]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """What a training logs: in 0..1, the first is what its best epoch is chosen by."""
        if isinstance(self.scores, SpanScores):
            f1 = {f"f1_{round(100 * overlap)}": value for overlap, value in self.scores.f1.items()}
            return {"frame_accuracy": self.scores.frame_accuracy, "edit": self.scores.edit / 100, **f1}
        by_tolerance = {f"map_{each:g}": value for each, value in self.scores["mAP"].items()}
        return {"mean_ap": self.scores.mean_ap, **by_tolerance}

    def __str__(self) -> str:
        if self.unsuppressed is None:
            return str(self.scores)
        return f"suppressed: {self.scores}\nall answers: {self.unsuppressed}"


@dataclass
class _Found:
    """Truth and answers of some recordings."""

    truth: list[Event] = field(default_factory=list)
    answers: list[Event] = field(default_factory=list)
    suppressed: list[Event] = field(default_factory=list)
    infos: dict[str, VideoInfo] = field(default_factory=dict)
    spans: dict[str, tuple[tuple[Span, ...], list[Span], float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def score_recordings(
    model: AnyModel,
    recordings: Sequence[Recording],
    *,
    tolerances: Sequence[float] = TOLERANCES,
    fps: float | None = None,
    suppress: float = SUPPRESS_S,
    suppression: Suppression = "e2e-spot",
    keep_all: bool = True,
    skip_bad: int = 0,
    accelerator: Accelerator | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> FrameEvaluation:
    """Find what happens in recordings, and compare it with what their list says.

    Args:
        model: In eval mode, on the device that it is to run on.
        recordings: With labels.
        tolerances: Of events, in frames.
        fps: Frames a second that tolerances count; by default each recording's own.
        suppress: As of :func:`gateshift.prediction.spotting.spot_events`.
        suppression: As of it.
        keep_all: Score the answers before suppression too.
        skip_bad: Skip up to so many unreadable recordings.
        accelerator: Where several processes share the list; each ends with the scores of all.
        progress: Called with the number of recordings that are done and of all.

    Raises:
        VideoError: If more recordings than may be skipped cannot be read, or all in which something happens.
        ScoresError: If nothing happens in them.
    """
    processes, place = (accelerator.num_processes, accelerator.process_index) if accelerator else (1, 0)
    found, own = _Found(), recordings[place::processes]
    for done, recording in enumerate(own, start=1):
        try:
            _score(model, recording, found, suppress_s=suppress, suppression=suppression, keep_all=keep_all)
        except VideoError as error:
            found.skipped[recording.name] = str(error)
            if len(found.skipped) > skip_bad:
                raise
        progress(min(done * processes, len(recordings)), len(recordings))
    if processes > 1:
        from accelerate.utils import gather_object

        parts: list[_Found] = gather_object([found])
        for other in (each for number, each in enumerate(parts) if number != place):
            for name, value in vars(other).items():
                mine = getattr(found, name)
                mine.update(value) if isinstance(mine, dict) else mine.extend(value)
    _check_left(found, skip_bad)
    if model.config.task == "segment":
        truth = {name: own for name, (own, _, _) in found.spans.items()}
        answers = {name: given for name, (_, given, _) in found.spans.items()}
        durations_s = {name: duration_s for name, (_, _, duration_s) in found.spans.items()}
        scored = score_spans(truth, answers, durations_s=durations_s)
        return FrameEvaluation(scored, spans=answers, skipped=found.skipped)
    truth_list, *listed = (
        EventList(tuple(events), found.infos) for events in (found.truth, found.suppressed, found.answers)
    )
    scores = [score_events(truth_list, each, tolerances, fps=fps) for each in listed[: 1 + keep_all]]
    return FrameEvaluation(scores[0], scores[1] if keep_all else None, skipped=found.skipped)


def _check_left(found: _Found, skip_bad: int) -> None:
    """Raise VideoError if something happens only in recordings that were skipped."""
    if found.skipped and not (found.truth or any(own for own, _, _ in found.spans.values())):
        raise VideoError(
            f"`skip_bad` {skip_bad}: nothing happens in the recordings that can be read, as {len(found.skipped)} "
            f"cannot: {next(iter(found.skipped.values()))}"
        )


def _score(
    model: AnyModel,
    recording: Recording,
    found: _Found,
    *,
    suppress_s: float,
    suppression: Suppression,
    keep_all: bool,
) -> None:
    """Add truth and answers of one recording."""
    config, name = model.config, recording.name
    video, times_s = recording.open(square_pixels=config.square_pixels)
    with video:
        seen = Seen.of(times_s, config)
        marks = recording.marks(times_s, {label: number for number, label in enumerate(config.classes, start=1)})
        rows = score_frames(model, video, seen.frames)
        if config.task == "segment":
            answers = find_spans(rows, config, seen)
            found.spans[name] = recording.spans, answers, float(seen.ends_s[-1])
            return
        moments = find_moments(rows, config)
    found.infos[name] = seen.info
    at = nearest_frames(times_s, np.array([mark.start_s for mark in marks])).tolist()
    found.truth += [
        Event(name, config.classes[mark.label - 1], frame=frame, time_s=mark.start_s)
        for mark, frame in zip(marks, at, strict=True)
    ]
    if keep_all:
        found.answers += moments.events(name, seen)
    found.suppressed += moments.events(name, seen, suppress_s=suppress_s, suppression=suppression)


def check_labels(recordings: Sequence[Recording], classes: Sequence[str], source: str | PathLike[str]) -> None:
    """Raise ManifestError if a label is none of these classes."""
    for recording in recordings:
        if unknown := sorted(recording.labels() - {*classes}):
            raise unknown_label(Path(source), unknown[0], recording.name, classes)


def evaluate_frames(
    model: AnyModel | str | PathLike[str],
    videos: str | PathLike[str],
    *,
    tolerances: Sequence[float] = TOLERANCES,
    fps: float | None = None,
    suppress: float = SUPPRESS_S,
    suppression: Suppression = "e2e-spot",
    classes: str | PathLike[str] | None = None,
    scores: str | PathLike[str] | None = None,
    report: str | PathLike[str] | None = None,
    skip_bad: int = 0,
    overwrite: bool = False,
    root: str | PathLike[str] | None = None,
    box: AnyRegion | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> FrameEvaluation:
    """Test a model that answers for each frame on labelled recordings.

    Args:
        model: Trained with ``task="spot"`` or ``"segment"``, in eval mode; or the path of one.
        videos: Recordings with their events, in any file that :func:`gateshift.read_events` takes; or with their
            spans, a CSV ``path,label,start,end``.
        tolerances: Of events, in frames: how far an answer may be from its event.
        fps: Frames a second that these count, such as 1000 for milliseconds; by default each recording's own.
        suppress: Answers within so many seconds of a better one of their class are dropped.
        suppression: How; see :func:`gateshift.suppress`.
        classes: A file with names for the class numbers of a released checkpoint, one a line.
        scores: Write the answers here: events from 0.01 on before suppression as .csv or .json, spans as .csv.
        report: Write a page to this .html, of events.
        skip_bad: Skip up to so many unreadable recordings, and list them.
        overwrite: Replace the files that are written.
        root: Where names of videos start; the list's own folder by default.
        box: As of :func:`gateshift.evaluate`.
        progress: Called with the number of recordings that are done and of all.

    Raises:
        SettingsError: If an argument is out of range, or a file cannot be written.
        ModelError: If the model cannot be loaded, or answers for clips.
        ManifestError: If the list cannot be used.
        VideoError: If more recordings than may be skipped cannot be read.
    """
    check_suppression(suppress, suppression)
    outputs: dict[str, Any] = {"scores": (scores, (".csv", ".json")), "report": (report, (".html",))}
    for name, (path, suffixes) in outputs.items():
        if path is not None:
            check_writable(name, Path(path), overwrite=overwrite, suffixes=suffixes)
    model = fast_form(ready_model(model, classes=classes))
    config = model.config
    if not config.is_dense:
        raise ModelError("this model answers for clips (`task=clip`), and not for frames; test it by gs.evaluate")
    if report is not None and config.task == "segment":
        raise SettingsError("`report` of spans; a page is of events; leave it out")
    recordings = read_recordings(videos, config.task, root=root, fps=config.fps, box=choose_box(config, box))
    check_labels(recordings, config.classes, videos)
    found = score_recordings(
        model,
        recordings,
        tolerances=tolerances,
        fps=fps,
        suppress=suppress,
        suppression=suppression,
        skip_bad=skip_bad,
        progress=progress,
    )
    if found.unsuppressed is not None and scores is not None:
        write_events(found.unsuppressed.compared.answers, scores, overwrite=True)
    elif scores is not None:
        write_spans(found.spans, scores, overwrite=True)
    if report is not None and isinstance(found.scores, EventScores):
        found.scores.report(report, root=base_of(Path(videos), root), overwrite=True)
    return found
