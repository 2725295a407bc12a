"""The demo of events, its picture and its figure of opposite events."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gateshift as gs
from gateshift.cli.main import main
from gateshift.demo.spot_demo import right_of_pairs
from gateshift.demo.spot_picture import draw_timelines
from gateshift.demo.spot_videos import write_spot_videos


def at(label: str, frame: int, score: float | None = None) -> gs.Event:
    return gs.Event("test/0000.mp4", label, frame, frame / 25, score)


def test_of_opposite_events_the_likelier_answer_near_the_event_counts() -> None:
    truth = [at("take", 10), at("let go", 30), at("appear", 50), at("bounce", 70)]
    answers = [
        *(at("take", 11, 0.6), at("let go", 10, 0.5)),  # right
        *(at("take", 30, 0.4), at("let go", 31, 0.3)),  # wrong
        *(at("appear", 52, 0.9), at("take", 50, 0.9)),  # too far, and of another pair
        at("bounce", 70, 0.9),  # has no opposite
    ]
    assert right_of_pairs(gs.score_events(truth, answers)) == 0.5
    assert right_of_pairs(gs.score_events(truth[3:], answers)) == 0


@pytest.mark.slow
def test_timelines_are_one_picture(tmp_path: Path) -> None:
    write_spot_videos(tmp_path / "spot", train=0, val=0, test=1, duration_s=4, size_px=(64, 48))
    truth = gs.read_events(tmp_path / "spot" / "test.csv")
    late = [gs.Event(each.video, each.label, (each.frame or 0) + 2, (each.time_s or 0) + 0.08) for each in truth.events]
    scores = {"exact": gs.score_events(truth, truth, fps=25), "late": gs.score_events(truth, late, fps=25)}
    draw_timelines(tmp_path / "spot" / "test" / "0000.mp4", "test/0000.mp4", scores, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        colors = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for right_or_wrong in ((0x2A, 0x7F, 0x3F), (0xC2, 0x3B, 0x22)):  # lines have soft edges
        assert (np.abs(colors - right_or_wrong).sum(1) < 60).any()


@pytest.mark.slow
def test_the_demo_finds_events_with_gate_shift_and_cannot_tell_opposite_ones_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    main(["demo", "--spot", "--out", str(out), "--workers", "0"])
    printed = capsys.readouterr().out
    found = json.loads((out / "spot.json").read_text())
    assert found["none"]["right_of_pairs"] <= 0.65
    assert found["gsm"]["right_of_pairs"] >= 0.9
    assert found["gsm"]["map_1"] >= found["none"]["map_1"] + 0.2
    assert "opposite" in printed
    assert (out / "gsm.html").is_file()
    with Image.open(out / "spot.png") as picture:
        assert picture.format == "PNG"
