"""Predictions from Python: whatever a video is given as, one or many, from one thread or several."""

import dataclasses
import inspect
import io
import json
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streaming_data import trained

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol, merge_views
from gateshift.data.video.files import open_video
from gateshift.errors import GateShiftWarning, ModelError, SettingsError, VideoError
from gateshift.evaluation.fast_form import fast_form
from gateshift.exported.loading import ExportedModel
from gateshift.exporting.export import export
from gateshift.exporting.settings import ExportSettings
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction import predict as predict_module
from gateshift.prediction.cluster import predict_on_ray
from gateshift.prediction.inputs import open_input
from gateshift.prediction.predict import Prediction, predict, predict_with
from gateshift.prediction.scoring import VideoScorer
from gateshift.prediction.settings import PredictSettings
from gateshift.prediction.spotting import spot_events
from gateshift.prediction.timeline import find_events
from gateshift.prediction.video_stream import stream_video
from gateshift.tracking.predict import predict_tracks

SIZE_PX = 32


def make_model(**options: Any) -> VideoClassifier:
    torch.manual_seed(0)
    return trained(gs.create_model("test_resnet", num_classes=3, num_segments=4, size_px=SIZE_PX, **options))


@pytest.fixture(scope="module")
def model() -> VideoClassifier:
    return make_model()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    rng = np.random.default_rng(0)
    frames = np.kron(rng.integers(0, 256, (12, 6, 8, 3)), np.ones((1, 6, 6, 1))).astype(np.uint8)
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def frames(clip: Path) -> np.ndarray:
    with open_video(clip) as video:
        return video.read(range(video.num_frames)).permute(0, 2, 3, 1).contiguous().numpy()


@pytest.fixture(scope="module")
def address(clip: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(clip.parent))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{clip.name}"
        server.shutdown()


def by_hand(model: VideoClassifier, clip: Path, protocol: EvalProtocol) -> torch.Tensor:
    """The probabilities [K] of a file as a test computes them, by the network itself."""
    with open_video(clip) as video, torch.no_grad():
        views = read_views(video, protocol, size_px=SIZE_PX, resize_px=model.config.resize_px)
        merged = merge_views(model(views).unsqueeze(0), protocol, torch.arange(3))
    return merged[0].softmax(0)


KINDS: dict[str, Callable[[Path, np.ndarray, str], Any]] = {
    "path": lambda clip, _frames, _address: clip,
    "str": lambda clip, _frames, _address: str(clip),
    "bytes": lambda clip, _frames, _address: clip.read_bytes(),
    "file object": lambda clip, _frames, _address: io.BytesIO(clip.read_bytes()),
    "address": lambda _clip, _frames, address: address,
    "array": lambda _clip, frames, _address: frames,
    "read-only array of reversed memory": lambda _clip, frames, _address: read_only(frames[::-1].copy())[::-1],
    "tensor": lambda _clip, frames, _address: torch.from_numpy(frames),
    "float array": lambda _clip, frames, _address: frames.astype(">f8") / 255,
    "float tensor": lambda _clip, frames, _address: torch.from_numpy(frames).float() / 255,
}


def read_only(frames: np.ndarray) -> np.ndarray:
    frames.flags.writeable = False
    return frames


@pytest.mark.slow
def test_a_video_has_the_same_probabilities_whatever_it_is_given_as(
    model: VideoClassifier, clip: Path, frames: np.ndarray, address: str
) -> None:
    expected = by_hand(model, clip, EvalProtocol(4))
    given = {kind: give(clip, frames, address) for kind, give in KINDS.items()}
    alone = {kind: predict_with(model, video) for kind, video in given.items()}
    given["file object"].seek(0)
    together = predict_with(model, list(given.values()), batch_size=4, workers=2)
    for (kind, one), other in zip(alone.items(), together, strict=True):
        assert isinstance(one, Prediction)
        assert one.error is None, kind
        torch.testing.assert_close(one.probabilities, expected, rtol=0, atol=2e-5)
        torch.testing.assert_close(one.probabilities, alone["path"].probabilities, rtol=0, atol=1e-6)
        torch.testing.assert_close(other.probabilities, one.probabilities, rtol=0, atol=1e-6)
        assert one.label == model.classes[int(expected.argmax())]
    assert alone["str"].video == alone["path"].video == str(clip)
    assert alone["array"].video == "a video of shape [12, 36, 48, 3] and uint8"


def test_views_are_merged_as_a_test_merges_them(model: VideoClassifier, clip: Path, frames: np.ndarray) -> None:
    for video in (clip, frames):
        found = predict_with(model, video, segments=2, clips=2, crops=10, top=1)
        torch.testing.assert_close(found.probabilities, by_hand(model, clip, EvalProtocol(2, 2, 10)), rtol=0, atol=2e-5)
        assert len(found.top) == 1


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.zeros((4, 8, 8, 3), np.int64), r"\[4, 8, 8, 3\] and int64; a video in memory is uint8 RGB .*; convert it"),
        (torch.zeros(4, 8, 8, 3, dtype=torch.bool), "and bool; a video in memory"),
        (np.full((4, 8, 8, 3), None), "and object; a video in memory"),
        (np.zeros((8, 8, 3), np.uint8), "reshape it"),
        (np.zeros((2, 4, 8, 8, 3), np.uint8), "give several videos as a list"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), "put the channels last"),
        (np.zeros((4, 8, 8, 4), np.uint8), "reshape it"),
        (np.zeros((0, 8, 8, 3), np.uint8), "is empty; .*, with at least 1 frame"),
        (np.full((4, 8, 8, 3), 200.0), "from 200 to 200; .*; divide it by 255, or convert it to uint8"),
        (torch.full((4, 8, 8, 3), -0.5), "from -0.5 to -0.5; .*; scale or clip it"),
        (torch.full((4, 8, 8, 3), torch.nan), "from nan to nan"),
        (b"no video", "a video of 8 bytes: cannot be read as a video"),
        ("missing.mp4", "missing.mp4: there is no such file; check the path"),
    ],
)
def test_a_wrong_video_is_one_line_and_in_a_list_costs_itself_alone(
    video: Any, message: str, model: VideoClassifier, frames: np.ndarray
) -> None:
    with pytest.raises(VideoError, match=message) as caught:
        predict_with(model, video)
    assert "\n" not in str(caught.value)
    for batch_size, workers in ((1, 0), (2, 1)):
        first, wrong, last = predict_with(model, [frames, video, frames], batch_size=batch_size, workers=workers)
        assert wrong.error == str(caught.value)
        assert wrong.label is None and wrong.top == () and wrong.probabilities is None
        assert first.error is None and first.top == last.top


def test_wrong_arguments_are_one_line_before_anything_is_read(model: VideoClassifier) -> None:
    given: list[tuple[Any, dict[str, Any], str]] = [
        ("a.mp4", {"batch_size": 0}, "`batch_size` 0; it must be at least 1; raise it"),
        ("a.mp4", {"workers": -1}, "`workers` -1; give 0"),
        ("a.mp4", {"top": 0}, "`top` 0; name at least 1 class"),
        ("a.mp4", {"crops": 2}, "crops"),
        ("a.mp4", {"batch_size": 2.5}, "`batch_size` 2.5; it must be a whole number"),
        ("a.mp4", {"workers": "1"}, "`workers` '1'; it must be a whole number"),
        ("a.mp4", {"top": None}, "`top` None; it must be a whole number"),
        ("a.mp4", {"segments": "8"}, "`segments` '8'; it must be a whole number"),
        ("a.mp4", {"clips": 1.5}, "`clips` 1.5; it must be a whole number"),
        (7, {}, "`source` of type int; give a path"),
        (None, {}, "`source` of type NoneType"),
    ]
    for source, options, message in given:
        with pytest.raises(SettingsError, match=message):
            predict_with(model, source, **options)
    with pytest.raises(ModelError, match=r"the model is in training mode, .*; call model.eval\(\)"):
        predict_with(make_model().train(), "a.mp4")
    assert [each.error for each in predict_with(model, [7])] == [  # type: ignore[list-item]
        "a video of type int; give a path, bytes, or frames [T, H, W, 3]"
    ]


@pytest.mark.slow
def test_four_threads_have_the_answers_of_one(clip: Path, frames: np.ndarray) -> None:
    model = make_model()  # not deployed yet: the threads meet there
    videos = [clip, frames, frames[:5], frames[::2]] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda video: predict_with(model, video, segments=2 + len(video.name) % 3), [clip] * 4))
        several = [list(each) for each in pool.map(lambda _: predict_with(model, videos, workers=2), range(4))]
    expected = list(predict_with(make_model(), videos))
    assert len({each.top for each in found}) == 1
    for each in several:
        for one, other in zip(each, expected, strict=True):
            torch.testing.assert_close(one.probabilities, other.probabilities, rtol=0, atol=1e-6)


def test_videos_are_read_ahead_by_so_many_and_no_more_and_rows_come_in_order(
    model: VideoClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, read = threading.Event(), []

    def open_slowly(video: np.ndarray, **options: Any) -> Any:
        if len(video) == 1:
            assert release.wait(60)
        read.append(len(video))
        return open_input(video, **options)

    monkeypatch.setattr("gateshift.prediction.scoring.open_input", open_slowly)
    taken: list[int] = []

    def give() -> Iterator[np.ndarray]:
        for number in range(1, 41):
            taken.append(number)
            if number == 4:  # the first video is still being read, and others by the second worker
                release.set()
            yield np.full((number, 8, 8, 3), number, np.uint8)

    rows = []
    for row in predict_with(model, give(), batch_size=3, workers=2):
        rows.append(row)
        assert len(taken) - len(rows) <= 2 * 3 + 2
    assert [row.video for row in rows] == [f"a video of shape [{n}, 8, 8, 3] and uint8" for n in range(1, 41)]
    assert sorted(read) == list(range(1, 41))


def test_an_iterator_that_is_left_ends_its_threads(model: VideoClassifier, frames: np.ndarray) -> None:
    before = threading.active_count()
    rows = predict_with(model, (frames for _ in range(1000)), workers=3)
    next(rows)
    rows.close()
    assert threading.active_count() == before


@pytest.mark.slow
def test_the_deployed_form_is_made_once_and_again_when_the_model_changes(clip: Path) -> None:
    model = make_model()
    first = fast_form(model)
    assert first is not model and fast_form(model) is first
    answers = [predict_with(model, clip).top]
    changes: list[Callable[[], object]] = [
        lambda: torch.nn.init.normal_(model.head.weight, std=2),  # as an optimizer writes
        lambda: model.head.bias.data.add_(torch.tensor([0.0, 3.0, 0.0])),  # which no version counts
        lambda: gs.remove_temporal(model.backbone),
        lambda: model.mean.add_(40),
    ]
    for change in changes:
        with torch.no_grad():
            change()
        found = predict_with(model, clip)
        torch.testing.assert_close(found.probabilities, by_hand(model, clip, EvalProtocol(4)), rtol=0, atol=2e-5)
        answers.append(found.top)
    assert len(set(answers)) == len(changes) + 1
    assert not model.training and not any(module.training for module in model.modules())


@pytest.mark.slow
def test_a_model_that_computes_something_else_is_used_as_it_is(clip: Path) -> None:
    class Constant(VideoClassifier):
        def forward(self, clips: Any) -> torch.Tensor:
            return torch.tensor([[0.0, 50.0, 0.0]]).expand(len(clips), 3)

    made = make_model()
    constant = Constant(made.backbone, made.head.in_features, made.config).eval()
    assert predict_with(constant, clip).label == "1"
    assert predict_with(made.deploy(), clip).top == predict_with(made, clip).top


def test_paths_and_folders_are_predicted_by_the_path_of_a_model(
    model: VideoClassifier, clip: Path, tmp_path: Path
) -> None:
    gs.save_model(model, tmp_path / "model.safetensors")
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.mp4", "deep/a.mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    (folder / "cover.jpg").touch()
    counted: list[tuple[int, int]] = []
    with pytest.warns(GateShiftWarning, match=r"not used: 1 image"):
        rows = predict(
            str(tmp_path / "model.safetensors"),
            [folder, str(tmp_path / "none.mp4")],
            progress=lambda done, total: counted.append((done, total)),
        )
    found = list(rows)
    names = [str(folder / "b.mp4"), str(folder / "deep/a.mp4"), str(tmp_path / "none.mp4")]
    assert [row.video for row in found] == names
    assert [row.error is None for row in found] == [True, True, False]
    assert [name for name, _ in found[0].top] == [name for name, _ in predict_with(model, clip).top]
    torch.testing.assert_close(found[0].probabilities, predict_with(model, clip).probabilities, rtol=0, atol=1e-6)
    assert counted == [(0, 3), (1, 3), (2, 3), (3, 3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [row.label for row in predict(model, clip)] == [found[0].label]
    with pytest.raises(VideoError, match="no video named"):
        predict(model, [])
    with pytest.raises(SettingsError, match="rtsp://door is a camera or an address, and only a stream has these"):
        predict(model, "rtsp://door")


@pytest.mark.slow
def test_the_command_line_prints_the_records_of_python(
    model: VideoClassifier, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gs.save_model(model, tmp_path / "model.safetensors")
    videos = [str(clip), str(tmp_path / "none.mp4"), *[str(clip)] * 3]
    words = ["predict", str(tmp_path / "model.safetensors"), *videos, "--json", "--top", "2", "--clips", "2"]
    for batching in ([], ["--batch-size", "2", "--workers", "2"]):
        with pytest.raises(SystemExit) as stop:
            main([*words, *batching])
        assert stop.value.code == 2
        printed = capsys.readouterr()
        records = [json.loads(line) for line in printed.out.splitlines()]
        for record, row in zip(records, predict(model, videos, top=2, clips=2), strict=True):
            expected = row.to_dict()
            for one, other in zip(record.pop("top"), expected.pop("top"), strict=True):
                assert one["class"] == other["class"]
                assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
            assert record == expected
        (line,) = printed.err.splitlines()  # and no bar, where no terminal is
        assert line.endswith("none.mp4: there is no such file; check the path")


def test_a_prediction_says_what_json_says(model: VideoClassifier, frames: np.ndarray) -> None:
    found = predict_with(model, frames, top=2)
    record = json.loads(json.dumps(found.to_dict()))
    assert record["label"] == found.label == record["top"][0]["class"]
    assert [each["probability"] for each in record["top"]] == [probability for _, probability in found.top]
    assert found.probabilities is not None
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert (found.top[0][1], found.top[1][1]) == tuple(found.probabilities.topk(2).values.tolist())
    assert record["error"] is None and record["video"] == found.video
    assert predict_module.Prediction is Prediction and VideoScorer(model).protocol == EvalProtocol(4)


def options_of(settings: type[Any]) -> dict[str, Any]:
    """Defaults of a verb's options by name, those of nested settings too."""
    found: dict[str, Any] = {}
    for option in dataclasses.fields(settings):
        if option.default_factory is not dataclasses.MISSING:
            found |= options_of(option.default_factory)  # type: ignore[arg-type]
        else:
            found[option.name] = option.default
    return found


@pytest.mark.parametrize(
    ("settings", "functions", "of_the_terminal"),
    [
        (
            PredictSettings,
            (predict, stream_video, find_events, spot_events, predict_on_ray, predict_tracks),
            {"json", "stream", "timeline", "events", "engine"},
        ),
        (ExportSettings, (export,), set()),
    ],
)
def test_what_the_command_line_takes_python_takes_with_the_same_defaults(
    settings: type[Any], functions: tuple[Callable[..., Any], ...], of_the_terminal: set[str]
) -> None:
    options, taken = options_of(settings), {"model", "videos"}
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if name in options and parameter.default is not inspect.Parameter.empty:
                assert parameter.default == options[name], (function, name)
            taken.add(name)
    assert set(options) - taken == of_the_terminal
    with_model = inspect.signature(predict_with).parameters
    assert inspect.signature(ExportedModel.predict).parameters.keys() - {"self"} == with_model.keys() - {"model"}
    for name in ("batch_size", "workers", "top", "segments", "clips", "crops", "precision"):
        assert inspect.signature(ExportedModel.predict).parameters[name].default == with_model[name].default
        if name not in ("batch_size", "workers"):  # of objects of a program, none is asked for before its turn
            assert inspect.signature(predict).parameters[name].default == with_model[name].default


def test_frames_may_be_of_any_float_type_and_carry_gradients(model: VideoClassifier) -> None:
    frames = torch.rand(6, 48, 48, 3)
    halves = frames.bfloat16()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.predict(halves)
        assert model.predict(frames.requires_grad_()).error is None
    assert found == dataclasses.replace(model.predict(halves.float()), video=found.video)


def test_paths_are_all_that_predict_takes_and_a_model_is_one(model: VideoClassifier) -> None:
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    given = ((frames, "ndarray"), ([frames], "ndarray"), (b"abc", "bytes"), (None, "NoneType"), ([3], "int"))
    for videos, kind in given:
        with pytest.raises(SettingsError, match=f"`videos` of type {kind}; this takes paths.*model.predict"):
            predict(model, videos)  # type: ignore[arg-type]
    for wrong in (None, torch.nn.Linear(1, 1)):
        with pytest.raises(ModelError, match=f"`model` is a {type(wrong).__name__}; give a path"):
            predict(wrong, "clip.mp4")  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["rtsp://host/door", "s3://bucket/clip.mp4"])
def test_an_address_of_another_kind_is_told_as_it_was_given(model: VideoClassifier, address: str) -> None:
    with pytest.raises(VideoError, match=f"{address}: videos are read from files and from http and https addresses"):
        model.predict(address)
