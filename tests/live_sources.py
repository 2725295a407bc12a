"""Sources of live streams that tests share: a file that is sent by another process, in its time, or by RTSP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from streaming_data import moving_scene

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


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    return moving_scene(NUM_FRAMES, 48, 64)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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
