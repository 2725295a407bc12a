"""Open a LiteRT file (.tflite): one clip at a time, without torch."""

from __future__ import annotations

import zipfile
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from gateshift.errors import ModelError

DESCRIPTION_FILE = "gateshift.json"


def read_litert_description(path: Path) -> str:
    """What an exported .tflite file says of its model.

    Raises:
        ModelError: If it says nothing.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(DESCRIPTION_FILE).decode()
    except (zipfile.BadZipFile, KeyError):
        raise ModelError(f"{path}: has no gateshift description; write it with gateshift export") from None


class LiteRTFile:
    """An open .tflite file: uint8 clips [B, T, 3, H, W] in, logits [B, K] out; one thread at a time.

    Args:
        path: The file.
        threads: CPU threads; None for the runtime's own choice, which is one.

    Raises:
        ImportError: If ai-edge-litert is not installed.
    """

    def __init__(self, path: Path, threads: int | None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._one_at_a_time = Lock()  # the interpreter holds input and output of the call under way

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.concatenate([self._run(clip) for clip in clips])

    def _run(self, clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        frames = clip.transpose(0, 2, 3, 1).astype(np.float32)  # [T, H, W, 3], of pixels in 0..255
        with self._one_at_a_time:
            self._interpreter.set_tensor(self._input, frames)
            self._interpreter.invoke()
            return np.array(self._interpreter.get_tensor(self._output), dtype=np.float32)
