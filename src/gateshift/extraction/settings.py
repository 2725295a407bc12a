"""The options of ``features``; the text under a field is its help. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gateshift.errors import SettingsError

Per = Literal["clip", "frame"]
TIMEOUT_S = 300.0
FORMATS = {"npy": ".npy", "safetensors": ".safetensors"}  # suffixes


@dataclass(frozen=True)
class FeatureSettings:
    """Write what a network sees in videos, before its classifier, as arrays: what detectors of other people take.

    FOLDER receives, for each video, an array float32 [rows, F] and the time of each row. What is there already is not
    made again: a job that was stopped goes on, given the same again, and takes more videos. A video that cannot be read
    is named, and the exit code is then 2.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A .safetensors model, at hf://user/name too, or a released checkpoint (.pth.tar); nothing with --backbone."""
    videos: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEO|FOLDER|LIST|URL ...")]
    """Video files, folders of frames, folders with videos at any depth, addresses, and lists of these: a .txt with a
    video a line, a .csv with a column path."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder, one file for each video, by its name or its path in the folder that was given."""
    per: Per | None = None
    """A row for each clip, of windows that slide over the video, or for each frame. Default: frame for a network that
    was trained with --task spot or segment, else clip."""
    window: Annotated[float | None, arg(metavar="SECONDS")] = 2.0
    """Per clip, length of a window, of which a clip of SEGMENTS frames is taken; None is all of the video."""
    stride: Annotated[float | None, arg(metavar="SECONDS")] = None
    """Time from one row to the next. Default: 0.5 per clip; per frame, every frame that the network sees."""
    segments: int | None = None
    """Per clip, its frames; by default as in training, and 8 with --backbone."""
    fps: float | None = None
    """Frames a second of images, which have no clock; of a file, where they are not those that it says."""
    box: Annotated[str | None, arg(metavar="X0,Y0,X1,Y1")] = None
    """Region of the picture, of a fixed camera: shares of it, as 0.1,0.2,0.6,0.9, or pixels, as 120,80,520,460; 0,0,1,1
    for all of it. A column box of LIST wins. By default the model's own."""
    format: Literal["npy", "safetensors"] = "npy"
    """npy with a .times.json beside it, or safetensors with the same in its metadata."""
    backbone: str | None = None
    """Instead of MODEL, a network that nobody trained on videos: any timm name, bninception, inceptionv3, or
    torchvision/NAME."""
    temporal: str = "none"
    """With --backbone, its temporal modules: gsm, gsf, tsm or none."""
    weights: str | None = "imagenet"
    """With --backbone, where it starts: imagenet (timm's own, whatever they were trained on), a file, or None."""
    size: int | None = None
    """With --backbone, side of the square input in pixels; by default the network's own."""
    batch_size: int = 4
    """Per clip, windows that go through the network at once."""
    workers: int | None = None
    """Threads that decode the next videos while the network runs; 0 decodes between its runs. By default one fewer than
    there are cores, at most 8."""
    engine: Literal["here", "ray"] = "here"
    """Where: here, or by Ray on all cores and GPUs, or on the cluster at RAY_ADDRESS, whose machines share FOLDER."""
    timeout: Annotated[float, arg(metavar="SECONDS")] = TIMEOUT_S
    """With Ray, how long fetching a video, or decoding its next few clips or frames, may take."""

    def sources(self) -> tuple[str, ...]:
        """The videos that were named: with a backbone, there is no model before them.

        Raises:
            SettingsError: If options of a backbone are given without one.
        """
        if self.backbone is not None:
            return (self.model, *self.videos)
        for name, value, default in (("temporal", self.temporal, "none"), ("weights", self.weights, "imagenet")):
            if value != default:
                raise SettingsError(f"`{name}` {value} was given without `backbone`; a model has its own; leave it out")
        if self.size is not None:
            raise SettingsError(f"`size` {self.size} was given without `backbone`; a model has its own; leave it out")
        return self.videos
