"""A region of the picture, through everything that is done with a model: as if videos had been cut by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live_sources import FPS
from prepare_data import rows
from streaming_data import trained as after_training
from trainings import SMALL

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.video.files import open_video
from gateshift.data.video.live import NewestFrames
from gateshift.errors import ManifestError, SettingsError
from gateshift.evaluation.protocol import choose_box, choose_protocol
from gateshift.exported.loading import load_any
from gateshift.exporting.browser_page import _described
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction.cluster import _Scorer, _Scoring, list_boxes, list_videos, told_boxes
from gateshift.web.decoding import Upload, decode
from gateshift.web.settings import ServeSettings

BOX = "0.25,0.25,0.75,1"
ROWS, COLUMNS = slice(12, 48), slice(16, 48)  # of 64 x 48 px


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    coarse = np.random.default_rng(0).integers(0, 256, (24, 6, 8, 3))
    frames = np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)
    return write_video(tmp_path_factory.mktemp("boxes") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def decoded(clip: Path) -> np.ndarray:
    """[24, 48, 64, 3]."""
    with open_video(clip) as video:
        return video.read(range(video.num_frames)).permute(0, 2, 3, 1).contiguous().numpy()


@pytest.fixture(scope="module")
def cut(decoded: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(decoded[:, ROWS, COLUMNS])


def make_model(box: Any = None, **options: Any) -> VideoClassifier:
    torch.manual_seed(0)
    made = gs.create_model("test_resnet", num_classes=3, num_segments=4, size_px=32, box=box, **options)
    return made.eval() if "task" in options else after_training(made)


@pytest.fixture(scope="module")
def model() -> VideoClassifier:
    return make_model()


@pytest.fixture(scope="module")
def boxed() -> VideoClassifier:
    return make_model((0.25, 0.25, 0.75, 1.0))


def probabilities(found: gs.Prediction) -> torch.Tensor:
    assert found.error is None and found.probabilities is not None
    return found.probabilities


@pytest.mark.slow
def test_predictions_are_those_of_videos_cut_by_hand(
    model: VideoClassifier, boxed: VideoClassifier, clip: Path, decoded: np.ndarray, cut: np.ndarray
) -> None:
    expected, whole = (probabilities(model.predict(frames)) for frames in (cut, decoded))
    assert not torch.allclose(expected, whole, atol=1e-3)
    for source in (clip, clip.read_bytes(), decoded):
        assert torch.equal(probabilities(model.predict(source, box=BOX)), expected)
        assert torch.equal(probabilities(model.predict(source, box=(16, 12, 48, 48))), expected)
        assert torch.equal(probabilities(boxed.predict(source)), expected)
        assert torch.equal(probabilities(boxed.predict(source, box="0,0,1,1")), whole)
    (found,) = gs.predict(boxed, clip)
    assert torch.equal(probabilities(found), expected)
    assert torch.equal(boxed.transform(decoded), model.transform(cut))
    with pytest.raises(SettingsError, match="`box` .* is not four numbers"):
        model.predict(clip, box=(0.1, 0.2, 0.3))


@pytest.mark.slow
@pytest.mark.parametrize("exact", [False, True])
def test_streams_are_those_of_frames_cut_by_hand(
    model: VideoClassifier, boxed: VideoClassifier, clip: Path, decoded: np.ndarray, cut: np.ndarray, exact: bool
) -> None:
    def answers(model: VideoClassifier, frames: np.ndarray, **options: Any) -> torch.Tensor:
        stream = gs.Stream(model, exact=exact, window=8, hop=4, **options)
        return torch.stack([answer.probabilities for answer in (*stream.push(frames), *stream.finish())])

    expected = answers(model, cut)
    assert torch.equal(answers(model, decoded, box=BOX), expected)
    assert torch.equal(answers(boxed, decoded), expected)
    times = {"window": 8 / 25, "hop": 4 / 25, "exact": exact}
    for own, options in ((model, {"box": BOX}), (boxed, {})):
        found = [answer.probabilities for answer in gs.stream_video(own, clip, **times, **options)]
        torch.testing.assert_close(torch.stack(found), expected, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_a_live_source_is_cut(broadcast: Path, serve: Callable[..., str]) -> None:
    with open_video(broadcast) as video:
        whole = video.read([0, 5]).permute(0, 2, 3, 1).numpy()
    height, width = whole.shape[1:3]
    source = NewestFrames(serve(broadcast, 0.5), box=(0.5, 0, 1, 0.5))
    source.start(1000)
    with closing(source):
        frames = {frame.number: frame.read() for waiting in source for frame in waiting}
    for number, frame in ((0, whole[0]), (5, whole[1])):
        assert np.array_equal(frames[number], frame[: height // 2, width // 2 :])
    assert source.rate == FPS


@pytest.mark.slow
def test_recordings_have_the_events_of_those_cut_by_hand(
    tmp_path: Path, clip: Path, cut: np.ndarray, write_folder: Callable[..., Path]
) -> None:
    by_hand = write_folder(tmp_path / "cut", cut)
    spotting = make_model(task="spot", fps=25)
    found = gs.spot_events(spotting, clip, threshold=0.05, suppress=0.0, box=BOX)
    expected = gs.spot_events(spotting, by_hand, fps=25, threshold=0.05, suppress=0.0)
    assert found and [(e.frame, e.label, e.score) for e in found] == [(e.frame, e.label, e.score) for e in expected]
    listed = tmp_path / "events.csv"
    listed.write_text(f'path,time_s,label,box\n{clip},0.2,0,"{BOX}"\n{clip},0.6,1,"{BOX}"\n')
    cut_list = tmp_path / "cut.csv"
    cut_list.write_text("path,time_s,label\ncut,0.2,0\ncut,0.6,1\n")
    plain = tmp_path / "plain.csv"
    plain.write_text(f"path,time_s,label\n{clip},0.2,0\n{clip},0.6,1\n")
    scores = [gs.evaluate_frames(spotting, listed).figures(), gs.evaluate_frames(spotting, plain, box=BOX).figures()]
    assert scores == [gs.evaluate_frames(spotting, cut_list).figures()] * 2
    assert scores[0] != gs.evaluate_frames(spotting, plain).figures()
    timeline = make_model(task="segment", fps=25)
    spans = gs.find_events(timeline, clip, box=BOX)
    assert spans != gs.find_events(timeline, clip)


@pytest.mark.slow
def test_tests_and_features_are_those_of_videos_cut_by_hand(
    tmp_path: Path, model: VideoClassifier, boxed: VideoClassifier, clip: Path, cut: np.ndarray, write_folder: Any
) -> None:
    write_folder(tmp_path / "cut", cut)
    lists = {"cut": ("cut", ""), "listed": (clip, BOX), "plain": (clip, "")}
    for name, row in lists.items():
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label", "box"), (row[0], "0", row[1])])
    tested = {
        "cut": (model, {}),
        "listed": (boxed, {"box": "0,0,0.5,0.5"}),  # that of the list wins
        "plain": (model, {"box": BOX}),
    }
    options = {"workers": 0, "clips": 2}
    logits = [gs.evaluate(own, tmp_path / f"{name}.csv", **given, **options) for name, (own, given) in tested.items()]
    assert torch.equal(torch.tensor(logits[1].scores.logits), torch.tensor(logits[0].scores.logits))
    assert torch.equal(torch.tensor(logits[2].scores.logits), torch.tensor(logits[0].scores.logits))
    of_model = gs.evaluate(boxed, tmp_path / "plain.csv", **options)
    assert torch.equal(torch.tensor(of_model.scores.logits), torch.tensor(logits[0].scores.logits))
    assert logits[1].scores.ids == (f"{clip}#@{BOX}",) and of_model.scores.ids == (str(clip),)
    arrays = []
    for number, (name, (own, given)) in enumerate(tested.items()):
        found = gs.extract_features(
            own if name != "listed" else model, tmp_path / f"{name}.csv", out=tmp_path / f"f{number}", window=None,
            workers=0, **given,
        )  # fmt: skip
        arrays.append(np.load(next(iter(found.files.values()))))
    assert np.array_equal(arrays[1], arrays[0]) and np.array_equal(arrays[2], arrays[0])
    with pytest.raises(SettingsError, match="another"):
        gs.extract_features(model, tmp_path / "plain.csv", out=tmp_path / "f1", window=None, workers=0)


@pytest.mark.slow
def test_very_many_videos_have_the_boxes_of_their_list(tmp_path: Path, boxed: VideoClassifier, clip: Path) -> None:
    gs.save_model(boxed, tmp_path / "boxed.safetensors")
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    (tmp_path / "list.csv").write_text(f'path,box\n{clip},"0,0,0.5,1"\nother.mp4,\n')
    videos, boxes = list_videos([tmp_path / "list.csv"]), list_boxes([tmp_path / "list.csv", tmp_path])
    assert videos == [str(clip), str(other)] and boxes == {str(clip): (0, 0, 0.5, 1)}
    scoring = _Scoring(
        tmp_path / "boxed.safetensors", boxed.classes, choose_protocol(boxed.config), 3, 60.0, boxed.config.box, boxes
    )
    answer = _Scorer(scoring, tmp_path, 1)({"part": 0, "videos": json.dumps(videos)})
    records = [json.loads(line) for line in answer["records"].splitlines()]
    for record, box in zip(records, ("0,0,0.5,1", None), strict=True):
        expected = boxed.predict(clip, box=box).top
        assert [each["class"] for each in record["top"]] == [name for name, _ in expected]
        assert [each["probability"] for each in record["top"]] == pytest.approx([p for _, p in expected], abs=1e-6)
    assert told_boxes(None, {}) == "" and told_boxes(None, boxes) != told_boxes(None, {str(clip): (0, 0, 1, 1)})
    (tmp_path / "twice.csv").write_text(f'path,box\n{clip},"0,0,0.5,1"\n{clip},"0,0,0.5,0.5"\n')
    with pytest.raises(ManifestError, match="line 3: another box of .*clip.mp4 than before"):
        list_boxes([tmp_path / "twice.csv"])


@pytest.mark.slow
def test_an_explanation_and_a_server_see_the_box(
    tmp_path: Path, model: VideoClassifier, clip: Path, cut: np.ndarray
) -> None:
    gated = make_model()
    shown = gs.explain(gated, clip, out=tmp_path / "explained", box=BOX).explanation
    assert shown is not None
    assert torch.equal(shown.clip, model.transform(cut))
    settings = ServeSettings(Path("model"), box=BOX)
    settings.check()
    config = model.config
    upload = Upload(clip, False, choose_protocol(config), config, settings, choose_box(config, settings.box))
    assert torch.equal(torch.from_numpy(decode(upload).clips[0]), model.transform(cut))


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("task", ["clip", "spot"])
def test_a_training_with_a_box_is_that_on_videos_cut_by_hand(
    task: str, tmp_path: Path, write_video: Callable[..., Path], write_folder: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(2)
    names = [f"{number}" for number in range(4)]
    for name in names:
        frames = np.kron(rng.integers(0, 256, (12, 6, 8, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
        with open_video(write_video(tmp_path / f"{name}.mp4", frames)) as video:
            whole = video.read(range(12)).permute(0, 2, 3, 1).numpy()
        write_folder(tmp_path / name, whole[:, ROWS, COLUMNS])
    time = "time_s," if task == "spot" else ""
    at = "0.2," if task == "spot" else ""
    for kind, suffix, box in (("cut", "", ""), ("boxed", ".mp4", f'"{BOX}"'), ("plain", ".mp4", "")):
        text = "".join(f"{name}{suffix},{at}{'ab'[int(name) % 2]},{box}\n" for name in names)
        (tmp_path / f"{kind}.csv").write_text(f"path,{time}label,box\n{text}")
    options = SMALL | ({"task": "spot", "fps": 25.0, "context": 0.16, "epoch_clips": 4} if task == "spot" else {})
    runs = {
        "cut": {},
        "boxed": {"box": (0, 0, 8, 8)},  # those of the list win
        "plain": {"box": BOX},
    }
    weights = {}
    for kind, given in runs.items():
        result = gs.train(
            tmp_path / f"{kind}.csv", tmp_path / f"{kind}.csv", out=tmp_path / f"run {kind}", **options, **given
        )
        weights[kind] = result.model.state_dict()
        assert result.model.config.box == {"cut": None, "boxed": (0, 0, 8, 8), "plain": (0.25, 0.25, 0.75, 1)}[kind]
    for name, tensor in weights["cut"].items():
        assert torch.equal(weights["boxed"][name], tensor) and torch.equal(weights["plain"][name], tensor)
    assert json.loads((tmp_path / "run plain" / "settings.json").read_text())["box"] == BOX


@pytest.mark.slow
def test_prepare_lists_a_box_or_packs_the_cut_frames(
    tmp_path: Path, clip: Path, decoded: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("wave/1", "wave/2", "zoom/1", "zoom/2"):
        path = tmp_path / "clips" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read_bytes() if name != "wave/2" else clip.read_bytes() + b"0")
    listed = gs.prepare("folder", tmp_path / "clips", tmp_path / "lists", box=(16, 12, 48, 48))
    assert {row["box"] for row in rows(listed.train)} == {"16,12,48,48"}
    assert {entry.box for entry in read_manifest(listed.val).entries} == {(16, 12, 48, 48)}

    def packed(out: str, **options: Any) -> torch.Tensor:
        done = gs.prepare("folder", tmp_path / "clips", tmp_path / out, **options)
        assert all(not row.get("box") for row in rows(done.train))
        with open_video(tmp_path / out / rows(done.train)[0]["path"]) as video:
            return video.read([0, 7])

    # The region is cut first, and what is left of it keeps its pixels; JPEG changes them a little.
    cut = torch.from_numpy(decoded[[0, 7]][:, ROWS, COLUMNS]).permute(0, 3, 1, 2)
    for options in ({"pack": 32}, {"pack": 400}, {"extract_frames": True}):
        out = "-".join(options) + str(options.get("pack"))
        frames = packed(out, box=BOX, **options)
        assert frames.shape[-2:] == (36, 32) and (frames.float() - cut.float()).abs().mean() < 12
    # With another box nothing of before is taken for it.
    assert packed("pack32", box="0,0,0.5,0.5", pack=32, overwrite=True).shape[-2:] == (24, 32)
    assert packed("pack32", pack=32, overwrite=True).shape[-2:] == (32, 42)
    again = gs.prepare("folder", tmp_path / "clips", tmp_path / "pack32", box=BOX, pack=32, overwrite=True)
    assert again.num_written == 0 and again.num_reused == 4
    with pytest.raises(SystemExit) as stop:
        main(["prepare", "folder", str(tmp_path / "clips"), "--out", str(tmp_path / "no"), "--box", "5,5,1,1"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.strip().endswith("y0 below y1; correct it")


def test_a_program_has_its_recordings_listed_with_a_box(tmp_path: Path, clip: Path) -> None:
    text = "".join(f"{name}.mp4,push,0.1,0.4\n{name}.mp4,pull,0.5,0.7\n" for name in "abc")
    (tmp_path / "labels.csv").write_text("video,label,start,end\n" + text)
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_bytes(clip.read_bytes())
    done = gs.prepare("create-ml", tmp_path / "labels.csv", tmp_path / "lists", box=BOX)
    listed = rows(done.train) + rows(done.val)
    assert len(listed) == 6 and {row["box"] for row in listed} == {BOX}


@pytest.mark.slow
def test_exported_files_keep_the_box(tmp_path: Path, clip: Path, cut: np.ndarray) -> None:
    pytest.importorskip("onnxruntime")
    boxed = make_model((0.25, 0.25, 0.75, 1.0), temporal="none")  # what is written costs time for each gate
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "start"), (clip, "0", ""), (clip, "1", "0.2")])
    path = gs.export(boxed, tmp_path / "list.csv", format="onnx", out=tmp_path / "model.onnx", workers=0).path
    file = load_any(path)
    assert file.config.box == gs.Runtime(path).config.box == (0.25, 0.25, 0.75, 1.0)
    expected = probabilities(boxed.predict(cut, box="0,0,1,1"))
    torch.testing.assert_close(probabilities(file.predict(clip)), expected, rtol=0, atol=1e-4)
    assert _described(boxed, 4)["box"] == (0.25, 0.25, 0.75, 1.0)


@pytest.mark.slow
def test_the_command_line_says_the_same(
    tmp_path: Path, model: VideoClassifier, boxed: VideoClassifier, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gs.save_model(model, tmp_path / "model.safetensors")
    gs.save_model(boxed, tmp_path / "boxed.safetensors")

    def printed(name: str, *options: str) -> list[dict[str, Any]]:
        main(["predict", str(tmp_path / f"{name}.safetensors"), str(clip), "--json", *options])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert printed("model", "--box", BOX) == printed("boxed") != printed("model")
    stream = ("--stream", "--window", "0.32", "--hop", "0.16")
    assert printed("model", "--box", BOX, *stream) == printed("boxed", *stream) != printed("model", *stream)
