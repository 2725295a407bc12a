"""The golden figures, and the networks and clips that they were recorded with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_recipe import fill, frames
from torch import Tensor

from gateshift.model.classifier import VideoClassifier
from gateshift.model.io import load_model

GOLDEN = Path(__file__).parent / "golden"
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text())
TSM_MANIFEST: dict[str, Any] = json.loads((GOLDEN / "tsm_manifest.json").read_text())
GSF_MANIFEST: dict[str, Any] = json.loads((GOLDEN / "gsf_manifest.json").read_text())


def released_state(name: str, *, num_classes: int | None = None) -> dict[str, Tensor]:
    """A ``state_dict`` with the released keys and shapes, filled from their names."""
    shapes = json.loads((GOLDEN / f"keys_{name}.json").read_text())
    if num_classes is not None:
        for key in ("module.new_fc.weight", "module.new_fc.bias"):
            shapes[key][0] = num_classes
    return {key: torch.from_numpy(value) for key, value in fill(shapes).items()}


def write_checkpoint(path: Path, state: dict[str, Tensor]) -> Path:
    """Write a checkpoint as the releases did: torch's old file format, and what stands beside the weights."""
    key = "model_state_dict" if any("channel_conv1" in name for name in state) else "state_dict"
    content = {"epoch": 60, "arch": "BNInception", key: state, "best_prec1": torch.tensor(50.0)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def released_model(folder: Path, name: str) -> VideoClassifier:
    """The network of a golden case, through a checkpoint file."""
    return load_model(write_checkpoint(folder / f"{name}.pth.tar", released_state(name)))


def golden_clips(seed: int, *, count: int, num_frames: int, size_px: int) -> Tensor:
    """Clips [count, T, 3, size, size] uint8."""
    clips = [frames(seed + index, num_frames, size_px, size_px) for index in range(count)]
    return torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).contiguous()


def relative_error(found: Any, expected: Any) -> float:
    """||found - expected|| / ||expected||."""
    a, b = (torch.as_tensor(value).double() for value in (found, expected))
    return float((a - b).norm() / b.norm())
