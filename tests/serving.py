"""A server as its users start it, a model whose answers are right by construction, and clips for it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import gateshift as gs

SIZE_PX = 32
DARK, BRIGHT = 40, 215  # grey levels


def write_brightness_model(path: Path) -> None:
    """A model that says whether a clip is dark or bright: its head is set along what tells two such clips apart."""
    torch.manual_seed(0)
    names = ["dark & <b>grim</b>", "bright"]  # a name is shown as it is, whatever characters it has
    model = gs.create_model("test_resnet", temporal="gsm", classes=names, num_segments=8, size_px=SIZE_PX)
    model.eval()
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].mean(0)))
    for level in (DARK, BRIGHT):
        model(torch.full((1, 8, 3, SIZE_PX, SIZE_PX), level, dtype=torch.uint8))
    hook.remove()
    dark, bright = (features.detach() for features in seen)
    towards = (bright - dark) / (bright - dark).square().sum()  # features change by 1 along it, from dark to bright
    with torch.no_grad():
        head.weight.copy_(torch.stack([-4 * towards, 4 * towards]))
        middle = 4 * towards @ (dark + bright) / 2
        head.bias.copy_(torch.stack([middle, -middle]))
    gs.save_model(model, path)


def grey_frames(levels: list[int], *, height: int = 36, width: int = 48) -> np.ndarray:
    """Flat grey frames [n, H, W, 3]."""
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), height, width, 3)).copy()


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A server in a process of its own.

    Attributes:
        process: It.
        url: Where it is, without a slash at the end.
        temp: The only folder in which it may leave files.
    """

    process: subprocess.Popen[bytes]
    url: str
    temp: Path

    def temp_files(self) -> list[str]:
        """Files in its folder, beside those that Gradio keeps of the page's own."""
        return [str(path) for path in self.temp.rglob("*") if path.is_file()]

    def resident_mb(self) -> float:
        """Memory of the server itself."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def start_server(folder: Path, model: Path, *options: str, environment: Mapping[str, str] | None = None) -> Server:
    """Start ``gateshift serve`` and wait until it answers."""
    port, temp = free_port(), folder / "temp"
    temp.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateshift", "serve", str(model), "--port", str(port), *options],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temp), **(environment or {})},
    )
    server = Server(process, f"http://127.0.0.1:{port}", temp)
    end_s = time.monotonic() + 240  # torch and Gradio are read from disk, perhaps by many tests at once
    while True:
        try:
            urllib.request.urlopen(f"{server.url}/api/model", timeout=5).close()
            return server
        except urllib.error.HTTPError:  # a token is asked for
            return server
        except OSError:
            if process.poll() is not None or time.monotonic() > end_s:
                process.kill()
                raise
            time.sleep(0.2)
