"""Suppression of answers beside better ones: the worked examples, and slow loops of each method."""

import pytest
from event_reference import suppressed
from hypothesis import given, settings
from hypothesis import strategies as st

import gateshift as gs
from gateshift.errors import SettingsError

METHODS = ("e2e-spot", "greedy", "soft")
answers = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0.005, 0.2, 0.3, 0.5, 0.9, 1.0])), max_size=25)


def events(rows: list[tuple[int, float]], video: str = "v", label: str = "bounce") -> list[gs.Event]:
    return [gs.Event(video, label, frame=frame, score=score) for frame, score in rows]


@pytest.mark.parametrize(("method", "kept"), [("e2e-spot", [0]), ("greedy", [0, 2])])
def test_of_three_answers_side_by_side(method: str, kept: list[int]) -> None:
    found = gs.suppress(events([(0, 0.9), (1, 0.8), (2, 0.7)]), 1, method)  # type: ignore[arg-type]
    assert [event.frame for event in found] == kept


def test_soft_suppression_lowers_scores_by_the_square_of_the_distance() -> None:
    found = gs.suppress(events([(10, 0.9), (11, 0.8), (13, 0.6), (14, 0.5)]), 3, "soft")
    assert [(event.frame, round(event.score or 0, 4)) for event in found] == [
        (10, 0.9), (11, 0.0395), (13, 0.6), (14, 0.0556),
    ]  # fmt: skip


@pytest.mark.slow
@settings(deadline=None)
@given(answers, st.integers(0, 5), st.sampled_from(METHODS))
def test_each_method_is_that_of_slow_loops(rows: list[tuple[int, float]], window: int, method: str) -> None:
    found = gs.suppress(events(rows), window, method)  # type: ignore[arg-type]
    wanted = suppressed(rows, window, method)
    assert [event.frame for event in found] == [rows[place][0] for place in sorted(wanted)]
    assert [event.score for event in found] == pytest.approx([wanted[place] for place in sorted(wanted)])


@pytest.mark.slow
@settings(deadline=None)
@given(answers, answers, st.integers(1, 5), st.sampled_from(METHODS))
def test_answers_of_other_videos_and_classes_do_not_matter(
    rows: list[tuple[int, float]], others: list[tuple[int, float]], window: int, method: str
) -> None:
    alone = gs.suppress(events(rows), window, method)  # type: ignore[arg-type]
    beside = [*events(others, video="other"), *events(rows), *events(others, label="swing")]
    found = gs.suppress(beside, window, method)  # type: ignore[arg-type]
    assert [event for event in found if (event.video, event.label) == ("v", "bounce")] == alone


def test_equal_answers_stay_both_for_e2e_spot_and_the_first_one_when_greedy() -> None:
    rows = [(5, 0.5), (4, 0.5)]
    assert [event.frame for event in gs.suppress(events(rows), 1, "e2e-spot")] == [5, 4]
    assert [event.frame for event in gs.suppress(events(rows), 1, "greedy")] == [5]


def test_a_window_in_seconds_reaches_exactly_so_far() -> None:
    found = [
        gs.Event("v", "bounce", time_s=time_s, score=score) for time_s, score in ((0.1, 0.9), (0.3, 0.8), (0.31, 0.7))
    ]
    assert [event.time_s for event in gs.suppress(found, 0.2, "greedy", unit="seconds")] == [0.1, 0.31]


def test_nothing_stays_nothing() -> None:
    assert [gs.suppress([], 2, method) for method in METHODS] == [[], [], []]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": -1}, "`window` -1; it must be at least 0"),
        ({"window": float("nan")}, "`window` nan"),
        ({"method": "hard"}, "`method` 'hard'; choose one of e2e-spot, greedy, soft"),
        ({"unit": "seconds"}, "without `time_s`"),
        ({"events": [gs.Event("v", "a", frame=1)]}, "without `score`"),
    ],
)
def test_what_cannot_be_suppressed_is_an_error(change: dict[str, object], message: str) -> None:
    given_: dict[str, object] = {"events": events([(1, 0.5)]), "window": 1, **change}
    with pytest.raises(SettingsError, match=message):
        gs.suppress(**given_)  # type: ignore[arg-type]
