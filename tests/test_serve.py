"""The server: answers that are right by construction, over HTTP; what it refuses, and what it leaves."""

import asyncio
import dataclasses
import io
import json
import multiprocessing.util
import signal
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import WriteVideo
from PIL import Image
from serving import (
    BRIGHT,
    DARK,
    closing_loops,
    grey_frames,
    needs_gradio,
    running,
    start_program,
    write_brightness_model,
)
from torch import nn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError, SettingsError, VideoError
from gateshift.web.app import Server, serve
from gateshift.web.settings import ServeSettings

httpx = pytest.importorskip("httpx", reason="gradio is not installed; pip install '.[demo]'")
pytestmark = needs_gradio

TOKEN = "a-token-of-24-characters"
MAX_MB = 0.2
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "brightness.safetensors"
    write_brightness_model(path)
    return path


@pytest.fixture(scope="module")
def temp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The only folder in which the server may leave files."""
    multiprocessing.util.get_temp_dir()  # is kept until the end of this process, so not in that folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temp")))
        patch.setenv("GRADIO_TEMP_DIR", tempfile.mkdtemp())
        yield Path(tempfile.gettempdir())


@pytest.fixture(scope="module")
def server(model: Path, temp: Path) -> Iterator[Server]:
    assert temp.is_dir()
    with running(model, token=TOKEN, max_mb=MAX_MB, max_duration=8, max_side=128) as server:
        yield server


@pytest.fixture(scope="module")
def dark(write_video: WriteVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "dark.mp4", grey_frames([DARK] * 25))


@pytest.fixture(scope="module")
def bright(write_video: WriteVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "bright.webm", grey_frames([BRIGHT] * 25), codec="libvpx-vp9")


# Without `verify` each call would read the certificates of the world first, though none of these addresses is https.
CALL = {"timeout": 100, "trust_env": False, "verify": False}


def get(url: str, **options: Any) -> Any:
    return httpx.get(url, **CALL, **options)


def post(url: str, **options: Any) -> Any:
    return httpx.post(url, **CALL, **{"headers": BEARER, **options})


def send(server: Server, content: bytes, *, name: str = "clip.mp4", query: str = "") -> Any:
    return post(f"{server.url}/api/predict{query}", files={"file": (name, content)})


@pytest.mark.slow
def test_a_clip_gets_the_classes_that_predict_gives_it(
    server: Server, model: Path, dark: Path, bright: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for clip, name in ((dark, "dark & <b>grim</b>"), (bright, "bright")):
        answer = send(server, clip.read_bytes())
        assert answer.status_code == 200
        record = answer.json()
        assert record["top"][0]["class"] == name
        assert record["top"][0]["probability"] > 0.9
        assert (record["num_frames"], record["duration_s"], record["timeline"]) == (25, pytest.approx(1.0), None)
        main(["predict", str(model), str(clip), "--json", "--clips", "1", "--crops", "1"])
        predicted = json.loads(capsys.readouterr().out)["top"]
        assert [(each["class"], pytest.approx(each["probability"], abs=1e-5)) for each in predicted] == [
            (each["class"], each["probability"]) for each in record["top"]
        ]


@pytest.mark.slow
def test_the_timeline_says_when_it_becomes_bright(server: Server, write_video: WriteVideo, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "both.mp4", grey_frames([DARK] * 75 + [BRIGHT] * 75))
    timeline = send(server, clip.read_bytes(), query="?timeline=true").json()["timeline"]
    assert [part["label"] for part in timeline] == ["dark & <b>grim</b>", "bright"]
    assert timeline[0]["end_s"] == pytest.approx(3.0, abs=1.0)
    assert timeline[-1]["end_s"] == pytest.approx(6.0)


@pytest.mark.slow
def test_the_number_of_classes_can_be_chosen(server: Server, dark: Path) -> None:
    assert len(send(server, dark.read_bytes(), query="?top=1").json()["top"]) == 1
    assert len(send(server, dark.read_bytes(), query="?top=99").json()["top"]) == 2


@pytest.mark.slow
def test_the_model_describes_itself(server: Server) -> None:
    record = get(f"{server.url}/api/model", headers=BEARER).json()
    assert record["classes"] == ["dark & <b>grim</b>", "bright"]
    assert record["protocol"] == "8 segments × 1 clips × 1 crops"
    assert record["limits"] == {"max_mb": MAX_MB, "max_duration_s": 8, "max_side_px": 128, "timeout_s": 30}
    schema = get(f"{server.url}/openapi.json", headers=BEARER).json()
    assert {"200", "401", "408", "413", "422", "503"} <= set(schema["paths"]["/api/predict"]["post"]["responses"])
    assert set(schema["components"]["schemas"]["ClassProbability"]["properties"]) == {"class", "probability"}


def bad_uploads(folder: Path, dark: Path, write_video: WriteVideo) -> dict[str, tuple[bytes, int, str]]:
    """Content, status and part of the message of uploads that get no answer."""
    whole = dark.read_bytes()
    long = write_video(folder / "long.mp4", grey_frames([DARK] * 100), fps=10).read_bytes()
    Image.new("RGB", (48, 36)).save(picture := io.BytesIO(), "png")
    wide = write_video(folder / "wide.mp4", grey_frames([DARK] * 8, width=160)).read_bytes()
    return {
        "text": (b"no video at all\n" * 100, 422, "cannot be read as a video"),
        "cut off": (whole[: len(whole) // 2], 422, ""),
        "empty": (b"", 422, "0 bytes"),
        "image": (picture.getvalue(), 422, "the file is a single image"),
        "playlist": (f"#EXTM3U\n#EXTINF:1,\nfile://{dark}\n#EXT-X-ENDLIST\n".encode(), 422, "cannot be read"),
        "concatenation": (f"ffconcat version 1.0\nfile {dark.name}\n".encode(), 422, "cannot be read"),
        "too long": (long, 422, "lasts 10.0 s; the longest is 8 s"),
        "too wide": (wide, 422, "160 × 36 pixels; a side is at most 128"),
        "too large": (whole + bytes(round(MAX_MB * 1e6)), 413, "more than 0.2 MB"),
        "far too large": (bytes(5_000_000), 413, "more than 0.2 MB"),
    }


@pytest.mark.slow
def test_a_bad_upload_is_refused_in_one_line_that_names_no_path(
    server: Server, dark: Path, write_video: WriteVideo, temp: Path, tmp_path: Path
) -> None:
    for content, status, part in bad_uploads(tmp_path, dark, write_video).values():
        answer = send(server, content)
        assert answer.status_code == status
        (error,) = answer.json().values()
        assert part in error and "\n" not in error
        assert str(temp) not in error and "gateshift-serve" not in error


@pytest.mark.slow
def test_a_request_without_a_file_says_what_is_missing(server: Server) -> None:
    answer = post(f"{server.url}/api/predict?top=0")
    assert answer.status_code == 422
    assert "file: Field required" in answer.json()["error"] and "top: " in answer.json()["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/predict"), ("POST", "/api/predict/"), ("POST", "/api/model"), ("PUT", "/api/x")]
)
def test_another_address_or_method_is_refused_in_one_line(server: Server, method: str, path: str) -> None:
    answer = httpx.request(method, f"{server.url}{path}", headers=BEARER, **CALL)
    assert answer.status_code == 404
    assert answer.json() == {"error": f"nothing here answers {method} {path}; /openapi.json says what is accepted"}


@pytest.mark.slow
def test_a_body_that_hides_its_length_is_refused_when_it_gets_too_large(server: Server) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        for _ in range(50):
            yield bytes(10_000)
        yield b"\r\n--x--\r\n"

    headers = BEARER | {"Content-Type": "multipart/form-data; boundary=x"}
    answer = post(f"{server.url}/api/predict", content=parts(), headers=headers)
    assert answer.status_code == 413
    assert "more than 0.2 MB" in answer.json()["error"]


@pytest.mark.slow
def test_what_a_client_calls_a_file_reaches_no_path(server: Server, dark: Path, temp: Path) -> None:
    for name in ("../../../escaped.mp4", "/etc/passwd", "a\x00b.mp4", "." * 300):
        assert send(server, dark.read_bytes(), name=name).status_code == 200
    assert not list(temp.parent.rglob("escaped*"))


@pytest.mark.slow
def test_files_of_the_machine_are_not_served(server: Server, dark: Path) -> None:
    for path in ("/etc/passwd", str(dark), "../../../etc/passwd"):
        answer = get(f"{server.url}/gradio_api/file={path}", headers=BEARER)
        assert answer.status_code in (403, 404)


def ask_from_many_clients(server: Server, good: dict[str, Path], bad: list[bytes], count: int) -> Counter[str]:
    """Requests of 16 clients, each fifth a bad upload: how many ended how."""
    clips = list(good.items())

    def ask(number: int) -> str:
        if number % 5 == 4:
            status = send(server, bad[number // 5 % len(bad)]).status_code
            return "refused" if 400 <= status < 500 else f"bad: {status}"
        name, clip = clips[number % 5 % 2]
        answer = send(server, clip.read_bytes())
        right = answer.status_code == 200 and answer.json()["top"][0]["class"] == name
        return "right" if right else f"good: {answer.status_code} {answer.text}"

    with ThreadPoolExecutor(16) as clients:
        return Counter(clients.map(ask, range(count)))


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, 200])
def test_many_clients_are_all_answered_rightly_and_leave_nothing(
    server: Server, dark: Path, bright: Path, write_video: WriteVideo, temp: Path, tmp_path: Path, count: int
) -> None:
    bad = [content for content, *_ in bad_uploads(tmp_path, dark, write_video).values()]
    good = {"dark & <b>grim</b>": dark, "bright": bright}
    ask_from_many_clients(server, good, bad, 20)  # threads and their memory are made once
    before_mb = resident_mb()
    assert ask_from_many_clients(server, good, bad, count) == {"right": count * 4 // 5, "refused": count // 5}
    assert resident_mb() - before_mb < 40
    assert [path for path in temp.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_without_the_token_nothing_answers(server: Server) -> None:
    for path in ("/", "/api/model", "/openapi.json", "/config", "/?token=another-token-of-24-chars"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "gateshift_token=wrong"}):
            answer = get(server.url + path, headers=headers)
            assert answer.status_code == 401 and "token" in answer.json()["error"]
    assert post(f"{server.url}/gradio_api/upload", headers={}).status_code == 401


@pytest.mark.slow
def test_the_token_lets_programs_and_browsers_in(server: Server) -> None:
    with httpx.Client(trust_env=False, verify=False) as browser:
        answer = browser.get(f"{server.url}/?token={TOKEN}")
        assert answer.status_code == 303 and answer.headers["location"] == "/"  # not to stand in the history
        assert browser.get(f"{server.url}/").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_program_asks_nobody_outside_and_leaves_no_files_when_it_is_stopped(
    model: Path, dark: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:  # a proxy that nobody should ask for anything
        outside.setblocking(False)
        proxy = f"http://127.0.0.1:{outside.getsockname()[1]}"
        environment = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy)
        environment |= {"NO_PROXY": "127.0.0.1", "GATESHIFT_TOKEN": TOKEN}
        with start_program(tmp_path, model, environment=environment) as started:
            assert get(f"{started.url}/api/model").status_code == 401
            with dark.open("rb") as clip:
                answer = post(f"{started.url}/api/predict", files={"file": ("clip.mp4", clip)})
            assert answer.json()["top"][0]["class"] == "dark & <b>grim</b>"
            assert list(started.temp.glob("gateshift-serve-*"))
            started.process.send_signal(stop)
            assert started.process.wait(timeout=60) == 0
            assert not list(started.temp.iterdir())
        with pytest.raises(BlockingIOError):
            outside.accept()


@pytest.mark.slow
def test_decoding_ends_at_its_limits_of_time_and_memory(model: Path, write_video: WriteVideo, tmp_path: Path) -> None:
    from gateshift.web.scoring import Scorer

    clip = write_video(tmp_path / "large.mp4", grey_frames([DARK] * 3, height=1600, width=2560))
    network = gs.load_model(model)

    def ask(**limits: Any) -> None:
        Scorer(network, ServeSettings(model, **limits)).answer(clip)

    ask()
    with pytest.raises(VideoError, match="not decoded in 1e-05 s"):
        ask(timeout=1e-5)
    with pytest.raises(VideoError):  # FFmpeg does not always say that it was for want of memory
        ask(decoder_mb=10)


@pytest.mark.slow
def test_a_timeline_ends_at_the_limit_of_time(dark: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateshift.web import scoring

    scorer = scoring.Scorer(gs.load_model(model), ServeSettings(model, window=0.1, hop=0.05))
    decoded = scoring.decode(scoring.Upload(dark, True, scorer.protocol, scorer.model.config, scorer.settings))
    ticks = iter(range(0, 10_000, 20))
    monkeypatch.setattr(scoring, "time", SimpleNamespace(monotonic=lambda: next(ticks)))  # not that of other threads
    with pytest.raises(VideoError, match="not scored in 30 s"):
        scorer._probabilities(torch.from_numpy(decoded.clips))


@pytest.mark.slow
def test_a_multi_label_model_names_its_labels_and_their_events_overlap(dark: Path, model: Path, tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from gateshift.web.api import create_app
    from gateshift.web.scoring import Scorer

    network = gs.load_model(model)
    gs.save_model(
        network, tmp_path / "several.safetensors", config=dataclasses.replace(network.config, multi_label=True)
    )
    network = gs.load_model(tmp_path / "several.safetensors")

    def ask() -> dict[str, Any]:
        client = TestClient(create_app(Scorer(network, ServeSettings(model))))
        with dark.open("rb") as clip:
            record: dict[str, Any] = client.post("/api/predict?timeline=true", files={"file": clip}).json()
        return record

    assert ask()["labels"] == [network.classes[0]]
    with torch.no_grad():
        network.head.bias += 9  # whatever is shown, it is both
    record = ask()
    assert sorted(record["labels"]) == sorted(network.classes)
    assert [part["start_s"] for part in record["timeline"]] == [0, 0]


@pytest.mark.slow
def test_more_requests_than_may_wait_are_told_to_come_back(dark: Path, model: Path) -> None:
    from fastapi.testclient import TestClient

    from gateshift.web.api import create_app
    from gateshift.web.scoring import Scorer

    client = TestClient(create_app(Scorer(gs.load_model(model), ServeSettings(model, decoders=1, queue=0))))
    start = threading.Barrier(3)

    def ask(_: int) -> tuple[int, str | None]:
        start.wait()
        answer = client.post("/api/predict", files={"file": dark.read_bytes()})
        return answer.status_code, answer.headers.get("Retry-After")

    with ThreadPoolExecutor(3) as clients:
        assert sorted(clients.map(ask, range(3))) == [(200, None), (503, "10"), (503, "10")]


@pytest.mark.slow
def test_a_body_that_comes_too_slowly_is_refused(model: Path) -> None:
    from gateshift.web.api import create_app
    from gateshift.web.scoring import Scorer

    app = create_app(Scorer(gs.load_model(model), ServeSettings(model, timeout=0.1)))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()  # nothing ever comes
        return {}

    async def keep(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/api/predict", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, keep))
    assert sent[0]["status"] == 408
    assert "not sent in 0.1 s" in json.loads(sent[1]["body"])["error"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"port": 70000}, "`port` 70000; a port is 1 to 65535"),
        ({"token": "short"}, "a `token` of 5 characters; it must have at least 16"),
        ({"token": "with spaces in the middle"}, "each a letter, a digit, - or _"),
        ({"hop": 0.0}, "`hop` 0.0; it must be a number above 0"),
        ({"examples": "nowhere"}, "`examples` nowhere: no such folder"),
        ({"max_mb": float("nan")}, "`max_mb` nan; it must be a number above 0"),
        ({"decoders": 0}, "`decoders` 0; it must be at least 1"),
        ({"port": "80"}, "`port` '80'; it must be a whole number"),
        ({"queue": 1.5}, "`queue` 1.5; it must be a whole number"),
        ({"max_mb": "50"}, "`max_mb` '50'; it must be a number above 0"),
        ({"host": None}, "`host` of type NoneType; it must be a text"),
        ({"token": 1234567890123456}, "`token` of type int; it must be a text"),
    ],
)
def test_settings_out_of_range_are_one_line(options: dict[str, Any], part: str) -> None:
    with pytest.raises(SettingsError, match="^[^\n]*$") as caught:
        serve("m.safetensors", **options)
    assert part in str(caught.value)


def test_a_taken_port_is_an_error_before_the_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as exit_info:
        main(["serve", "missing.safetensors", "--port", str(taken.getsockname()[1])])
    assert exit_info.value.code == 2
    assert "choose a free port" in capsys.readouterr().err


def test_a_model_that_runs_elsewhere_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(SystemExit):
        main(["serve", str(tmp_path / "model.onnx"), "--port", "0"])
    assert "an exported file cannot be looked into; give the .safetensors model" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["deployed", "other"])
def test_a_model_that_cannot_be_looked_into_is_not_served(form: str, model: Path) -> None:
    other: Any = gs.load_model(model).deploy() if form == "deployed" else nn.Linear(2, 2)
    with pytest.raises(ModelError, match=f"`model` is a {type(other).__name__}; give a VideoClassifier"):
        serve(other, port=0, block=False)


@pytest.mark.slow
def test_serving_returns_when_the_server_is_stopped(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = []

    def stop_after_an_answer(server: Server) -> None:
        answers.append(get(f"{server.url}/api/model").json()["name"])

    monkeypatch.setattr(Server, "wait", stop_after_an_answer)
    with closing_loops():
        server = serve(gs.load_model(model), port=0)
    assert answers == ["VideoClassifier"]
    with pytest.raises(httpx.ConnectError):
        get(server.url)
