"""Clips in, logits out: normalise, 2D backbone with temporal modules, classifier, consensus over time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.model.backbones.factory import create_backbone, fit_size
from gateshift.model.checkpoints import load_imagenet
from gateshift.model.clips import take_clips
from gateshift.model.config import ModelConfig
from gateshift.model.deploy.fold import fold_backbone
from gateshift.model.surgery.insert import check_temporal, insert_temporal, set_num_frames
from gateshift.model.temporal.causal import make_causal
from gateshift.model.temporal.clip_length import ClipLength
from gateshift.model.temporal.site import describe_sites


class ClipClassifier(nn.Module):
    """What a :class:`VideoClassifier` and its deployed form have in common: a description, and how clips go in.

    Attributes:
        config: Everything needed to build this model again and to feed it.
        backbone: The 2D network, frames [N, 3, H, W] in, features [N, F] out; temporal modules inside.
        head: The classifier on features.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Linear, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.head = head
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.config.classes

    def normalise(self, frames: Tensor) -> Tensor:
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
        return self.normalise(frames)


class VideoClassifier(ClipClassifier):
    """A 2D network that classifies clips: [B, T, 3, H, W] -> logits [B, K].

    Clips are uint8 RGB, or float in 0..1; the model converts, orders channels and normalises itself. Each
    frame gets its logits, which are averaged over the T frames of the clip (consensus of TSN, ECCV 2016).
    T may differ from call to call, and threads may call a model at once.

    Args:
        backbone: Frames [N, 3, H, W] in, features [N, F] out.
        num_features: F.
        config: See the attribute.

    Attributes:
        config: Everything needed to build this model again and to feed it.
        backbone: The 2D network, temporal modules inside.
        made_with: What stood at each of its sites when it was created; see :func:`describe_sites`.
        head: The classifier on each frame's features.
    """

    def __init__(self, backbone: nn.Module, num_features: int, config: ModelConfig) -> None:
        super().__init__(backbone, nn.Linear(num_features, len(config.classes)), config)
        self.made_with = describe_sites(backbone)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)

    def forward(self, clips: Tensor | NDArray[Any]) -> Tensor:
        """Classify clips.

        Args:
            clips: [B, T, 3, H, W], uint8 RGB or float in 0..1; any T. A NumPy array is taken too.

        Returns:
            Logits [B, K].

        Raises:
            ModelError: If shape, type or range is another.
        """
        clips = take_clips(clips, self.mean.device)
        num_frames = clips.shape[1]
        if self.training and torch.is_grad_enabled():
            # Whatever computes activations again in the backward pass, such as timm's checkpointing, asks the modules.
            set_num_frames(self.backbone, num_frames)
        frame_logits = self.head(self.dropout(self.frame_features(clips)))  # [N, K]
        return frame_logits.unflatten(0, (-1, num_frames)).mean(1)  # [B, K]

    def deploy(self, *, dtype: torch.dtype | None = None) -> DeployedClassifier:
        """A copy for inference that is called the same way and gives the same logits, faster.

        Where torch.fx cannot follow the network's forward, a warning says so, and the copy is no faster.

        Args:
            dtype: Of the backbone, the model's own by default; torch.bfloat16 costs digits and is faster where the
                machine computes in it.
        """
        return DeployedClassifier(self, dtype)


class DeployedClassifier(ClipClassifier):
    """A :class:`VideoClassifier` folded for inference, in eval mode; see :mod:`gateshift.model.deploy.fold`.

    Memory is channels-last. It can be compiled and exported; what is trained and saved is the model it was made of.
    """

    def __init__(self, model: VideoClassifier, dtype: torch.dtype | None) -> None:
        super().__init__(fold_backbone(model.backbone), copy.deepcopy(model.head), model.config)
        self.mean, self.std = model.mean.clone(), model.std.clone()
        self.dtype = model.head.weight.dtype if dtype is None else dtype
        self.backbone.to(model.head.weight.device, self.dtype).to(memory_format=torch.channels_last)
        self.to(model.head.weight.device).requires_grad_(False).eval()

    def forward(self, clips: Tensor | NDArray[Any]) -> Tensor:
        """Classify clips; see :meth:`VideoClassifier.forward`."""
        clips = take_clips(clips, self.mean.device)
        features = self.frame_features(clips)  # [N, F]
        # The classifier is linear: averaging before it is the consensus after it.
        return self.head(features.to(self.head.weight.dtype).unflatten(0, (-1, clips.shape[1])).mean(1))  # [B, K]

    def prepared(self, frames: Tensor) -> Tensor:
        return self.normalise(frames).to(self.dtype)

    def train(self, mode: bool = True) -> DeployedClassifier:
        if mode:
            raise ModelError("a deployed model cannot be trained; train the model that it was made of")
        super().train(False)
        return self


def create_model(
    backbone: str,
    temporal: str = "gsm",
    *,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
    weights: str | Path | None = None,
    num_sites: int | None = None,
    ratio: float | None = None,
    interleave: bool | None = None,
    dropout: float = 0.5,
    size_px: int | None = None,
    num_segments: int | None = None,
    causal: bool = False,
    drop_path: float = 0.0,
) -> VideoClassifier:
    """Build a video classifier around a 2D backbone.

    Args:
        backbone: "bninception" or "inceptionv3", as in the papers, any timm name, or "torchvision/NAME".
        temporal: "gsm" (CVPR 2020), "gsf" (TPAMI 2023), "tsm" (ICCV 2019), or "none" for a temporal segment network.
        num_classes: K; may be left out where ``classes`` is given.
        classes: Class names in the order of the logits; "0", "1", ... where left out.
        weights: Where the backbone starts: "imagenet" (timm's own weights), or the path or URL of a file.
        num_sites: How many of the backbone's sites, the last ones, get a temporal module; all where left out. With 0
            the network is a temporal segment network.
        ratio: Share of the channels at each site that go through the temporal module. Default: see
            :func:`gateshift.insert_temporal`.
        interleave: Whether gate-shift mixes channels. Default: as the family's published networks.
        dropout: Probability before the classifier.
        size_px: Side of the input square, where it is not the backbone's published one.
        num_segments: Frames of a clip in training, kept as the test protocol of the saved model.
        causal: Let the temporal modules look only back, for streams without delay; see
            :mod:`gateshift.model.temporal.causal`.
        drop_path: Stochastic depth in training, from 0 up to 1; a saved model does not keep it.

    Returns:
        The model, in training mode. Its temporal modules send nothing yet.

    Raises:
        ModelError: If a name is unknown, or the numbers do not fit each other.
    """
    names = _class_names(num_classes, classes)
    check_temporal(temporal)
    _check_numbers(dropout, drop_path, num_segments)
    parts = create_backbone(backbone, imagenet=weights == "imagenet", drop_path=drop_path)
    if weights is not None and weights != "imagenet":
        load_imagenet(parts.net, backbone, weights)
    if size_px is not None:
        fit_size(parts.net, backbone, size_px)
    report = insert_temporal(parts.net, temporal, num_sites=num_sites, ratio=ratio, interleave=interleave)
    if causal:
        make_causal(parts.net)
    config = ModelConfig(
        backbone=backbone,
        temporal=report.temporal,
        classes=names,
        interleave=report.interleave,
        dropout=dropout,
        size_px=size_px or parts.size_px,
        mean=parts.mean,
        std=parts.std,
        bgr=parts.bgr,
        num_segments=num_segments,
        ratio=report.ratio,
        causal=causal,
        num_sites=len(report.sites) if report.num_left else None,
    )
    return VideoClassifier(parts.net, parts.num_features, config)


def _check_numbers(dropout: float, drop_path: float, num_segments: int | None) -> None:
    for name, number in (("dropout", dropout), ("drop-path", drop_path)):
        if not 0 <= number < 1:
            raise ModelError(f"{name} {number}; it is a probability from 0 up to, not including, 1; lower it")
    if num_segments is not None and num_segments < 1:
        raise ModelError(f"num_segments={num_segments}; a clip has at least 1 frame; raise it")


def _class_names(num_classes: int | None, classes: Sequence[str] | None) -> tuple[str, ...]:
    if classes is None:
        if num_classes is None or num_classes < 1:
            raise ModelError(f"num_classes={num_classes}; give num_classes=K, at least 1, or classes=[names]")
        return tuple(str(index) for index in range(num_classes))
    names = tuple(classes)
    if not all(isinstance(name, str) for name in names):
        raise ModelError(f"class names {names[:3]}; names are text; convert them")
    if isinstance(classes, str) or not names or len(set(names)) != len(names):
        raise ModelError(f"{len(names)} class names, {len(set(names))} different; give a list of different names")
    if num_classes is not None and num_classes != len(names):
        raise ModelError(f"num_classes={num_classes} but {len(names)} class names; leave num_classes out")
    return names
