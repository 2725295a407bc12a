"""What an export is asked for, checked before any work is done."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import get_args

from gateshift.errors import SettingsError, check_choice, check_whole
from gateshift.exported.formats import DEVICE_SUFFIXES, FORMAT_SUFFIXES, Format
from gateshift.exporting.browser_page import check_page_folder
from gateshift.exporting.device_export import CONVERTERS
from gateshift.exporting.settings import ExportPrecision
from gateshift.exporting.writing import files_of, missing_package
from gateshift.files import check_writable
from gateshift.model.classifier import VideoClassifier
from gateshift.model.io import ON_HUB

_SUFFIXES = FORMAT_SUFFIXES | DEVICE_SUFFIXES


def check_arguments(
    model: VideoClassifier | str | PathLike[str],
    kind: Format,
    precision: ExportPrecision,
    *,
    out: str | PathLike[str] | None,
    overwrite: bool,
    calibrate: str | PathLike[str] | None,
    runtime: str | PathLike[str] | None,
    workers: int | None,
) -> Path:
    """The file or folder to write; SettingsError, before any work is done, unless it can be written."""
    check_choice("format", kind, get_args(Format))
    check_choice("precision", precision, get_args(ExportPrecision))
    if workers is not None:
        check_whole("workers", workers, least=0, advice="it must be 0 (load in the main process) or more")
    if out is None and (isinstance(model, VideoClassifier) or ON_HUB.match(fspath(model))):
        raise SettingsError("`out` is missing, and the model is no file beside which it could lie; give it")
    if out is not None:
        path = Path(out)
    else:
        source = Path(model)  # type: ignore[arg-type]
        path = source.with_name(f"{source.stem}-web") if kind == "web" else source.with_suffix(_SUFFIXES[kind])
    check_export(path, kind, precision, overwrite=overwrite)
    if runtime is not None and kind != "web":
        raise SettingsError(f"`runtime` {runtime} with `format={kind}`; it is for web; leave it out")
    if calibrate is not None and precision != "int8":
        raise SettingsError(
            f"`calibrate` {calibrate} with `precision={precision}`; only int8 is fitted to videos; take "
            "`precision=int8`, or leave it out"
        )
    return path


def check_export(path: Path, kind: Format, precision: ExportPrecision, *, overwrite: bool) -> None:
    """Raise SettingsError unless a model can be exported there, before any work is done."""
    if kind == "web":
        check_page_folder(path, overwrite=overwrite)
    elif kind == "coreml" and overwrite and path.suffix == _SUFFIXES[kind] and path.is_dir():
        pass  # a package is a folder, and this one is replaced
    else:
        check_writable("out", path, overwrite=overwrite, suffixes=[_SUFFIXES[kind]], beside=files_of(path))
    takes_float16 = kind in ("onnx", "web", "coreml")
    if kind not in ("torch", "openvino") and precision == "bf16":
        raise SettingsError(
            f"`precision=bf16` with `format={kind}`, which has no such kernels on CPUs; take openvino, or "
            f"`precision={'float16' if takes_float16 else 'float32'}`"
        )
    if not takes_float16 and precision == "float16":
        raise SettingsError(
            f"`precision=float16` with `format={kind}`; it is for onnx, web and coreml; take "
            f"{'bf16' if kind in ('torch', 'openvino') else 'float32'}"
        )
    if kind != "openvino" and precision == "int8":
        raise SettingsError(f"`precision=int8` with `format={kind}`; int8 is for openvino; take that")
    if precision == "int8" and (missing := missing_package("nncf")) is not None:
        raise SettingsError(f"`precision=int8`: {missing}")
    if (missing := missing_package(*CONVERTERS.get(kind, ()), extra=kind)) is not None:
        raise SettingsError(f"`format={kind}`: {missing}")
