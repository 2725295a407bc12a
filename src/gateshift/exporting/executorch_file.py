"""A network as an ExecuTorch program (.pte), whose operations run by XNNPACK."""

from __future__ import annotations

from pathlib import Path

from torch.export import ExportedProgram

from gateshift.exported.runtime import METADATA_KEY
from gateshift.exporting.quiet import quietly


def write_executorch(program: ExportedProgram, path: Path, description: str) -> None:
    """Convert a program; a second method of the file, without inputs, gives its description.

    Raises:
        ImportError: If ExecuTorch is not installed.
    """
    with quietly():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        lowered = to_edge_transform_and_lower(
            program, partitioner=[XnnpackPartitioner()], constant_methods={METADATA_KEY: description}
        )
        made = lowered.to_executorch()
    with path.open("wb") as file:
        made.write_to_file(file)
