"""Scores of events: the worked examples, both metrics as slow loops, published labels against themselves."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from event_reference import Row, nearest_map, soccernet_map
from hypothesis import given, settings
from hypothesis import strategies as st
from spot_files import EXCERPTS, WHOLE

import gateshift as gs
from gateshift.errors import ScoresError, SettingsError

LABEL_FILES = [*EXCERPTS, *WHOLE]
rows = st.lists(
    st.tuples(
        st.sampled_from(["v", "w"]),
        st.integers(0, 25),
        st.sampled_from(["hit", "miss"]),
        st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]),
    ),
    max_size=20,
)


def dicts(found: Sequence[Row]) -> list[dict[str, Any]]:
    return [{"video": video, "frame": frame, "label": label, "score": score} for video, frame, label, score in found]


def of_one_class(frames: Sequence[int], scores: Sequence[float] | None = None) -> list[dict[str, Any]]:
    return dicts(
        [("v", frame, "hit", score) for frame, score in zip(frames, scores or [1.0] * len(frames), strict=True)]
    )


@pytest.mark.parametrize(
    ("events", "answers", "wanted"),
    [
        ((10, 20, 30), [(10, 0.9), (22, 0.8), (21, 0.7), (40, 0.6), (29, 0.5)], {0: 1 / 3, 1: 0.7556, 2: 0.8667}),
        ((10, 12), [(11, 0.9), (12, 0.8), (13, 0.7)], {0: 0.25, 1: 1.0}),
    ],
)
def test_worked_examples_of_the_nearest_rule(
    events: tuple[int, ...], answers: list[tuple[int, float]], wanted: dict[int, float]
) -> None:
    frames, scores = zip(*answers, strict=True)
    found = gs.score_events(of_one_class(events), of_one_class(frames, scores), tolerances=tuple(wanted))
    assert found["mAP"] == pytest.approx(wanted, abs=5e-5)
    assert found["per_class"] == {"hit": found["mAP"]}
    assert set(found) == {"mAP", "per_class", "average_mAP_tight", "average_mAP_loose"}


@pytest.mark.parametrize(("tolerance", "fps"), [(2, None), (2, 1), (1, 2), (0.08, 25)])
def test_the_worked_example_of_soccernet(tolerance: float, fps: float | None) -> None:
    answers = of_one_class((20, 23, 41), (0.9, 0.8, 0.6))
    found = gs.score_events(of_one_class((20, 40)), answers, tolerances=(tolerance,), rule="soccernet", fps=fps)
    assert found["mAP"][tolerance] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


@pytest.mark.slow
@settings(deadline=None)
@given(rows.filter(bool), rows, st.sampled_from([0, 1, 2, 4]))
def test_the_nearest_rule_is_that_of_slow_loops(truth: list[Row], answers: list[Row], tolerance: int) -> None:
    found = gs.score_events(dicts(truth), dicts(answers), tolerances=(tolerance,))
    assert found["mAP"][tolerance] == pytest.approx(nearest_map(truth, answers, tolerance))


@pytest.mark.slow
@settings(deadline=None)
@given(rows.filter(bool), rows, st.sampled_from([0, 1, 2, 5]), st.sampled_from([1, 2]))
def test_the_rule_of_soccernet_is_that_of_slow_loops(
    truth: list[Row], answers: list[Row], delta: int, fps: int
) -> None:
    found = gs.score_events(dicts(truth), dicts(answers), tolerances=(delta,), rule="soccernet", fps=fps)
    assert found["mAP"][delta] == pytest.approx(soccernet_map(truth, answers, delta * fps))


@pytest.mark.slow
@settings(deadline=None)
@given(rows.filter(bool), rows)
def test_average_map_is_the_trapezoid_mean_over_seconds(truth: list[Row], answers: list[Row]) -> None:
    found = gs.score_events(dicts(truth), dicts(answers), fps=2)
    for name, deltas in (("tight", range(1, 6)), ("loose", range(5, 61, 5))):
        means = [soccernet_map(truth, answers, 2 * delta) for delta in deltas]
        area = sum((one + other) / 2 for one, other in pairwise(means))
        assert found[f"average_mAP_{name}"] == pytest.approx(area / (len(means) - 1))


@pytest.mark.slow
@pytest.mark.parametrize("path", LABEL_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_published_labels_against_themselves_and_a_frame_late(path: Path) -> None:
    truth = gs.read_events(path)
    found = gs.score_events(path, path)
    assert found["mAP"] == {0: 1.0, 1: 1.0, 2: 1.0, 4: 1.0}
    if path.parent.name != "finediving" and path.stem != "finediving":  # which does not say its rate
        assert (found["average_mAP_tight"], found["average_mAP_loose"]) == (1.0, 1.0)
    # Events of a class are never closer than 9 frames, so that none is mistaken for another.
    late = [replace(event, frame=(event.frame or 0) + 1) for event in truth.events]
    assert gs.score_events(truth, late)["mAP"] == {0: 0.0, 1: 1.0, 2: 1.0, 4: 1.0}


def test_soccernet_files_are_scored_in_seconds(tmp_path: Path) -> None:
    def event(position: int, **more: object) -> dict[str, object]:
        return {"gameTime": "1 - 00:00", "label": "Goal", "position": str(position), **more}

    truth, answers = tmp_path / "Labels-v2.json", tmp_path / "results_spotting.json"
    truth.write_text(json.dumps({"annotations": [event(10_000), event(60_000)]}))
    predictions = [event(11_000, half="1", confidence="0.9"), event(63_500, half="1", confidence="0.8")]
    answers.write_text(json.dumps({"UrlLocal": "a/game/", "predictions": predictions}))
    found = gs.score_events(truth, answers, tolerances=(1, 2, 4, 8), rule="soccernet")
    # 1 s off counts from δ = 2 s on, 3.5 s off from 7 s on: half of δ to either side.
    assert found["mAP"] == pytest.approx({1: 0, 2: 6 / 11, 4: 6 / 11, 8: 1})
    assert found["average_mAP_tight"] == pytest.approx((0 + 4 * 6 / 11 - 3 / 11) / 4)
    assert [each.hits for each in found.figures(0.5).values()] == [2, 2]
    assert found.figures(0.5)["Goal"].median_error_ms == pytest.approx(2250)
    with pytest.raises(ScoresError, match="its frame is not known, as no file says the frame rate; give `fps`"):
        gs.score_events(truth, answers)
    assert gs.score_events(truth, answers, tolerances=(1000, 3499, 3500), fps=1000)["mAP"] == {
        1000: 0.5,
        3499: 0.5,
        3500: 1.0,
    }


def test_times_become_frames_of_the_rate_of_each_video(tmp_path: Path) -> None:
    truth = [
        {"video": name, "fps": fps, "num_frames": 900, "events": [{"frame": frame, "label": "hit"}]}
        for name, fps, frame in (("a", 25, 50), ("b", 60, 120))
    ]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "answers.csv").write_text("path,time_s,label\nclips/a.mp4,2.04,hit\nclips/b.mp4,2.04,hit\n")
    found = gs.score_events(tmp_path / "truth.json", tmp_path / "answers.csv", tolerances=(0, 1, 2))
    assert found["mAP"] == {0: 0.0, 1: 0.5, 2: 1.0}  # 40 ms are a frame of 25 a second, and two of 60
    by_ms = gs.score_events(tmp_path / "truth.json", tmp_path / "answers.csv", tolerances=(39, 40), fps=1000)
    assert by_ms["mAP"] == {39: 0.0, 40: 1.0}
    assert by_ms.figures()["hit"].median_error_ms == pytest.approx(40)


def test_times_count_before_frames_where_labels_have_no_frames() -> None:
    # Of a variable rate, with 25 frames a second on average, frame 60 may be shown at 2 s.
    truth = [{"video": "v", "time_s": 2.0, "label": "hit"}]
    answers = [{"video": "v", "time_s": 2.04, "frame": 61, "label": "hit", "score": 0.9}]
    found = gs.score_events(truth, answers, tolerances=(0, 1), fps=25)
    assert found["mAP"] == {0: 0.0, 1: 1.0}
    assert found.figures()["hit"].median_error_ms == pytest.approx(40)


def test_errors_in_time_are_of_the_clock_where_a_rate_varies(tmp_path: Path) -> None:
    video = {"video": "v", "fps": 12.5, "num_frames": 40, "num_events": 1}  # on average: frame 20 may come 2 s later
    for name, frame, time_s in (("truth", 20, 2.8), ("answers", 19, 0.76)):
        event = {"frame": frame, "time_s": time_s, "label": "hit", "score": 0.9}
        (tmp_path / f"{name}.json").write_text(json.dumps([{**video, "events": [event]}]))
    found = gs.score_events(tmp_path / "truth.json", tmp_path / "answers.json", tolerances=(0, 1))
    assert found["mAP"] == {0: 0.0, 1: 1.0}
    assert found.figures()["hit"].median_error_ms == pytest.approx(2040)


def test_times_of_tables_are_counted_in_the_rate_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("path,frame,time_s,label\na.mp4,100,4.0,hit\n")
    (tmp_path / "answers.csv").write_text("path,frame,time_s,label,score\na.mp4,101,4.04,hit,0.9\n")
    by_ms = gs.score_events(tmp_path / "truth.csv", tmp_path / "answers.csv", tolerances=(1, 39, 40), fps=1000)
    assert by_ms["mAP"] == {1: 0.0, 39: 0.0, 40: 1.0}
    assert by_ms.figures()["hit"].median_error_ms == pytest.approx(40)
    by_frame = gs.score_events(tmp_path / "truth.csv", tmp_path / "answers.csv", tolerances=(0, 1))
    assert by_frame["mAP"] == {0: 0.0, 1: 1.0}
    assert by_frame.figures()["hit"].median_error_ms == pytest.approx(40)


@pytest.mark.parametrize("first_s", [1.5, 1.52])
def test_a_frame_is_a_frame_where_times_are_between_frames(first_s: float) -> None:
    times_s = [first_s + 10.04 * k for k in range(8)]
    truth = [{"video": "v", "time_s": time_s, "label": "hit"} for time_s in times_s]
    late = [{"video": "v", "time_s": time_s + 0.04, "label": "hit"} for time_s in times_s]
    assert gs.score_events(truth, late, tolerances=(0, 1), fps=25)["mAP"] == {0: 0.0, 1: 1.0}


@pytest.mark.slow
def test_many_long_videos_do_not_blur_milliseconds() -> None:
    truth = [{"video": f"{n}", "time_s": 7000 + n / 1000, "label": "hit"} for n in range(3000)]
    late = [{**event, "time_s": event["time_s"] + 0.002} for event in truth]
    assert gs.score_events(truth, late, tolerances=(1, 2), fps=1000)["mAP"] == {1: 0.0, 2: 1.0}


def test_answers_of_videos_without_events_are_false_alarms() -> None:
    answers = dicts([("other", 3, "hit", 0.9), ("v", 3, "hit", 0.8)])
    assert gs.score_events(of_one_class([3]), answers, tolerances=(0,))["mAP"] == {0: 0.5}


def test_files_of_other_videos_are_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"path,frame,label\n{name}.mp4,3,hit\n")
    with pytest.raises(ScoresError, match=r"`answers` are of other videos than `truth`, such as b\.mp4 and a\.mp4"):
        gs.score_events(tmp_path / "a.csv", tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"truth": []}, ScoresError, "`truth` has no events"),
        ({"rule": "best"}, SettingsError, "`rule` 'best'; choose one of nearest, soccernet"),
        ({"tolerances": ()}, SettingsError, "give at least one"),
        ({"tolerances": (1, -1)}, SettingsError, "each at least 0"),
        ({"fps": 0}, SettingsError, "`fps` 0; it must be above 0"),
    ],
)
def test_what_cannot_be_scored_is_an_error(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gs.score_events(**{"truth": of_one_class([1]), "answers": of_one_class([1]), **change})


def test_figures_are_of_the_answers_from_a_threshold_on() -> None:
    truth = [*of_one_class((10, 20, 30, 40)), *dicts([("v", 5, "miss", 1)])]
    answers = of_one_class((10, 21, 34, 60, 40), (0.9, 0.8, 0.7, 0.6, 0.2))
    found = gs.score_events(truth, answers, fps=25).figures(threshold=0.5)
    hit = found["hit"]
    assert (hit.num_events, hit.num_answers, hit.hits, hit.misses) == (4, 4, 3, 1)
    assert (hit.precision, hit.recall, hit.f1) == (0.75, 0.75, 0.75)
    assert (hit.median_error_ms, hit.p90_error_ms) == (pytest.approx(40), pytest.approx(136))  # of 0, 40 and 160 ms
    assert (found["miss"].recall, found["miss"].precision, found["miss"].median_error_ms) == (0, 0, None)
    assert (found["all classes"].hits, found["all classes"].num_events) == (3, 5)
    assert list(found) == ["hit", "miss", "all classes"]
    near = gs.score_events(truth, answers, fps=25).figures(threshold=0.5, tolerance=1)["hit"]
    assert (near.hits, near.misses) == (2, 2)


def test_scores_are_told_in_a_line() -> None:
    found = gs.score_events(of_one_class((10, 20)), of_one_class((10, 21)), tolerances=(0, 1), fps=25)
    assert str(found) == (
        "mAP (frames) 0: 50.00%, 1: 100.00%; average mAP tight 100.00%, loose 100.00%; 2 events, 2 answers"
    )
    assert found.mean_ap == 1.0
    assert json.loads(json.dumps(found))["mAP"] == {"0": 0.5, "1": 1.0}
