"""The kinds of exported files, by their suffixes. Nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

Format = Literal["torch", "onnx", "openvino"]
FORMAT_SUFFIXES: dict[Format, str] = {"torch": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
