"""The kinds of exported files, by their suffixes. Nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

FileFormat = Literal["torch", "onnx", "openvino"]
DeviceFormat = Literal["litert", "executorch", "coreml"]  # of phones and other devices: one clip at a time
# The last one is a folder, with an .onnx file in it.
Format = Literal["torch", "onnx", "openvino", "litert", "executorch", "coreml", "web"]
FORMAT_SUFFIXES: dict[FileFormat, str] = {"torch": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
DEVICE_SUFFIXES: dict[DeviceFormat, str] = {"litert": ".tflite", "executorch": ".pte", "coreml": ".mlpackage"}
EXPORTED_SUFFIXES = (*FORMAT_SUFFIXES.values(), *DEVICE_SUFFIXES.values())
