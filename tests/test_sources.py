"""Videos as bytes, as file objects and at http addresses: read as the file is, with a limit, and leaving nothing."""

import io
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.video import sources
from gateshift.data.video.files import VideoFile, open_video
from gateshift.data.video.packed import PackedFiles
from gateshift.errors import VideoError


@pytest.fixture(scope="module")
def clip(
    tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path], counting_frames: Callable[..., Any]
) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", counting_frames(20))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are, and no other."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Server(ThreadingHTTPServer):
    content: bytes


class Answers(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, content = self.path.lstrip("/").partition("?")[0], self.server.content
        if name == "moved.mp4":
            self.send_response(302)
            self.send_header("Location", "/clip.mp4")
            self.end_headers()
            return
        if name not in ("clip.mp4", "d%C3%BC%20r.mp4", "plain", "half.mp4", "page", "cam", "long.mp4", "slow.mp4"):
            self.send_error(404)
            return
        self.send_response(200)
        kinds = {"page": "text/html; charset=utf-8", "cam": "multipart/x-mixed-replace; boundary=b"}
        self.send_header("Content-Type", kinds.get(name, "application/octet-stream"))
        if name == "half.mp4":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if name in ("half.mp4", "slow.mp4") else content)
        while name == "long.mp4":  # it has no end, and does not say so
            self.wfile.write(bytes(1 << 16))
        if name == "slow.mp4":
            time.sleep(5)

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError):  # who asked has enough
            super().handle()


@pytest.fixture
def address(clip: Path) -> Iterator[str]:
    with Server(("127.0.0.1", 0), Answers) as server:
        server.content = clip.read_bytes()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


GIVEN: dict[str, Callable[[Path, str], Any]] = {
    "bytes": lambda clip, _: clip.read_bytes(),
    "bytearray": lambda clip, _: bytearray(clip.read_bytes()),
    "memoryview": lambda clip, _: memoryview(clip.read_bytes()),
    "BytesIO": lambda clip, _: io.BytesIO(clip.read_bytes()),
    "file": lambda clip, _: clip.open("rb"),
    "address": lambda _, address: f"{address}/clip.mp4",
    "address with a query": lambda _, address: f"{address}/clip.mp4?key=1#t=2",
    "address that moved": lambda _, address: f"{address}/moved.mp4",
    "address without a suffix": lambda _, address: f"{address}/plain",
    "address with blanks and umlauts": lambda _, address: f"{address}/dü r.mp4",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", GIVEN)
def test_frames_are_those_of_the_file_and_closing_leaves_nothing(
    kind: str, clip: Path, address: str, temporary: Path
) -> None:
    source = GIVEN[kind](clip, address)
    with open_video(clip) as expected, open_video(source) as video:
        assert isinstance(video, VideoFile)
        assert video.num_frames == expected.num_frames == 20
        assert torch.equal(video.read([0, 19, 7]), expected.read([0, 19, 7]))
        assert video.times_s() == expected.times_s()
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []
    if isinstance(source, io.IOBase):
        assert not source.closed
        source.seek(0)
    with open_video(source, start_s=0.2, end_s=0.4) as part:
        assert part.num_frames == 5
    if isinstance(source, io.IOBase):
        source.close()
    assert list(temporary.iterdir()) == []


def test_packed_frames_are_read_from_bytes_too(tmp_path: Path) -> None:
    packed, image = tmp_path / "clip.zip", io.BytesIO()
    Image.fromarray(np.full((24, 24, 3), 200, np.uint8)).save(image, "JPEG")
    PackedFiles(24).write(packed, [image.getvalue()] * 2)
    with open_video(packed) as expected, open_video(packed.read_bytes()) as video:
        assert torch.equal(video.read([1, 0]), expected.read([1, 0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"", "a video of 0 bytes: is empty, with 0 bytes"),
        (b"no video at all" * 99, "a video of 1485 bytes: cannot be read as a video"),
        (io.StringIO("text"), "a video from a StringIO: gives str, not bytes; open it with mode"),
        ("{}/nothing.mp4", "{}/nothing.mp4: cannot be fetched: the server says 404 Not Found; check the address"),
        ("{}/page", "{}/page: is a web page, and no video; give the address of the video file itself"),
        ("{}/cam", "{}/cam: is a live stream, and no file; predict it with `stream=True`"),
        ("{}/half.mp4", "{}/half.mp4: broke off after "),
        ("http://127.0.0.1:9/a.mp4", "a.mp4: cannot be fetched: .*[Rr]efused"),
        ("http://127.0.0.1:port/a.mp4", "a.mp4: cannot be fetched: "),
    ],
)
def test_what_cannot_be_had_is_one_line_and_leaves_nothing(
    given: Any, message: str, address: str, temporary: Path
) -> None:
    source = given.format(address) if isinstance(given, str) else given
    with pytest.raises(VideoError, match=message.format(address)) as caught:
        open_video(source)
    assert "\n" not in str(caught.value)
    assert str(temporary) not in str(caught.value)
    assert list(temporary.iterdir()) == []


def test_a_file_object_that_was_read_says_what_to_do(clip: Path) -> None:
    read = io.BytesIO(clip.read_bytes())
    read.read()
    with pytest.raises(VideoError, match=r"is empty, with 0 bytes; call seek\(0\) if it was read before"):
        open_video(read)


@pytest.mark.slow
def test_what_is_too_large_or_never_comes_is_given_up(
    clip: Path, address: str, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in (io.BytesIO(bytes(3 << 20)), bytes(3 << 20), f"{address}/long.mp4"):
        with (
            pytest.raises(VideoError, match=r"has more than 0.00195 GiB; download it, and give the path"),
            sources.local_copy(source, max_bytes=2 << 20),
        ):
            pass
    with (
        pytest.raises(VideoError, match="half.mp4: has more than"),  # as it says, before any of it is fetched
        sources.local_copy(f"{address}/half.mp4", max_bytes=len(clip.read_bytes()) - 1),
    ):
        pass
    monkeypatch.setattr(sources, "SILENCE_S", 0.3)
    with pytest.raises(VideoError, match="slow.mp4: cannot be fetched: nothing came for 0.3 s"):
        open_video(f"{address}/slow.mp4")
    assert list(temporary.iterdir()) == []


def test_errors_of_a_copy_name_what_was_given(clip: Path) -> None:
    cut = clip.read_bytes()
    damaged = cut[: len(cut) // 2] + bytes(len(cut) // 4) + cut[len(cut) * 3 // 4 :]
    with pytest.raises(VideoError, match=f"^a video of {len(damaged)} bytes"), open_video(damaged) as video:
        video.read(range(video.num_frames))
    with open_video(cut) as video, pytest.raises(ValueError, match=f"of a video of {len(cut)} bytes: at least one"):
        video.read([20])


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = gs.create_model("test_resnet", num_classes=3, num_segments=4, size_px=32)
    torch.nn.init.normal_(model.head.weight)
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    gs.save_model(model, path)
    return path


@pytest.mark.slow
def test_the_command_line_predicts_the_address_of_a_file(
    model_file: Path, clip: Path, address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["predict", str(model_file), f"{address}/clip.mp4", str(clip), f"{address}/nothing.mp4", "--json"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    fetched, local, missing = map(json.loads, capsys.readouterr().out.splitlines())
    assert fetched["video"] == f"{address}/clip.mp4"
    assert fetched["top"] == local["top"]
    assert missing["error"].startswith(f"{address}/nothing.mp4: cannot be fetched: the server says 404")
    for source in (str(clip), f"{address}/clip.mp4"):
        timeline = tmp_path / "t.json"
        main(["predict", str(model_file), source, "--timeline", str(timeline), "--overwrite", "--window", "0.4"])
        assert json.loads(timeline.read_text())["video"] == source
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["predict", str(model_file), f"{address}/live.m3u8"])
    assert "live.m3u8 is a camera or an address, and only a stream has these" in capsys.readouterr().err
