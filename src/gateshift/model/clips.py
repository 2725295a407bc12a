"""Clips that a model is given, checked before anything is computed from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gateshift.errors import ModelError
from gateshift.model.temporal.clip_length import runs_plainly

TAKEN = "a model takes RGB clips [B, T, 3, H, W]"


def take_clips(clips: Tensor | NDArray[Any], device: torch.device) -> Tensor:
    """Clips as a tensor, checked.

    Args:
        clips: [B, T, 3, H, W], uint8 RGB or float in 0..1.
        device: Where a NumPy array is put; a tensor stays where it is.

    Raises:
        ModelError: If shape, type or range is another.
    """
    if isinstance(clips, np.ndarray):
        _check_shape(clips.shape, array=True)
        clips = _to_tensor(clips).to(device)
    elif not isinstance(clips, Tensor):
        raise ModelError(f"clips of type {type(clips).__name__}; {TAKEN} as a tensor or a NumPy array; convert them")
    check_clips(clips)
    return clips


def check_clips(clips: Tensor) -> None:
    """Raise ModelError unless these are clips [B, T, 3, H, W], uint8 or floating point in 0..1."""
    _check_shape(tuple(clips.shape), array=False)
    _check_type(clips)


def _check_type(clips: Tensor) -> None:
    if clips.dtype != torch.uint8 and not clips.is_floating_point():
        raise ModelError(f"clips of {clips.dtype}; a model takes uint8 (0..255) or float (0..1); convert them")
    # A compiler or an exporter would take the comparison into its graph, or break it there.
    if clips.dtype != torch.uint8 and runs_plainly() and not clips.is_meta:
        _check_range(clips)


def _check_shape(shape: tuple[int, ...], *, array: bool) -> None:
    if len(shape) != 5 or shape[2] != 3 or 0 in shape:
        raise ModelError(
            f"clips of shape {list(shape)}; {TAKEN} with no empty axis; {_how_to_turn(shape, array=array)}"
        )


def _how_to_turn(shape: tuple[int, ...], *, array: bool) -> str:
    """What makes clips of a shape, if axes are in another order, or that of clips is missing."""
    channels_last = len(shape) > 3 and shape[-1] == 3 and shape[-3] != 3
    if len(shape) not in (4, 5) or not (channels_last or shape[-3] == 3):
        return "rearrange or convert them"
    order = (0, 3, 1, 2) if len(shape) == 4 else (0, 1, 4, 2, 3)
    call = "clip" if len(shape) == 4 else "clips"
    call += f".{'transpose' if array else 'permute'}{order}" if channels_last else ""
    if len(shape) == 4:
        call += "[None]" if array else ".unsqueeze(0)"
    return f"try model({call})"


def _check_range(clips: Tensor) -> None:
    lowest, highest = (float(value) for value in clips.detach().aminmax())
    slack = 4 * torch.finfo(clips.dtype).eps  # what resizing and mixing round to
    if not -slack <= lowest <= highest <= 1 + slack:  # also where one is not a number
        hint = "divide them by 255, or give uint8" if 1 < highest <= 255 and lowest >= 0 else "scale or clamp them"
        raise ModelError(
            f"{clips.dtype} clips from {lowest:.4g} to {highest:.4g}; a model takes floats in 0..1, or uint8 "
            f"(0..255); {hint}"
        )


def _to_tensor(clips: NDArray[Any]) -> Tensor:
    try:
        # A copy where torch could not share the memory: read-only, or read backwards.
        return torch.from_numpy(np.require(clips, requirements=["C", "W"]))
    except (TypeError, ValueError):  # of numbers that torch does not have
        raise ModelError(
            f"clips of NumPy's {clips.dtype}; a model takes uint8 (0..255) or float (0..1); convert them"
        ) from None
