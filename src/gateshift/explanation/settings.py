"""What ``gateshift explain`` can be told. The text under a field is its ``--help``.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gateshift.errors import SettingsError


@dataclass(frozen=True)
class ExplainSettings:
    """Show where a model looks, and where and when its gates send features to the frames before and after.

    Writes to DIR, for a video: gates.png (the gates of each layer over the frames), evidence.png (the places that speak
    for a class, by Grad-CAM), overlay.gif; for --list: openness.png and openness.csv (how far the gates of each layer
    are open); and all of it on one page, explain.html. Of a video one clip is explained, the middle of each frame.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, or a released GSM, GSF or TSM checkpoint (.pth.tar)."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder to write; it must not exist."""
    video: Annotated[Positional[Path | None], arg(metavar="VIDEO")] = None
    """A video file or a folder of frames. May be left out where --list is given."""
    list: Annotated[Path | None, arg(metavar="LIST")] = None
    """Measure how far gates are open on these videos: a CSV, a videofolder.txt list, or a folder of class folders."""
    class_name: Annotated[str | None, arg(name="class", metavar="NAME")] = None
    """Class to show the evidence for; by default the likeliest."""
    layer: str | None = None
    """Layer whose evidence is shown; by default the last that still has places. An earlier one shows finer places, and
    less of what the class depends on."""
    classes: Path | None = None
    """Names for the class numbers of a released checkpoint, one a line: the release's category.txt."""
    segments: int | None = None
    """Frames of a clip; by default as in training. Released checkpoints do not say: give it."""
    root: Path | None = None
    """Where relative paths of the list start; its own folder by default."""
    workers: int | None = None
    """Processes that load the list's videos; 0 loads in the main process. By default one less than there are cores, at
    most 8."""
    overwrite: bool = False
    """Write into DIR if it exists, and replace files of these names."""

    def check(self) -> None:
        """Raise SettingsError if these contradict each other, or DIR exists."""
        if self.video is None and self.list is None:
            raise SettingsError("neither VIDEO nor --list was given; name a video after the model, or a list, or both")
        given = {"class": self.class_name, "layer": self.layer}
        for name, value in given.items():
            if self.video is None and value is not None:
                raise SettingsError(
                    f"--{name} was given without VIDEO; it is about one video; name one, or leave it out"
                )
        if self.out.exists() and not self.overwrite:
            raise SettingsError(f"--out {self.out}: exists; choose another folder, or add --overwrite")
        if self.out.exists() and not self.out.is_dir():
            raise SettingsError(f"--out {self.out}: is a file; choose a folder")
