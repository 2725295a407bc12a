"""Write the deployed form of a model as a file for another runtime; it is kept once it answers alike."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gateshift.errors import ModelError
from gateshift.exported.formats import FORMAT_SUFFIXES, FileFormat
from gateshift.exported.loading import ExportedModel
from gateshift.exported.runtime import METADATA_KEY, describe_export, without_telemetry
from gateshift.exporting.quantize import quantize
from gateshift.exporting.settings import ExportPrecision
from gateshift.files import partial_path
from gateshift.model.classifier import VideoClassifier

EXPORTERS = ("onnx", "onnxscript", "onnxruntime", "openvino")  # packages that writing and running files takes
# Largest relative error of the logits: rounding alone in float32, eleven bits of weights in float16, eight bits of
# everything in bfloat16. Trained networks lose 0.02 to 0.07 to int8, single clips 0.3; more than that over several
# clips is no loss but a broken file.
TOLERANCES: dict[ExportPrecision, float] = {"float32": 1e-4, "float16": 0.01, "bf16": 0.1, "int8": 0.3}
MAX_BATCH = 4096
MIN_HALVED = 256  # numbers of a tensor; smaller ones, such as biases, are no bytes worth a digit


@torch.no_grad()
def write_export(
    model: VideoClassifier,
    path: Path,
    kind: FileFormat,
    *,
    clips: Tensor,
    precision: ExportPrecision = "float32",
    calibration: Tensor | None = None,
) -> float:
    """Write the deployed form of a model, preprocessing inside, for clips of the T of ``clips``.

    Args:
        model: In eval mode, on the CPU.
        path: File to write, with the suffix of its kind; it appears when it is whole and checked.
        kind: "torch" (torch.export), "onnx" or "openvino".
        clips: uint8 [B, T, 3, size, size], on which the file must answer as the model does; B at least 2.
        precision: float32, or float16 (onnx, its weights alone), or bf16 (torch and openvino), or int8 (openvino).
        calibration: uint8 [N, T, 3, size, size], which int8 is fitted to; by default ``clips``.

    Returns:
        The relative error of the file's logits.

    Raises:
        ModelError: If the file's logits are not the model's, or what writes the format is not installed.
    """
    partial = partial_path(path)
    deployed = model.deploy(dtype=torch.bfloat16 if precision == "bf16" and kind == "torch" else None)
    config = dataclasses.replace(model.config, num_segments=clips.shape[1])
    description = describe_export(config, precision=precision)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*_flat_weights", category=UserWarning)  # of torch's own GRU
        program = torch.export.export(deployed, (clips[:2],), dynamic_shapes=({0: batch},))
    try:
        if kind == "torch":
            _write_program(program, partial, description)
        elif kind == "onnx":
            _write_onnx(program, partial, description, halve=precision == "float16")
        else:
            fitted_to = (clips if calibration is None else calibration) if precision == "int8" else None
            _write_openvino(program, partial, description, calibration=fitted_to)
        error = check_error(path, ExportedModel(partial)(clips), model(clips), precision)
        for made in reversed(files_of(partial)):  # the weights before what reads them
            made.replace(path.with_suffix(made.suffix))
    finally:
        for made in files_of(partial):
            made.unlink(missing_ok=True)
    return error


def check_error(path: Path, found: Tensor, expected: Tensor, precision: ExportPrecision) -> float:
    """The relative error of a file's logits; ModelError if it is more than a precision costs."""
    error = _relative_error(found, expected)
    if not error <= TOLERANCES[precision]:
        raise ModelError(
            f"{path}: the exported logits are off by {error:.1e} of their size, more than "
            f"{TOLERANCES[precision]:.0e}; nothing was kept; try another `format`"
        )
    return error


def _write_program(program: torch.export.ExportedProgram, path: Path, description: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights in channels-last memory, which it saves all the same
        torch.export.save(program, path, extra_files={METADATA_KEY: description})


def missing_package(*names: str, extra: str = "export") -> str | None:
    """The first of these packages of an extra that is not installed, in words with what to do; None if all are."""
    missing = next((name for name in names if find_spec(name) is None), None)
    return None if missing is None else f"{missing} is not installed; pip install 'gateshift[{extra}]'"


@contextmanager
def _needing_extra(path: Path) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ModelError(f"{path.suffix} files need {error.name}; pip install 'gateshift[export]'") from None


def _convert(program: torch.export.ExportedProgram) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converter's own
        return torch.onnx.export(program, verbose=False)


def _write_onnx(program: torch.export.ExportedProgram, path: Path, description: str, *, halve: bool) -> None:
    with _needing_extra(path):
        made = _convert(program)
    for node in made.model.graph:
        node.metadata_props.clear()  # from where in which files of this machine each node comes
    made.model.metadata_props[METADATA_KEY] = description
    _cast_clips_first(made.model.graph)
    made.save(path)
    if halve:
        _halve_weights(path)


def _cast_clips_first(graph: Any) -> None:
    """Let nothing take the bytes of the clips but a cast: TensorRT's parser knows uint8 there alone."""
    from onnxscript import ir

    (clips,) = graph.inputs
    users = list(clips.uses())
    cast = ir.node("Cast", [clips], {"to": ir.DataType.FLOAT.value})
    numbers = cast.outputs[0]
    numbers.name, numbers.shape, numbers.dtype = "clips_as_float", clips.shape, ir.DataType.FLOAT
    for value in (value for node in graph for value in node.outputs if value.dtype == clips.dtype):
        value.dtype = ir.DataType.FLOAT  # views of the clips, up to the cast that was
    graph.insert_before(graph[0], cast)
    for user, place in users:
        user.replace_input_with(place, numbers)


def _halve_weights(path: Path) -> None:
    """Keep the large weights of an .onnx file in float16; a runtime makes them float32 again when it opens the file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims) >= MIN_HALVED:
            name, halved = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(halved, f"{name}.float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def _write_openvino(
    program: torch.export.ExportedProgram, path: Path, description: str, *, calibration: Tensor | None
) -> None:
    middle = path.with_suffix(".onnx")
    try:
        with _needing_extra(path):
            _convert(program).save(middle)
            with without_telemetry():
                import openvino
            model = openvino.Core().read_model(middle)
            if calibration is not None:
                model = quantize(model, calibration)
        model.set_rt_info(description, [METADATA_KEY])
        openvino.save_model(model, path, compress_to_fp16=False)
    finally:
        middle.unlink(missing_ok=True)


def files_of(path: Path) -> Sequence[Path]:
    """The files of an export: OpenVINO writes its weights beside the description of the network."""
    files = (path, path.with_suffix(".bin")) if path.suffix == FORMAT_SUFFIXES["openvino"] else (path,)
    return [file for file in files if file.is_file()]


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
