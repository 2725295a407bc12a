"""One clip or one data set explained: everything that is shown of it, as numbers and then as files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gateshift.drawing.html_page import Section
from gateshift.errors import SettingsError
from gateshift.explanation.drawings import draw_evidence, draw_gates, draw_openness, draw_overlay
from gateshift.explanation.evidence import evidence_map, find_evidence_layer
from gateshift.explanation.gate_maps import gate_directions, gate_maps, most_varied
from gateshift.files import csv_text, write_text
from gateshift.model.classifier import VideoClassifier

TOP = 5
GATES_TEXT = (
    "A gate of 0 keeps the features of its place in their frame, 1 sends them all to the frame before or after, and -1 "
    "sends them with the sign turned. What is sent beyond the ends of the clip is lost."
)
OPENNESS_TEXT = "Mean absolute gate: 0 is closed, 1 is open."


@dataclass(frozen=True)
class Explanation:
    """What a model made of one clip, on the CPU.

    Attributes:
        clip: uint8 [T, 3, H, W].
        numbers: Of the frames in the video, [T].
        top: The likeliest classes and their probabilities, likeliest first.
        class_name: The class of the Grad-CAM map.
        layer: The layer of it.
        evidence: The map, [T, h, w].
        gates: Layer name -> [T, 2, h, w]; empty for a model without gates.
        directions: Where each half of the channels is sent.
    """

    clip: Tensor
    numbers: Sequence[int]
    top: Sequence[tuple[str, float]]
    class_name: str
    layer: str
    evidence: Tensor
    gates: Mapping[str, Tensor]
    directions: tuple[str, str]


def explain_clip(
    model: VideoClassifier,
    clip: Tensor,
    numbers: Sequence[int],
    *,
    class_name: str | None = None,
    layer: str | None = None,
) -> Explanation:
    """Look at a model while it looks at a clip.

    Args:
        model: In eval mode.
        clip: uint8 [T, 3, size, size], on any device.
        numbers: Of the frames in the video.
        class_name: The class of the Grad-CAM map; the likeliest if None.
        layer: The layer of it; see :func:`gateshift.evidence_map`.

    Raises:
        SettingsError: If there is no such class.
        ModelError: If there is no such layer.
    """
    clips = clip.unsqueeze(0).to(next(model.parameters()).device)
    classes = model.config.classes
    with torch.no_grad():
        probabilities = model.config.probabilities(model(clips)[0]).cpu()
    index = int(probabilities.argmax()) if class_name is None else find_class(class_name, classes)
    layer = find_evidence_layer(model, clips) if layer is None else layer
    return Explanation(
        clip=clip.cpu(),
        numbers=numbers,
        top=model.config.likeliest(probabilities, TOP),
        class_name=classes[index],
        layer=layer,
        evidence=evidence_map(model, clips, index, layer=layer)[0].cpu(),
        gates={name: maps[0].float().cpu() for name, maps in gate_maps(model, clips).items()},
        directions=gate_directions(model),
    )


def find_class(name: str, classes: Sequence[str]) -> int:
    """The number of a class.

    Raises:
        SettingsError: If it is none of these.
    """
    if name not in classes:
        near = difflib.get_close_matches(name, classes, n=3) or list(classes[:3])
        raise SettingsError(f"`class_name` {name!r} is none of the {len(classes)} classes; try {', '.join(near)}")
    return classes.index(name)


def write_explanation(found: Explanation, folder: Path, *, title: str) -> list[Section]:
    """Write the pictures of a clip to a folder, and say how a page shows them."""
    named = f"{title}: {found.top[0][0]} ({found.top[0][1]:.1%})"
    rows = [(name, f"{probability:.3f}") for name, probability in found.top]
    sections = [
        Section("Prediction", columns=("class", "probability"), rows=rows),
        _write_evidence(found, folder, named),
        _write_overlay(found, folder),
    ]
    if not found.gates:
        return [*sections, Section("Gates", ["This model has no gates: it sends nothing, or a fixed share."])]
    path = folder / "gates.png"
    draw_gates(found.clip, found.gates, path, title=named, directions=found.directions, numbers=found.numbers)
    openness = {name: maps.abs().mean((0, 2, 3)) for name, maps in found.gates.items()}
    sections.append(
        Section(
            "Gates",
            [GATES_TEXT, OPENNESS_TEXT],
            [path],
            ("layer", *found.directions),
            openness_rows(openness),
        )
    )
    return sections


def write_openness(openness: Mapping[str, Tensor], folder: Path, *, title: str, directions: tuple[str, str]) -> Section:
    """Write how far gates are open on a data set as a picture and a table, and say how a page shows them.

    Args:
        openness: As of :func:`gateshift.gate_openness`.
        folder: Where to write.
        title: What was measured.
        directions: Where each half of the channels is sent.
    """
    picture = folder / "openness.png"
    draw_openness(openness, picture, title=title, directions=directions)
    means = (
        (name, direction, f"{value:.6f}")
        for name, both in openness.items()
        for direction, value in zip(directions, both, strict=True)
    )
    write_text(folder / "openness.csv", csv_text([("layer", "direction", "mean_abs_gate"), *means]))
    rows = openness_rows(openness)
    return Section(f"How far gates are open: {title}", [OPENNESS_TEXT], [picture], ("layer", *directions), rows)


def openness_rows(openness: Mapping[str, Tensor]) -> list[tuple[str, str, str]]:
    """Lines of a table: layer, and the mean absolute gate of each half of the channels."""
    return [(name, f"{both[0]:.3f}", f"{both[1]:.3f}") for name, both in openness.items()]


def _write_evidence(found: Explanation, folder: Path, title: str) -> Section:
    path = folder / "evidence.png"
    what = f"Grad-CAM of {found.class_name!r} at {found.layer}"
    draw_evidence(found.clip, found.evidence, path, title=f"{title}; {what}", numbers=found.numbers)
    text = (
        f"Places whose features raise the logit of {found.class_name!r}, at layer {found.layer}, whose map of "
        f"{found.evidence.shape[1]} × {found.evidence.shape[2]} places is drawn without its steps."
    )
    return Section(f"Grad-CAM of {found.class_name}", [text], [path])


def _write_overlay(found: Explanation, folder: Path) -> Section:
    path = folder / "overlay.gif"
    gates = most_varied(found.gates, 1)
    draw_overlay(found.clip, found.evidence, next(iter(gates.values()), None), path)
    text = f"From the left: the clip, and over it in colors the Grad-CAM of {found.class_name!r}"
    for name in gates:  # one, or none
        text += f", and what {name} sends {' and '.join(found.directions)}: of all layers its gates vary the most"
    return Section("Over time", [f"{text}."], [path])
