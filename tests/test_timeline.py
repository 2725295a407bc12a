"""Timelines: what happens when in one long file."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from streaming_data import moving_scene, trained
from torch import Tensor

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.events.events import Span
from gateshift.data.video.files import VideoFile, open_video
from gateshift.errors import ModelError, SettingsError
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction.timeline import find_events, merge_windows, score_windows
from gateshift.prediction.timeline_files import write_timeline
from gateshift.prediction.windows import Thresholds, Windows

FPS = 25
NUM_FRAMES = 90
SEGMENTS = [Span(0.0, 2.5, "opening <a> & [b]", 0.912345), Span(3661.04, 3662.0, "closing, slowly", 0.5)]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "long.mp4", moving_scene(NUM_FRAMES, 48, 64), fps=FPS)


@pytest.fixture(scope="module")
def model() -> VideoClassifier:
    torch.manual_seed(0)
    return trained(gs.create_model("mobilenetv3_small_050", num_classes=3, size_px=32, num_segments=4))


@pytest.fixture(scope="module")
def model_file(model: VideoClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    gs.save_model(model, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4])
def test_windows_scored_together_have_the_answers_of_predict(
    model: VideoClassifier, video: Path, batch_size: int
) -> None:
    windows = Windows(20, 7, 4)
    with open_video(video) as opened:
        found = score_windows(model, opened, windows, batch_size=batch_size)
    spans = windows.covering(NUM_FRAMES)
    assert spans[-1] == range(70, 90)
    for probabilities, span in zip(found, spans, strict=True):
        start_s = (span.start - 0.5) / FPS if span.start else 0
        with open_video(video, start_s=start_s, end_s=(span.stop - 0.5) / FPS) as part:
            views = read_views(part, EvalProtocol(4), size_px=32, resize_px=model.config.resize_px)
        with torch.inference_mode():
            torch.testing.assert_close(probabilities, model(views)[0].softmax(0), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_each_frame_is_read_once_and_forward(model: VideoClassifier, video: Path) -> None:
    class Counted(VideoFile):
        def read(self, frame_indices: Sequence[int]) -> Tensor:
            numbers.extend(frame_indices)
            return super().read(frame_indices)

    numbers: list[int] = []
    with Counted(video) as opened:
        score_windows(model, opened, Windows(20, 5, 4))
    assert numbers == sorted(set(numbers))


@given(num_frames=st.integers(1, 200), size=st.integers(1, 60), hop=st.integers(1, 60))
def test_windows_cover_a_video_to_its_end(num_frames: int, size: int, hop: int) -> None:
    spans = Windows(size, hop, 3).covering(num_frames)
    assert spans[0].start == 0 and spans[-1].stop == num_frames
    assert all(len(span) == min(size, num_frames) for span in spans)
    assert all(0 < after.start - before.start <= hop for before, after in pairwise(spans))


def test_windows_of_one_class_become_one_segment() -> None:
    likely, unlikely = [0.9, 0.1], [0.45, 0.45]
    answers = torch.tensor([likely, likely, [0.1, 0.8], unlikely, [0.05, 0.1], [0.7, 0.2]])
    spans = Windows(4, 2, 2).covering(14)  # middles at frames 2, 4, 6, 8, 10, 12
    found = merge_windows(answers, spans, [t / 2 for t in range(15)], ("a", "b"), thresholds=Thresholds(0.6, 0.4))
    assert [(segment.label, segment.start_s, segment.end_s) for segment in found] == [
        ("a", 0.0, 2.5),  # to the border between frames 4 and 6
        ("b", 2.5, 4.5),  # goes on while it is not below 0.4
        ("a", 5.5, 7.0),  # to the end of the video
    ]
    assert found[1].score == pytest.approx((0.8 + 0.45) / 2)


def test_nothing_is_no_segment() -> None:
    spans = Windows(4, 2, 2).covering(6)
    assert merge_windows(torch.full((2, 3), 1 / 3), spans, range(7), "abc", thresholds=Thresholds()) == []


@pytest.mark.slow
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(1, 4))
def test_segments_follow_each_other_and_stay_in_the_video(classes: list[int], hop: int) -> None:
    spans = Windows(4, hop, 2).covering(4 + hop * (len(classes) - 1))
    answers = torch.nn.functional.one_hot(torch.tensor(classes), 3).float()
    end = spans[-1].stop
    found = merge_windows(answers, spans, range(end + 1), "abc", thresholds=Thresholds())
    assert found[0].start_s == 0 and found[-1].end_s == end
    assert all(before.end_s == after.start_s for before, after in pairwise(found))
    assert all(before.label != after.label for before, after in pairwise(found))
    assert all(segment.start_s < segment.end_s for segment in found)


def test_the_last_frame_lasts_as_long_as_the_others(video: Path) -> None:
    with open_video(video) as opened:
        times_s = opened.ends_s()
    assert times_s == pytest.approx([t / FPS for t in range(NUM_FRAMES + 1)])


def test_json_and_csv_read_back(tmp_path: Path) -> None:
    write_timeline(SEGMENTS, tmp_path / "out.json", video="a.mp4")
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["video"] == "a.mp4"
    assert [Span(**segment) for segment in record["segments"]] == SEGMENTS
    write_timeline(SEGMENTS, tmp_path / "out.csv", video="a.mp4")
    assert gs.read_spans(tmp_path / "out.csv") == {"a.mp4": SEGMENTS}
    truth = {"a.mp4": [Span(each.start_s, each.end_s, each.label) for each in SEGMENTS]}
    assert gs.score_spans(truth, tmp_path / "out.csv").frame_accuracy == 1
    write_timeline([], tmp_path / "none.csv", video="a\udce9.mp4")  # a name of bytes that are no text
    assert gs.read_spans(tmp_path / "none.csv") == {"a\udce9.mp4": []}


@pytest.mark.parametrize(
    ("suffix", "first"), [(".srt", "opening <a> & [b] (0.91)"), (".vtt", "opening <a> & [b] (0.91)")]
)
def test_players_read_the_subtitles(suffix: str, first: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    write_timeline(SEGMENTS, path, video="a.mp4")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        cues = [(float(p.pts * p.time_base), float(p.duration * p.time_base)) for p in packets]
        texts = [bytes(packet).decode() for packet in packets]
    assert cues == [(0.0, 2.5), (3661.04, pytest.approx(0.96))]
    assert texts[0].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == first


@pytest.mark.slow
def test_predict_writes_a_timeline(
    model_file: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = ["predict", str(model_file), str(video), "--timeline", str(out), "--window", "0.8", "--hop", "0.2"]
    main([*words, "--enter", "0.3", "--leave", "0", "--json", "--smooth", "3"])
    segments = json.loads(out.read_text())["segments"]
    assert segments[0]["start_s"] == 0 and segments[-1]["end_s"] == pytest.approx(NUM_FRAMES / FPS)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["label"] for record in printed] == [segment["label"] for segment in segments]
    with pytest.raises(SystemExit):
        main(words)
    assert "exists; choose another name, or" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["{video}", "--timeline", "out.txt"],
            "--timeline out.txt; its name must end with .json or .csv or .srt or .vtt",
        ),
        (["{video}", "--events", "out.txt"], "--events out.txt; its name must end with .csv or .json or .srt or .vtt"),
        (["{video}", "--timeline", "nowhere/out.json"], "no folder nowhere; create it"),
        (["{video}", "--timeline", "{tmp}/out.json", "--smooth", "2"], "a timeline takes an odd number"),
        (["{images}", "--timeline", "{tmp}/out.json"], "images have no clock"),
        (["{tmp}/no.mp4", "--timeline", "{tmp}/out.json"], "there is no such file"),
    ],
)
def test_mistakes_end_in_one_line(
    words: list[str],
    message: str,
    model_file: Path,
    video: Path,
    tmp_path: Path,
    write_folder: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = write_folder(tmp_path / "images", np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(model_file), *(word.format(video=video, tmp=tmp_path, images=images) for word in words)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("smooth", "fault"), [(2, "a timeline takes an odd number; try `smooth=3`"), (3.0, "it must be")]
)
def test_an_even_smoothing_is_refused(smooth: Any, fault: str) -> None:
    with pytest.raises(SettingsError, match=f"`smooth` {smooth}; {fault}"):
        merge_windows(torch.ones(1, 1), [range(4)], range(5), "a", thresholds=Thresholds(), smooth=smooth)


def test_what_a_single_frame_shows_lasts_as_long_as_its_rate_says(
    model: VideoClassifier, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    video, table = write_video(tmp_path / "one.mp4", moving_scene(1, 48, 64), fps=FPS), tmp_path / "one.csv"
    (span,) = find_events(model, video, fps=25.0, enter=0.0, leave=0.0, out=table)
    assert (span.start_s, span.end_s) == (0.0, 0.04)
    assert [(each.start_s, each.end_s) for each in gs.read_spans(table)[str(video)]] == [(0.0, 0.04)]


@pytest.mark.slow
def test_python_finds_the_events_that_the_command_line_writes(
    model: VideoClassifier, model_file: Path, video: Path, tmp_path: Path
) -> None:
    words = [
        "predict",
        str(model_file),
        str(video),
        "--window",
        "0.8",
        "--hop",
        "0.2",
        "--enter",
        "0.3",
        "--leave",
        "0",
    ]
    main([*words, "--timeline", str(tmp_path / "verb.json")])
    done: list[tuple[int, int]] = []
    events = find_events(
        model,
        video.read_bytes(),
        window=0.8,
        hop=0.2,
        enter=0.3,
        leave=0,
        out=str(tmp_path / "python.json"),
        progress=lambda *numbers: done.append(numbers),
    )
    written = [json.loads((tmp_path / f"{name}.json").read_text())["segments"] for name in ("verb", "python")]
    assert written[0] == written[1] and [Span(**each) for each in written[1]] == events
    assert done[-1] == (15, 15)  # of 20 frames, 5 apart, in 90
    for options, message in (
        ({"window": 0}, "`window` 0; it must be above 0"),
        ({"fps": -1.0}, "`fps` -1.0; it must be above 0"),
        ({"enter": 0.1}, "`enter` 0.1, `leave` 0.4; both are probabilities"),
        ({"out": tmp_path / "python.json"}, "`?(--)?out`? .*exists"),
        ({"out": tmp_path / "python.txt"}, "must end with .json or .csv"),
    ):
        with pytest.raises(SettingsError, match=message):
            find_events(model, video, **options)
    with pytest.raises(ModelError, match="the model is in training mode"):
        find_events(gs.create_model("test_resnet", num_classes=2), video)
