"""Where and when a network sends features to another frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gateshift.model.classifier import VideoClassifier
from gateshift.model.gates import GateShift


@torch.inference_mode()
def gate_maps(model: VideoClassifier, clips: Tensor) -> dict[str, Tensor]:
    """The gates of every gate-shift layer while a model looks at clips.

    Args:
        model: In eval mode.
        clips: [B, T, 3, H, W], as the model takes them.

    Returns:
        Layer name -> gates [B, T, 2, h, w] in -1..1, in the order of the layers. Of the axis of 2, the first
        says what is sent to the previous frame and the second what is sent to the next. Empty for a model
        without gate-shift.
    """
    found: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(module, GateShift)
            found[name] = module.gates(inputs[0]).unflatten(0, (-1, clips.shape[1]))

        return hook

    hooks = [
        module.register_forward_pre_hook(record(name.removesuffix(".temporal")))
        for name, module in model.backbone.named_modules()
        if isinstance(module, GateShift)
    ]
    try:
        model(clips)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def draw_prediction(
    clip: Tensor, gates: dict[str, Tensor], top: Sequence[tuple[str, float]], path: Path, *, title: str
) -> None:
    """Draw the frames of a clip, each layer's gates over time, and the likeliest classes, as a PNG.

    Args:
        clip: uint8 [T, 3, H, W].
        gates: Layer name -> [T, 2, h, w], as of :func:`gate_maps` for one clip.
        top: Classes and probabilities, likeliest first.
        path: The PNG to write.
        title: Above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_frames = len(clip)
    rows = [
        (direction, name, maps[:, group])
        for name, maps in gates.items()
        for group, direction in enumerate(("to previous", "to next"))
    ]
    figure = Figure(figsize=(1.5 * num_frames + 2.6, 1.5 * (len(rows) + 1) + 2.2), layout="constrained")
    FigureCanvasAgg(figure)
    frames_part, bars_part = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.5 * (len(rows) + 1), 2.0])[:, 0]
    axes = frames_part.subplots(len(rows) + 1, num_frames, squeeze=False)
    for t in range(num_frames):
        axes[0, t].imshow(clip[t].permute(1, 2, 0).numpy())
        axes[0, t].set_title(f"frame {t + 1}", fontsize=9)
        for axis, (_, _, maps) in zip(axes[1:, t], rows, strict=True):
            shown = axis.imshow(maps[t].numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis, (direction, name, _) in zip(axes[1:, 0], rows, strict=True):
        axis.set_ylabel(f"{name}\n{direction}", fontsize=8)
    if rows:
        frames_part.colorbar(shown, ax=axes[1:, :], shrink=0.6, label="gate")
    bars = bars_part.subplots()
    names, values = zip(*reversed(top), strict=True)
    bars.barh(names, values, color="#4477aa")
    bars.set_xlim(0, 1)
    bars.set_xlabel("probability")
    figure.suptitle(title)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, dpi=90, format="png")
    partial.replace(path)
