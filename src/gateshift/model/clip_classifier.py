"""What every classifier of clips has: a description, and ways to be given videos, frames and clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import IO, TYPE_CHECKING, Any, overload

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.model.config import ModelConfig
from gateshift.model.temporal.clip_length import ClipLength
from gateshift.model.temporal.frame_head import FrameHead

if TYPE_CHECKING:
    from gateshift.devices import AnyPrecision
    from gateshift.prediction.predict import Prediction


class PredictsVideos:
    """What a model of clips does with whole videos, also one that was exported."""

    @overload
    def predict(  # type: ignore[overload-overlap]  # bytes, arrays and files can be iterated over, and are one video
        self,
        source: str | PathLike[str] | bytes | IO[bytes] | Tensor | NDArray[Any],
        *,
        batch_size: int = 1,
        workers: int = 0,
        top: int = 5,
        segments: int | None = None,
        clips: int | None = None,
        crops: int | None = None,
        precision: AnyPrecision = "no",
        box: str | Sequence[float] | None = None,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        source: Iterable[Any],
        *,
        batch_size: int = 1,
        workers: int = 0,
        top: int = 5,
        segments: int | None = None,
        clips: int | None = None,
        crops: int | None = None,
        precision: AnyPrecision = "no",
        box: str | Sequence[float] | None = None,
    ) -> Iterator[Prediction]: ...

    def predict(
        self,
        source: Any,
        *,
        batch_size: int = 1,
        workers: int = 0,
        top: int = 5,
        segments: int | None = None,
        clips: int | None = None,
        crops: int | None = None,
        precision: AnyPrecision = "no",
        box: str | Sequence[float] | None = None,
    ) -> Prediction | Iterator[Prediction]:
        """Classify videos; see :func:`gateshift.prediction.predict.predict_with`.

        Args:
            source: A path, an address, bytes, a file object, or frames [n, H, W, 3] as of :meth:`transform`; or several
                of these.
            batch_size: How many videos go through the network at once.
            workers: How many threads decode the next videos while the network runs.
            top: How many classes to name.
            segments: Frames of a clip; this and what follows are the model's own where left out.
            clips: Clips of each video, whose answers are averaged.
            crops: Crops of each clip, whose answers are averaged: 1, 3, 5 or 10.
            precision: "no", "bf16", "fp16" or "auto".
            box: The region of the picture, x0, y0, x1, y1 as shares of it or in pixels.

        Returns:
            The prediction of one video, or an iterator with that of each.
        """
        from gateshift.prediction.predict import predict_with

        model: Any = self  # a ClipClassifier or an exported file
        return predict_with(
            model,
            source,
            batch_size=batch_size,
            workers=workers,
            top=top,
            segments=segments,
            clips=clips,
            crops=crops,
            precision=precision,
            box=box,
        )


class ClipClassifier(PredictsVideos, nn.Module):
    """What a :class:`VideoClassifier` and its deployed form have in common: a description, and how clips go in.

    Args:
        backbone: See the attribute.
        head: See the attribute.
        config: Everything needed to build this model again and to feed it.

    Attributes:
        backbone: The 2D network, frames [N, 3, H, W] in, features [N, F] out; temporal modules inside.
        head: The classifier on features, or the head over time of a network that answers for each frame.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Linear | FrameHead, config: ModelConfig) -> None:
        super().__init__()
        self._config = config
        self.backbone = backbone
        self.head: Any = head
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    @property
    def config(self) -> ModelConfig:
        """Everything needed to build this model again and to feed it."""
        return self._config

    @property
    def head_dtype(self) -> torch.dtype:
        """Of the head's weights; a deployed model's backbone may have another."""
        return next(self.head.parameters()).dtype

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.config.classes

    def normalize(self, frames: Tensor) -> Tensor:
        """Pixels as the backbone was trained on them: uint8 or float 0..1 [N, 3, H, W] -> [N, 3, H, W]."""
        pixels = frames.to(self.mean.dtype)
        if frames.dtype != torch.uint8:
            pixels = pixels * 255
        if self.config.bgr:
            pixels = pixels.flip(1)
        return (pixels - self.mean) / self.std

    def frame_features(self, clips: Tensor) -> Tensor:
        """Features of every frame of clips [B, T, 3, H, W], clip after clip: [B * T, F]."""
        with ClipLength(clips.shape[1]):
            return self.backbone(self.prepared(clips.flatten(0, 1)))

    def prepared(self, frames: Tensor) -> Tensor:
        """What the backbone takes of frames [N, 3, H, W]."""
        return self.normalize(frames)

    def transform(self, frames: Tensor | NDArray[Any], *, segments: int | None = None) -> Tensor:
        """The clip that this model takes of a video's frames: what a test with one clip and one crop feeds it.

        Args:
            frames: [n, H, W, 3] RGB, uint8 or float in 0..1 (which is rounded to uint8); any n, H and W.
            segments: T, one frame from the middle of each of T equal parts; as the model was trained where left out.

        Returns:
            uint8 [T, 3, size_px, size_px]; ``model(clip[None])`` classifies it.

        Raises:
            VideoError: If shape, type or range is another.
            ModelError: If nothing says T.
            SettingsError: If T is below 1.
        """
        from gateshift.data.clips.dataset import read_views
        from gateshift.data.clips.views import EvalProtocol
        from gateshift.prediction.inputs import FramesInMemory

        num_segments = self.config.num_segments if segments is None else segments
        if num_segments is None:
            raise ModelError("this model does not say how many frames a clip has; give a number, such as `segments=8`")
        config = self.config
        with FramesInMemory(frames) as video:
            video.box = config.box
            views = read_views(
                video, EvalProtocol(num_segments), size_px=config.size_px, resize_px=config.resize_px
            )  # [1, T, 3, size_px, size_px]
        return views[0]
