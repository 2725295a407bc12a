"""Cameras, broadcasts and addresses: their frames as they come, the newest first kept, and their failures."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from live_sources import FPS, NUM_FRAMES

import gateshift.data.video.live
from gateshift.data.video.files import open_video
from gateshift.data.video.live import LiveFrame, NewestFrames, is_live
from gateshift.errors import VideoError


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


def test_what_is_not_there_is_an_error_that_names_it() -> None:
    for address in ("tcp://127.0.0.1:9", "/dev/video77", "nonsense://host"):
        assert is_live(address)
        with pytest.raises(VideoError, match=f"{address}: cannot be read .*; check that it is there"):
            NewestFrames(address)


@pytest.mark.slow
def test_a_source_that_was_not_started_starts_when_it_is_iterated(
    broadcast: Path, serve: Callable[[Path, float], str]
) -> None:
    source = NewestFrames(serve(broadcast, 0.2))
    assert [frame.number for frames in source for frame in frames] == list(range(NUM_FRAMES))
    source.close()
    unused = NewestFrames(serve(broadcast, 0.2))
    unused.close()
    assert list(unused) == []


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_server_that_says_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateshift.data.video.live, "OPEN_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"rtsp://127.0.0.1:{server.getsockname()[1]}/scene"
        with pytest.raises(VideoError, match=f"{address}: cannot be read .nothing came for 1 s.*check that it is"):
            NewestFrames(address)


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
