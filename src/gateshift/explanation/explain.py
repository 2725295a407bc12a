"""Explain a model on one video, or on a list of videos: a folder of pictures, tables, and one page of all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from torch import Tensor

from gateshift.data.clips.dataset import ViewDataset, read_views
from gateshift.data.clips.loader import make_loader, read_batches
from gateshift.data.lists.manifest import Manifest, read_videos
from gateshift.data.regions import AnyRegion, Region
from gateshift.data.video.files import open_video
from gateshift.devices import put_on_device
from gateshift.drawing.html_page import Section, render_page
from gateshift.errors import SettingsError, VideoError
from gateshift.evaluation.protocol import choose_box, choose_protocol
from gateshift.explanation.gate_maps import gate_directions, gate_openness
from gateshift.explanation.output import Explanation, explain_clip, write_explanation, write_openness
from gateshift.exported.loading import check_open, load_open
from gateshift.files import write_text
from gateshift.model.classifier import VideoClassifier

BATCH_SIZE = 4
AnyPath = str | PathLike[str]


@dataclass(frozen=True)
class ExplainResult:
    """What was found, and where it was written.

    Attributes:
        page: The page of all of it, explain.html.
        explanation: Of the video.
        openness: Of the list: layer name -> mean absolute gate of each half of the channels, [2] in 0..1.
        sections: Of the page.
    """

    page: Path
    explanation: Explanation | None
    openness: Mapping[str, Tensor] | None
    sections: Sequence[Section]


def explain(
    model: AnyPath | VideoClassifier,
    video: AnyPath | None = None,
    *,
    out: AnyPath,
    videos: AnyPath | Manifest | None = None,
    class_name: str | None = None,
    layer: str | None = None,
    classes: AnyPath | None = None,
    segments: int | None = None,
    root: AnyPath | None = None,
    box: AnyRegion | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ExplainResult:
    """Show where a model looks in a video (Grad-CAM), and where and when its gates send features to other frames.

    Args:
        model: A .safetensors model or a released checkpoint, which are put on this machine's accelerator; or a model
            in eval mode, where it is.
        video: A video file or a folder of frames, of which one clip of center crops is explained.
        out: Folder to write: of a video gates.png, evidence.png and overlay.gif; of a list openness.png and
            openness.csv; and explain.html. It must not exist.
        videos: A list or a folder of videos, on which it is measured how far gates are open.
        class_name: The class of the Grad-CAM map; None for the likeliest.
        layer: The layer of the Grad-CAM map; None for the last that has places.
        classes: A file of names, one a line, for the class numbers of a released checkpoint.
        segments: Frames per clip (T); None for as many as in training.
        root: Where relative paths of a list start; None for its own folder.
        box: The region of the picture, as of :func:`gateshift.predict`; that of a list's column ``box`` wins.
        workers: Processes that load the list's videos; 0 loads in this one; None for one fewer than there are cores.
        overwrite: Write into ``out`` if it exists, and replace files of these names.
        progress: Called with the number of the list's videos that are done, and of all, after each batch.

    Raises:
        SettingsError: If arguments contradict each other, there is no such class, or the folder exists.
        ModelError: If the model cannot be loaded or looked into, or there is no such layer.
        ManifestError: If the list cannot be used.
        VideoError: If a video cannot be read.
    """
    out = Path(out)
    check_open(model)
    _check(video, videos, {"class_name": class_name, "layer": layer}, out, overwrite=overwrite)
    name = "model" if isinstance(model, VideoClassifier) else Path(model).name
    if not isinstance(model, VideoClassifier):
        model = put_on_device(load_open(Path(model), classes=None if classes is None else Path(classes)))
    region = choose_box(model.config, box)
    # What can be wrong with what was given is found before the folder is made.
    found = openness = None
    if video is not None:
        clip, numbers = _read_clip(model, Path(video), segments, region)
        found = explain_clip(model, clip, numbers, class_name=class_name, layer=layer)
    listed = videos if videos is None or isinstance(videos, Manifest) else read_videos(videos, root=root)
    listed = None if listed is None else listed.with_box(region)
    if listed is not None:
        openness = gate_openness(model, _clips(model, listed, segments, workers, progress or (lambda *_: None)))
    out.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []
    if found is not None and video is not None:
        sections += write_explanation(found, out, title=Path(video).name)
    if openness is not None and listed is not None:
        title, directions = f"{name} on {listed.source.name}", gate_directions(model)
        sections.append(write_openness(openness, out, title=title, directions=directions))
    page = out / "explain.html"
    shown = listed.source if video is None and listed is not None else video
    write_text(page, render_page(f"{name}: {shown}", sections))
    return ExplainResult(page, found, openness, sections)


def _check(
    video: AnyPath | None,
    videos: AnyPath | Manifest | None,
    of_video: Mapping[str, object],
    out: Path,
    *,
    overwrite: bool,
) -> None:
    """Raise SettingsError if arguments contradict each other, or the folder exists."""
    if video is None and videos is None:
        raise SettingsError("neither `video` nor `videos` was given; name a video after the model, or a list, or both")
    for name, value in of_video.items():
        if video is None and value is not None:
            raise SettingsError(f"`{name}` was given without `video`; it is about one video; name one, or leave it out")
    if out.exists() and not overwrite:
        raise SettingsError(f"`out` {out} exists; choose another folder, or add `overwrite=True`")
    if out.exists() and not out.is_dir():
        raise SettingsError(f"`out` {out}: is a file; choose a folder")


def _read_clip(
    model: VideoClassifier, path: Path, segments: int | None, box: Region | None
) -> tuple[Tensor, list[int]]:
    """The clip of a video, uint8 [T, 3, size, size], and which frames it consists of."""
    config = model.config
    protocol = choose_protocol(config, segments=segments, clips=1, crops=1)
    with open_video(path, square_pixels=config.square_pixels, box=box) as video:
        clip = read_views(video, protocol, size_px=config.size_px, resize_px=config.resize_px)[0]
        return clip, protocol.frame_indices(video.num_frames)[0]


def _clips(
    model: VideoClassifier,
    manifest: Manifest,
    segments: int | None,
    workers: int | None,
    progress: Callable[[int, int], None],
) -> Iterator[Tensor]:
    """Batches of one clip of each video, on the model's device."""
    config, done = model.config, 0
    if config.temporal not in ("gsm", "gsf"):
        raise SettingsError(
            f"`videos` {manifest.source}, for a model with {config.temporal!r}, which has no gates to measure; "
            "give one with gsm or gsf, or a video alone"
        )
    manifest.check_files()
    protocol = choose_protocol(config, segments=segments, clips=1, crops=1)
    views = ViewDataset(
        manifest, protocol, size_px=config.size_px, resize_px=config.resize_px, square_pixels=config.square_pixels
    )
    device = next(model.parameters()).device
    for batch in read_batches(make_loader(views, batch_size=BATCH_SIZE, workers=workers)):
        if batch["failures"]:
            raise VideoError(batch["failures"][0])
        yield batch["views"][:, 0].to(device)
        done += len(batch["views"])
        progress(done, len(manifest))
