"""Confidence thresholds: models that say nothing where they are unsure."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError, SettingsError
from gateshift.evaluation.confidence import ConfidenceThreshold, fit_threshold, measure_threshold
from gateshift.evaluation.evaluate import evaluate
from gateshift.evaluation.scores import Scores, load_scores
from gateshift.model.config import ModelConfig
from gateshift.prediction.predict import Prediction


def scores_of(videos: list[tuple[float, bool]]) -> Scores:
    """Two classes: videos whose answer has these probabilities, in 0.5..1, and is right or not."""
    logits = np.array([[np.log(p / (1 - p)), 0.0] for p, _ in videos], np.float32)
    labels = np.array([0 if right else 1 for _, right in videos], np.int64)
    return Scores(tuple(map(str, range(len(videos)))), labels, logits, ("a", "b"), "as tested")


def test_the_threshold_is_half_way_below_the_last_answer_that_is_good_enough() -> None:
    videos = [(0.9, True), (0.6, False), (0.8, True), (0.7, True), (0.95, True)]
    found = fit_threshold(scores_of(videos), 0.95)
    assert found.probability == pytest.approx((0.7 + 0.6) / 2, abs=1e-6)
    assert (found.num_videos, found.num_answered, found.num_correct) == (5, 4, 4)


def test_a_mistake_among_the_surest_is_made_up_for_by_those_below() -> None:
    videos = [(0.99, False), (0.9, True), (0.8, True), (0.7, True), (0.6, False)]
    found = fit_threshold(scores_of(videos), 0.75)
    assert (found.num_answered, found.num_correct) == (4, 3)


def test_where_all_answers_together_are_good_enough_none_is_held_back() -> None:
    found = fit_threshold(scores_of([(0.9, True), (0.6, True)]), 1.0)
    assert (found.probability, found.num_answered) == (0.0, 2)


def test_answers_of_one_probability_are_let_through_together() -> None:
    with pytest.raises(SettingsError, match="the best reaches 0.5; ask for less"):
        fit_threshold(scores_of([(0.9, True), (0.9, False)]), 0.9)


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(51, 99), st.booleans()), min_size=1, max_size=25),
    st.sampled_from([0.3, 0.5, 0.75, 0.9, 1.0]),
)
def test_no_other_threshold_that_is_good_enough_answers_more(videos: list[tuple[int, bool]], accuracy: float) -> None:
    scores = scores_of([(percent / 100, right) for percent, right in videos])
    possible = []
    for lowest, _ in videos:
        let_through = [right for percent, right in videos if percent >= lowest]
        if sum(let_through) / len(let_through) >= accuracy:
            possible.append(len(let_through))
    if not possible:
        with pytest.raises(SettingsError, match="no threshold reaches this accuracy"):
            fit_threshold(scores, accuracy)
        return
    found = fit_threshold(scores, accuracy)
    assert found.num_answered == max(possible)
    assert found.num_correct / found.num_answered >= accuracy
    again = measure_threshold(scores, found.probability)
    assert (again.num_answered, again.num_correct) == (found.num_answered, found.num_correct)


def test_the_bound_holds_for_other_videos_as_often_as_it_says() -> None:
    # By the definition of Clopper and Pearson: were the true share the bound, so many right ones or more came up with
    # a probability of 0.05. Summed here for 18 of 20.
    bound = ConfidenceThreshold(0.5, 30, 20, 18).accuracy_bound
    chances = [1, 20, 190]  # 20 over 0, 1 and 2 wrong ones
    tail = sum(count * bound ** (20 - wrong) * (1 - bound) ** wrong for wrong, count in enumerate(chances))
    assert tail == pytest.approx(0.05)
    assert ConfidenceThreshold(0.5, 30, 20, 18, num_tries=10).accuracy_bound < bound
    assert (
        ConfidenceThreshold(0.5, 30, 20, 0).accuracy_bound == ConfidenceThreshold(0.5, 30, 0, 0).accuracy_bound == 0.0
    )
    assert 0.85 < ConfidenceThreshold(0.5, 30, 20, 20).accuracy_bound < 1


def test_the_bound_is_kept_by_fits_to_many_small_lists() -> None:
    generator = np.random.default_rng(0)
    broken = 0
    for _ in range(200):
        percents = generator.uniform(0.5, 0.999, 40)
        found = fit_threshold(scores_of([(p, generator.random() < p) for p in percents]), 0.6)  # calibrated
        truth = (max(found.probability, 0.5) + 0.999) / 2  # the mean probability above the threshold
        broken += truth < found.accuracy_bound
    assert broken <= 10  # 0.05 of them


@pytest.mark.parametrize(("video", "label"), [(("a.mp4", (("x", 0.9),)), "x"), (("a.mp4", ()), None)])
def test_a_record_has_the_answer_beside_what_it_had(video: tuple[str, tuple], label: str | None) -> None:
    record = Prediction(*video).to_dict()
    assert record["label"] == label
    assert {"video", "top", "error"} < record.keys()
    assert Prediction("a.mp4", (("x", 0.4),), unsure=True).to_dict() == {
        "video": "a.mp4",
        "label": None,
        "top": [{"class": "x", "probability": 0.4}],
        "error": None,
    }


def test_a_file_that_does_not_say_always_answers() -> None:
    config = gs.create_model("test_resnet", "none", num_classes=2).config
    fields = json.loads(config.to_json())
    del fields["abstain_below"]
    assert ModelConfig.from_json(json.dumps(fields)).abstain_below is None
    for value in (-0.1, 1.5, "0.5"):
        with pytest.raises(ModelError, match="model description is damaged"):
            ModelConfig.from_json(json.dumps(fields | {"abstain_below": value}))


# The command line


@pytest.fixture
def model(tmp_path: Path, clips: Path) -> Path:
    """A model with random weights that is not equally sure of all clips."""
    from gateshift.data.lists.manifest import read_manifest

    torch.manual_seed(0)
    classes = read_manifest(clips / "val.csv").class_names()
    made = gs.create_model("test_resnet", "gsm", classes=classes, size_px=32, num_segments=4)
    nn.init.normal_(made.head.weight, std=3.0)
    path = tmp_path / "model.safetensors"
    gs.save_model(made, path)
    return path


def run(*words: object) -> int:
    try:
        main(list(map(str, words)))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.slow
def test_test_writes_a_model_with_which_predict_is_unsure(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Random weights: as many right answers as they happen to give are asked for.
    assert run("test", model, clips / "val.csv", "--workers", 0, "--scores", tmp_path / "s.npz", "--crops", 3) == 0
    scores = load_scores(tmp_path / "s.npz")
    probabilities = torch.from_numpy(scores.logits).softmax(1).amax(1).sort(descending=True).values
    share = float(scores.metrics().top1)
    assert 0 < share < 1
    out = tmp_path / "careful.safetensors"
    report = tmp_path / "r.html"
    words = ["--fit-threshold", share + 1e-6, "--out", out, "--crops", 3, "--workers", 0, "--report", report]
    capsys.readouterr()
    assert run("test", model, clips / "val.csv", *words) == 0
    printed = " ".join(capsys.readouterr().out.split())
    careful, before = gs.load_model(out), gs.load_model(model)
    threshold = careful.config.abstain_below
    assert threshold is not None
    answered = int((probabilities >= threshold).sum())
    assert 0 < answered < len(scores.ids)
    line = f"from probability {threshold:.4f} on, {answered} of {len(scores.ids)} videos are answered"
    assert line in printed
    assert line in " ".join(report.read_text(encoding="utf-8").split())
    assert careful.config == dataclasses.replace(before.config, abstain_below=threshold, num_crops=3)
    assert {k: v.tolist() for k, v in careful.state_dict().items()} == {
        k: v.tolist() for k, v in before.state_dict().items()
    }

    assert run("predict", out, clips / "val", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["label"] is None for record in records] == [r["top"][0]["probability"] < threshold for r in records]
    assert sum(record["label"] is not None for record in records) == answered
    assert all(record["label"] in (None, record["top"][0]["class"]) for record in records)

    assert run("predict", out, clips / "val") == 0
    assert capsys.readouterr().out.count("unsure") == len(records) - answered
    assert run("predict", model, clips / "val") == 0
    assert "unsure" not in capsys.readouterr().out

    assert run("test", out, clips / "val.csv", "--workers", 0) == 0  # by its own protocol
    assert line in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_threshold_is_kept_with_the_box_that_it_was_fitted_by(model: Path, clips: Path, tmp_path: Path) -> None:
    careful, box = tmp_path / "careful.safetensors", (0.25, 0.0, 1.0, 0.5)
    evaluate(model, clips / "val.csv", fit_threshold=0.01, out=careful, box=box, workers=0)
    assert gs.load_model(careful).config.box == box


@pytest.mark.slow
def test_nothing_is_replaced_unasked_and_the_model_itself_can_be(
    model: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    words = ["test", model, clips / "val.csv", "--fit-threshold", 0.01, "--workers", 0, "--out"]
    assert run(*words, model) == 2
    assert f"{model} exists; choose another name, or add " in capsys.readouterr().err
    assert model.read_bytes() == before
    assert run(*words, model, "--overwrite") == 0
    assert gs.load_model(model).config.abstain_below is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit_threshold": 1.5}, "`fit_threshold=1.5`; it is an accuracy, above 0 and up to 1; try 0.95"),
        ({"fit_threshold": 0.0}, "`fit_threshold=0.0`; it is an accuracy"),
        ({"out": "m.safetensors"}, "`out` m.safetensors without `fit_threshold`"),
        ({"fit_threshold": 0.9, "out": "m.pth"}, "`out` m.pth; its name must end with .safetensors"),
        ({"fit_threshold": 0.9, "out": "no/m.safetensors"}, "`out` no/m.safetensors: no folder no; create it"),
        ({"fit_threshold": 0.9, "out": "m.safetensors", "model": "m.onnx"}, "m.onnx, an exported file; give the model"),
    ],
)
def test_a_mistake_is_one_line_before_the_test(options: dict[str, Any], message: str, clips: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        evaluate(options.pop("model", "nowhere.safetensors"), clips / "nowhere.csv", **options)


@pytest.mark.slow
def test_a_fit_that_fails_tells_the_accuracy_of_the_test(model: Path, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no threshold reaches this accuracy.* \(4 segments .*top-1 .*10 videos"):
        evaluate(model, clips / "val.csv", fit_threshold=1.0, workers=0, scores=tmp_path / "s.npz")
    assert (tmp_path / "s.npz").is_file()
