"""Streams of windows, cameras and addresses, and what predict --stream prints."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import as_typed
from streaming_data import moving_scene, offline_features, tiny_model, trained

import gateshift as gs
import gateshift.data.video.live
from gateshift.cli.main import main, parse
from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.video.files import open_video
from gateshift.data.video.live import FileFrames, LiveFrame, NewestFrames, is_live
from gateshift.errors import ModelError, SettingsError, VideoError
from gateshift.exporting.loading import load_any
from gateshift.exporting.writing import write_export
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction.settings import PredictSettings
from gateshift.prediction.stream import Answer
from gateshift.prediction.video_stream import StreamReport, run_stream
from gateshift.prediction.windows import Smoothing, Thresholds, Windows

FPS = 25
NUM_FRAMES = 60

# Sends a file to each of two callers who connect, in pieces: a whole second apart of them where it is to be slow.
SERVER = """
import socket, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
content = open(path, "rb").read()
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    caller, _ = server.accept()
    try:
        for start in range(0, len(content), 188 * 8):
            caller.sendall(content[start : start + 188 * 8])
            time.sleep(seconds * 188 * 8 / len(content))
        caller.close()
    except OSError:
        pass
"""

# GStreamer's server, in Debian's packages gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-good, which
# are for the system's own Python. Sends a file to who asks, in its own time; without one, says whether it could.
SYSTEM_PYTHON = "/usr/bin/python3"
RTSP_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
if not all(map(Gst.ElementFactory.find, ("filesrc", "qtdemux", "rtph264pay"))):
    sys.exit("no gstreamer1.0-plugins-good")
if len(sys.argv) > 1:
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service="0")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f'( filesrc location="{sys.argv[1]}" ! qtdemux ! rtph264pay name=pay0 )')
    server.get_mount_points().add_factory("/scene", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()
"""


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return moving_scene(NUM_FRAMES, 48, 64)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path], scene: np.ndarray) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "scene.mp4", scene, fps=FPS)


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path], scene: np.ndarray) -> Path:
    options = {"g": "5", "bf": "0"}
    return write_video(tmp_path_factory.mktemp("video") / "scene.ts", scene, fps=FPS, options=options)


@pytest.fixture
def serve() -> Iterator[Callable[[Path, float], str]]:
    """Send a file from another process; gives its address."""
    started = []

    def start(path: Path, seconds: float) -> str:
        words = [sys.executable, "-c", SERVER, str(path), str(seconds)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        return f"tcp://127.0.0.1:{int(started[-1].stdout.readline())}"

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path], scene: np.ndarray) -> Path:
    """As a camera encodes: no frame waits for a later one."""
    path, options = tmp_path_factory.mktemp("video") / "scene.mp4", {"g": "5", "bf": "0"}
    return write_video(path, np.concatenate([scene] * 3), fps=FPS, options=options)


@pytest.fixture
def rtsp() -> Iterator[Callable[[Path], tuple[str, subprocess.Popen[str]]]]:
    """Send a file from an RTSP server; gives its address, and the server."""
    probe = [SYSTEM_PYTHON, "-c", RTSP_SERVER]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-good")
    started = []

    def start(path: Path) -> tuple[str, subprocess.Popen[str]]:
        server = subprocess.Popen([*probe, str(path)], stdout=subprocess.PIPE, text=True)
        started.append(server)
        assert server.stdout is not None
        return f"rtsp://127.0.0.1:{int(server.stdout.readline())}/scene", server

    yield start
    for process in started:
        process.kill()
        process.communicate()


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


def offline(model: VideoClassifier, path: Path, window: range) -> torch.Tensor:
    """What predict says of a part of a file [K], which is opened for it alone."""
    with open_video(
        path, start_s=(window.start - 0.5) / FPS if window.start else 0, end_s=(window.stop - 0.5) / FPS
    ) as part:
        assert part.num_frames == len(window)
        views = read_views(part, EvalProtocol(4), size_px=model.config.size_px, resize_px=model.config.resize_px)
    with torch.inference_mode():
        return model(views)[0].softmax(0)


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


def test_a_broadcast_is_joined_in_its_middle(broadcast: Path, serve: Callable[..., str], tmp_path: Path) -> None:
    content = bytearray(broadcast.read_bytes())
    for place in range(188 * 60 + 20, 188 * 70, 7):  # and damaged further on
        content[place] ^= 85 if place % 188 > 8 else 0
    part = tmp_path / "part.ts"
    part.write_bytes(content[188 * 21 :])
    source = NewestFrames(serve(part, 0.0))
    source.start(1000)
    frames = [frame for some in source for frame in some]
    source.close()
    assert 20 < len(frames) < NUM_FRAMES
    assert frames[0].read().shape == (48, 64, 3)


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


def test_the_newest_frames_are_kept_and_the_others_counted(broadcast: Path, serve: Callable[..., str]) -> None:
    source = NewestFrames(serve(broadcast, 0.0))
    source.start(4)
    taken: list[list[LiveFrame]] = []
    for frames in source:
        taken.append(frames)
        time.sleep(0.2 if len(taken) == 1 else 0.0)  # who looks is slow at first
    source.close()
    numbers = [frame.number for frames in taken for frame in frames]
    assert max(map(len, taken)) <= 4
    assert numbers == sorted(set(numbers)) and numbers[-1] == NUM_FRAMES - 1
    assert source.dropped > 0
    assert len(numbers) + source.dropped == NUM_FRAMES


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


def test_what_is_not_there_is_an_error_that_names_it() -> None:
    for address in ("tcp://127.0.0.1:9", "/dev/video77", "nonsense://host"):
        assert is_live(address)
        with pytest.raises(VideoError, match=f"{address}: cannot be read .*; check that it is there"):
            NewestFrames(address)


def test_a_source_that_was_not_started_starts_when_it_is_iterated(
    broadcast: Path, serve: Callable[[Path, float], str]
) -> None:
    source = NewestFrames(serve(broadcast, 0.2))
    assert [frame.number for frames in source for frame in frames] == list(range(NUM_FRAMES))
    source.close()
    unused = NewestFrames(serve(broadcast, 0.2))
    unused.close()
    assert list(unused) == []


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


def test_an_rtsp_server_gives_every_frame_of_its_file(
    filmed: Path, rtsp: Callable[[Path], tuple[str, subprocess.Popen[str]]]
) -> None:
    address, _ = rtsp(filmed)
    source = NewestFrames(address)
    source.start(1000)
    frames = [frame.read() for some in source for frame in some]
    source.close()
    with open_video(filmed) as video:
        expected = video.read(range(video.num_frames)).permute(0, 2, 3, 1).numpy()
    assert source.rate == FPS and source.dropped == 0
    assert np.array_equal(np.stack(frames), expected)


def run_command(model_file: Path, address: str) -> "subprocess.Popen[str]":
    words = ["predict", str(model_file), address, "--stream", "--json", "--window", "0.4", "--hop", "0.2"]
    return subprocess.Popen(
        [sys.executable, "-m", "gateshift", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_predict_streams_an_rtsp_server(
    model_file: Path, filmed: Path, rtsp: Callable[[Path], tuple[str, subprocess.Popen[str]]]
) -> None:
    address, _ = rtsp(filmed)
    command = run_command(model_file, address)
    out, err = command.communicate(timeout=60)
    records = [json.loads(line) for line in out.splitlines()]
    assert command.returncode == 0 and records
    assert all(record["video"] == address and record["error"] is None for record in records)
    assert all(record["end_frame"] - record["start_frame"] == 10 for record in records)
    frames, dropped = map(int, re.search(r"(\d+) frames in .* (\d+) dropped", err).groups())
    assert frames + dropped == 3 * NUM_FRAMES and "Traceback" not in err


def test_a_server_that_dies_ends_the_stream(
    model_file: Path, filmed: Path, rtsp: Callable[[Path], tuple[str, subprocess.Popen[str]]]
) -> None:
    address, server = rtsp(filmed)
    command = run_command(model_file, address)
    command.stdout.readline()  # the first answer
    server.kill()
    _, err = command.communicate(timeout=15)
    assert command.returncode == 0 and len(err.splitlines()) == 1
    assert int(re.search(r"(\d+) frames in", err)[1]) < 3 * NUM_FRAMES


def test_a_server_that_falls_silent_is_an_error(
    filmed: Path, rtsp: Callable[[Path], tuple[str, subprocess.Popen[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateshift.data.video.live, "READ_TIMEOUT_S", 1.0)
    address, server = rtsp(filmed)
    source = NewestFrames(address)
    source.start(1000)
    frames = iter(source)
    next(frames)
    server.send_signal(signal.SIGSTOP)
    with pytest.raises(VideoError, match=f"{address}: cannot be read .nothing came for 1 s.*check that it is there"):
        list(frames)
    source.close()


def test_a_server_that_says_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateshift.data.video.live, "OPEN_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"rtsp://127.0.0.1:{server.getsockname()[1]}/scene"
        with pytest.raises(VideoError, match=f"{address}: cannot be read .nothing came for 1 s.*check that it is"):
            NewestFrames(address)


def test_predict_prints_the_delay_of_an_exact_stream(
    model_file: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["predict", str(model_file), str(video), "--stream", "--exact", "--json", "--top", "1"])
    printed = capsys.readouterr()
    records = [json.loads(line) for line in printed.out.splitlines()]
    assert [record["start_frame"] for record in records] == list(range(NUM_FRAMES))
    assert all(len(record["top"]) == 1 for record in records)
    assert f"answers come {gs.Stream(gs.load_model(model_file), exact=True).delay} frames late" in printed.err


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
        (["a.mp4", "--hop", "2"], "--hop was given without --stream or --timeline; add one of them"),
        (["a.mp4", "--timeout", "5"], "--timeout 5 was given without --engine ray; leave it out"),
        (["a.mp4", "--stream", "--top", "0"], "--top 0; name at least 1 class"),
        (["{video}", "--stream", "--hop", "0"], "--hop 0.0; it must be above 0"),
        (["a.mp4", "--stream", "--crops", "3"], "--crops 3 was given, but a window is one clip"),
        (["a.mp4", "--stream", "--exact", "--segments", "3"], "--segments 3 was given, but an exact stream"),
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
    printed = as_typed(capsys.readouterr().err)
    assert message in printed and "Traceback" not in printed


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
    assert "give --fps, such as 25" in as_typed(capsys.readouterr().err)
    main(["predict", str(model_file), folder, "--stream", "--json", "--fps", "10", "--window", "1"])
    assert [json.loads(line)["end_s"] for line in capsys.readouterr().out.splitlines()] == [1.0, 1.5, 2.0]


def test_wrong_frames_are_refused(model: VideoClassifier) -> None:
    stream = gs.Stream(model)
    for frames in (np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((2, 0, 8, 3), np.uint8)):
        with pytest.raises(ModelError, match="a stream takes uint8 RGB"):
            stream.push(frames)
    assert stream.push(np.zeros((0, 8, 8, 3), np.uint8)) == []


def test_a_file_is_streamed_by_http(broadcast: Path) -> None:
    words = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(broadcast.parent),
        "0",
    ]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        source = NewestFrames(f"http://127.0.0.1:{port}/{broadcast.name}")
        source.start(1000)
        assert sum(len(frames) for frames in source) == NUM_FRAMES
        source.close()
        with pytest.raises(VideoError, match="nothing.ts: cannot be read .*404"):
            NewestFrames(f"http://127.0.0.1:{port}/nothing.ts")
    finally:
        server.kill()
        server.communicate()


def test_what_the_document_says_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / "docs" / "streaming.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "streaming.md", "exec"), {})
    assert capsys.readouterr().out.startswith("0 32 ")
    lines = re.findall(r"^gateshift (.*?)(?:  +#.*)?$", text, re.MULTILINE)
    assert len(lines) == 4
    assert all(isinstance(parse(line.split()), PredictSettings) for line in lines)
