"""Say what happens in videos: one record for each, bad ones too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from gateshift.data.dataset import read_views
from gateshift.data.mirror import mirror_map
from gateshift.data.video import find_videos, open_video
from gateshift.data.views import Protocol
from gateshift.errors import SettingsError, VideoError
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.run.evaluate import score_views
from gateshift.run.export import ExportedModel


@dataclass(frozen=True)
class Prediction:
    """What a model says of one video, or why it could not be read.

    Attributes:
        video: Its path.
        top: The likeliest classes and their probabilities, likeliest first.
        error: One line, or None.
        unsure: Whether the likeliest class is less likely than the model asks of an answer.
    """

    video: str
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    unsure: bool = False

    @property
    def label(self) -> str | None:
        """The answer: the likeliest class; None where the model is unsure, or the video could not be read."""
        return None if self.unsure or not self.top else self.top[0][0]

    def to_dict(self) -> dict[str, Any]:
        """The record as it stands in JSON."""
        top = [{"class": name, "probability": probability} for name, probability in self.top]
        return {"video": self.video, "label": self.label, "top": top, "error": self.error}


def collect_videos(paths: Iterable[Path]) -> list[Path]:
    """The videos meant by files, frame folders and folders of videos, in the order given.

    A path that is nothing, or a folder without videos, stands for itself: reading it says what is wrong.
    """
    videos: list[Path] = []
    for path in paths:
        videos += (find_videos(path) if path.is_dir() else []) or [path]
    return videos


Model = TypeVar("Model", bound=torch.nn.Module)


def put_on_device(model: Model) -> Model:
    """Put a model on this machine's accelerator, if it has one; an exported file stays where it runs."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return model if found is None else model.to(found)


def predict(
    model: VideoClassifier | ExportedModel, videos: Sequence[Path], protocol: Protocol, *, top: int = 5
) -> Iterator[Prediction]:
    """Classify videos, one after the other.

    Args:
        model: In eval mode.
        videos: Video files or frame folders.
        protocol: The views of each video.
        top: How many classes to name.

    Yields:
        A record for each video, in order; one that cannot be read has its error.

    Raises:
        SettingsError: If ``top`` is below 1.
    """
    check_top(top)
    config = model.config
    for path in videos:
        try:
            with open_video(path) as video:
                views = read_views(video, protocol, size_px=config.size_px, resize_px=config.resize_px)
        except VideoError as error:
            yield Prediction(str(path), error=str(error))
            continue
        likeliest = classify(model, views, protocol, top=top)
        yield Prediction(str(path), likeliest, unsure=is_unsure(config, likeliest))


def check_top(top: int) -> None:
    """Raise SettingsError unless at least one class is to be named."""
    if top < 1:
        raise SettingsError(f"--top {top}; name at least 1 class")


def is_unsure(config: ModelConfig, top: Sequence[tuple[str, float]]) -> bool:
    """Whether the first of these classes and probabilities is less likely than a model asks of an answer."""
    return config.abstain_below is not None and top[0][1] < config.abstain_below


@torch.inference_mode()
def classify(
    model: VideoClassifier | ExportedModel, views: Tensor, protocol: Protocol, *, top: int
) -> tuple[tuple[str, float], ...]:
    """The likeliest classes of one video and their probabilities, likeliest first.

    Args:
        model: In eval mode.
        views: uint8 [V, T, 3, size_px, size_px], as :func:`gateshift.data.dataset.read_views` gives them.
        protocol: Of these views.
        top: How many classes, at least 1; no more than there are.
    """
    config = model.config
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    swap = mirror_map(config.classes, config.mirror_pairs).to(device)
    logits = score_views(model, views.unsqueeze(0).to(device), protocol, swap)[0]  # [K]
    best = logits.softmax(0).topk(min(top, len(config.classes)))
    named = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return tuple((config.classes[index], value) for index, value in named)
