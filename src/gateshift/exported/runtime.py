"""Run an exported model without torch: an ONNX file by ONNX Runtime, an OpenVINO file by OpenVINO, or one of LiteRT.

This module imports neither torch nor any of the three until a file is opened.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateshift.errors import ModelError, SettingsError, check_whole, one_line
from gateshift.exported.litert import LiteRTFile, read_litert_description
from gateshift.model.config import ModelConfig

METADATA_KEY = "gateshift"
SUFFIXES = {".onnx": "onnxruntime", ".xml": "openvino", ".tflite": "ai-edge-litert"}
MOST_THREADS = 1024  # ONNX Runtime ends the program where the machine does not give it as many as were asked for
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
# OpenVINO's own choice may be less than float32. What int8 leaves in floating point may be bf16: beside the error of
# int8 that of bf16 cannot be seen. A machine without bf16 computes in float32.
PRECISION_HINTS = {"float32": "f32", "bf16": "bf16", "int8": "bf16"}


class Runtime:
    """A deployed model from an .onnx, an OpenVINO .xml or a LiteRT .tflite file: uint8 clips in, logits out.

    It needs numpy and onnxruntime, openvino or ai-edge-litert alone, not torch. Threads may share it.

    Attributes:
        config: What the model says about itself: classes, input size, and as ``num_segments`` the T of the export.
    """

    def __init__(self, path: str | PathLike[str], *, threads: int | None = None) -> None:
        """Open a file.

        Args:
            path: Written by :func:`gateshift.exporting.export.export` or ``gateshift export``.
            threads: CPU threads, 1 to 1024; None for the runtime's own choice.

        Raises:
            ModelError: If the file is missing or not such a file, or its runtime is not installed.
            SettingsError: If ``threads`` is out of range.
        """
        if threads is not None:
            accepted = f"give 1 to {MOST_THREADS}, or leave it out"
            check_whole("threads", threads, least=1, advice=accepted)
            if threads > MOST_THREADS:
                raise SettingsError(f"`threads` {threads}; {accepted}")
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise ModelError(f"{path}: a runtime reads {', '.join(SUFFIXES)}; export the model first")
        if not path.is_file():
            raise ModelError(f"{path}: no such model file; write one with gateshift export")
        try:
            self._run, text = _OPENERS[path.suffix](path, threads)
        except ImportError:
            extra = SUFFIXES[path.suffix]
            raise ModelError(f"{path} needs {extra}, which is not installed; pip install {extra}") from None
        except ModelError:
            raise
        except Exception as error:  # each runtime has its own kinds for damaged files
            raise ModelError(f"{path}: cannot be opened: {one_line(error)[:200]}; export the model again") from error
        self.config = read_description(text)
        self._shape = (self.config.num_segments, 3, self.config.size_px, self.config.size_px)

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify clips.

        Args:
            clips: uint8 RGB [B, T, 3, size, size] with the T and the size of the export; a tensor of torch on the CPU
                is taken too.

        Returns:
            Logits [B, K].

        Raises:
            ModelError: If the clips have another shape or type.
        """
        try:
            clips = np.asarray(clips)
        except (ValueError, TypeError, RuntimeError) as error:  # of ragged lists, and of tensors elsewhere
            raise ModelError(f"clips of type {type(clips).__name__}: {one_line(error)}; give a NumPy array") from None
        if clips.dtype != np.uint8 or clips.shape[1:] != self._shape or not len(clips):
            wanted = ", ".join(map(str, self._shape))
            raise ModelError(
                f"clips of {clips.dtype} {list(clips.shape)}; this file takes uint8 [B, {wanted}]; "
                "sample that many frames, or export it with other `segments`"
            )
        return self._run(np.ascontiguousarray(clips))


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Import openvino and nncf inside of this: where openvino_telemetry can be imported, they tell their makers."""
    name = "openvino_telemetry"
    there = {name: sys.modules[name]} if name in sys.modules else {}
    sys.modules[name] = None  # type: ignore[assignment]  # which makes importing it an ImportError
    try:
        yield
    finally:
        del sys.modules[name]
        sys.modules.update(there)


def describe_export(config: ModelConfig, *, precision: str) -> str:
    """The text that an exported file carries; ``config.num_segments`` is the T of the export."""
    return json.dumps({"model": config.to_json(), "precision": precision})


def read_description(text: str) -> ModelConfig:
    """What an exported file says of its model.

    Raises:
        ModelError: If the text is not such a description.
    """
    try:
        model = json.loads(text)["model"]
    except (ValueError, KeyError, TypeError):
        raise ModelError("the file has no gateshift description; write it with gateshift export") from None
    config = ModelConfig.from_json(model)
    if config.num_segments is None:
        raise ModelError("the file does not say how many frames it takes; write it with gateshift export")
    return config


def _open_onnx(path: Path, threads: int | None) -> tuple[Run, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=onnxruntime.get_available_providers())
    name = session.get_inputs()[0].name
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")
    return lambda clips: session.run(None, {name: clips})[0], text


def _open_openvino(path: Path, threads: int | None) -> tuple[Run, str]:
    with without_telemetry():
        import openvino

    core = openvino.Core()
    model = core.read_model(path)
    if METADATA_KEY not in model.get_rt_info():
        raise ModelError(f"{path}: has no gateshift description; write it with gateshift export")
    text = str(model.get_rt_info([METADATA_KEY]).astype(str))
    hint = PRECISION_HINTS[json.loads(text)["precision"]]
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled: dict[int, Any] = {}
    one_at_a_time = Lock()  # a request that is busy takes no other, and each uses all threads

    def run(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        with one_at_a_time:
            # A plan for each number of clips: with an open number OpenVINO computes more slowly.
            if len(clips) not in compiled:
                model.reshape(list(clips.shape))
                compiled[len(clips)] = core.compile_model(model, "CPU", settings).create_infer_request()
            return np.array(compiled[len(clips)].infer({0: clips})[0], dtype=np.float32)

    return run, text


def _open_litert(path: Path, threads: int | None) -> tuple[Run, str]:
    return LiteRTFile(path, threads), read_litert_description(path)


_OPENERS = {".onnx": _open_onnx, ".xml": _open_openvino, ".tflite": _open_litert}
