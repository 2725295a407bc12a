"""Open an ExecuTorch program (.pte): one clip at a time."""

from __future__ import annotations

import warnings
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from gateshift.errors import ModelError, one_line
from gateshift.exported.runtime import METADATA_KEY


class ExecuTorchFile:
    """An open .pte file: uint8 clips [B, T, 3, H, W] in, logits [B, K] out; one thread at a time.

    Attributes:
        description: What the file says of its model, as text.

    Raises:
        ModelError: If the file cannot be read or says nothing, or ExecuTorch is not installed.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ModelError(f"{path}: no such model file; write one with gateshift export")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an interface that may change
                from executorch.runtime import Runtime
        except ImportError:
            raise ModelError(f"{path} needs executorch, which is not installed; pip install executorch") from None
        try:
            self._program = Runtime.get().load_program(path)
            if METADATA_KEY not in self._program.method_names:
                raise ModelError(f"{path}: has no gateshift description; write it with gateshift export")
            described: Any = self._program.load_method(METADATA_KEY)
            self.description = str(described.execute([])[0])
            self._forward: Any = self._program.load_method("forward")
        except RuntimeError as error:
            raise ModelError(f"{path}: cannot be opened: {one_line(error)[:200]}; export the model again") from error
        self._one_at_a_time = Lock()  # a method holds the tensors of the call under way

    def __call__(self, clips: Tensor) -> Tensor:
        with self._one_at_a_time:
            return torch.cat([self._forward.execute([clip.float().contiguous()])[0].clone() for clip in clips])
