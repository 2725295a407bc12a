"""Answers for every frame of files of any length and rate, made into events or spans, offline and streamed."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WriteVideo
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_data import moving_scene
from torch import Tensor, nn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.recordings import Recording
from gateshift.data.events.events import Event, Span
from gateshift.data.events.suppression import suppress_scores
from gateshift.data.video.files import open_video
from gateshift.errors import ManifestError, ModelError, SettingsError, VideoError
from gateshift.exported.loading import ExportedModel
from gateshift.exporting.export import export
from gateshift.model.config import ModelConfig
from gateshift.prediction.frames import frame_answers, score_frames, video_crop
from gateshift.prediction.spotting import Moments, Seen, find_moments, find_spans
from gateshift.prediction.video_stream import StreamReport
from gateshift.prediction.windows import Peaks, Windows
from gateshift.spotting.evaluate import evaluate_frames, score_recordings

NUM_FRAMES = 50


def network(head: Any, temporal: Any = "gsm", **options: Any) -> gs.VideoClassifier:
    """A network whose answers differ from frame to frame."""
    torch.manual_seed(0)
    options = {"task": "spot", "fps": 25.0, "num_segments": 12, "classes": ("hit", "bounce"), **options}
    model = gs.create_model("test_resnet", temporal, head=head, size_px=48, **options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.eval()
    scene = torch.from_numpy(moving_scene(NUM_FRAMES, 48, 48)).permute(0, 3, 1, 2)
    with torch.no_grad():  # each class is likeliest at some frames
        logits = model(scene[None])[0]
        model.head.linear.weight *= 3 / logits.std(0)[:, None]
        model.head.linear.bias.zero_()
        model.head.linear.bias -= model(scene[None])[0].mean(0)
    return model


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> Path:
    return write_video(tmp_path_factory.mktemp("spotting") / "scene.mp4", moving_scene(NUM_FRAMES))


@pytest.fixture(scope="module")
def crops(video: Path) -> Tensor:
    """What a network sees of the file: [T, 3, 48, 48]."""
    config = network("none").config
    with open_video(video) as opened:
        return torch.stack([video_crop(opened, number, config) for number in range(NUM_FRAMES)])


def answers_of(model: Any, video: Path, frames: Any = range(NUM_FRAMES)) -> Tensor:
    with open_video(video) as opened:
        parts = list(score_frames(model, opened, list(frames)))
    assert all(len(part) <= 16 for part in parts)  # few are held at a time
    return torch.cat(parts)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("head", ["gru-forward", "tcn", "none"])
def test_a_head_that_can_be_streamed_sees_all_of_the_recording(head: str, video: Path, crops: Tensor) -> None:
    model = network(head)
    torch.testing.assert_close(
        answers_of(model, video), frame_answers(model.config, model(crops[None])[0]), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("num_frames", [12, 5, 49, 50, 80])
def test_answers_of_windows_are_averaged_for_each_frame(num_frames: int, video: Path, crops: Tensor) -> None:
    model = network("gru", num_segments=num_frames, displacement=2)
    total, counts = torch.zeros(NUM_FRAMES, 4), torch.zeros(NUM_FRAMES, 1)
    for window in Windows(num_frames, num_frames // 2, num_frames).covering(NUM_FRAMES):
        logits = model(crops[None, window.start : window.stop])[0]
        total[window.start : window.stop] += torch.cat((logits[:, :3].softmax(1), logits[:, 3:]), dim=1)
        counts[window.start : window.stop] += 1
    torch.testing.assert_close(torch.cat(list(_scored(model, video))), total / counts, rtol=1e-4, atol=1e-5)


def _scored(model: Any, video: Path) -> Iterator[Tensor]:
    with open_video(video) as opened:
        yield from score_frames(model, opened, list(range(NUM_FRAMES)))


CONFIG = ModelConfig("x", "none", ("a", "b"), False, 0.0, 32, (0.0,) * 3, (1.0,) * 3, False, task="spot", fps=10.0)  # type: ignore[arg-type]


def rows(*answers: tuple[float, ...]) -> Tensor:
    """Answers with the probability of nothing put before those of a and b."""
    return torch.tensor([(1 - sum(each[:2]), *each) for each in answers])


def test_every_frame_and_class_from_a_threshold_on_is_an_answer_with_time_and_frame_of_the_file() -> None:
    seen = Seen.of(np.arange(8) / 20, CONFIG)  # the network sees every other frame
    found = find_moments([rows((0.9, 0.05)), rows((0.2, 0.7), (0.0, 0.0))], CONFIG, threshold=0.1)
    assert [
        (event.label, event.frame, event.time_s, round(event.score or 0, 3)) for event in found.events("v", seen)
    ] == [
        ("a", 0, 0.0, 0.9),
        ("a", 2, 0.1, 0.2),
        ("b", 2, 0.1, 0.7),
    ]


def test_an_answer_is_where_its_displacement_says_and_of_several_there_the_best_counts() -> None:
    config = dataclasses.replace(CONFIG, displacement=2)
    found = find_moments([rows((0.6, 0, 1.2), (0.9, 0, 0.3), (0.7, 0, -0.8), (0.0, 0.5, 9.0))], config, threshold=0.3)
    assert list(zip(found.places.tolist(), found.labels.tolist(), found.scores.round(3).tolist(), strict=True)) == [
        (1, 0, 0.9),
        (3, 1, 0.5),
    ]


def test_neighbors_of_a_better_answer_are_suppressed_by_seconds() -> None:
    moments = Moments(("a", "b"), np.array([0, 1, 2, 9]), np.array([0, 0, 1, 0]), np.array([0.5, 0.9, 0.4, 0.3]))
    seen = Seen.of(np.arange(10) / 10, CONFIG)
    kept = moments.events("v", seen, suppress_s=0.25)
    assert [(event.frame, event.label) for event in kept] == [(1, "a"), (2, "b"), (9, "a")]
    assert len(moments.events("v", seen, suppress_s=0.25, threshold=0.4)) == 2


def test_spans_are_runs_of_the_likeliest_class() -> None:
    seen = Seen.of(np.arange(6) / 10, CONFIG)
    found = find_spans([rows((0.9, 0), (0.7, 0.1)), rows((0.1, 0.1), (0.2, 0.8), (0.1, 0.6), (0.5, 0.4))], CONFIG, seen)
    assert [
        (round(span.start_s, 6), round(span.end_s, 6), span.label, round(span.score or 0, 3)) for span in found
    ] == [
        (0.0, 0.2, "a", 0.8),
        (0.3, 0.5, "b", 0.7),
        (0.5, 0.6, "a", 0.5),
    ]


@given(
    scores=st.lists(st.lists(st.integers(0, 10), min_size=2, max_size=2), min_size=1, max_size=20),
    reach=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_streamed_peaks_are_what_suppression_leaves(scores: list[list[int]], reach: int) -> None:
    table = torch.tensor(scores).double() / 10
    peaks = Peaks(reach, 0.3)
    found = [answer for number in range(len(table)) for answer in peaks.add(table[number])]
    assert len(found) == max(len(table) - reach, 0)
    found += peaks.add(None)
    assert torch.equal(torch.stack([row for row, _ in found]), table)
    events = [
        Event("v", str(label), frame=frame, score=float(table[frame, label]))
        for frame in range(len(table))
        for label in (0, 1)
        if table[frame, label] > 0
    ]
    kept = [event for event in gs.suppress(events, reach) if (event.score or 0) >= 0.3]
    best = {}
    for event in kept:  # one class a frame
        if event.frame not in best or (event.score or 0) > (best[event.frame].score or 0):
            best[event.frame] = event
    assert {frame: int(event.label) for frame, event in best.items()} == {
        frame: label for frame, (_, label) in enumerate(found) if label is not None
    }


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gru-forward", "tcn"])
def test_streamed_events_are_those_of_the_file_so_many_frames_late(head: str, video: Path) -> None:
    model = network(head, causal=head == "gru-forward", classes=("hit",))
    offline = gs.spot_events(model, video, threshold=0.4, suppress=0.12)
    assert len(offline) >= 2
    stream = gs.Stream(model, exact=True, enter=0.4, suppress=3)
    with open_video(video) as opened:
        frames = opened.read(range(NUM_FRAMES)).permute(0, 2, 3, 1).numpy()
    answers, known = [], []
    for number, frame in enumerate(frames):
        fresh = stream.push(frame)
        known += [(answer.start, number) for answer in fresh]
        answers += fresh
    assert stream.delay == 3 + (0 if head == "gru-forward" else 8 + 8)
    assert all(number - start == stream.delay for start, number in known)
    answers += stream.finish()
    assert [answer.start for answer in answers] == list(range(NUM_FRAMES))
    assert [(answer.start, answer.label) for answer in answers if answer.label] == [
        (event.frame, event.label) for event in offline
    ]
    from_file = [each for each in gs.stream_video(model, video, exact=True, enter=0.4, suppress=0.12) if each.label]
    assert [(each.start, each.start_s) for each in from_file] == [
        (event.frame, pytest.approx(event.time_s)) for event in offline
    ]


@pytest.mark.parametrize("rate", [12.5, 24.0, 24000 / 1001, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0])
def test_a_stream_suppresses_as_many_frames_as_are_within_that_time_in_a_file(rate: float, video: Path) -> None:
    times_s, report = np.arange(20) / rate, StreamReport()
    kept, _ = suppress_scores(np.zeros(20, int), times_s, np.arange(20, 0, -1.0), 0.2, "greedy")
    model = network("none", temporal="none", fps=rate)
    next(gs.stream_video(model, video, exact=True, fps=rate, report=report))
    assert report.delay == kept[1] - 1  # the first one is the best, and the next that stays is out of its reach


@pytest.mark.slow
def test_the_last_frame_is_seen_of_a_file_whose_clock_is_rounded(tmp_path: Path, write_video: WriteVideo) -> None:
    times = [round(1000 * number / 30) for number in range(NUM_FRAMES)]  # the last one at 1633 of 1633.3
    scene = moving_scene(NUM_FRAMES)[np.random.default_rng(1).permutation(NUM_FRAMES)]
    video = write_video(tmp_path / "scene.mp4", scene, times=times)
    model = network("none", classes=("hit",), fps=30.0)
    offline = gs.spot_events(model, video, threshold=0.01)
    streamed = [each for each in gs.stream_video(model, video, exact=True, enter=0.01, leave=0.01) if each.label]
    assert [each.start for each in streamed] == [event.frame for event in offline]
    assert streamed[-1].start == NUM_FRAMES - 1


@pytest.mark.slow
def test_a_stream_of_twice_the_rate_is_seen_at_the_networks_own(video: Path) -> None:
    model = network("gru-forward", causal=True, fps=12.5)
    answers = list(gs.stream_video(model, video, exact=True))
    assert [answer.start for answer in answers] == list(range(0, NUM_FRAMES, 2))
    with pytest.raises(
        SettingsError, match=r"a stream of 25 frames a second for a model that sees 18; give one of these"
    ):
        list(gs.stream_video(network("none", fps=18.0), video, exact=True))


@pytest.mark.slow
@pytest.mark.parametrize("fps", [None, 25.0])
def test_a_stream_of_events_must_know_its_rate(
    fps: float | None, video: Path, tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    images = write_folder(tmp_path / "images", moving_scene(4, 48, 64))
    with pytest.raises(SettingsError, match="the source does not say how many frames a second it gives; give `fps`"):
        list(gs.stream_video(network("none", fps=fps), images, exact=True))
    assert len(list(gs.stream_video(network("none", fps=fps), images, exact=True, fps=25))) == 4
    with pytest.raises(SettingsError, match="`suppress` -1; it must be at least 0 seconds"):
        list(gs.stream_video(network("none", fps=fps), video, exact=True, suppress=-1))


@pytest.mark.slow
def test_a_model_of_frames_is_streamed_exactly_or_not_at_all(video: Path) -> None:
    with pytest.raises(ModelError, match=r"stream it with `exact=True`"):
        list(gs.stream_video(network("none"), video))
    with pytest.raises(ModelError, match="reads a recording from both ends and cannot be streamed"):
        gs.Stream(network("gru"), exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".json", ".srt", ".vtt"])
def test_events_of_a_file_are_written_in_every_form(suffix: str, video: Path, tmp_path: Path) -> None:
    model = network("gru")
    gs.save_model(model, tmp_path / "model.safetensors")
    out = tmp_path / f"events{suffix}"
    command = ["predict", str(tmp_path / "model.safetensors"), str(video), "--events", str(out), "--threshold", "0.3"]
    main(command)
    expected = gs.spot_events(model, video, threshold=0.3)
    assert expected
    if suffix in (".csv", ".json"):
        found = gs.read_events(out)
        assert [(each.frame, each.label) for each in found.events] == [(each.frame, each.label) for each in expected]
        assert [each.time_s for each in found.events] == pytest.approx([each.time_s for each in expected])
    else:
        assert out.read_text().count("-->") == len(expected)


@pytest.mark.slow
def test_the_command_prints_what_it_found_and_refuses_other_models(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gs.save_model(network("none"), tmp_path / "spot.safetensors")
    gs.save_model(gs.create_model("test_resnet", num_classes=2, num_segments=4), tmp_path / "clip.safetensors")
    arguments = [str(video), "--events", str(tmp_path / "e.csv"), "--json", "--threshold", "0.3"]
    main(["predict", str(tmp_path / "spot.safetensors"), *arguments])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records
    assert {*records[0]} == {"video", "time_s", "frame", "label", "score", "error"}
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "clip.safetensors"), *arguments, "--overwrite"])
    assert "this model was trained with `task=clip`, and `task=spot` is wanted" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "spot.safetensors"), str(video)])
    assert "answers for each frame" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("fps", [25.0, 1.03])  # of the second, the last frame that it sees is at 1.94 s
def test_spans_of_a_file_are_a_timeline(fps: float, video: Path, tmp_path: Path) -> None:
    model = network("tcn", task="segment", fps=fps)
    found = gs.find_events(model, video, out=tmp_path / "spans.csv")
    assert found
    assert all(isinstance(span, Span) and 0 <= span.start_s < span.end_s <= 2.0 + 1e-6 for span in found)
    assert all(b.start_s >= a.end_s for a, b in pairwise(found))
    assert len((tmp_path / "spans.csv").read_text().splitlines()) == len(found) + 1


def test_what_is_out_of_range_is_one_line(video: Path, tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    model, images = network("none"), write_folder(tmp_path / "images", moving_scene(4, 48, 64))
    (tmp_path / "list.csv").write_text(f"path,frame,label\n{video},3,hit\n")
    for fps in (0, -5, float("nan")):
        with pytest.raises(SettingsError, match=f"`fps` {fps}; it must be above 0; correct it"):
            gs.spot_events(model, images, fps=fps)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"suppress": -1}, "`suppress` -1; it must be at least 0 seconds"),
        ({"suppress": float("nan")}, "`suppress` nan; it must be at least 0 seconds"),
        ({"suppression": "nms"}, "`suppression` 'nms'; choose one of e2e-spot, greedy, soft"),
    ]
    for options, message in wrong:
        with pytest.raises(SettingsError, match=message):
            gs.spot_events(model, video, **options)
        with pytest.raises(SettingsError, match=message):
            evaluate_frames(model, tmp_path / "list.csv", **options)


@pytest.mark.slow
def test_a_test_scores_a_list_and_writes_answers_and_a_page(video: Path, tmp_path: Path) -> None:
    model = network("gru")
    found = gs.spot_events(model, video, threshold=0.0, suppress=0)
    best = max(found, key=lambda event: event.score or 0)
    (tmp_path / "list.csv").write_text(f"path,frame,label\n{video},{best.frame},{best.label}\n")
    result = evaluate_frames(
        model, tmp_path / "list.csv", scores=tmp_path / "answers.json", report=tmp_path / "page.html"
    )
    assert result.figures()["map_0"] == 1.0
    assert "suppressed: mAP" in str(result)
    assert len(gs.read_events(tmp_path / "answers.json")) == len(
        gs.spot_events(model, video, threshold=0.01, suppress=0)
    )
    assert "<html" in (tmp_path / "page.html").read_text()
    gs.save_model(model, tmp_path / "m.safetensors")
    main(["test", str(tmp_path / "m.safetensors"), str(tmp_path / "list.csv"), "--tolerances", "0", "2"])


@pytest.mark.slow
def test_events_that_are_listed_by_time_are_those_listed_by_frame(video: Path) -> None:
    model = network("none")
    events = [Event("v", "hit", frame=13), Event("v", "bounce", frame=31)]
    timed = [Event("v", each.label, time_s=(each.frame or 0) / 25) for each in events]
    one, other = (score_recordings(model, [Recording("v", video, tuple(each))]).figures() for each in (events, timed))
    assert one == other


@pytest.mark.slow
def test_spans_are_scored(video: Path) -> None:
    model = network("none", task="segment")
    spans = tuple(gs.find_events(model, video))
    figures = score_recordings(model, [Recording("v", video, spans=spans)]).figures()
    assert figures["frame_accuracy"] == pytest.approx(1.0)
    assert figures["f1_50"] == 1.0


@pytest.mark.slow
def test_an_exported_file_finds_the_same_events(video: Path, tmp_path: Path) -> None:
    model = network("gru")
    (tmp_path / "list.csv").write_text(f"path,frame,label\n{video},3,hit\n")
    result = export(model, tmp_path / "list.csv", format="torch", out=tmp_path / "m.pt2")
    assert result.same_answers == 1.0
    assert "same class on 100.00% of the frames" in str(result)
    found, expected = (
        gs.spot_events(each, video, threshold=0.3) for each in (ExportedModel(tmp_path / "m.pt2"), model)
    )
    assert [(each.frame, each.label) for each in found] == [(each.frame, each.label) for each in expected]


@pytest.mark.parametrize("segments", [0, -3, 2.5])
def test_an_export_of_clips_without_a_frame_is_refused(segments: Any, video: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,frame,label\n{video},3,hit\n")
    with pytest.raises(SettingsError, match=f"^`segments` {segments}; "):
        export(network("none"), tmp_path / "list.csv", format="torch", out=tmp_path / "m.pt2", segments=segments)
    assert not (tmp_path / "m.pt2").exists()


@pytest.mark.slow
def test_int8_is_fitted_to_the_recordings_that_are_given(video: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,frame,label\n{video},3,hit\n")
    asked = {"format": "openvino", "precision": "int8", "out": tmp_path / "m.xml"}
    with pytest.raises(ManifestError, match="missing.csv"):
        export(network("none"), tmp_path / "list.csv", calibrate=tmp_path / "missing.csv", **asked)
    result = export(network("none"), tmp_path / "list.csv", calibrate=tmp_path / "list.csv", **asked)
    assert "int8 fitted to 1 videos" in str(result)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [12.5, 60.0])
def test_events_keep_their_time_in_a_file_of_another_rate(
    rate: float, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    frames = moving_scene(NUM_FRAMES)
    shown = (np.arange(round(NUM_FRAMES / 25 * rate)) * 25 / rate + 1e-6).astype(int)
    times = [round(1000 * n / rate) for n in range(len(shown))]
    other = write_video(tmp_path / "other.mp4", frames[shown], times=times)
    model = network("none")
    with open_video(other) as opened:
        seen = Seen.of(opened.clock_s(), model.config)  # type: ignore[attr-defined]
    assert len(seen.frames) in (NUM_FRAMES - 1, NUM_FRAMES)
    found = gs.spot_events(model, other, threshold=0.0, suppress=0)
    most_s = 1e-3 if rate > 25 else 0.5 / rate + 1e-3  # one frame of a lower rate stands for several of the network's
    assert all(abs((event.time_s or 0) - times[event.frame or 0] / 1000) < most_s for event in found)


@pytest.mark.parametrize("task", ["spot", "segment"])
def test_where_only_recordings_can_be_read_in_which_nothing_happens_the_others_are_told(
    task: str, video: Path, tmp_path: Path
) -> None:
    model, broken = network("none", task=task), tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    columns, row = ("time_s,label", "1,hit") if task == "spot" else ("label,start,end", "hit,0,1")
    (tmp_path / "list.csv").write_text(f"path,{columns}\n{broken},{row}\n{video},{',' * row.count(',')}\n")
    with pytest.raises(VideoError, match="`skip_bad` 1: nothing happens in the recordings that can be read, .*broken"):
        evaluate_frames(model, tmp_path / "list.csv", skip_bad=1)
