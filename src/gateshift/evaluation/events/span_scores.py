"""How good answers about spans are, as temporal action segmentation is measured."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path

from gateshift.data.events.event_tables import Spans, read_spans
from gateshift.data.events.events import Span, one_at_a_time
from gateshift.errors import ScoresError, SettingsError
from gateshift.evaluation.events.counting import check_common, match_names


@dataclass(frozen=True)
class SpanScores:
    """Scores of answers about spans.

    Attributes:
        frame_accuracy: Share of the time at which the label is right, in 0..1; "nothing" is a label too.
        edit: Similarity of the sequences of labels, 0 to 100: 100 · (1 - Levenshtein distance / longer length), mean
            over videos.
        f1: Overlap -> F1 of the spans of all videos together, in 0..1.
        num_spans: How many the truth has.
    """

    frame_accuracy: float
    edit: float
    f1: Mapping[float, float]
    num_spans: int

    def __str__(self) -> str:
        f1 = ", ".join(f"{overlap}: {value:.2%}" for overlap, value in self.f1.items())
        return f"frame accuracy {self.frame_accuracy:.2%}, edit {self.edit:.1f}, F1 at IoU {f1}; {self.num_spans} spans"


def score_spans(
    truth: str | PathLike[str] | Spans,
    answers: str | PathLike[str] | Spans,
    overlaps: Sequence[float] = (0.1, 0.25, 0.5),
    durations_s: Mapping[str, float] | None = None,
) -> SpanScores:
    """Score answers about from when to when something happens: frame accuracy, edit score, F1 at several overlaps.

    As Lea et al. (CVPR 2017) measure it, but in seconds, so that frame rates do not matter. Spans of one class that
    touch are one; where spans overlap, the one that starts last counts; gaps are "nothing", which is no span; what is
    beyond the end of a video counts nothing.

    Args:
        truth: A CSV ``path,label,start,end``, or the spans of each video.
        answers: The same. Names of videos may have another folder or suffix than in the truth.
        overlaps: From which IoU on a span hits a true one of its class that no other has hit, in 0..1.
        durations_s: How long videos are, by their names in the truth; by default until the last span of truth and
            answers ends.

    Raises:
        ManifestError: If a file cannot be read.
        ScoresError: If the truth has no spans, or files have no video in common.
        SettingsError: If an overlap is not in 0..1.
    """
    for overlap in overlaps:
        if not 0 < overlap <= 1:
            raise SettingsError(f"`overlaps` {tuple(overlaps)}; each must be above 0 and at most 1; correct it")
    wanted, given = _listed(truth), _listed(answers)
    names = match_names(wanted, given)
    ends_s = {} if durations_s is None else durations_s
    found = {names[video]: _until(ends_s.get(names[video]), spans) for video, spans in given.items()}
    wanted = {video: _until(ends_s.get(video), spans) for video, spans in wanted.items()}
    num_spans = sum(map(len, wanted.values()))
    if not num_spans:
        raise ScoresError("`truth` has no spans, so nothing can be found or missed; give labels with spans")
    check_common(wanted, names, are_files=all(isinstance(each, str | PathLike) for each in (truth, answers)))
    pairs = {video: (wanted.get(video, []), found.get(video, [])) for video in {**wanted, **found}}
    right_s, all_s = 0.0, 0.0
    for video, (own, answered) in pairs.items():
        duration_s = ends_s.get(video, max((span.end_s for span in (*own, *answered)), default=0.0))
        right_s, all_s = right_s + _right_time(own, answered, duration_s), all_s + duration_s
    edits = [edit_score([s.label for s in own], [s.label for s in answered]) for own, answered in pairs.values()]
    total = num_spans + sum(map(len, found.values()))
    f1 = {each: 2 * sum(count_hits(*pair, each) for pair in pairs.values()) / total for each in overlaps}
    return SpanScores(right_s / all_s, sum(edits) / len(edits), f1, num_spans)


def _listed(spans: str | PathLike[str] | Spans) -> dict[str, list[Span]]:
    listed = read_spans(Path(spans)) if isinstance(spans, str | PathLike) else spans
    return {video: one_at_a_time(own) for video, own in listed.items()}


def _until(end_s: float | None, spans: Sequence[Span]) -> list[Span]:
    """The part of spans before the end of their video, if it is known."""
    last_s = math.inf if end_s is None else end_s
    return [replace(span, end_s=min(span.end_s, last_s)) for span in spans if span.start_s < last_s]


def _right_time(truth: Sequence[Span], answers: Sequence[Span], duration_s: float) -> float:
    """For how many seconds both say the same, nothing included."""
    times = {0.0, duration_s, *(time_s for span in (*truth, *answers) for time_s in (span.start_s, span.end_s))}
    intervals = list(pairwise(sorted(times)))
    labels = [_labels_at(spans, [start for start, _ in intervals]) for spans in (truth, answers)]
    same = zip(intervals, *labels, strict=True)
    return sum(end - start for (start, end), one, other in same if one == other)


def _labels_at(spans: Sequence[Span], times_s: Sequence[float]) -> list[str | None]:
    """What happens at each time, of spans in order that do not overlap."""
    starts = [span.start_s for span in spans]
    last = [bisect_right(starts, time_s) - 1 for time_s in times_s]
    return [
        spans[i].label if i >= 0 and time_s < spans[i].end_s else None for i, time_s in zip(last, times_s, strict=True)
    ]


def edit_score(truth: Sequence[str], answers: Sequence[str]) -> float:
    """Similarity of two sequences of labels, 0 to 100.

    >>> edit_score(["walk", "sit", "lie"], ["walk", "lie"])
    66.66666666666667
    """
    row = list(range(len(answers) + 1))  # distances of what is looked at of ``truth`` to each beginning of ``answers``
    for i, label in enumerate(truth, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(answers, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (label != other))
    return 100 * (1 - row[-1] / max(len(truth), len(answers), 1))


def count_hits(truth: Sequence[Span], answers: Sequence[Span], overlap: float) -> int:
    """How many answers of a video hit a true span: one of their class, not hit by another, with enough IoU."""
    free, hits = list(truth), 0
    for answer in answers:
        best = max((span for span in free if span.label == answer.label), key=lambda s: _iou(s, answer), default=None)
        if best is not None and _iou(best, answer) >= overlap - 1e-9:  # times of frames are no whole numbers
            free.remove(best)
            hits += 1
    return hits


def _iou(one: Span, other: Span) -> float:
    """Time that both share, as a share of the time of either."""
    shared_s = max(min(one.end_s, other.end_s) - max(one.start_s, other.start_s), 0.0)
    return shared_s / (one.end_s - one.start_s + other.end_s - other.start_s - shared_s)
