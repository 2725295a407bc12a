"""Load any model: a saved one, a released checkpoint, or an exported file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gateshift.data.lists.manifest import read_names
from gateshift.errors import ModelError
from gateshift.exported.executorch import ExecuTorchFile
from gateshift.exported.formats import DEVICE_SUFFIXES, EXPORTED_SUFFIXES, FORMAT_SUFFIXES
from gateshift.exported.runtime import METADATA_KEY, Runtime, read_description
from gateshift.model.checkpoints import unreadable
from gateshift.model.classifier import VideoClassifier
from gateshift.model.clip_classifier import PredictsVideos
from gateshift.model.clips import take_clips
from gateshift.model.config import ModelConfig
from gateshift.model.io import ON_HUB, describe_model, load_model


class ExportedModel(PredictsVideos, nn.Module):
    """An exported file as a model: clips uint8 [B, T, 3, H, W] -> logits [B, K], on the CPU. Threads may share it.

    Args:
        path: Written by :func:`gateshift.exporting.export.export`: .pt2, .onnx, .xml, .tflite or .pte.
        threads: CPU threads of ONNX Runtime, OpenVINO and LiteRT; None for their own choice. Torch's are torch's.

    Attributes:
        path: The file.
        config: What the model says about itself, with the T of the export as ``num_segments``.

    Raises:
        ModelError: If the file is missing or not such a file, or its runtime is not installed.
    """

    def __init__(self, path: str | PathLike[str], *, threads: int | None = None, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.path = path = Path(path)
        self._run: Callable[[Tensor], Tensor]
        self.config: ModelConfig
        if path.suffix == FORMAT_SUFFIXES["torch"]:
            self._run, self.config = _load_program(path)
        elif path.suffix == DEVICE_SUFFIXES["executorch"]:
            self._run = program = ExecuTorchFile(path)
            self.config = read_description(program.description)
        elif path.suffix == DEVICE_SUFFIXES["coreml"]:
            raise ModelError(f"{path}: Core ML runs on Apple devices, in their apps, and not here; take another file")
        else:
            runtime = Runtime(path, threads=threads)
            self._run, self.config = lambda clips: torch.from_numpy(runtime(clips.numpy())), runtime.config
        if names and not self.config.named:
            self.config = self.config.name_classes(names)

    def forward(self, clips: Tensor | NDArray[Any]) -> Tensor:
        clips = take_clips(clips, torch.device("cpu"))
        num_frames, size_px = self.config.num_segments, self.config.size_px
        if clips.shape[1] != num_frames:
            raise ModelError(
                f"{self.path}: was exported for clips of {num_frames} frames, not {clips.shape[1]}; "
                f"take `segments={num_frames}`, or export it again"
            )
        if clips.dtype != torch.uint8 or clips.shape[3:] != (size_px, size_px):
            raise ModelError(
                f"{self.path}: clips of {clips.dtype} {list(clips.shape)}; this file takes uint8 "
                f"[B, {num_frames}, 3, {size_px}, {size_px}]; convert or resize them"
            )
        return self._run(clips.cpu())


def load_any(
    path: str | PathLike[str], *, names: Sequence[str] = (), threads: int | None = None
) -> VideoClassifier | ExportedModel:
    """Load a saved model, a released checkpoint, or an exported file, by its suffix.

    Args:
        path: The file.
        names: Of the classes of a released checkpoint, which has none; others keep their own.
        threads: CPU threads of ONNX Runtime, OpenVINO and LiteRT; None for their own choice. Torch's are torch's.

    Raises:
        ModelError: If it cannot be read, or there are not as many names as classes.
    """
    path = Path(path)
    if path.suffix not in EXPORTED_SUFFIXES:
        return load_model(path, classes=names or None)
    return ExportedModel(path, threads=threads, names=names)


def is_dense_file(path: str | PathLike[str]) -> bool:
    """Whether a file or the Hub holds a model that answers for each frame; of none that is there, no."""
    path = Path(path)
    if not path.is_file() and not ON_HUB.match(str(path)):
        return False
    return (describe_model(path) if path.suffix == ".safetensors" else load_any(path).config).is_dense


def config_of(model: object) -> ModelConfig:
    """What a model says about itself.

    Raises:
        ModelError: If it says nothing.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        raise ModelError(
            f"`model` is a {type(model).__name__}; give a path, a VideoClassifier or an ExportedModel; "
            "VideoClassifier.wrap makes one of a network"
        )
    return config


def check_open(model: object) -> None:
    """Raise ModelError unless this is a model whose layers can be looked into, or a path."""
    if not isinstance(model, VideoClassifier | str | PathLike):
        raise ModelError(f"`model` is a {type(model).__name__}; give a VideoClassifier, or the path of one")


def load_open(path: Path, *, classes: Path | None) -> VideoClassifier:
    """Load a model whose layers can be looked into: no exported file.

    Args:
        path: The file.
        classes: A list of names for the classes of a released checkpoint, which has none; others keep their own.

    Raises:
        ModelError: If it is an exported file, cannot be read, or there are not as many names as classes.
        ManifestError: If the names cannot be read.
    """
    if path.suffix in EXPORTED_SUFFIXES:
        raise ModelError(
            f"{path}: an exported file cannot be looked into; give the .safetensors model that it was made of"
        )
    return load_model(path, classes=None if classes is None else read_names(classes))


def _load_program(path: Path) -> tuple[Callable[[Tensor], Tensor], ModelConfig]:
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; write one with gateshift export")
    extra = {METADATA_KEY: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # a damaged archive fails in many ways
        raise unreadable(path, error) or ModelError(f"{path}: not a readable export; write it again") from error
    module = program.module()
    # A function, as torch refuses to set an exported program to eval mode, which it is in anyway.
    return lambda clips: module(clips), read_description(extra[METADATA_KEY])
