"""What ``gateshift explain`` can be told. The text under a field is its ``--help``.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class ExplainSettings:
    """Show where a model looks (Grad-CAM), and where and when its gates send features to the frames before and after.

    Writes to DIR, for a video: gates.png (the gates of each layer over the frames), evidence.png (Grad-CAM of a class)
    and overlay.gif; for --list: openness.png and openness.csv (how far the gates of each layer are open); and all of it
    on one page, explain.html. Of a video one clip of center crops is explained.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, or a released GSM, GSF or TSM checkpoint (.pth.tar)."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder to write; it must not exist."""
    video: Annotated[Positional[Path | None], arg(metavar="VIDEO")] = None
    """A video file or a folder of frames; optional with --list."""
    videos: Annotated[Path | None, arg(name="list", metavar="LIST")] = None
    """Measure how far gates are open on these videos: a CSV, a videofolder.txt list, or a folder of class folders."""
    class_name: Annotated[str | None, arg(name="class", metavar="NAME")] = None
    """Class of the Grad-CAM map; by default the likeliest."""
    layer: str | None = None
    """Layer of the Grad-CAM map; by default the last with more than one place. An earlier one shows finer places, and
    less of what the class depends on."""
    classes: Path | None = None
    """Class names, one a line, for the class numbers of a released checkpoint: the release's category.txt."""
    segments: int | None = None
    """Frames per clip; by default as in training. Released checkpoints do not say: give it."""
    root: Path | None = None
    """Where relative paths of the list start; its own folder by default."""
    box: Annotated[str | None, arg(metavar="X0,Y0,X1,Y1")] = None
    """Region of the picture, of a fixed camera: shares of it, as 0.1,0.2,0.6,0.9, or pixels, as 120,80,520,460; 0,0,1,1
    for all of it. A column box of LIST wins. By default the model's own."""
    workers: int | None = None
    """Processes that load the list's videos; 0 loads in the main process. By default one fewer than there are cores,
    at most 8."""
    overwrite: bool = False
    """Write into DIR if it exists, and replace files of these names."""
