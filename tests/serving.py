"""A server as its users start it, a model whose answers are right by construction, and clips for it."""

import asyncio
import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gateshift as gs
from gateshift.web.app import Server, serve

# Importing it takes seconds, which those who run other tests need not wait for.
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed; pip install '.[demo]'")

SIZE_PX = 32
DARK, BRIGHT = 40, 215  # grey levels


def write_brightness_model(path: Path, *, num_sites: int | None = None) -> None:
    """A model that says whether a clip is dark or bright: its head is set along what tells two such clips apart."""
    torch.manual_seed(0)
    names = ["dark & <b>grim</b>", "bright"]  # a name is shown as it is, whatever characters it has
    options = {"num_segments": 8, "size_px": SIZE_PX, "num_sites": num_sites}
    model = gs.create_model("test_resnet", temporal="gsm", classes=names, **options)
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


@contextmanager
def closing_loops() -> Iterator[None]:
    """Around whatever builds a page: Gradio leaves event loops open, which would fail a later test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        asyncio.set_event_loop(None)
        gc.collect()


@contextmanager
def running(model: Path, **options: Any) -> Iterator[Server]:
    """A server in this process, at a free port."""
    with closing_loops():
        server = serve(model, port=0, block=False, **options)
    with closing(server):
        yield server


@dataclass
class Program:
    """``gateshift serve`` in a process of its own.

    Attributes:
        process: It.
        url: Where it is, without a slash at the end.
        temp: The only folder in which it may leave files.
    """

    process: subprocess.Popen[str]
    url: str
    temp: Path


@contextmanager
def start_program(folder: Path, model: Path, *, environment: Mapping[str, str]) -> Iterator[Program]:
    """Start ``gateshift serve``, which says its address when it answers."""
    temp = folder / "temp"
    temp.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateshift", "serve", str(model), "--port", "0"],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temp), "GRADIO_TEMP_DIR": "", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Program(process, process.stdout.readline().split()[1].rstrip("/"), temp)
    finally:
        process.kill()
        process.communicate()
