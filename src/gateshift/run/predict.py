"""Say what happens in videos: one record for each, bad ones too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from gateshift.data.dataset import read_views
from gateshift.data.mirror import mirror_map
from gateshift.data.video import find_videos, open_video
from gateshift.data.views import Protocol
from gateshift.errors import SettingsError, VideoError
from gateshift.model.classifier import VideoClassifier
from gateshift.run.evaluate import score_views
from gateshift.run.export import ExportedModel


@dataclass(frozen=True)
class Prediction:
    """What a model says of one video, or why it could not be read.

    Attributes:
        video: Its path.
        top: The likeliest classes and their probabilities, likeliest first.
        error: One line, or None.
    """

    video: str
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as it stands in JSON."""
        top = [{"class": name, "probability": probability} for name, probability in self.top]
        return {"video": self.video, "top": top, "error": self.error}


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


@torch.inference_mode()
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
    if top < 1:
        raise SettingsError(f"--top {top}; name at least 1 class")
    config = model.config
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    swap = mirror_map(config.classes, config.mirror_pairs).to(device)
    for path in videos:
        try:
            with open_video(path) as video:
                views = read_views(video, protocol, size_px=config.size_px, resize_px=config.resize_px)
        except VideoError as error:
            yield Prediction(str(path), error=str(error))
            continue
        logits = score_views(model, views.unsqueeze(0).to(device), protocol, swap)[0]  # [K]
        best = logits.softmax(0).topk(min(top, len(config.classes)))
        named = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        yield Prediction(str(path), tuple((config.classes[index], value) for index, value in named))
