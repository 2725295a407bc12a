"""Quantize an OpenVINO network to int8 after training, by NNCF, calibrated on clips."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gateshift.exported.runtime import without_telemetry
from gateshift.exporting.quiet import quietly

# What is not convolved stays in floating point: gates, shifts, residual sums, and the mean that the head reads. On four
# trained networks that takes 30 to 60 % off the error of the logits, and 60 to 80 % off the number of conversions.
FLOAT_TYPES = ("Add", "Subtract", "Multiply", "Divide", "Tanh", "ReduceMean")
# So do convolutions to so few maps, which are those of gates: three for each half. They cost nothing, and OpenVINO
# (2026.4) cannot compile an int8 one with its reshaping for an open number of clips.
GATE_MAPS = 6


def quantize(model: Any, clips: Tensor) -> Any:
    """Make the convolutions of a network int8.

    Args:
        model: An ``openvino.Model``, uint8 [B, T, 3, H, W] -> logits [B, K]; left as it is.
        clips: uint8 [N, T, 3, H, W] that the ranges of the activations are measured on, one after the other.

    Returns:
        Another ``openvino.Model``, alike from outside.

    Raises:
        ImportError: If NNCF is not installed.
    """
    with without_telemetry(), quietly():
        import nncf

        return nncf.quantize(
            model,
            nncf.Dataset([clip.numpy() for clip in clips.split(1)]),
            subset_size=len(clips),
            # Not every network has each of these, which validation would take for a mistake.
            ignored_scope=nncf.IgnoredScope(names=_float_layers(model), types=list(FLOAT_TYPES), validate=False),
        )


def _float_layers(model: Any) -> list[str]:
    """Names of the gates' convolutions and of the head, the last product of matrices."""
    layers = model.get_ordered_ops()
    gates = [
        layer
        for layer in layers
        if layer.get_type_name() in ("Convolution", "GroupConvolution")
        and layer.get_output_partial_shape(0)[1].get_length() <= GATE_MAPS
    ]
    heads = [layer for layer in layers if layer.get_type_name() == "MatMul"][-1:]
    return [layer.get_friendly_name() for layer in (*gates, *heads)]
