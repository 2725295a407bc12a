"""Clips in, logits out: normalize, 2D backbone with temporal modules, classifier, consensus over time.

Where each frame is to have an answer, a head over time stands in the place of classifier and consensus.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.model.backbones.factory import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Triple,
    check_features,
    check_network,
    create_backbone,
    fit_size,
)
from gateshift.model.checkpoints import load_imagenet
from gateshift.model.clip_classifier import ClipClassifier as ClipClassifier
from gateshift.model.clips import take_clips
from gateshift.model.config import OWN, ModelConfig, class_names, given_fields
from gateshift.model.deploy.fold import fold_backbone
from gateshift.model.motion_start import MOTION, load_motion
from gateshift.model.surgery.insert import (
    InsertReport,
    check_temporal,
    find_temporal,
    insert_temporal,
    set_num_frames,
)
from gateshift.model.temporal.causal import is_causal, make_causal
from gateshift.model.temporal.frame_head import FrameHead

DEFAULT_LOOK_AHEAD = 8  # frames, of the head "tcn"


class VideoClassifier(ClipClassifier):
    """A 2D network that classifies clips: [B, T, 3, H, W] -> logits [B, K].

    Clips are uint8 RGB, or float in 0..1; the model converts, orders channels and normalizes itself. Each
    frame gets its logits, which are averaged over the T frames of the clip (consensus of TSN, ECCV 2016).
    T may differ from call to call, and threads may call a model at once.

    With the task "spot" or "segment" every frame has an answer: [B, T, 3, H, W] -> logits [B, T, K + 1], of which the
    first is of nothing. With displacement there is one more number behind them: how many frames later the event is.

    Args:
        backbone: Frames [N, 3, H, W] in, features [N, F] out.
        num_features: F.
        config: Everything needed to build this model again and to feed it.

    Attributes:
        backbone: The 2D network, temporal modules inside.
        head: The classifier on each frame's features, or the head over time.
    """

    def __init__(self, backbone: nn.Module, num_features: int, config: ModelConfig) -> None:
        super().__init__(backbone, _new_head(num_features, config), config)
        self.dropout = nn.Dropout(config.dropout)

    @classmethod
    def wrap(
        cls,
        net: nn.Module,
        num_features: int,
        *,
        num_classes: int | None = None,
        classes: Sequence[str] | None = None,
        temporal: str | None = None,
        sites: Sequence[str] | None = None,
        size_px: int = 224,
        mean: Triple = IMAGENET_MEAN,
        std: Triple = IMAGENET_STD,
        bgr: bool = False,
        dropout: float = 0.5,
        num_segments: int | None = None,
        num_clips: int = 1,
        num_crops: int = 1,
        mirror_pairs: Sequence[tuple[str, str]] = (),
        multi_label: bool = False,
        whole_frame: bool = False,
        square_pixels: bool = False,
        box: Sequence[float] | None = None,
    ) -> VideoClassifier:
        """Build a video classifier around a network of your own; what is not said here is as of :func:`create_model`.

        :func:`gateshift.save_model` saves it, and ``load_model(path, backbone=net)`` loads it with a network that was
        made as this one was.

        Args:
            net: Frames [N, 3, size_px, size_px] in, features [N, num_features] out, without a classifier.
            num_features: F.
            num_classes: K; may be left out where ``classes`` is given.
            classes: Class names in the order of the logits.
            temporal: Put this temporal module into the net, in place. None keeps the net as it is, with the modules
                that :func:`gateshift.insert_temporal` has put into it, if any.
            sites: Names of convolutions that get a module, in a net of no known family.
            size_px: Side of the input square.
            mean: Subtracted from pixels in 0..255, in the net's channel order; ImageNet's by default.
            std: What the difference is divided by.
            bgr: Whether the net takes blue first.
            dropout: Probability before the classifier.
            num_segments: Frames of a clip in training.
            num_clips: Clips of a video that the model is tested on.
            num_crops: Crops of each.
            mirror_pairs: Pairs of classes that swap when a clip is mirrored.
            multi_label: Whether a video may be of several classes at once, or of none.
            whole_frame: Whether the square is the whole frame.
            square_pixels: Whether pixels that are not square are made so.
            box: The region of the picture that the model sees.

        Raises:
            ModelError: If something is out of range, or the net's features are others than ``num_features``.
        """
        fields = given_fields(
            num_classes,
            classes,
            mirror_pairs,
            dropout=dropout,
            num_segments=num_segments,
            num_clips=num_clips,
            num_crops=num_crops,
            multi_label=multi_label,
            whole_frame=whole_frame,
            square_pixels=square_pixels,
            box=None if box is None else tuple(box),
            size_px=size_px,
            mean=tuple(mean),
            std=tuple(std),
            bgr=bgr,
        )
        if max(mean) <= 1 and max(std) < 1:
            raise ModelError(
                f"`mean` {mean} and `std` {std} are of pixels in 0..1; give those of 0..255: 255 times these"
            )
        check_network(net)
        if temporal is None:
            report = find_temporal(net)
            sites = report.names
        else:
            report = insert_temporal(net, temporal, sites=sites)
        check_features(net, num_features, size_px)
        name = f"{OWN}{type(net).__name__}"
        config = ModelConfig(name, causal=is_causal(net), **_placement(report, sites), **fields)
        return cls(net, num_features, config)

    def forward(self, clips: Tensor | NDArray[Any]) -> Tensor:
        """Classify clips.

        Args:
            clips: [B, T, 3, H, W], uint8 RGB or float in 0..1; any T. A NumPy array is taken too.

        Returns:
            Logits [B, K]; of each frame [B, T, K + 1] with the task "spot" or "segment".

        Raises:
            ModelError: If shape, type or range is another.
        """
        clips = take_clips(clips, self.mean.device)
        num_frames = clips.shape[1]
        if self.training and torch.is_grad_enabled():
            # Whatever computes activations again in the backward pass, such as timm's checkpointing, asks the modules.
            set_num_frames(self.backbone, num_frames)
        features = self.frame_features(clips)  # [N, F]
        if self.config.is_dense:
            return self.head(features.unflatten(0, (-1, num_frames)))  # [B, T, K + 1]
        frame_logits = self.head(self.dropout(features))  # [N, K]
        return frame_logits.unflatten(0, (-1, num_frames)).mean(1)  # [B, K]

    def reset_classifier(self, classes: Sequence[str] | None = None, *, num_classes: int | None = None) -> None:
        """Give the model a new classifier, for other classes; the rest keeps what it has learned.

        What depended on the old classes goes with them: pairs that swap in a mirror, and the confidence threshold.

        Args:
            classes: Names in the order of the logits; "0", "1", ... where left out.
            num_classes: K; may be left out where ``classes`` is given.

        Raises:
            ModelError: If there is no class, or one is named twice.
        """
        names = class_names(num_classes, classes)
        pairs = tuple(pair for pair in self.config.mirror_pairs if set(pair) <= set(names))
        self._config = dataclasses.replace(
            self.config, classes=names, named=True, mirror_pairs=pairs, abstain_below=None
        )
        last = self.head.linear if isinstance(self.head, FrameHead) else self.head
        fresh = _new_linear(last.in_features, _num_answers(self.config)).to(last.weight.device, last.weight.dtype)
        if isinstance(self.head, FrameHead):
            self.head.linear = fresh.train(self.training)
        else:
            self.head = fresh.train(self.training)

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        metrics: Any = None,
        license: str | None = None,
        message: str = "Upload a gateshift model",
    ) -> str:
        """Put the model on the Hugging Face Hub, with a model card; see :func:`gateshift.published.hub.push`.

        Args:
            repo: "user/name"; made if it is not there.
            private: Whether a new repository can be seen by its owner alone; None leaves it to the owner's settings.
            token: That may write; by default what ``hf auth login`` has saved, or HF_TOKEN.
            metrics: What is known of the model's accuracy, for the card: such as ``{"top-1": 0.512}``, or what
                :func:`gateshift.evaluate` gives, of which the card also has the most confused classes, or what
                :func:`gateshift.evaluate_frames` gives.
            license: The model's, such as "apache-2.0", for the card.
            message: Of the commit.

        Returns:
            The address of the commit's page.

        Raises:
            ModelError: If the model cannot be saved, or the Hub cannot be reached or refuses.
        """
        from gateshift.published.hub import push

        return push(self, repo, private=private, token=token, metrics=metrics, license=license, message=message)

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
        own = next(model.head.parameters())
        self.dtype = own.dtype if dtype is None else dtype
        self.backbone.to(own.device, self.dtype).to(memory_format=torch.channels_last)
        self.to(own.device).requires_grad_(False).eval()

    def forward(self, clips: Tensor | NDArray[Any]) -> Tensor:
        """Classify clips; see :meth:`VideoClassifier.forward`."""
        clips = take_clips(clips, self.mean.device)
        features = self.frame_features(clips).to(self.head_dtype).unflatten(0, (-1, clips.shape[1]))  # [B, T, F]
        # The classifier is linear: averaging before it is the consensus after it.
        return self.head(features if self.config.is_dense else features.mean(1))

    def prepared(self, frames: Tensor) -> Tensor:
        return self.normalize(frames).to(self.dtype)

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
    weights: str | PathLike[str] | None = None,
    sites: Sequence[str] | None = None,
    num_sites: int | None = None,
    ratio: float | None = None,
    interleave: bool | None = None,
    causal: bool = False,
    dropout: float = 0.5,
    drop_path: float = 0.0,
    size_px: int | None = None,
    num_segments: int | None = None,
    num_clips: int = 1,
    num_crops: int = 1,
    mirror_pairs: Sequence[tuple[str, str]] = (),
    multi_label: bool = False,
    whole_frame: bool = False,
    square_pixels: bool = False,
    box: Sequence[float] | None = None,
    task: Literal["clip", "spot", "segment"] = "clip",
    head: Literal["gru", "gru-forward", "tcn", "none"] | None = None,
    fps: float | None = None,
    look_ahead: int | None = None,
    displacement: int = 0,
) -> VideoClassifier:
    """Build a video classifier around a 2D backbone.

    Args:
        backbone: "bninception" or "inceptionv3", as in the papers, any timm name, or "torchvision/NAME".
        temporal: "gsm" (CVPR 2020), "gsf" (TPAMI 2023), "tsm" (ICCV 2019), or "none" for a temporal segment network.
        num_classes: K; may be left out where ``classes`` is given.
        classes: Class names in the order of the logits; "0", "1", ... where left out.
        weights: Where the backbone starts: "imagenet" (timm's own weights), the path or URL of a file, or "motion":
            this library's own weights of tf_efficientnet_lite0 with gate-shift, which come with it and know motion from
            drawn clips; with "none" and "tsm" as temporal module, the backbone alone starts there.
        sites: Names of convolutions that get a temporal module, instead of those of the backbone's family.
        num_sites: How many of the family's sites, the last ones, get a temporal module; all where left out. With 0
            the network is a temporal segment network.
        ratio: Share of the channels at each site that go through the temporal module, above 0 and up to 1. Default:
            see :func:`gateshift.insert_temporal`.
        interleave: Whether gate-shift mixes channels. Default: as the family's published networks.
        causal: Let the temporal modules look only back, for streams without delay; see
            :mod:`gateshift.model.temporal.causal`.
        dropout: Probability before the classifier, from 0 up to, not including, 1.
        drop_path: Stochastic depth in training, from 0 up to, not including, 1; a saved model does not keep it.
        size_px: Side of the input square, where it is not the backbone's published one.
        num_segments: Frames of a clip in training. This and what follows is kept in the saved model.
        num_clips: Clips of a video that the model is tested on.
        num_crops: Crops of each of these clips: 1, 3, 5 or 10.
        mirror_pairs: Pairs of classes that swap when a clip is mirrored.
        multi_label: Whether a video may be of several classes at once, or of none.
        whole_frame: Whether the square is the whole frame, its sides resized apart, and not cut out of it.
        square_pixels: Whether frames whose pixels are not square are resized first, so that they are.
        box: x0, y0, x1, y1 of the region of the picture that the model sees, of a fixed camera: shares of it if all are
            up to 1, else whole pixels; all of it where left out.
        task: What has an answer: "clip", or each frame of it: "spot" for events, which have a time, "segment" for what
            goes on from a time to another.
        head: Of the last two, what goes from frame to frame behind the backbone: "gru" (as E2E-Spot, the default),
            "gru-forward", "tcn" or "none"; see :class:`gateshift.model.temporal.frame_head.FrameHead`.
        fps: Frames a second that such a network sees, whatever the rate of a video.
        look_ahead: Frames after its own that an answer of "tcn" depends on, up to 31; 8 where left out.
        displacement: Train each frame up to so many frames from an event to say how far that is; 0 for none.

    Returns:
        The model, in training mode. Its temporal modules send nothing yet, unless they start from "motion".

    Raises:
        ModelError: If a name is unknown, or the numbers do not fit each other.
    """
    fields = given_fields(
        num_classes,
        classes,
        mirror_pairs,
        dropout=dropout,
        num_segments=num_segments,
        num_clips=num_clips,
        num_crops=num_crops,
        multi_label=multi_label,
        whole_frame=whole_frame,
        square_pixels=square_pixels,
        box=None if box is None else tuple(box),
        task=task,
        head=head or ("none" if task == "clip" else "gru"),
        fps=fps,
        look_ahead=(DEFAULT_LOOK_AHEAD if head == "tcn" else 0) if look_ahead is None else look_ahead,
        displacement=displacement,
    )
    check_temporal(temporal)
    parts = create_backbone(backbone, imagenet=weights == "imagenet", drop_path=drop_path)
    if weights not in (None, "imagenet", MOTION):
        load_imagenet(parts.net, backbone, weights)
    if size_px is not None:
        fit_size(parts.net, backbone, size_px)
    report = insert_temporal(parts.net, temporal, sites=sites, num_sites=num_sites, ratio=ratio, interleave=interleave)
    if causal:
        make_causal(parts.net)
    if weights == MOTION:
        load_motion(parts.net, backbone, report, causal=causal)
    feeding: dict[str, Any] = {
        "size_px": size_px or parts.size_px,
        "mean": parts.mean,
        "std": parts.std,
        "bgr": parts.bgr,
    }
    config = ModelConfig(backbone, causal=causal, **_placement(report, sites), **feeding, **fields)
    return VideoClassifier(parts.net, parts.num_features, config)


def _placement(report: InsertReport, sites: Sequence[str] | None) -> dict[str, Any]:
    """What a :class:`ModelConfig` says of the temporal modules that were put in."""
    return {
        "temporal": report.temporal,
        "interleave": report.interleave,
        "ratio": report.ratio,
        "num_sites": len(report.sites) if report.num_left else None,
        "sites": None if sites is None or not report.sites else tuple(sites),
    }


def _num_answers(config: ModelConfig) -> int:
    """How many numbers an answer has."""
    return len(config.classes) + (1 + (config.displacement > 0) if config.is_dense else 0)


def _new_head(num_features: int, config: ModelConfig) -> nn.Linear | FrameHead:
    if not config.is_dense:
        return _new_linear(num_features, _num_answers(config))
    return FrameHead(
        num_features, _num_answers(config), kind=config.head, look_ahead=config.look_ahead, dropout=config.dropout
    )


def _new_linear(num_features: int, num_answers: int) -> nn.Linear:
    linear = nn.Linear(num_features, num_answers)
    nn.init.normal_(linear.weight, std=0.001)
    nn.init.zeros_(linear.bias)
    return linear
