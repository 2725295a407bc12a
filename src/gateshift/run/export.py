"""Write a model as a file for another runtime, and read such files back. A file is kept once it answers alike."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gateshift.data.dataset import open_entry, read_views
from gateshift.data.manifest import Manifest
from gateshift.data.views import Protocol
from gateshift.errors import ModelError, SettingsError
from gateshift.model.bundle import load_model
from gateshift.model.classifier import VideoClassifier, check_clips
from gateshift.model.config import ModelConfig
from gateshift.run.runtime import METADATA_KEY, Runtime, describe_export, read_description

Format = Literal["torch", "onnx", "openvino"]
ExportPrecision = Literal["float32", "bf16"]
FORMAT_SUFFIXES: dict[Format, str] = {"torch": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
# Largest relative error of the logits: rounding alone in float32, eight bits of mantissa in bfloat16.
TOLERANCES: dict[ExportPrecision, float] = {"float32": 1e-4, "bf16": 0.1}
MAX_BATCH = 4096


class ExportedModel(nn.Module):
    """An exported file as a module: clips [B, T, 3, H, W] uint8 -> logits [B, K], on the CPU.

    Attributes:
        config: What the model says about itself, with the T of the export as ``num_segments``.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._run: Callable[[Tensor], Tensor]
        self.config: ModelConfig
        if path.suffix == FORMAT_SUFFIXES["torch"]:
            self._run, self.config = _load_program(path)
        else:
            runtime = Runtime(path)
            self._run, self.config = lambda clips: torch.from_numpy(runtime(clips.numpy())), runtime.config

    def forward(self, clips: Tensor) -> Tensor:
        check_clips(clips)
        num_frames = self.config.num_segments
        if clips.shape[1] != num_frames:
            raise ModelError(
                f"{self.path}: was exported for clips of {num_frames} frames, not {clips.shape[1]}; "
                f"use --segments {num_frames}, or export it again"
            )
        return self._run(clips.cpu())


def load_any(path: Path, *, names: Sequence[str] = ()) -> VideoClassifier | ExportedModel:
    """Load a saved model, a released checkpoint, or an exported file, by its suffix.

    Args:
        path: The file.
        names: Of the classes of a released checkpoint, which has none; others keep their own.

    Raises:
        ModelError: If it cannot be read, or there are not as many names as classes.
    """
    model = ExportedModel(path) if path.suffix in FORMAT_SUFFIXES.values() else load_model(path)
    if names and not model.config.named:
        model.config = model.config.name_classes(names)
    return model


def read_clips(manifest: Manifest, config: ModelConfig, protocol: Protocol, *, count: int = 4) -> Tensor:
    """The first views of the first videos of a list: uint8 [B, T, 3, size, size] with B at least 2.

    Raises:
        VideoError: If one of these videos cannot be read.
    """
    views = []
    for entry in itertools.islice(itertools.cycle(manifest.entries), max(2, min(count, len(manifest)))):
        with open_entry(entry) as video:
            views.append(read_views(video, protocol, size_px=config.size_px, resize_px=config.resize_px)[0])
    return torch.stack(views)


def check_export(path: Path, kind: Format, precision: ExportPrecision, *, overwrite: bool) -> None:
    """Raise SettingsError unless a model can be exported there, before any work is done."""
    suffix = FORMAT_SUFFIXES[kind]
    if path.suffix != suffix:
        raise SettingsError(f"--out {path}; a file of --format {kind} is named {suffix}; rename it")
    if not path.parent.is_dir():
        raise SettingsError(f"--out {path}: no folder {path.parent}; create it")
    if path.exists() and not overwrite:
        raise SettingsError(f"--out {path}: exists; choose another name, or add --overwrite")
    if kind == "onnx" and precision == "bf16":
        raise SettingsError("--precision bf16 with --format onnx, which has no such kernels on CPUs; take openvino")


@torch.no_grad()
def export(
    model: VideoClassifier, path: Path, kind: Format, *, clips: Tensor, precision: ExportPrecision = "float32"
) -> float:
    """Write the deployed form of a model, preprocessing inside, for clips of the T of ``clips``.

    Args:
        model: In eval mode, on the CPU.
        path: File to write, with the suffix of its kind; it appears when it is whole and checked.
        kind: "torch" (torch.export), "onnx" or "openvino".
        clips: uint8 [B, T, 3, size, size], on which the file must answer as the model does; B at least 2.
        precision: float32, or bf16 (torch and openvino).

    Returns:
        The relative error of the file's logits.

    Raises:
        ModelError: If the file's logits are not the model's, or what writes the format is not installed.
    """
    partial = path.with_name(f".partial-{path.name}")
    deployed = model.deploy(dtype=torch.bfloat16 if precision == "bf16" and kind == "torch" else None)
    config = dataclasses.replace(model.config, num_segments=clips.shape[1])
    description = describe_export(config, precision=precision)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    program = torch.export.export(deployed, (clips[:2],), dynamic_shapes=({0: batch},))
    try:
        if kind == "torch":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights in channels-last memory, which it saves all the same
                torch.export.save(program, partial, extra_files={METADATA_KEY: description})
        else:
            _write_onnx(program, partial, description, openvino=kind == "openvino")
        error = _relative_error(ExportedModel(partial)(clips), model(clips))
        if not error <= TOLERANCES[precision]:
            raise ModelError(
                f"{path}: the exported logits are off by {error:.1e} of their size, more than "
                f"{TOLERANCES[precision]:.0e}; nothing was kept; try another --format"
            )
        for made in reversed(_files(partial)):  # the weights before what reads them
            made.replace(path.with_suffix(made.suffix))
    finally:
        for made in _files(partial):
            made.unlink(missing_ok=True)
    return error


def _write_onnx(program: torch.export.ExportedProgram, path: Path, description: str, *, openvino: bool) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the converter's own
            made: Any = torch.onnx.export(program, verbose=False)
        if openvino:
            import openvino as ov
    except ImportError as error:
        raise ModelError(f"{path.suffix} files need {error.name}; pip install 'gateshift[export]'") from None
    if not openvino:
        made.model.metadata_props[METADATA_KEY] = description
        made.save(path)
        return
    middle = path.with_suffix(".onnx")
    try:
        made.save(middle)
        model = ov.Core().read_model(middle)
        model.set_rt_info(description, [METADATA_KEY])
        ov.save_model(model, path, compress_to_fp16=False)
    finally:
        middle.unlink(missing_ok=True)


def _files(path: Path) -> Sequence[Path]:
    """The files of an export: OpenVINO writes its weights beside the description of the network."""
    files = (path, path.with_suffix(".bin")) if path.suffix == FORMAT_SUFFIXES["openvino"] else (path,)
    return [file for file in files if file.is_file()]


def _load_program(path: Path) -> tuple[Callable[[Tensor], Tensor], ModelConfig]:
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; write one with gateshift export")
    extra = {METADATA_KEY: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # a damaged archive fails in many ways
        raise ModelError(f"{path}: not a readable export; write it again") from error
    module = program.module()
    # A function, as torch refuses to set an exported program to eval mode, which it is in anyway.
    return lambda clips: module(clips), read_description(extra[METADATA_KEY])


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
