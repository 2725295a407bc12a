"""A folder for any web server: a page that classifies cameras and clips on its visitor's device."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import Tensor

from gateshift.drawing.html_page import render_template
from gateshift.errors import SettingsError
from gateshift.exporting.browser_runtime import fetch_runtime
from gateshift.exporting.settings import ExportPrecision
from gateshift.exporting.writing import write_export
from gateshift.files import check_writable, partial_path, remove
from gateshift.model.classifier import VideoClassifier

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("page.js", "clips.js", "worker.js", "offline.js")
MODEL_FILE = "model.onnx"


def check_page_folder(path: Path, *, overwrite: bool) -> None:
    """Raise SettingsError unless a page can be written there, before any work is done."""
    if path.exists() and not path.is_dir():
        raise SettingsError(f"`out` {path}: is a file; choose a folder")
    if not path.exists():
        check_writable("out", path, overwrite=overwrite)
    elif not overwrite and (held := sorted(each.name for each in path.iterdir())):
        raise SettingsError(
            f"`out` {path}: exists and holds {held[0]}; choose another folder, or replace the page in it with "
            "`overwrite=True`"
        )


def write_page(
    model: VideoClassifier, path: Path, *, clips: Tensor, precision: ExportPrecision, archive: Path | None
) -> float:
    """Write the folder of a page, all that it needs, and the network; what else is in the folder stays.

    Args:
        model: In eval mode, on the CPU, with one answer a clip.
        path: The folder; its files appear when all are whole, and the network is checked.
        clips: uint8 [B, T, 3, size, size], on which the network must answer as the model does; B at least 2.
        precision: "float32", or "float16" for its weights.
        archive: See :func:`gateshift.exporting.browser_runtime.fetch_runtime`.

    Returns:
        The relative error of the network's logits.

    Raises:
        SettingsError: If the archive is not the one that is wanted.
        ModelError: If the logits are not the model's, or the runtime cannot be downloaded.
    """
    runtime = fetch_runtime(archive)
    partial = partial_path(path)
    remove(partial)  # of a process that was killed
    partial.mkdir()
    try:
        error = write_export(model, partial / MODEL_FILE, "onnx", clips=clips, precision=precision)
        page = render_template("exporting/templates/web.html.jinja", model=_described(model, clips.shape[1]))
        (partial / "index.html").write_text(page, encoding="utf-8")
        for name in SCRIPTS:
            shutil.copyfile(TEMPLATES / name, partial / name)
        shutil.copytree(runtime, partial / "runtime")
        for file in sorted(each for each in partial.rglob("*") if each.is_file()):
            target = path / file.relative_to(partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    finally:
        remove(partial)
    return error


def _described(model: VideoClassifier, num_frames: int) -> dict[str, object]:
    """What the page must know of a model."""
    config = model.config
    return {
        "classes": config.classes,
        "frames": num_frames,
        "size": config.size_px,
        "resize": config.resize_px,
        "box": config.box,
        "multi_label": config.multi_label,
        "abstain_below": config.abstain_below,
    }
