"""The maps of a clip over its frames, as a short film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gateshift.data.lists.tables import printable
from gateshift.drawing.figures import new_figure
from gateshift.explanation.drawings import EVIDENCE_COLOURS, GATE_COLOURS, enlarge, largest, opacity
from gateshift.files import atomic_write

Animation = Literal["gif", "mp4"]
FRAMES_PER_S = 3  # slow enough to look at each frame of a clip


@dataclass(frozen=True)
class Layer:
    """Maps that are laid over frames.

    Attributes:
        title: Above them.
        maps: [T, h, w].
        signed: Whether they have both signs, as gates; evidence is at least 0.
    """

    title: str
    maps: Tensor
    signed: bool


def film_layers(
    clip: Tensor, layers: Sequence[Layer], *, title: str, numbers: Sequence[int] | None = None
) -> NDArray[np.uint8]:
    """Draw the frames of a film: a clip, and beside it the clip under each of the maps.

    Args:
        clip: uint8 [T, 3, H, W].
        layers: At least one.
        title: Above each frame; its number is added.
        numbers: What the frames are called; by default their places in the clip, from 0.

    Returns:
        RGB [T, height, width, 3] with even sides, as video files need them.
    """
    figure = new_figure(3.0 * (len(layers) + 1), 3.9)
    axes = figure.subplots(1, len(layers) + 1)
    pictures = [_show(axes[0], "the clip")]
    pictures += [_show(axis, layer.title) for axis, layer in zip(axes[1:], layers, strict=True)]
    for axis, layer in zip(axes[1:], layers, strict=True):
        bar = figure.colorbar(_colours(layer), ax=axis, orientation="horizontal", aspect=25, format="%.2g")
        bar.set_label("gate" if layer.signed else "evidence, in logits", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    covered = [clip.permute(0, 2, 3, 1).float() / 255, *(_cover(clip, layer) for layer in layers)]  # [T, H, W, 3]
    heading = figure.suptitle(printable(title), fontsize=10, parse_math=False)
    for _ in range(2):  # the first time, the heading is not yet where it will be, and has no room of its own
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # places are found; again for each frame it would take most of the time
    drawn = []
    for place, number in enumerate(numbers or range(len(clip))):
        for picture, frames in zip(pictures, covered, strict=True):
            picture.set_data(frames[place].numpy())
        heading.set_text(printable(f"{title}, frame {number}"))
        figure.canvas.draw()
        drawn.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    film = np.stack(drawn)
    height, width = (side - side % 2 for side in film.shape[1:3])
    return film[:, :height, :width]


def write_film(film: NDArray[np.uint8], path: Path) -> None:
    """Write frames [T, height, width, 3] as an endless GIF or an MP4, by the suffix; it appears when it is whole."""
    with atomic_write(path) as partial:
        _WRITERS[path.suffix](film, partial)


def _show(axis: Any, title: str) -> Any:
    axis.set_title(printable(title), fontsize=9, parse_math=False)
    axis.set_xticks([])
    axis.set_yticks([])
    return axis.imshow(np.zeros((1, 1, 3)), extent=(0, 1, 0, 1))


def _colours(layer: Layer) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    limit = largest(layer.maps)
    colours = GATE_COLOURS if layer.signed else EVIDENCE_COLOURS
    return ScalarMappable(Normalize(-limit if layer.signed else 0.0, limit), colours)


def _cover(clip: Tensor, layer: Layer) -> Tensor:
    """Grey frames under coloured maps: RGB [T, H, W, 3] in 0..1."""
    fine = enlarge(layer.maps, (clip.shape[2], clip.shape[3]))  # [T, H, W]
    scale = _colours(layer)
    colours = torch.from_numpy(scale.cmap(scale.norm(fine.numpy()))[..., :3]).float()  # [T, H, W, 3]
    grey = clip.float().mean(1, keepdim=True).permute(0, 2, 3, 1).expand(-1, -1, -1, 3) / 255
    return torch.lerp(grey, colours, opacity(fine, largest(layer.maps)).unsqueeze(-1))


def _write_gif(film: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    # One palette for the whole film, as with its own each frame would flicker; of all its colours, as those of a bar
    # are few pixels each.
    first, *others = [Image.fromarray(frame) for frame in film]
    palette = Image.fromarray(np.concatenate(film)).quantize(256, method=Image.Quantize.MAXCOVERAGE)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in (first, *others)]
    images[0].save(
        path, format="GIF", save_all=True, append_images=images[1:], duration=round(1000 / FRAMES_PER_S), loop=0
    )


def _write_mp4(film: NDArray[np.uint8], path: Path) -> None:
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"  # which browsers do not play
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream(codec, rate=FRAMES_PER_S)
        stream.height, stream.width = film.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


_WRITERS: Mapping[str, Any] = {".gif": _write_gif, ".mp4": _write_mp4}
