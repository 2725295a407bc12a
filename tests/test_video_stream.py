"""A stream of a file or an address, in Python and by predict --stream."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from live_sources import FPS, NUM_FRAMES
from streaming_data import moving_scene, trained

import gateshift as gs
from gateshift.cli.main import main, parse
from gateshift.data.video.live import FileFrames, NewestFrames
from gateshift.errors import ModelError, SettingsError, VideoError
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction.settings import PredictSettings
from gateshift.prediction.stream import Answer
from gateshift.prediction.video_stream import StreamReport, run_stream, stream_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path], scene: np.ndarray) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "scene.mp4", scene, fps=FPS)


@pytest.fixture(scope="module")
def model() -> VideoClassifier:
    torch.manual_seed(0)
    return trained(gs.create_model("mobilenetv3_small_050", num_classes=3, size_px=32, num_segments=4))


@pytest.fixture(scope="module")
def model_file(model: VideoClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    gs.save_model(model, path)
    return path


def answers_of(stream: gs.Stream, path: Path) -> list[Answer]:
    return list(run_stream(stream, FileFrames(str(path)), StreamReport(), newest=False))


@pytest.mark.slow
def test_lag_does_not_grow_where_the_model_is_too_slow(
    model: VideoClassifier, broadcast: Path, serve: Callable[..., str]
) -> None:
    class Slow(VideoClassifier):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            time.sleep(0.3)
            return super().forward(clips)

    slow = Slow(model.backbone, model.head.in_features, model.config).eval()
    source = NewestFrames(serve(broadcast, 2.0))  # 30 frames a second, of which it can answer for three
    source.start(8)
    report = StreamReport()
    answers = list(run_stream(gs.Stream(slow, window=8, hop=2), source, report, newest=True))
    source.close()
    assert 2 <= len(answers) <= 9 < (NUM_FRAMES - 8) / 2
    assert report.frames + source.dropped == NUM_FRAMES
    assert report.max_latency_s < 2  # a pass, and no backlog of 26 passes


@pytest.mark.slow
def test_every_frame_of_an_address_is_seen_where_there_is_time(
    model: VideoClassifier, broadcast: Path, serve: Callable[..., str]
) -> None:
    source = NewestFrames(serve(broadcast, 0.5))
    assert source.rate == FPS
    source.start(1000)
    found = list(run_stream(gs.Stream(model, window=16, hop=8), source, StreamReport(), newest=False))
    source.close()
    assert source.dropped == 0
    expected = answers_of(gs.Stream(model, window=16, hop=8), broadcast)
    assert len(found) == len(expected) > 3
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.probabilities, b.probabilities)


@pytest.mark.slow
def test_predict_streams_an_address_as_json(
    model_file: Path, broadcast: Path, serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    address = serve(broadcast, 0.5)
    main(
        [
            "predict",
            str(model_file),
            address,
            "--stream",
            "--json",
            "--window",
            "0.64",
            "--hop",
            "0.32",
            "--enter",
            "0.4",
        ]
    )
    printed = capsys.readouterr()
    records = [json.loads(line) for line in printed.out.splitlines()]
    assert records
    assert all(record["video"] == address and record["error"] is None for record in records)
    assert all(record["end_frame"] - record["start_frame"] == 16 for record in records)
    assert records[-1]["end_s"] == records[-1]["end_frame"] / FPS
    assert {record["label"] for record in records} <= {"0", "1", "2", None}
    assert "frames in" in printed.err and "fps" in printed.err and "dropped" in printed.err and "latency" in printed.err


@pytest.mark.slow
def test_predict_streams_an_rtsp_server(
    model_file: Path,
    filmed: Path,
    rtsp: Callable[[Path], tuple[str, subprocess.Popen[str]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, _ = rtsp(filmed)
    main(["predict", str(model_file), address, "--stream", "--json", "--window", "0.4", "--hop", "0.2"])
    printed = capsys.readouterr()
    records = [json.loads(line) for line in printed.out.splitlines()]
    assert records
    assert all(record["video"] == address and record["error"] is None for record in records)
    assert all(record["end_frame"] - record["start_frame"] == 10 for record in records)
    (line,) = printed.err.splitlines()
    frames, dropped = map(int, re.search(r"(\d+) frames in .* (\d+) dropped", line).groups())
    assert frames + dropped == 3 * NUM_FRAMES


@pytest.mark.slow
def test_a_server_that_dies_ends_the_stream(
    model: VideoClassifier, filmed: Path, rtsp: Callable[[Path], tuple[str, subprocess.Popen[str]]]
) -> None:
    address, server = rtsp(filmed)
    report = StreamReport()
    answers = stream_video(model, address, window=0.4, hop=0.2, report=report)
    next(answers)
    server.kill()
    list(answers)
    assert 0 < report.frames < 3 * NUM_FRAMES


@pytest.mark.slow
def test_python_streams_what_the_command_line_prints(
    model: VideoClassifier, model_file: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = StreamReport()
    answers = list(stream_video(model, video, window=0.4, hop=0.2, smooth=2, enter=0.3, leave=0.1, report=report))
    options = ["--window", "0.4", "--hop", "0.2", "--smooth", "2", "--enter", "0.3", "--leave", "0.1", "--json"]
    main(["predict", str(model_file), str(video), "--stream", *options])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = ("start_frame", "end_frame", "start_s", "end_s", "label")
    for answer, record in zip(answers, records, strict=True):
        found = (answer.start, answer.end, answer.start_s, answer.end_s, answer.label)
        assert found == tuple(record[name] for name in names)
        largest = [each["probability"] for each in record["top"]]
        assert largest == pytest.approx(answer.probabilities.sort(descending=True).values.tolist(), abs=1e-6)
    assert (report.frames, report.answers, report.dropped, report.delay) == (NUM_FRAMES, len(answers), 0, 0)


@pytest.mark.slow
def test_a_stream_that_is_left_is_closed_and_one_that_cannot_begin_says_why(
    model: VideoClassifier, video: Path, broadcast: Path, serve: Callable[..., str]
) -> None:
    before = threading.active_count()
    answers = stream_video(model, serve(broadcast, 0.5), window=0.2, hop=0.2)
    next(answers)
    answers.close()
    assert threading.active_count() == before
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"hop": 0}, SettingsError, "`hop` 0; it must be above 0"),
        ({"fps": 0}, SettingsError, "`fps` 0; it must be above 0"),
        ({"source": "no.mp4"}, VideoError, "no.mp4: there is no such file"),
        ({"model": gs.create_model("test_resnet", num_classes=2)}, ModelError, "the model is in training mode"),
    ]
    for options, kind, message in wrong:
        with pytest.raises(kind, match=message):
            next(stream_video(**{"model": model, "source": video, **options}))


@pytest.mark.slow
def test_predict_prints_the_delay_of_an_exact_stream(
    model_file: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["predict", str(model_file), str(video), "--stream", "--exact", "--json", "--top", "1"])
    printed = capsys.readouterr()
    records = [json.loads(line) for line in printed.out.splitlines()]
    assert [record["start_frame"] for record in records] == list(range(NUM_FRAMES))
    assert all(len(record["top"]) == 1 for record in records)
    assert f"answers come {gs.Stream(gs.load_model(model_file), exact=True).delay} frames late" in printed.err


@pytest.mark.slow
def test_predict_says_when_what_happens_changes(
    model_file: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["predict", str(model_file), str(video), "--stream", "--enter", "0", "--leave", "0", "--window", "1"])
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("0.00-1.00 s: ")
    assert all(" s: " in line for line in others)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.mp4", "b.mp4", "--stream"], "2 videos were named"),
        (["a.mp4", "rtsp://host/door"], "rtsp://host/door is a camera or an address, and only a stream has these"),
        (["/dev/video0", "--timeline", "a.json"], "/dev/video0 is a camera or an address"),
        (["a.mp4", "--exact"], "--exact was given without --stream"),
        (["a.mp4", "--stream", "--timeline", "a.json"], "--stream and --timeline exclude each other"),
        (["a.mp4", "--hop", "2"], "--hop was given without --stream, --timeline or --events; add one"),
        (["a.mp4", "--timeout", "5"], "--timeout 5 was given without --engine ray; leave it out"),
        (["a.mp4", "--stream", "--top", "0"], "--top 0; name at least 1 class"),
        (["{video}", "--stream", "--hop", "0"], "--hop 0.0; it must be above 0"),
        (["a.mp4", "--stream", "--crops", "3"], "--crops 3 was given, but a window is one clip"),
        (["a.mp4", "--stream", "--exact", "--segments", "3"], "--segments 3 was given, but an exact stream"),
        (["a.mp4", "--events", "e.csv", "--enter", "0.9"], "--enter was given with --events, which are single frames"),
        (["a.mp4", "--timeline", "a.json", "--suppress", "1"], "--suppress was given with --timeline, and it is of ev"),
        (["a.mp4", "--stream", "--exact", "--window", "1"], "--window was given with --exact, which answers every"),
        (["a.mp4", "--stream", "--workers", "2"], "--workers 2 was given, but it is for many videos, of which one"),
        (["a.mp4", "--timeline", "a.json", "--batch-size", "8"], "--batch-size 8 was given, but it is for many videos"),
        (["a.mp4", "--engine", "ray", "--out", "j", "--workers", "2"], "--workers 2 was given, but --engine ray has"),
        (["a.mp4", "--stream"], "a.mp4: there is no such file"),
        (["tcp://127.0.0.1:9", "--stream"], "tcp://127.0.0.1:9: cannot be read"),
        (["{video}", "--stream", "--enter", "0.2"], "--enter 0.2, --leave 0.4"),
        (["{video}", "--stream", "--smooth", "0"], "--smooth 0; it must be at least 1"),
    ],
)
def test_mistakes_end_in_one_line(
    words: list[str], message: str, model_file: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(model_file), *(word.format(video=video) for word in words)])
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


def test_a_source_that_cannot_be_read_has_a_record_with_the_fields_of_others(
    model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["predict", str(model_file), "no.mp4", "--stream", "--json"])
    error = "no.mp4: there is no such file; check the path"
    assert json.loads(capsys.readouterr().out) == {"video": "no.mp4", "label": None, "top": [], "error": error}


@pytest.mark.slow
def test_a_file_whose_rate_changes_is_streamed_by_its_own_clock(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, times_ms = tmp_path / "slower.mkv", [*range(0, 400, 40), *range(400, 2400, 200)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, time_ms in zip(moving_scene(20, 48, 64), times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    main(["predict", str(model_file), str(path), "--stream", "--exact", "--json"])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["start_s"] for record in records] == pytest.approx([time_ms / 1000 for time_ms in times_ms])
    assert [record["end_s"] for record in records[:-1]] == [record["start_s"] for record in records[1:]]
    main(["predict", str(model_file), str(path), "--stream", "--exact", "--json", "--fps", "10"])
    assert json.loads(capsys.readouterr().out.splitlines()[15])["start_s"] == pytest.approx(1.5)


@pytest.mark.slow
def test_images_need_to_be_told_their_rate(
    model_file: Path,
    scene: np.ndarray,
    tmp_path: Path,
    write_folder: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(write_folder(tmp_path / "images", scene[:20]))
    with pytest.raises(SystemExit):
        main(["predict", str(model_file), folder, "--stream"])
    assert "give --fps, such as 25" in capsys.readouterr().err
    main(["predict", str(model_file), folder, "--stream", "--json", "--fps", "10", "--window", "1"])
    assert [json.loads(line)["end_s"] for line in capsys.readouterr().out.splitlines()] == [1.0, 1.5, 2.0]


@pytest.mark.slow
def test_what_the_document_says_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / "docs" / "streaming.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "streaming.md", "exec"), {})
    assert capsys.readouterr().out.startswith("0 32 ")
    lines = re.findall(r"^gateshift (.*?)(?:  +#.*)?$", text, re.MULTILINE)
    assert len(lines) == 5
    assert all(isinstance(parse(line.split()), PredictSettings) for line in lines)
