"""The progress of a training as pictures and a self-contained page, rewritten as it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gateshift.data.clips.dataset import ViewDataset
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.manifest import Manifest
from gateshift.data.lists.tables import printable
from gateshift.drawing.figures import new_figure, save_png
from gateshift.drawing.html_page import Section, render_page
from gateshift.explanation.gate_maps import gate_openness
from gateshift.files import write_text
from gateshift.model.classifier import VideoClassifier
from gateshift.probing.report import load_probe, probe_section
from gateshift.training.run_folder import RunFolder

GATE = "gate/"  # before a layer's name in the log
VALIDATION = {
    "val_top1": "validation",
    "val_mean_class": "validation, mean of classes",
    "val_mean_ap": "validation, mAP",
    "val_f1": "validation, F1",
}
MAX_CLIPS, MAX_FRAMES = 8, 8  # of a contact sheet
WATCHED_VIDEOS = 8

Rows = Sequence[Mapping[str, float]]


def watched_clips(model: VideoClassifier, val_list: Manifest, num_segments: int) -> Tensor | None:
    """Validation clips, evenly from the list, to measure gates on: [B, T, 3, H, W]; None if none is readable."""
    config = model.config
    views = ViewDataset(
        val_list,
        EvalProtocol(num_segments),
        size_px=config.size_px,
        resize_px=config.resize_px,
        square_pixels=config.square_pixels,
    )
    chosen = range(0, len(views), -(-len(views) // WATCHED_VIDEOS))
    clips = [sample["views"][0] for sample in (views[index] for index in chosen) if "views" in sample]
    return torch.stack(clips) if clips else None


def openness_row(model: VideoClassifier, clips: Tensor | None) -> dict[str, float]:
    """The mean absolute gate of each layer on these clips, 0..1, by its name in the log."""
    if clips is None:
        return {}
    model.eval()
    device = next(model.parameters()).device
    openness = gate_openness(model, [clips.to(device)])
    return {f"{GATE}{layer}": round(float(both.mean()), 6) for layer, both in openness.items()}


def draw_batch(clips: Tensor, labels: Sequence[str], path: Path) -> None:
    """Draw the first clips of a batch, one per row, to check the network's input.

    Args:
        clips: [B, T, 3, H, W], uint8 or float in 0..1.
        labels: B texts.
        path: The PNG to write.
    """
    pixels = clips[:MAX_CLIPS, :MAX_FRAMES].detach().cpu()
    if pixels.dtype == torch.uint8:
        pixels = pixels.float() / 255
    num_clips, num_frames, _, height, width = pixels.shape
    figure = new_figure(1.1 * num_frames + 0.3, 1.1 * num_clips * height / width + 0.25 * num_clips)
    figure.set_layout_engine(None)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.2 / figure.get_figheight(), hspace=0.25)
    for axis, clip, label in zip(figure.subplots(num_clips, squeeze=False)[:, 0], pixels, labels, strict=False):
        axis.imshow(clip.permute(2, 0, 3, 1).reshape(height, num_frames * width, 3).numpy())  # side by side
        axis.set_title(printable(label), loc="left", fontsize=8, pad=2, parse_math=False)
        axis.set_axis_off()
    save_png(figure, path)


def draw_curves(rows: Rows, path: Path, *, floor: float | None = None) -> None:
    """Draw loss, accuracies, learning rate and mean absolute gates over epochs.

    Args:
        rows: Of the log, one per epoch; not empty.
        path: The PNG to write.
        floor: Validation accuracy before the training, of frozen features.
    """
    layers = [name for name in rows[-1] if name.startswith(GATE)]
    panels = {
        "loss": {"loss": "training"},
        "accuracy": {
            "accuracy": "training",
            **{name: text for name, text in VALIDATION.items() if any(name in row for row in rows)},
        },
        "learning rate": {"lr": "learning rate"},
    }
    if layers:
        panels["mean absolute gate"] = {name: name.removeprefix(GATE) for name in layers}
    num_rows = (len(panels) + 1) // 2
    figure = new_figure(9.0, 3.2 * num_rows)
    figure.set_layout_engine(None)  # constrained layout takes most of the time
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.16 / num_rows, top=1 - 0.1 / num_rows, hspace=0.4)
    axes = figure.subplots(num_rows, 2).flat
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for number, (name, label) in enumerate(curves.items()):
            points = [(row["epoch"], row[name]) for row in rows if name in row]
            color = _shade(number / max(len(curves) - 1, 1)) if len(curves) > 3 else None
            axis.plot(*zip(*points, strict=True), label=label, color=color, marker=".", markersize=4)
        if title == "accuracy" and floor is not None:
            axis.axhline(floor, label="validation, frozen features", color="gray", linestyle="--")
        axis.set_title(title, fontsize=10, y=1.0)  # or the place is looked for among the ticks
        axis.set_xlabel("epoch", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if len(curves) > 1:
            axis.legend(fontsize=6 if len(curves) > 3 else 8, frameon=False, ncols=1 + len(curves) // 12)
    for axis in list(axes):  # unused ones
        axis.set_axis_off()
    save_png(figure, path)


def _shade(depth: float) -> tuple[float, float, float, float]:
    """A color for a layer: dark for the first, 0, and light for the last, 1."""
    import matplotlib

    red, green, blue, alpha = matplotlib.colormaps["viridis"](0.9 * depth)
    return red, green, blue, alpha


def write_training_page(folder: RunFolder, classes: Sequence[str], train_list: Manifest, val_list: Manifest) -> None:
    """Write ``curves.png`` and ``training.html`` from the log of a run, with the number of videos per class."""
    rows = folder.read_log()
    probed = load_probe(folder.probe)
    draw_curves(rows, folder.curves, floor=None if probed is None else probed.accuracy)
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if not name.startswith(GATE)]
    counts = [_count_videos(manifest, classes) for manifest in (train_list, val_list)]
    sections = [Section("Curves", files=[folder.curves])]
    if folder.first_batch.is_file():
        text = "Clips as the network gets them, one per row; mixed clips have the label of the larger part."
        sections.append(Section("First batch", [text], [folder.first_batch]))
    if any(name.startswith(GATE) for name in rows[-1]):
        text = f"Gates are measured on up to {WATCHED_VIDEOS} validation clips: 0 is closed, 1 shifts everything."
        sections[0] = Section("Curves", [text], [folder.curves])
    if probed is not None:
        sections.append(probe_section(probed, folder.probe))
    sections += [
        Section("Epochs", columns=columns, rows=[[_show(row.get(name)) for name in columns] for row in rows]),
        Section(
            "Videos",
            columns=("class", "training", "validation"),
            rows=[(name, *map(str, both)) for name, *both in zip(classes, *counts, strict=True)],
        ),
    ]
    write_text(folder.page, render_page(f"Training {folder.path.name}", sections))


def _count_videos(manifest: Manifest, classes: Sequence[str]) -> list[int]:
    """The number of videos of each class."""
    targets = manifest.targets(classes)
    return (targets.sum(0) if targets.ndim == 2 else np.bincount(targets, minlength=len(classes))).tolist()


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
