"""A network as a LiteRT file (.tflite), by litert-torch."""

from __future__ import annotations

import zipfile
from pathlib import Path

from torch import Tensor, nn

from gateshift.exported.litert import DESCRIPTION_FILE
from gateshift.exporting.quiet import quietly


def write_litert(network: nn.Module, frames: Tensor, path: Path, description: str, classes: tuple[str, ...]) -> None:
    """Convert a network that takes ``frames``, and append its description and ``labels.txt``.

    They are a zip archive behind the network, where the metadata of LiteRT has its files: what runs the network does
    not see them, and any program that reads zip archives opens the file as one.

    Raises:
        ImportError: If litert-torch is not installed.
    """
    with quietly():
        import litert_torch
        from litert_torch import progress

        progress.config.show_progress = False
        litert_torch.convert(network, (frames,)).export(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(DESCRIPTION_FILE, description)
        archive.writestr("labels.txt", "".join(f"{name}\n" for name in classes))
