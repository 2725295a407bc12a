"""Say what happens in videos: one record for each, bad ones too."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.class_pairs import mirror_map
from gateshift.data.video.files import open_video
from gateshift.data.video.folders import FolderSearch
from gateshift.data.video.sources import Source, is_source, name_of
from gateshift.errors import VideoError
from gateshift.evaluation.protocol import score_views
from gateshift.exporting.loading import ExportedModel
from gateshift.model.classifier import ClipClassifier
from gateshift.model.config import ModelConfig
from gateshift.prediction.settings import check_top


@dataclass(frozen=True)
class Prediction:
    """What a model says of one video, or why it could not be read.

    Attributes:
        video: Its path, or what it is called.
        top: The likeliest classes and their probabilities, likeliest first.
        error: One line, or None.
        unsure: Whether the likeliest class is less likely than the model asks of an answer.
        labels: Of a model of several labels a video, the classes that are likelier than not, likeliest first; None of
            any other.
    """

    video: str
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    unsure: bool = False
    labels: tuple[str, ...] | None = None

    @property
    def label(self) -> str | None:
        """The answer: the likeliest class; None where the model is unsure, or the video shows none or is not read."""
        return None if self.unsure or not self.top or self.labels == () else self.top[0][0]

    def to_dict(self) -> dict[str, Any]:
        """The record as it stands in JSON."""
        top = [{"class": name, "probability": probability} for name, probability in self.top]
        several = {} if self.labels is None else {"labels": list(self.labels)}
        return {"video": self.video, "label": self.label, **several, "top": top, "error": self.error}


def collect_videos(paths: Iterable[Path | str], search: FolderSearch | None = None) -> list[Path | str]:
    """The videos meant by files, frame folders, folders of videos and addresses, in the order given.

    A path that is nothing, or a folder without videos or that may not be read, stands for itself: reading it says what
    is wrong. ``search`` keeps in mind what in the folders is no video.
    """
    search = FolderSearch() if search is None else search
    videos: list[Path | str] = []
    for path in paths:
        found: Sequence[Path | str] = []
        with suppress(VideoError):
            found = search.videos(path) if os.path.isdir(path) else []  # noqa: PTH112 - Path.is_dir raises
        videos += found or [path]
    return videos


def predict(
    model: ClipClassifier | ExportedModel, videos: Source | Iterable[Source], protocol: EvalProtocol, *, top: int = 5
) -> Iterator[Prediction]:
    """Classify videos, one after the other.

    Args:
        model: In eval mode.
        videos: Whatever :func:`gateshift.data.video.files.open_video` opens, one or several: video files, frame
            folders, bytes, file objects, addresses.
        protocol: The views of each video.
        top: How many classes to name.

    Yields:
        A record for each video, in order; one that cannot be read has its error.

    Raises:
        SettingsError: If ``top`` is below 1.
    """
    check_top(top)
    config = model.config
    several: Iterable[Source] = [videos] if is_source(videos) else cast("Iterable[Source]", videos)
    for source in several:
        name = name_of(source)
        try:
            with open_video(source, square_pixels=config.square_pixels) as video:
                views = read_views(video, protocol, size_px=config.size_px, resize_px=config.resize_px)
        except VideoError as error:
            yield unread(name, config, error)
            continue
        yield classify(model, views, protocol, video=name, top=top)


def unread(video: str, config: ModelConfig, error: VideoError) -> Prediction:
    """The record of a video that could not be read."""
    return Prediction(video, error=str(error), labels=() if config.multi_label else None)


@torch.inference_mode()
def classify(
    model: ClipClassifier | ExportedModel, views: Tensor, protocol: EvalProtocol, *, video: str, top: int
) -> Prediction:
    """The record of one video.

    Args:
        model: In eval mode.
        views: uint8 [V, T, 3, size_px, size_px], as :func:`gateshift.data.clips.dataset.read_views` gives them.
        protocol: Of these views.
        video: What the record calls it.
        top: How many classes, at least 1; no more than there are.
    """
    config = model.config
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    swap = mirror_map(config.classes, config.mirror_pairs).to(device)
    logits = score_views(model, views.unsqueeze(0).to(device), protocol, swap)[0]  # [K]
    probabilities = config.probabilities(logits)
    likeliest = config.likeliest(probabilities, top)
    unsure = config.abstain_below is not None and likeliest[0][1] < config.abstain_below
    return Prediction(video, likeliest, unsure=unsure, labels=found_labels(config, probabilities))


def found_labels(config: ModelConfig, probabilities: Tensor) -> tuple[str, ...] | None:
    """The classes that are likelier than not, likeliest first, of probabilities [K]; None of a model of one label."""
    if not config.multi_label:
        return None
    order = probabilities.argsort(descending=True).tolist()
    return tuple(config.classes[index] for index in order if probabilities[index] > 0.5)
