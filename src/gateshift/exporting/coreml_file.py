"""A network as a Core ML package (.mlpackage), and what can be told of one where Core ML does not run."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from gateshift.errors import ModelError
from gateshift.exported.runtime import METADATA_KEY
from gateshift.exporting.quiet import quietly

INPUT, OUTPUT = "frames", "logits"


def write_coreml(program: ExportedProgram, path: Path, description: str, *, float16: bool) -> None:
    """Convert a program to an ML program for iOS 15 and macOS 12 or later.

    Args:
        program: With one input, float32, and one output, after ``run_decompositions({})``.
        path: The folder to write.
        description: Kept in the package's metadata.
        float16: Whether it holds its weights and computes in float16, which the Neural Engine needs.

    Raises:
        ImportError: If coremltools are not installed.
    """
    with quietly():
        import coremltools

        precision = coremltools.precision.FLOAT16 if float16 else coremltools.precision.FLOAT32
        made = coremltools.convert(
            program,
            convert_to="mlprogram",
            outputs=[coremltools.TensorType(name=OUTPUT)],
            compute_precision=precision,
            minimum_deployment_target=coremltools.target.iOS15,
            skip_model_load=True,
        )
        spec = made.get_spec()
        coremltools.utils.rename_feature(spec, spec.description.input[0].name, INPUT)
        made = coremltools.models.MLModel(spec, weights_dir=made.weights_dir, skip_model_load=True)
        made.user_defined_metadata[METADATA_KEY] = description
        made.save(str(path))


def describe_coreml(path: Path, *, frames: tuple[int, ...], num_logits: int, num_weights: int) -> str:
    """Check the structure of a package, in words.

    Args:
        path: The folder.
        frames: Shape of the input.
        num_logits: How many numbers the output has.
        num_weights: How many the network's weights have; those of the package, with what was folded, are about as many.

    Raises:
        ModelError: If input, output, or the number of weights is another, or a tensor has five axes.
    """
    with quietly():
        import coremltools

        spec = coremltools.utils.load_spec(str(path))
    taken, given = spec.description.input, spec.description.output
    names = [each.name for each in (*taken, *given)]
    shapes = [tuple(each.type.multiArrayType.shape) for each in (*taken, *given)]
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    outputs = [output for operation in block.operations for output in operation.outputs]
    num_axes = max(output.type.tensorType.rank for output in outputs)
    sizes = [_num_elements(op) for op in block.operations if op.type == "const" and "blobFileValue" in _value_kind(op)]
    made = dict(zip(names, shapes, strict=True))
    if names != [INPUT, OUTPUT] or shapes[0] != frames or math.prod(shapes[1]) not in (0, num_logits) or num_axes > 4:
        raise ModelError(
            f"{path}: the converter made {made} with tensors of up to {num_axes} axes; "
            f"wanted {INPUT} {frames} and {num_logits} {OUTPUT}; nothing was kept; try another `format`"
        )
    if not 0.9 <= sum(sizes) / num_weights <= 1.1:
        raise ModelError(
            f"{path}: the converter wrote {sum(sizes)} weights of {num_weights}; nothing was kept; try another `format`"
        )
    kinds = Counter(operation.type for operation in block.operations if operation.type != "const")
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"{INPUT} {list(frames)}, {num_logits} {OUTPUT}, {sum(sizes)} weights, operations: {listed}"


def _value_kind(operation: Any) -> str:
    return str(operation.attributes["val"].WhichOneof("value"))


def _num_elements(operation: Any) -> int:
    return math.prod(each.constant.size for each in operation.outputs[0].type.tensorType.dimensions)
