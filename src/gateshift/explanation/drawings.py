"""Pictures of what a network looks at and sends: frames of a clip in columns, maps in rows below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gateshift.data.lists.tables import printable
from gateshift.drawing.figures import new_figure, save_png
from gateshift.explanation.gate_maps import DIRECTIONS
from gateshift.files import atomic_write

GATE_COLORS = "RdBu_r"
EVIDENCE_COLORS = "inferno"
MAX_WIDTH = 27.0  # inches
COLUMN = 1.06  # from one picture of a row to the next, where a picture is 1 wide
LABELS_WIDTH, BAR_WIDTH = 1.9, 1.1  # inches
FRAME_MS = 333  # slow enough to look at each frame of a clip


@dataclass(frozen=True)
class MapRow:
    """Maps of one kind, one below each frame.

    Attributes:
        label: To the left of them.
        maps: [T, h, w].
        is_over_frames: Whether they are drawn over the frames, as they say where, and not in which direction.
    """

    label: str
    maps: Tensor
    is_over_frames: bool = False


def gate_rows(gates: Mapping[str, Tensor], directions: Sequence[str] = DIRECTIONS) -> list[MapRow]:
    """Two rows for each layer, of its gates [T, 2, h, w]: one for each half of the channels."""
    return [
        MapRow(f"{_break(name)}\n{direction}", maps[:, half])
        for name, maps in gates.items()
        for half, direction in enumerate(directions)
    ]


def draw_gates(
    clip: Tensor,
    gates: Mapping[str, Tensor],
    path: Path,
    *,
    title: str,
    directions: Sequence[str] = DIRECTIONS,
    numbers: Sequence[int] | None = None,
) -> None:
    """Draw the gates of each layer below the frames of a clip, as a PNG.

    Args:
        clip: uint8 [T, 3, H, W].
        gates: Layer name -> [T, 2, h, w], as of :func:`gateshift.gate_maps` for one clip; not empty.
        path: The PNG to write.
        title: Above the picture.
        directions: Where each half of the channels is sent.
        numbers: What the frames are called; by default their places in the clip, from 0.
    """
    rows = gate_rows(gates, directions)
    figure = _figure(len(clip), len(rows) + 1)
    _fill_grid(figure, clip, rows, numbers)
    figure.suptitle(printable(title), parse_math=False)
    save_png(figure, path)


def draw_evidence(
    clip: Tensor, evidence: Tensor, path: Path, *, title: str, numbers: Sequence[int] | None = None
) -> None:
    """Draw a Grad-CAM map over the frames of a clip, as a PNG.

    Args:
        clip: uint8 [T, 3, H, W].
        evidence: [T, h, w], as of :func:`gateshift.evidence_map` for one clip.
        path: The PNG to write.
        title: Above the picture.
        numbers: As in :func:`draw_gates`.
    """
    figure = _figure(len(clip), 2)
    axes = _frames_above(figure, clip, 1, numbers)
    shown = _put_over_frames(axes[1], clip, evidence)
    axes[1].set_ylabel("Grad-CAM", fontsize=8)
    bar = figure.colorbar(_opaque(shown), ax=axes, shrink=0.5, label="Grad-CAM, in logits", format="%.2g")
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(printable(title), parse_math=False)
    save_png(figure, path)


def draw_prediction(
    clip: Tensor,
    exchanged: Mapping[str, Tensor],
    gates: Mapping[str, Tensor],
    top: Sequence[tuple[str, float]],
    path: Path,
    *,
    title: str,
) -> None:
    """Draw the frames of a clip, what each layer sends where, its gates over time, and the likeliest classes, as a PNG.

    Args:
        clip: uint8 [T, 3, H, W].
        exchanged: Layer name -> [T, 2, h, w], as of :func:`gateshift.explanation.gate_maps.exchange_maps` for one clip;
            may be empty.
        gates: The same of :func:`gateshift.gate_maps`.
        top: Classes and probabilities, likeliest first.
        path: The PNG to write.
        title: Above the picture.
    """
    rows = [
        MapRow(
            f"{_break(name)}\n{'next' if half == 0 else 'previous'} frame\narrives", maps[:, half], is_over_frames=True
        )
        for name, maps in exchanged.items()
        for half in range(2)
    ]
    rows += gate_rows(gates)
    figure = _figure(len(clip), len(rows) + 1, more_height=2.0)
    frames_part, bars_part = figure.subfigures(
        2, 1, squeeze=False, height_ratios=[float(figure.get_figheight()) - 2.0, 2.0]
    )[:, 0]
    _fill_grid(frames_part, clip, rows)
    bars = bars_part.subplots()
    names, values = zip(*reversed(top), strict=True)
    bars.barh(range(len(names)), values, color="#4477aa")
    bars.set_yticks(range(len(names)), map(printable, names), parse_math=False)
    bars.set_xlim(0, 1)
    bars.set_xlabel("probability")
    figure.suptitle(printable(title), parse_math=False)
    save_png(figure, path)


def draw_overlay(clip: Tensor, evidence: Tensor, gates: Tensor | None, path: Path) -> None:
    """Write the frames of a clip, and beside them the same under each map, as an endless GIF.

    Args:
        clip: uint8 [T, 3, H, W].
        evidence: [T, h, w], as of :func:`gateshift.evidence_map` for one clip.
        gates: [T, 2, h, w] of one layer; None for a model without gates.
        path: The GIF to write.
    """
    from PIL import Image

    panels = [
        clip.permute(0, 2, 3, 1).numpy(),
        _cover(clip, evidence, EVIDENCE_COLORS, (0.0, largest(evidence))),
    ]  # [T, H, W, 3]
    if gates is not None:
        limit = largest(gates)
        panels += [_cover(clip, half, GATE_COLORS, (-limit, limit)) for half in gates.unbind(1)]
    film = np.concatenate(panels, 2)
    # One palette for all frames: with its own, each would flicker.
    palette = Image.fromarray(film.reshape(-1, *film.shape[2:])).quantize(256, method=Image.Quantize.MAXCOVERAGE)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in film]
    with atomic_write(path) as partial:
        images[0].save(partial, format="GIF", save_all=True, append_images=images[1:], duration=FRAME_MS, loop=0)


def draw_openness(openness: Mapping[str, Tensor], path: Path, *, title: str, directions: Sequence[str]) -> None:
    """Draw how far the gates of each layer are open, as bars, as a PNG.

    Args:
        openness: Layer name -> [2] in 0..1, as of :func:`gateshift.gate_openness`; not empty.
        path: The PNG to write.
        title: Above the picture.
        directions: Where each half of the channels is sent.
    """
    figure = new_figure(8.0, 0.5 * len(openness) + 1.4)
    axis = figure.subplots()
    places = np.arange(len(openness))
    for half, (direction, color) in enumerate(zip(directions, ("#4477aa", "#ee6677"), strict=True)):
        values = [float(both[half]) for both in openness.values()]
        axis.barh(places + 0.38 * (half - 0.5), values, 0.36, color=color, label=direction)
    axis.set_yticks(places, list(openness), fontsize=8)
    axis.invert_yaxis()  # the first layer on top
    axis.set_xlim(0, 1)
    axis.set_xlabel("mean absolute gate")
    figure.legend(loc="outside right upper", frameon=False)
    figure.suptitle(printable(title), parse_math=False)
    save_png(figure, path)


def largest(maps: Tensor) -> float:
    """Where colors end: the largest absolute value, or 1 where all is 0."""
    return float(maps.abs().max()) or 1.0


def opacity(maps: Tensor, limit: float) -> Tensor:
    """How strongly maps cover the frame below, 0..0.75: not at all where they are 0."""
    return 0.75 * (maps.abs() / limit).clamp(0, 1).sqrt()


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps as large as the frames, without steps: [T, h, w] -> [T, *size]."""
    return torch.nn.functional.interpolate(maps.unsqueeze(0), size=size, mode="bilinear")[0]


def _figure(num_frames: int, num_rows: int, *, more_height: float = 0.0) -> Any:
    cell = min(1.5, (MAX_WIDTH - LABELS_WIDTH - BAR_WIDTH) / num_frames)
    return new_figure(cell * num_frames + LABELS_WIDTH + BAR_WIDTH, cell * num_rows + 0.7 + more_height)


def _fill_grid(figure: Any, clip: Tensor, rows: Sequence[MapRow], numbers: Sequence[int] | None = None) -> None:
    """Frames, and below them rows of gates in the same colors, with a bar that says which."""
    axes = _frames_above(figure, clip, len(rows), numbers)
    limit = max((largest(row.maps) for row in rows if not row.is_over_frames), default=1.0)
    shown = None
    for axis, row in zip(axes[1:], rows, strict=True):
        axis.set_ylabel(row.label, fontsize=8)
        if row.is_over_frames:
            _put_over_frames(axis, clip, row.maps)
            continue
        for place, gates in enumerate(row.maps):
            shown = _put(axis, place, gates.numpy(), cmap=GATE_COLORS, vmin=-limit, vmax=limit)
    if shown is not None:
        bar = figure.colorbar(shown, ax=axes, shrink=min(0.9, 3 / len(rows)), aspect=15, label="gate")
        bar.ax.tick_params(labelsize=8)


def _frames_above(figure: Any, clip: Tensor, num_rows: int, numbers: Sequence[int] | None) -> Any:
    """Axes below each other, the first of which has the frames of a clip; see :func:`_put`."""
    axes = figure.subplots(num_rows + 1, squeeze=False)[:, 0]
    for axis in axes:
        axis.set_xlim(0, len(clip) * COLUMN)
        axis.set_ylim(0, 1)
        axis.set_aspect("equal")
        axis.spines[:].set_visible(False)
        axis.set_xticks([])
        axis.set_yticks([])
    for place, frame in enumerate(clip):
        _put(axes[0], place, frame.permute(1, 2, 0).numpy())
    names = [f"frame {number}" for number in numbers or range(len(clip))]
    axes[0].set_xticks([place * COLUMN + 0.5 for place in range(len(clip))], names, fontsize=8)
    axes[0].tick_params(length=0, bottom=False, labelbottom=False, labeltop=True)
    return axes


def _put(axis: Any, place: int, picture: Any, **colors: Any) -> Any:
    """Draw a picture in a row of them: axes for each of hundreds would take minutes to lay out."""
    from matplotlib.patches import Rectangle

    left = place * COLUMN
    axis.add_patch(Rectangle((left, 0), 1, 1, fill=False, linewidth=0.8, clip_on=False, zorder=3))  # for what is white
    return axis.imshow(picture, extent=(left, left + 1, 0, 1), **colors)


def _put_over_frames(axis: Any, clip: Tensor, maps: Tensor) -> Any:
    """Draw maps [T, h, w], at least 0, over gray frames, all in the same colors."""
    limit = largest(maps)
    fine = enlarge(maps, (clip.shape[2], clip.shape[3]))
    for place, (frame, found) in enumerate(zip(clip, fine, strict=True)):
        _put(axis, place, _gray(frame))
        colors = {"cmap": EVIDENCE_COLORS, "vmin": 0, "vmax": limit}
        shown = _put(axis, place, found.numpy(), alpha=opacity(found, limit).numpy(), **colors)
    return shown


def _gray(frame: Tensor) -> Any:
    """A frame without its colors, so that those over it can be read: [3, H, W] -> [H, W, 3]."""
    return frame.float().mean(0).to(torch.uint8)[..., None].expand(-1, -1, 3).numpy()


def _cover(clip: Tensor, maps: Tensor, colors: str, ends: tuple[float, float]) -> NDArray[np.uint8]:
    """Gray frames under maps [T, h, w], whose colors go from one end to the other: uint8 [T, H, W, 3]."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    fine = enlarge(maps, (clip.shape[2], clip.shape[3]))  # [T, H, W]
    above = torch.from_numpy(colormaps[colors](Normalize(*ends)(fine.numpy()))[..., :3]).float() * 255
    below = torch.from_numpy(np.stack([_gray(frame) for frame in clip])).float()  # [T, H, W, 3]
    return torch.lerp(below, above, opacity(fine, ends[1]).unsqueeze(-1)).to(torch.uint8).numpy()


def _opaque(image: Any) -> Any:
    """The colors of an image for a color bar, without its transparency."""
    from matplotlib.cm import ScalarMappable

    return ScalarMappable(norm=image.norm, cmap=image.cmap)


def _break(name: str) -> str:
    """A long layer name on two lines."""
    if len(name) <= 18 or "." not in name:
        return name
    first, _, last = name.rpartition(".")
    return f"{first}.\n{last}"
