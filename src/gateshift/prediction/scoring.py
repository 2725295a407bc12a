"""Views of videos in, predictions out: what every way to predict does alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.class_pairs import mirror_map
from gateshift.data.regions import AnyRegion
from gateshift.data.video.protocol import Video
from gateshift.devices import AnyPrecision
from gateshift.errors import VideoError, check_whole
from gateshift.evaluation.fast_form import Autocast, ChosenPrecision, device_of, fast_form
from gateshift.evaluation.protocol import choose_box, choose_protocol, score_views
from gateshift.exported.loading import ExportedModel, config_of
from gateshift.model.classifier import ClipClassifier
from gateshift.model.config import ModelConfig
from gateshift.prediction.inputs import VideoInput, open_input

AnyModel = ClipClassifier | ExportedModel | Autocast | ChosenPrecision


@dataclass(frozen=True)
class Prediction:
    """What a model says of one video, or why it could not be read.

    Attributes:
        video: Its path, or what it is called.
        top: The likeliest classes and their probabilities, likeliest first.
        error: One line, or None.
        unsure: Whether the likeliest class is less likely than the model's confidence threshold.
        labels: Of a model of several labels a video, the classes that are likelier than not, likeliest first; None of
            any other.
        probabilities: float32 [K] in 0..1, in the order of the model's classes, on the CPU; None with an error.
    """

    video: str
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    unsure: bool = False
    labels: tuple[str, ...] | None = None
    probabilities: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str | None:
        """The answer: the likeliest class; None where the model is unsure, or the video shows none or is not read."""
        return None if self.unsure or not self.top or self.labels == () else self.top[0][0]

    def to_dict(self) -> dict[str, Any]:
        """The record as it stands in JSON, without the probabilities of all classes."""
        top = [{"class": name, "probability": probability} for name, probability in self.top]
        several = {} if self.labels is None else {"labels": list(self.labels)}
        return {"video": self.video, "label": self.label, **several, "top": top, "error": self.error}


class VideoScorer:
    """A model, and the views that it is shown of each video. Threads may share one.

    Args:
        model: In eval mode.
        top: How many classes a prediction names. This and what follows is as in ``predict_with``.

    Attributes:
        config: Of the model.
        protocol: The views of each video.

    Raises:
        ModelError: If the model is in training mode.
        SettingsError: If a number is out of range, or nothing says how many frames a clip has.
    """

    def __init__(
        self,
        model: AnyModel,
        *,
        top: int = 5,
        segments: int | None = None,
        clips: int | None = None,
        crops: int | None = None,
        precision: AnyPrecision = "no",
        box: AnyRegion | None = None,
    ) -> None:
        check_top(top)
        self.config: ModelConfig = config_of(model)
        self.protocol: EvalProtocol = choose_protocol(self.config, segments=segments, clips=clips, crops=crops)
        self._top = top
        self._box = choose_box(self.config, box)
        self._model = fast_form(model, precision)
        self._device = device_of(model)
        self._swap = mirror_map(self.config.classes, self.config.mirror_pairs).to(self._device)

    def read(self, video: VideoInput) -> Tensor:
        """The views of a video, uint8 [V, T, 3, size_px, size_px].

        Raises:
            VideoError: If it cannot be read.
        """
        with open_input(video, square_pixels=self.config.square_pixels, box=self._box) as opened:
            return self.views(opened)

    def views(self, video: Video) -> Tensor:
        """The views of an open video, uint8 [V, T, 3, size_px, size_px].

        Raises:
            VideoError: If it cannot be read.
        """
        return read_views(video, self.protocol, size_px=self.config.size_px, resize_px=self.config.resize_px)

    def predict(self, videos: Sequence[tuple[str, Tensor | VideoError]]) -> list[Prediction]:
        """Predictions of videos, in one forward pass.

        Args:
            videos: What each is called, and its views or why it could not be read.
        """
        views = [found.movedim(-3, -1) for _, found in videos if isinstance(found, Tensor)]
        rows = iter(self._probabilities(torch.stack(views).movedim(-1, -3)) if views else ())
        return [
            self._record(name, next(rows)) if isinstance(found, Tensor) else self._failure(name, found)
            for name, found in videos
        ]

    @torch.inference_mode()
    def _probabilities(self, views: Tensor) -> Tensor:
        """Of videos with views uint8 [B, V, T, 3, s, s]: float32 [B, K], on the CPU."""
        logits = score_views(self._model, views.to(self._device), self.protocol, self._swap)  # [B, K]
        return self.config.probabilities(logits).cpu()

    def _record(self, name: str, probabilities: Tensor) -> Prediction:
        config = self.config
        likeliest = config.likeliest(probabilities, self._top)
        unsure = config.abstain_below is not None and likeliest[0][1] < config.abstain_below
        labels = found_labels(config, probabilities)
        return Prediction(name, likeliest, unsure=unsure, labels=labels, probabilities=probabilities.clone())

    def _failure(self, name: str, error: VideoError) -> Prediction:
        return Prediction(name, error=str(error), labels=() if self.config.multi_label else None)


def check_top(top: int) -> None:
    """Raise SettingsError unless at least one class is to be named."""
    check_whole("top", top, least=1, advice="name at least 1 class")


def found_labels(config: ModelConfig, probabilities: Tensor) -> tuple[str, ...] | None:
    """The classes that are likelier than not, likeliest first, of probabilities [K]; None of a model of one label."""
    if not config.multi_label:
        return None
    order = probabilities.argsort(descending=True).tolist()
    return tuple(config.classes[index] for index in order if probabilities[index] > 0.5)
