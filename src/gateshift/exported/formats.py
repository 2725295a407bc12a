"""The kinds of exported files, by their suffixes. Nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

FileFormat = Literal["torch", "onnx", "openvino"]
Format = Literal["torch", "onnx", "openvino", "web"]  # the last one is a folder, with an .onnx file in it
FORMAT_SUFFIXES: dict[FileFormat, str] = {"torch": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
