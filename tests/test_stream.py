"""Streams of frames: windows and exact ones, as in the whole recording."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live_sources import FPS, NUM_FRAMES
from streaming_data import moving_scene, offline_features, tiny_model, trained

import gateshift as gs
from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.video.files import open_video
from gateshift.data.video.live import FileFrames
from gateshift.errors import ModelError, SettingsError
from gateshift.exported.loading import load_any
from gateshift.exporting.writing import write_export
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction.stream import Answer
from gateshift.prediction.video_stream import StreamReport, run_stream
from gateshift.prediction.windows import Smoothing, Thresholds, Windows


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path], scene: np.ndarray) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "scene.mp4", scene, fps=FPS)


@pytest.fixture(scope="module")
def model() -> VideoClassifier:
    torch.manual_seed(0)
    return trained(gs.create_model("mobilenetv3_small_050", num_classes=3, size_px=32, num_segments=4))


def answers_of(stream: gs.Stream, path: Path) -> list[Answer]:
    return list(run_stream(stream, FileFrames(str(path)), StreamReport(), newest=False))


def offline(model: VideoClassifier, path: Path, window: range) -> torch.Tensor:
    """What predict says of a part of a file [K], which is opened for it alone."""
    with open_video(
        path, start_s=(window.start - 0.5) / FPS if window.start else 0, end_s=(window.stop - 0.5) / FPS
    ) as part:
        assert part.num_frames == len(window)
        views = read_views(part, EvalProtocol(4), size_px=model.config.size_px, resize_px=model.config.resize_px)
    with torch.inference_mode():
        return model(views)[0].softmax(0)


@pytest.mark.slow
@pytest.mark.parametrize(("window", "hop"), [(16, 8), (10, 3), (7, 9), (60, 1), (200, 50)])
def test_a_file_streamed_in_windows_has_the_answers_of_predict(
    model: VideoClassifier, video: Path, window: int, hop: int
) -> None:
    answers = answers_of(gs.Stream(model, window=window, hop=hop), video)
    starts = range(0, NUM_FRAMES - window + 1, hop)
    spans = [range(start, start + window) for start in starts] or [range(NUM_FRAMES)]
    assert [range(answer.start, answer.end) for answer in answers] == spans
    for answer, span in zip(answers, spans, strict=True):
        assert torch.equal(answer.probabilities, offline(model, video, span))


@pytest.mark.slow
def test_an_exported_file_is_streamed_in_windows_alone(tmp_path: Path, scene: np.ndarray) -> None:
    model = tiny_model("gsm").float()
    out = tmp_path / "model.pt2"
    clips = torch.randint(0, 256, (2, 4, 3, 8, 8), dtype=torch.uint8)
    write_export(model, out, "torch", clips=clips)
    found = gs.Stream(load_any(out), window=12, hop=12).push(scene)
    expected = gs.Stream(model, window=12, hop=12).push(scene)
    assert len(found) == len(expected) == 5
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.probabilities, b.probabilities, rtol=1e-4, atol=1e-4)
    with pytest.raises(ModelError, match="an exported file has no exact stream"):
        gs.Stream(load_any(out), exact=True)


@pytest.mark.slow
def test_several_frames_pushed_at_once_give_the_same_windows(model: VideoClassifier, scene: np.ndarray) -> None:
    one, many = (gs.Stream(model, window=12, hop=5) for _ in range(2))
    singly = [answer for frame in scene for answer in one.push(frame)]
    together = [answer for part in np.split(scene, [7, 8, 40]) for answer in many.push(part)]
    assert [answer.end for answer in singly] == [answer.end for answer in together] == list(range(12, 61, 5))
    for a, b in zip(singly, together, strict=True):
        assert torch.equal(a.probabilities, b.probabilities)


def test_an_answer_comes_with_the_last_frame_of_its_window(model: VideoClassifier, scene: np.ndarray) -> None:
    stream = gs.Stream(model, window=12, hop=5)
    given = {number: [answer.end for answer in stream.push(frame)] for number, frame in enumerate(scene)}
    assert {number + 1: ends for number, ends in given.items() if ends} == {end: [end] for end in range(12, 61, 5)}


def test_an_exact_stream_answers_for_every_frame_as_the_whole_recording(video: Path) -> None:
    model = tiny_model("gsm")
    answers = answers_of(gs.Stream(model, exact=True), video)
    with open_video(video) as opened:
        frames = opened.read(range(NUM_FRAMES))
    crops = EvalProtocol(1).crops(frames, size_px=8, resize_px=model.config.resize_px)[0]
    expected = model.head(offline_features(model, crops)).float().softmax(1)
    assert [answer.start for answer in answers] == list(range(NUM_FRAMES))
    found = torch.stack([answer.probabilities for answer in answers])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_where_frames_were_dropped_the_nearest_ones_stand_for_them(model: VideoClassifier, scene: np.ndarray) -> None:
    stream = gs.Stream(model, window=12, hop=6)
    answers = stream.push(scene[:10])
    answers += stream.push(scene[17:40], number=17, newest=True)
    assert [(answer.start, answer.end) for answer in answers] == [(24, 36)]
    answers = stream.push(scene[:1], number=5000, newest=True)
    assert [answer.end for answer in answers] == [4998]
    with pytest.raises(SettingsError, match="`number` 4 after frame 5000"):
        stream.push(scene[:1], number=4)


@pytest.mark.parametrize("causal", [False, True])
def test_frames_of_an_exact_stream_keep_their_numbers_where_some_were_dropped(causal: bool) -> None:
    stream = gs.Stream(tiny_model("gsm", causal=causal), exact=True)
    scene = moving_scene(30, 12, 16)
    answers = stream.push(scene[:10])
    answers += stream.push(scene[10:], number=100)
    answers += stream.finish()
    assert [answer.start for answer in answers] == [*range(10), *range(100, 120)]
    assert all(answer.end == answer.start + 1 for answer in answers)
    with pytest.raises(SettingsError, match="`number` 4 after frame 119"):
        stream.push(scene[:1], number=4)


def test_smoothing_is_the_mean_of_the_last_answers() -> None:
    smoothing = Smoothing(2)
    found = [smoothing.add(torch.tensor([value])).item() for value in (1.0, 0.0, 0.0, 1.0)]
    assert found == [1.0, 0.5, 0.0, 0.5]


def test_a_class_begins_at_one_threshold_and_ends_at_another() -> None:
    thresholds, state, states = Thresholds(0.6, 0.3), None, []
    for first in (0.5, 0.65, 0.5, 0.35, 0.29, 0.5, 0.1, 0.45, 0.75):
        state = thresholds.next_state(state, torch.tensor([first, 0.95 - first]))
        states.append(state)
    assert states == [None, 0, 0, 1, 1, 1, 1, 1, 0]
    assert Thresholds(0.6, 0.3).next_state(0, torch.tensor([0.2, 0.5])) is None


def test_only_frames_of_a_clip_are_needed() -> None:
    windows = Windows(20, 10, 4)
    used = {number for start in range(0, 200, 10) for number in windows.frames_of(range(start, start + 20))}
    assert {number for number in range(150) if windows.is_needed(number)} == {n for n in used if n < 150}


def test_wrong_frames_are_refused(model: VideoClassifier) -> None:
    stream = gs.Stream(model)
    for frames in (np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((2, 0, 8, 3), np.uint8)):
        with pytest.raises(ModelError, match="a stream takes uint8 RGB"):
            stream.push(frames)
    for frame, kind in ((None, "NoneType"), (torch.zeros(8, 8, 3, dtype=torch.uint8), "Tensor"), ([None], "NoneType")):
        with pytest.raises(ModelError, match=f"a frame of type {kind}; a stream takes uint8 RGB"):
            stream.push(frame)  # type: ignore[arg-type]
    assert stream.push(np.zeros((0, 8, 8, 3), np.uint8)) == []


@pytest.mark.slow
def test_a_wrong_frame_moves_no_answer_of_an_exact_stream_to_another_frame(model: VideoClassifier) -> None:
    stream, frame = gs.Stream(model, exact=True), np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ModelError, match="a frame of type NoneType"):
        stream.push([frame, None])  # type: ignore[list-item]
    answers = [answer for _ in range(30) for answer in stream.push(frame)] + stream.finish()
    assert [answer.start for answer in answers] == list(range(2, 32))


@pytest.mark.parametrize(
    "options", [{"window": 8.5}, {"hop": 2.0}, {"exact": True, "suppress": 0.5}, {"stride": 1.5}, {"smooth": 2.5}]
)
def test_a_stream_counts_in_whole_frames(model: VideoClassifier, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="it must be a whole number"):
        gs.Stream(model, **options)
    with pytest.raises(SettingsError, match="`stride` 0; it counts frames, and must be at least 1"):
        gs.Stream(model, exact=True, stride=0)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("num_frames", [0, 7])
def test_a_stream_ends_once(model: VideoClassifier, exact: bool, num_frames: int) -> None:
    stream, frames = gs.Stream(model, exact=exact, window=8), moving_scene(7, 40, 40)
    given = stream.push(frames[:num_frames])
    assert len(given + stream.finish()) == (num_frames if exact else num_frames // 7)
    for go_on in (stream.finish, lambda: stream.push(frames)):
        with pytest.raises(
            ModelError, match=r"the stream was ended by finish\(\); make a new one for another recording"
        ):
            go_on()
