"""Write a model as a file for phones and other devices: one clip, in tensors of four axes at most.

The file of LiteRT or ExecuTorch is kept once it answers alike. Core ML runs on Apple devices alone: its package is kept
once its structure is right.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from gateshift.errors import GateShiftError, ModelError, one_line
from gateshift.exported.formats import DeviceFormat
from gateshift.exported.loading import ExportedModel
from gateshift.exported.runtime import describe_export
from gateshift.exporting.coreml_file import describe_coreml, write_coreml
from gateshift.exporting.executorch_file import write_executorch
from gateshift.exporting.litert_file import write_litert
from gateshift.exporting.one_clip_network import OneClipNetwork
from gateshift.exporting.quiet import quietly
from gateshift.exporting.settings import ExportPrecision
from gateshift.exporting.writing import check_error
from gateshift.files import atomic_write, remove
from gateshift.model.classifier import VideoClassifier

MAX_AXES = 4  # of a tensor, for the accelerators of phones
# What each format is written and run by.
CONVERTERS: dict[str, tuple[str, ...]] = {
    "litert": ("litert_torch", "ai_edge_litert"),
    "executorch": ("executorch",),
    "coreml": ("coremltools",),
}


@torch.no_grad()
def write_device_export(
    model: VideoClassifier, path: Path, kind: DeviceFormat, *, clips: Tensor, precision: ExportPrecision = "float32"
) -> tuple[float, str | None]:
    """Write the deployed form of a model, preprocessing inside, for one clip of the T of ``clips``.

    Args:
        model: In eval mode, on the CPU.
        path: File to write, of Core ML a folder, with the suffix of its kind; it appears when it is whole and checked.
        kind: "litert", "executorch" or "coreml".
        clips: uint8 [B, T, 3, size, size], on which the file must answer as the model does.
        precision: float32, or float16 (coreml).

    Returns:
        The relative error of the file's logits, or NaN with what is known of the structure of a Core ML package.

    Raises:
        ModelError: If the network cannot be converted, or the file's logits are not the model's.
    """
    network = OneClipNetwork(model.deploy(), channels_last=kind == "litert")
    frames = (clips[0].permute(0, 2, 3, 1) if kind == "litert" else clips[0]).float().contiguous()
    expected = model(clips)
    description = describe_export(dataclasses.replace(model.config, num_segments=clips.shape[1]), precision=precision)
    error, structure = math.nan, None
    with atomic_write(path) as partial:
        try:
            with quietly():
                program = torch.export.export(network, (frames,))
                plain = program.run_decompositions({})
            _check_axes(plain, path)
            if kind == "litert":
                write_litert(network, frames, partial, description, model.classes)
            elif kind == "executorch":
                write_executorch(program, partial, description)
            else:
                write_coreml(plain, partial, description, float16=precision == "float16")
        except (GateShiftError, OSError):
            raise
        except Exception as failure:  # converters have many kinds, and networks do many things
            reason = one_line(failure)[:200] or type(failure).__name__
            raise ModelError(
                f"{path}: this network cannot be converted: {reason}; nothing was kept; try another `format`"
            ) from failure
        if kind == "coreml":
            num_weights = sum(math.prod(each.shape) for each in network.state_dict().values())
            shape, num_logits = tuple(frames.shape), math.prod(expected.shape[1:])
            structure = describe_coreml(partial, frames=shape, num_logits=num_logits, num_weights=num_weights)
        else:
            error = check_error(path, ExportedModel(partial)(clips), expected, precision)
        remove(path)  # a package is a folder
    return error, structure


def _check_axes(program: ExportedProgram, path: Path) -> None:
    """Raise ModelError if a network computes in tensors that the accelerators of phones do not take."""
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.ndim > MAX_AXES:
            raise ModelError(
                f"{path}: this network computes in tensors of {value.ndim} axes ({node.target}), and accelerators of "
                f"phones take {MAX_AXES}; nothing was kept; take another network, or `format=onnx`"
            )
