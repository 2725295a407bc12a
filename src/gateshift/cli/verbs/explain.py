"""What the verb explain does with its settings, and prints: of one video, of a list of videos.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from gateshift.errors import SettingsError, VideoError
from gateshift.explanation.settings import ExplainSettings
from gateshift.terminal import make_bar, print_line

if TYPE_CHECKING:
    from torch import Tensor

    from gateshift.drawing.html_page import Section
    from gateshift.explanation.output import Explanation
    from gateshift.model.classifier import VideoClassifier

BATCH_SIZE = 4


def run_explain(settings: ExplainSettings) -> None:
    """Verb ``explain``."""
    from gateshift.devices import put_on_device
    from gateshift.drawing.html_page import render_page
    from gateshift.explanation.gate_maps import gate_directions
    from gateshift.explanation.output import write_explanation, write_openness
    from gateshift.exporting.loading import load_open
    from gateshift.files import write_text

    settings.check()
    model = put_on_device(load_open(settings.model, classes=settings.classes))
    # What can be wrong with what was given is found before the folder is made.
    found = None if settings.video is None else _explain(settings, model, settings.video)
    openness = None if settings.list is None else _measure(settings, model, settings.list)
    settings.out.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []
    if found is not None and settings.video is not None:
        name = settings.video.name
        sections += write_explanation(found, settings.out, title=name)
    if openness is not None and settings.list is not None:
        title, directions = f"{settings.model.name} on {settings.list.name}", gate_directions(model)
        sections.append(write_openness(openness, settings.out, title=title, directions=directions))
    for section in sections:
        _print_table(section)
    page = settings.out / "explain.html"
    write_text(page, render_page(f"{settings.model.name}: {settings.video or settings.list}", sections))
    print_line(f"page: {page}")


def _print_table(section: Section) -> None:
    if section.rows:
        first, *others = section.columns
        table = Table(first, *(Column(name, justify="right") for name in others), title=section.title)
        for row in section.rows:
            table.add_row(*row)
        Console(markup=False).print(table)  # class names may have brackets


def _measure(settings: ExplainSettings, model: VideoClassifier, videos: Path) -> dict[str, Tensor]:
    from gateshift.data.clips.dataset import ViewDataset
    from gateshift.data.clips.loader import make_loader, read_batches
    from gateshift.data.lists.manifest import read_videos
    from gateshift.evaluation.protocol import choose_protocol
    from gateshift.explanation.gate_maps import gate_openness

    if model.config.temporal not in ("gsm", "gsf"):
        raise SettingsError(
            f"--list {videos}, for a model with {model.config.temporal!r}, which has no gates to measure; "
            "give one with gsm or gsf, or a video alone"
        )
    manifest = read_videos(videos, root=settings.root)
    manifest.check_files()
    protocol = choose_protocol(model.config, segments=settings.segments, clips=1, crops=1)
    config = model.config
    views = ViewDataset(
        manifest,
        protocol,
        size_px=config.size_px,
        resize_px=config.resize_px,
        square_pixels=config.square_pixels,
    )
    device = next(model.parameters()).device
    with make_bar(Console(stderr=True)) as bar:
        task = bar.add_task("measuring gates", total=len(manifest), note=f"{len(manifest)} videos")

        def batches() -> Iterator[Tensor]:
            for batch in read_batches(make_loader(views, batch_size=BATCH_SIZE, workers=settings.workers)):
                if batch["failures"]:
                    raise VideoError(batch["failures"][0])
                yield batch["views"][:, 0].to(device)
                bar.advance(task, len(batch["views"]))

        return gate_openness(model, batches())


def _explain(settings: ExplainSettings, model: VideoClassifier, path: Path) -> Explanation:
    from gateshift.data.clips.dataset import read_views
    from gateshift.data.video.files import open_video
    from gateshift.evaluation.protocol import choose_protocol
    from gateshift.explanation.output import explain_clip

    protocol = choose_protocol(model.config, segments=settings.segments, clips=1, crops=1)
    with open_video(path, square_pixels=model.config.square_pixels) as video:
        clip = read_views(video, protocol, size_px=model.config.size_px, resize_px=model.config.resize_px)[0]
        numbers = protocol.frame_indices(video.num_frames)[0]
    return explain_clip(model, clip, numbers, class_name=settings.class_name, layer=settings.layer)
