"""Scores of spans: against slow loops over frames, and values computed by hand."""

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from event_reference import frame_scores
from hypothesis import given, settings
from hypothesis import strategies as st

import gateshift as gs
from gateshift.data.events.events import one_at_a_time
from gateshift.errors import ScoresError, SettingsError

frames = st.lists(st.tuples(*2 * [st.sampled_from(["", "walk", "sit", "lie"])]), min_size=1, max_size=30)
WALK = {"a.mp4": [gs.Span(0, 4, "walk"), gs.Span(4, 6, "sit")]}


def spans_of(labels: list[str]) -> list[gs.Span]:
    """The spans of labels of frames, ten a second."""
    found, start = [], 0
    for label, group in groupby(labels):
        end = start + len(list(group))
        if label:
            found.append(gs.Span(start / 10, end / 10, label))
        start = end
    return found


@pytest.mark.slow
@settings(deadline=None)
@given(frames.filter(lambda pairs: any(own for own, _ in pairs)), st.sampled_from([0.1, 0.25, 0.5]))
def test_scores_are_those_of_slow_loops_over_frames(pairs: list[tuple[str, str]], overlap: float) -> None:
    truth, answers = ([pair[side] for pair in pairs] for side in (0, 1))
    found = gs.score_spans({"v": spans_of(truth)}, {"v": spans_of(answers)}, (overlap,), {"v": len(pairs) / 10})
    accuracy, edit, f1 = frame_scores(truth, answers, overlap)
    assert (found.frame_accuracy, found.edit) == (pytest.approx(accuracy), pytest.approx(edit))
    assert found.f1[overlap] == pytest.approx(f1)


def test_an_answer_that_is_half_a_second_late() -> None:
    found = gs.score_spans(WALK, {"videos/a.mp4": [gs.Span(0.5, 4.5, "walk"), gs.Span(4.5, 6, "sit")]})
    assert (found.frame_accuracy, found.edit) == (pytest.approx(5 / 6), 100)
    assert found.f1 == {0.1: 1.0, 0.25: 1.0, 0.5: 1.0}
    assert str(found) == (
        "frame accuracy 83.33%, edit 100.0, F1 at IoU 0.1: 100.00%, 0.25: 100.00%, 0.5: 100.00%; 2 spans"
    )


@pytest.mark.slow
@settings(deadline=None)
@given(frames.filter(lambda pairs: any(own for own, _ in pairs)), st.sampled_from([0.1, 0.5]), st.floats(0, 5))
def test_what_is_said_beyond_the_end_of_a_video_counts_nothing(
    pairs: list[tuple[str, str]], overlap: float, beyond_s: float
) -> None:
    end_s = len(pairs) / 10
    truth, answers = (spans_of([pair[side] for pair in pairs]) for side in (0, 1))
    longer = [replace(span, end_s=span.end_s + (beyond_s if span.end_s == end_s else 0)) for span in truth]
    later = [*answers, gs.Span(end_s, end_s + 1, "lie")] if beyond_s else answers
    found = gs.score_spans({"v": longer}, {"v": later}, (overlap,), {"v": end_s})
    assert found == gs.score_spans({"v": truth}, {"v": answers}, (overlap,), {"v": end_s})


def test_a_video_without_answers_and_one_without_spans() -> None:
    found = gs.score_spans(WALK, {"b.mp4": [gs.Span(0, 2, "walk")]}, (0.5,))
    assert (found.frame_accuracy, found.edit, found.f1) == (0, 0, {0.5: 0})


def test_where_spans_overlap_the_one_that_starts_last_counts() -> None:
    found = one_at_a_time([gs.Span(0, 10, "walk"), gs.Span(3, 5, "sit"), gs.Span(9, 12, "lie"), gs.Span(12, 13, "lie")])
    assert found == [
        gs.Span(0, 3, "walk"), gs.Span(3, 5, "sit"), gs.Span(5, 9, "walk"), gs.Span(9, 13, "lie"),
    ]  # fmt: skip


def test_what_cannot_be_scored_is_an_error() -> None:
    with pytest.raises(ScoresError, match="`truth` has no spans"):
        gs.score_spans({"a": []}, WALK)
    with pytest.raises(SettingsError, match="each must be above 0 and at most 1"):
        gs.score_spans(WALK, WALK, overlaps=(0.5, 2))


def test_files_of_other_videos_are_told_and_not_scored_as_all_wrong(tmp_path: Path) -> None:
    truth, answers = tmp_path / "truth.csv", tmp_path / "answers.csv"
    gs.write_spans({"rooms/a.mp4": [gs.Span(0, 4, "walk")]}, truth)
    gs.write_spans({"b.mp4": [gs.Span(0, 4, "walk")]}, answers)
    with pytest.raises(
        ScoresError, match=r"`answers` are of other videos than `truth`, such as b\.mp4 and rooms/a\.mp4"
    ):
        gs.score_spans(truth, answers)
    gs.write_spans({"a.mp4": [gs.Span(0, 4, "walk")], "b.mp4": []}, answers, overwrite=True)
    assert gs.score_spans(truth, answers).frame_accuracy == 1
    truth.write_text("path,label,start,end\n")
    with pytest.raises(ScoresError, match="has no spans"):
        gs.score_spans(truth, answers)
