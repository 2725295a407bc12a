"""The verbs on real encoded video: train, test, predict, ensemble."""

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from trainings import SMALL, read_csv

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.video.files import open_video
from gateshift.evaluation.scores import load_scores
from gateshift.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs by the command line."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    lists = [str(clips / "train.csv"), str(clips / "val.csv")]
    main(["train", *lists, "--out", str(out), *words, "--segments", "4", "--epochs", "2", "--warmup-epochs", "1"])
    return out


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


@pytest.mark.slow
def test_training_leaves_models_logs_curves_and_settings(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "best.safetensors", "last.safetensors", "log.csv", "settings.json", "recipe.toml", "state", "state.old",
        "tensorboard", "training.html", "curves.png", "first_batch.png",
    }  # fmt: skip
    rows = read_csv(trained / "log.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"lr", "loss", "accuracy", "val_top1", "val_top5", "val_mean_class", "seconds"} <= set(rows[0])
    assert [str(row["loss"]) for row in RunFolder(trained).read_log()] == [row["loss"] for row in rows]
    assert list((trained / "tensorboard").glob("events.*"))
    assert json.loads((trained / "settings.json").read_text())["segments"] == 4


@pytest.mark.slow
def test_the_saved_model_carries_what_is_needed_to_use_it(trained: Path, clips: Path) -> None:
    config = gs.load_model(trained / "last.safetensors").config
    assert list(config.classes) == (clips / "classes.txt").read_text().split("\n")[:-1]
    assert (config.num_segments, config.size_px, config.temporal) == (4, 32, "gsm")
    assert ("move left", "move right") in config.mirror_pairs
    assert ("turn clockwise", "turn counterclockwise") in [tuple(sorted(pair)) for pair in config.mirror_pairs]


@pytest.mark.slow
def test_test_prints_and_writes_accuracies_with_their_protocol(
    trained: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--clips", 2, "--crops", 3, "--workers", 0, "--scores", tmp_path / "a.npz")
    printed = run(capsys, "test", trained / "last.safetensors", clips / "val.csv", *options)
    scores = load_scores(tmp_path / "a.npz")
    summary = json.loads((tmp_path / "a.json").read_text())
    assert summary["protocol"] == "4 segments × 2 clips × 3 crops"
    assert f"{summary['protocol']}: top-1 {summary['top1']:.2%}" in printed
    rows = read_csv(clips / "val.csv")
    assert list(scores.ids) == [row["path"] for row in rows]
    assert [scores.classes[label] for label in scores.labels] == [row["label"] for row in rows]
    assert summary["top1"] == float((scores.logits.argmax(1) == scores.labels).mean())


def extract(clips: Path, folder: Path) -> Path:
    """Write every validation video as a folder of PNGs, and a CSV of these."""
    rows = read_csv(clips / "val.csv")
    for row in rows:
        frames = folder / row["path"].removesuffix(".mp4")
        frames.mkdir(parents=True)
        with av.open(str(clips / row["path"])) as container:
            for number, frame in enumerate(container.decode(video=0), start=1):
                frame.to_image().save(frames / f"img_{number:05d}.png")
    lines = [f"{row['path'].removesuffix('.mp4')},{row['label']}\n" for row in rows]
    (folder / "val.csv").write_text("path,label\n" + "".join(lines))
    return folder / "val.csv"


@pytest.mark.slow
def test_a_file_and_its_frames_score_the_same_for_any_workers_and_batches(
    trained: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = extract(clips, tmp_path / "frames")
    results = []
    cases = [("val", 0, 1), ("val", 2, 4), ("val", 1, 7), ("frames", 0, 1), ("frames", 2, 3)]
    for number, (source, workers, size) in enumerate(cases):
        path = tmp_path / f"{number}.npz"
        listed = clips / "val.csv" if source == "val" else folders
        run(
            capsys, "test", trained / "last.safetensors", listed, "--clips", 2, "--workers", workers,
            "--batch-size", size, "--scores", path,
        )  # fmt: skip
        results.append(load_scores(path))
    np.testing.assert_array_equal(results[3].logits, results[0].logits)  # file and folder, bit for bit
    for result in results[1:]:
        np.testing.assert_allclose(result.logits, results[0].logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(result.logits.argmax(1), results[0].logits.argmax(1))


@pytest.mark.slow
def test_one_view_scores_like_the_model(trained: Path, clips: Path, tmp_path: Path) -> None:
    from gateshift.data.clips.dataset import read_views
    from gateshift.data.clips.views import EvalProtocol

    path = tmp_path / "a.npz"
    main(
        ["test", str(trained / "last.safetensors"), str(clips / "val.csv"), "--batch-size", "1", "--scores", str(path)]
    )
    scores, model = load_scores(path), gs.load_model(trained / "last.safetensors")
    with open_video(clips / scores.ids[3]) as video, torch.inference_mode():
        clip = read_views(video, EvalProtocol(4), size_px=32, resize_px=36)
        np.testing.assert_allclose(model(clip).numpy()[0], scores.logits[3], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_an_ensemble_of_score_files_averages_them(
    trained: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (1, 2):
        run(
            capsys, "test", trained / "last.safetensors", clips / "val.csv", "--clips", count, "--workers", 0,
            "--scores", tmp_path / f"{count}.npz",
        )  # fmt: skip
    printed = run(capsys, "ensemble", tmp_path / "1.npz", tmp_path / "2.npz", "--scores", tmp_path / "both.npz")
    one, two, both = (load_scores(tmp_path / f"{name}.npz") for name in (1, 2, "both"))
    np.testing.assert_allclose(both.logits, (one.logits + two.logits) / 2, rtol=1e-6)
    assert both.protocol == f"{one.protocol} + {two.protocol}"
    assert "ensemble of 2" in printed


@pytest.mark.slow
def test_predict_gives_a_record_for_each_video_bad_ones_too(
    trained: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    with pytest.raises(SystemExit) as stop:
        run(capsys, "predict", trained / "best.safetensors", bad, clips / "unseen", "--top", 3, "--json")
    assert stop.value.code == 2
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert len(records) == 11
    assert records[0]["video"] == str(bad)
    assert records[0]["top"] == []
    assert str(bad) in records[0]["error"]
    assert str(bad) in captured.err
    for record in records[1:]:
        assert record["error"] is None
        probabilities = [entry["probability"] for entry in record["top"]]
        assert len(probabilities) == 3
        assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.slow
def test_predict_prints_a_line_for_each_video(trained: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = run(capsys, "predict", trained / "best.safetensors", clips / "unseen" / "cover.mp4", "--top", 2)
    assert "4 segments × 1 clips × 1 crops" in printed
    line = printed.splitlines()[-1]
    assert re.fullmatch(
        rf"{re.escape(str(clips / 'unseen' / 'cover.mp4'))}: [\w ]+ [01]\.\d{{3}}, [\w ]+ [01]\.\d{{3}}", line
    )


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == f"gateshift {gs.__version__}\n"
