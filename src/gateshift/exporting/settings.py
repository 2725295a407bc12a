"""The options of ``export``; the text under a field is its help. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gateshift.exported.formats import Format

ExportPrecision = Literal["float32", "float16", "bf16", "int8"]


@dataclass(frozen=True)
class ExportSettings:
    """Write a model, folded for inference and with its preprocessing inside, as a file for another runtime.

    The file is kept once its logits on the videos are those of the model. test and predict take it as a model;
    gateshift.Runtime runs .onnx, .xml and .tflite without torch. A .pt2 file is a program: open only your own.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, or a released GSM, GSF or TSM checkpoint (.pth.tar)."""
    videos: Annotated[Positional[Path], arg(metavar="VAL")]
    """Labelled videos to check the file on: a CSV, a videofolder.txt list, or a folder of class folders."""
    format: Format
    """torch (.pt2, by torch.export), onnx (.onnx), openvino (.xml and .bin); for phones, one clip at a time, litert
    (.tflite), executorch (.pte, by XNNPACK) or coreml (.mlpackage, which is checked in structure and not run); or web:
    a folder for any web server, with a page that classifies cameras and clips in the browser."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """File or folder to write; by default beside MODEL, with the suffix of the format, or "-web"."""
    precision: ExportPrecision = "float32"
    """float16 (onnx and web) keeps weights in half as many bytes, and computes in float32; that of coreml computes in
    float16 too. bf16 (torch and openvino) is faster where the machine computes in it. int8 (openvino) makes the file a
    quarter as large. All of them cost digits, in this order. The accuracies of model and file are printed."""
    calibrate: Annotated[Path | None, arg(metavar="LIST")] = None
    """Videos that int8 is fitted to, without their labels: 128, spread over the list. By default those of VAL, whose
    accuracy may then come out a little too good: best give the training list."""
    segments: int | None = None
    """Frames per clip, which are fixed in the file; by default as in training."""
    classes: Path | None = None
    """Names for the class numbers of a released checkpoint, and of a list of numbers, one a line: the release's
    category.txt."""
    root: Path | None = None
    """Where relative paths of the list start; its own folder by default."""
    workers: int | None = None
    """Processes that load videos; 0 loads in the main process. By default a core for each but one."""
    runtime: Annotated[Path | None, arg(metavar="TGZ")] = None
    """Of web, where there is no network: what npm pack onnxruntime-web@1.30.0 writes. By default npm is run, once,
    and fetches 33 MB."""
    overwrite: bool = False
    """Replace the file if there is one."""
