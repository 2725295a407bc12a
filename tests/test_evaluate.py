"""Testing a model from Python; the verb prints what these functions return."""

import base64
import csv
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from score_data import random_scores

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.dataset import open_entry, read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.manifest import read_manifest
from gateshift.errors import GateShiftError, ModelError, ScoresError, SettingsError, VideoError
from gateshift.evaluation.evaluate import ensemble, evaluate
from gateshift.evaluation.fast_form import fast_form
from gateshift.evaluation.result import Evaluation
from gateshift.evaluation.scores import load_scores, save_scores
from gateshift.evaluation.scoring import score_videos

SMALL: dict[str, Any] = {"segments": 4, "workers": 0}


@pytest.fixture(scope="module")
def model(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights that knows the classes of the clips."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    classes = (clips / "classes.txt").read_text().splitlines()
    gs.save_model(gs.create_model("test_resnet", temporal="gsm", classes=classes, size_px=32), path)
    return path


@pytest.fixture(scope="module")
def found(model: Path, clips: Path) -> Evaluation:
    return evaluate(model, clips / "val.csv", **SMALL)


def pictures(page: Path, kind: str) -> list[Image.Image]:
    data = re.findall(rf"data:image/{kind};base64,([^\"]+)", page.read_text(encoding="utf-8"))
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in data]


@pytest.mark.slow
def test_the_verb_prints_what_the_function_returns(
    found: Evaluation, model: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["test", str(model), str(clips / "val.csv"), "--segments", "4", "--workers", "0"])
    assert capsys.readouterr().out == f"{found}\n"


@pytest.mark.slow
def test_a_model_a_list_and_a_folder_may_be_given_in_every_form(found: Evaluation, model: Path, clips: Path) -> None:
    seen: list[tuple[int, int]] = []
    network = gs.load_model(model)
    for source, videos in ((network, clips / "val.csv"), (str(model), read_manifest(clips / "val.csv"))):
        again = evaluate(source, videos, **SMALL, progress=lambda done, total: seen.append((done, total)))
        np.testing.assert_array_equal(again.scores.logits, found.scores.logits)
    assert seen == 2 * [(4, 10), (8, 10), (10, 10)]
    by_folder = evaluate(model, clips / "val", **SMALL)
    assert by_folder.accuracies() == pytest.approx(found.accuracies())


@pytest.mark.slow
def test_a_small_test_needs_no_accelerate(found: Evaluation, model: Path, clips: Path) -> None:
    manifest, network = read_manifest(clips / "val.csv"), gs.load_model(model)
    from gateshift.devices import create_accelerator

    shared = score_videos(
        fast_form(network), network.config, manifest, EvalProtocol(4), accelerator=create_accelerator("no"), workers=0
    )
    np.testing.assert_array_equal(shared.scores.logits, found.scores.logits)
    low = evaluate(model, manifest, **SMALL, precision="bf16")
    assert low.scores.logits.dtype == np.float32
    np.testing.assert_allclose(low.scores.logits, found.scores.logits, atol=0.1)
    assert not np.array_equal(low.scores.logits, found.scores.logits)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in fp16")
def test_fp16_is_for_gpus(model: Path, clips: Path) -> None:
    with pytest.raises(SettingsError, match="`precision=fp16` needs a GPU; take `precision=bf16`"):
        evaluate(model, clips / "val.csv", **SMALL, precision="fp16")


@pytest.mark.slow
def test_accuracies_a_table_scores_and_a_page_are_left_behind(found: Evaluation, tmp_path: Path) -> None:
    assert found.accuracies() == found.scores.metrics().accuracies()
    assert set(found.accuracies()) == {"top1", "top5", "mean_class"}
    found.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == list(found.scores.ids)
    assert np.mean([int(row["correct"]) for row in rows]) == pytest.approx(found.accuracies()["top1"])
    probabilities = torch.from_numpy(found.scores.logits).softmax(1).amax(1)
    assert [float(row["probability"]) for row in rows] == pytest.approx(probabilities.tolist(), abs=1e-6)
    assert [row["label"] for row in rows] == [found.scores.classes[label] for label in found.scores.labels]
    found.save(tmp_path / "scores.npz")
    np.testing.assert_array_equal(load_scores(tmp_path / "scores.npz").logits, found.scores.logits)
    found.report(tmp_path / "a.html", compare=tmp_path / "scores.npz")
    assert f"Compared with <bdi>{tmp_path / 'scores.npz'}</bdi>" in (tmp_path / "a.html").read_text(encoding="utf-8")
    for write, name in ((found.to_csv, "table.csv"), (found.save, "scores.npz"), (found.report, "a.html")):
        with pytest.raises(SettingsError, match=f"{name} exists"):
            write(tmp_path / name)
        write(tmp_path / name, overwrite=True)


@pytest.mark.slow
def test_what_is_asked_for_is_written_and_printed(
    found: Evaluation, model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, scores, other = tmp_path / "out.html", tmp_path / "a.npz", tmp_path / "b.npz"
    found.save(other)
    words = ["--clips", 2, "--crops", 3, "--scores", scores, "--report", out, "--compare", other]
    main(["test", *map(str, (model, clips / "val.csv", "--segments", 4, "--workers", 0, *words))])
    printed = capsys.readouterr().out
    assert f"report: {out}" in printed and f"scores: {scores}" in printed
    assert re.search(rf"compared with {other}: top-1 .* \(4 segments × 1 clips × 1 crops\); \d+ videos right", printed)
    text = " ".join(re.sub("<[^>]+>", "", out.read_text(encoding="utf-8")).split())
    assert f"Top-1 accuracy{100 * load_scores(scores).metrics().top1:.1f} %" in text
    assert "Each video was seen in 6 views, 2 × 3 clips and crops" in text
    frames = pictures(out, "jpeg")
    assert len(frames) == 8 * len(re.findall(r"probability \d", text)) >= 64
    assert frames[0].size == (48, 36)


def test_the_frames_of_a_report_are_those_of_the_video_in_order(
    model: Path, tmp_path: Path, counting_frames: Callable[..., Any], write_video: Callable[..., Any]
) -> None:
    write_video(tmp_path / "one.mp4", counting_frames(40))
    (tmp_path / "val.csv").write_text("path,label\none.mp4,cover\n")
    evaluate(model, tmp_path / "val.csv", **SMALL, report=tmp_path / "out.html")
    numbers = [round((np.asarray(frame).mean() - 10) / 4) for frame in pictures(tmp_path / "out.html", "jpeg")]
    assert numbers == [2, 7, 12, 17, 22, 27, 32, 37]  # the middles of eight parts of five frames


@pytest.mark.slow
def test_each_view_chooses_for_itself_and_mirrored_ones_for_the_swapped_class(model: Path, clips: Path) -> None:
    network, manifest = gs.load_model(model), read_manifest(clips / "val.csv")
    pairs = (("move left", "move right"), ("cover", "uncover"))
    config = dataclasses.replace(network.config, mirror_pairs=pairs)
    protocol = EvalProtocol(4, num_clips=2, num_crops=10)
    found = score_videos(network, config, manifest, protocol, batch_size=3, workers=0)
    assert found.choices.shape == (10, 2, 10)
    names = config.classes
    swap = {names.index(one): names.index(two) for pair in pairs for one, two in (pair, pair[::-1])}
    for row, entry in enumerate(manifest.entries):
        with open_entry(entry) as video, torch.inference_mode():
            shown = network(read_views(video, protocol, size_px=config.size_px, resize_px=config.resize_px)).argmax(1)
        for view, choice in enumerate(shown.tolist()):
            expected = swap.get(choice, choice) if view % 2 else choice
            assert found.choices[row, view // 10, view % 10] == expected


@pytest.mark.slow
def test_unreadable_videos_are_skipped_if_asked_and_listed(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(clips / "val", tmp_path / "val")
    shutil.copy(clips / "val.csv", tmp_path)
    rows = (clips / "val.csv").read_text().splitlines()
    bad, worse = rows[1].partition(",")[0], rows[6].partition(",")[0]
    for name in (bad, worse):
        (tmp_path / name).write_bytes(b"no video")
    out, listed = tmp_path / "out.html", tmp_path / "val.csv"
    with pytest.raises(VideoError, match=bad):
        evaluate(model, listed, **SMALL, batch_size=1, report=out)
    with pytest.raises(VideoError, match=f"`skip_bad=1`: 2 videos cannot be read, the last: {tmp_path / worse}"):
        evaluate(model, listed, **SMALL, batch_size=1, report=out, skip_bad=1)
    assert not out.exists()
    main(["test", *map(str, (model, listed, "--segments", 4, "--workers", 0, "--skip-bad", 2, "--report", out))])
    printed = capsys.readouterr().out
    assert "8 videos" in printed and "skipped 2 videos that cannot be read:\n" in printed
    text = " ".join(re.sub("<[^>]+>", "", out.read_text(encoding="utf-8")).split())
    assert "Videos8, 2 more skipped" in text
    for name in (bad, worse):
        assert name in text.partition("count in no figure of this page: 2.")[2]
    found = evaluate(model, listed, **SMALL, skip_bad=2)
    found.to_csv(tmp_path / "table.csv")
    last = (tmp_path / "table.csv").read_text().splitlines()[-1]
    assert last.startswith(f"{worse},,,,,") and "no video" not in last


def test_a_list_without_a_single_readable_video_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text("path,label\na.mp4,cover\nb.mp4,cover\n")
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    with pytest.raises(VideoError, match="^none of the 2 videos can be read; the first: .*a.mp4") as error:
        evaluate(model, tmp_path / "val.csv", **SMALL, skip_bad=5)
    assert "\n" not in str(error.value)


def test_what_cannot_be_written_is_an_error_before_the_test(model: Path, tmp_path: Path) -> None:
    (tmp_path / "old.html").write_text("old")
    (tmp_path / "folder.html").mkdir()
    cases = {
        "old.html": "exists; choose another name, or add ",
        "a.pdf": "its name must end with .html; rename it",
        "nowhere/a.html": "create it",
        "folder.html": "is a folder; choose another name",
    }
    for name, message in cases.items():
        with pytest.raises(SettingsError, match=f"^`report` {tmp_path / name}.*{message}"):
            evaluate(model, tmp_path / "no.csv", report=tmp_path / name)
    assert (tmp_path / "old.html").read_text() == "old"


def test_scores_of_other_videos_or_classes_are_refused_before_the_test(
    model: Path, clips: Path, tmp_path: Path
) -> None:
    classes = (clips / "classes.txt").read_text().splitlines()
    other, mine = tmp_path / "other.npz", tmp_path / "mine.npz"
    for names, message in ((tuple("abcdef"), "has 6 classes and this test has 10"), (classes, "of different videos")):
        save_scores(random_scores(0, classes=names), other)
        with pytest.raises(ScoresError, match=f"`compare` {other} .*{message}"):
            evaluate(model, clips / "val.csv", **SMALL, compare=other, scores=mine)
        assert not mine.exists()


# Recipes


@pytest.fixture
def several(model: Path, tmp_path: Path) -> Path:
    """A folder with the models of a recipe of two, and the recipe."""
    network = gs.load_model(model)
    for name, clips in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.toml").write_text(f"[model]\nsegments = 3\n[test]\nclips = {clips}\n")
    (tmp_path / "both.toml").write_text(f'parts = ["{tmp_path / "one.toml"}", "{tmp_path / "two.toml"}"]\n')
    for name in ("one", "two"):
        torch.nn.init.normal_(network.head.weight)
        gs.save_model(network, tmp_path / f"{name}.toml.safetensors")
    return tmp_path


@pytest.mark.slow
def test_a_recipe_says_how_to_test_and_what_is_given_wins(several: Path, clips: Path) -> None:
    model, recipe = several / "two.toml.safetensors", str(several / "two.toml")
    found = evaluate(model, clips / "val.csv", recipe=recipe, crops=3, workers=0)
    assert found.scores.protocol == "3 segments × 2 clips × 3 crops"
    again = evaluate(model, clips / "val.csv", recipe=recipe, clips=1, workers=0)
    assert again.scores.protocol == "3 segments × 1 clips × 1 crops"


@pytest.mark.slow
def test_the_models_of_a_recipe_of_several_are_averaged(
    several: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate(several, clips / "val.csv", recipe=str(several / "both.toml"), workers=0)
    alone = [
        evaluate(
            several / f"{name}.toml.safetensors", clips / "val.csv", recipe=str(several / f"{name}.toml"), workers=0
        )
        for name in ("one", "two")
    ]
    together = ensemble(alone)
    np.testing.assert_array_equal(found.scores.logits, together.scores.logits)
    assert [str(part) for part in found.parts] == [str(each) for each in alone]
    main(["test", str(several), str(clips / "val.csv"), "--recipe", str(several / "both.toml"), "--workers", "0"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"ensemble of 2 ({found.scores.protocol}): {found.scores.metrics()}"
    assert printed[-3].startswith(f"{several / 'one.toml.safetensors'} (3 segments × 1 clips × 1 crops): top-1")
    with pytest.raises(SettingsError, match="`fit_threshold=0.9` with a recipe of several models"):
        evaluate(several, clips / "val.csv", recipe=str(several / "both.toml"), fit_threshold=0.9)
    (several / "two.toml.safetensors").unlink()
    with pytest.raises(ModelError, match="no model .*two.toml"):
        evaluate(several, clips / "val.csv", recipe=str(several / "both.toml"))


def test_an_ensemble_takes_files_scores_and_evaluations(
    found: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found.save(tmp_path / "a.npz")
    together = ensemble([tmp_path / "a.npz", found.scores, found], scores=tmp_path / "all.npz")
    np.testing.assert_allclose(together.scores.logits, found.scores.logits, rtol=1e-6)
    assert json.loads((tmp_path / "all.json").read_text())["top1"] == pytest.approx(found.accuracies()["top1"])
    main(["ensemble", str(tmp_path / "a.npz"), str(tmp_path / "all.npz")])
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path / 'a.npz'} ({found.scores.protocol}): {found.scores.metrics()}"
    assert last == f"ensemble of 2 ({found.scores.protocol}): {found.scores.metrics()}"
    with pytest.raises(GateShiftError, match="1 scores file; an ensemble takes at least 2"):
        ensemble([found])
    with pytest.raises(GateShiftError, match="`files` of type Evaluation; give a list"):
        ensemble(found)  # type: ignore[arg-type]
    with pytest.raises(GateShiftError, match="scores of type int; give a .npz file"):
        ensemble([found, 3])  # type: ignore[list-item]


def test_a_bare_network_is_refused(clips: Path) -> None:
    with pytest.raises(ModelError, match="`model` is a Linear; give a path, a VideoClassifier or an ExportedModel"):
        evaluate(torch.nn.Linear(2, 2), clips / "val.csv", **SMALL)
