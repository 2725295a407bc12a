"""How a model is tested: its protocol, and the logits of the views that it asks for."""

from __future__ import annotations

from torch import Tensor, nn

from gateshift.data.choices import ShortVideos
from gateshift.data.clips.views import EvalProtocol, merge_views
from gateshift.data.lists.manifest import Manifest
from gateshift.data.regions import AnyRegion, Region, region_of
from gateshift.errors import ModelError, SettingsError
from gateshift.model.config import ModelConfig


def choose_protocol(
    config: ModelConfig,
    *,
    segments: int | None = None,
    clips: int | None = None,
    crops: int | None = None,
    short_videos: ShortVideos = "spread",
) -> EvalProtocol:
    """How a model is tested: as asked, and else as the model says.

    Raises:
        SettingsError: If neither says how many frames a clip has, a number is out of range, or there shall be
            several crops of whole frames.
        ModelError: If the model answers for each frame, and not for clips.
    """
    if config.is_dense:
        raise ModelError(
            f"this model answers for each frame (`task={config.task}`), and not for clips; find what happens in a "
            "recording by `events`, test it by `gateshift test`, and stream it with `exact=True`"
        )
    segments = config.num_segments if segments is None else segments
    if segments is None:
        raise SettingsError("this model does not say how many frames a clip has; give `segments`, such as 8")
    clips = config.num_clips if clips is None else clips
    crops = config.num_crops if crops is None else crops
    if config.whole_frame and crops != 1:
        raise SettingsError(f"`crops` {crops}; this model sees whole frames, each of which is one crop; take `crops=1`")
    return EvalProtocol(segments, clips, crops, short_videos)


def choose_box(config: ModelConfig, box: AnyRegion | None) -> Region | None:
    """The region of the picture that a model sees: as asked, and else as the model says; None for all of it.

    Raises:
        SettingsError: If it is no region.
    """
    return config.box if box is None else region_of(box)


def check_classes(config: ModelConfig, manifest: Manifest) -> None:
    """Raise ModelError or ManifestError unless a model's classes have names, and the list's labels are among them."""
    if not config.named:
        raise ModelError(
            "a released checkpoint has no class names, and classes are not matched by number alone; name them by "
            "`classes`, such as the release's category.txt, or fetch the model by gateshift download"
        )
    manifest.targets(config.classes)


def score_views(model: nn.Module, views: Tensor, protocol: EvalProtocol, swap: Tensor) -> Tensor:
    """Merged logits of videos: uint8 [B, V, T, 3, s, s] -> [B, K]."""
    return merge_views(view_logits(model, views, protocol), protocol, swap)


def view_logits(model: nn.Module, views: Tensor, protocol: EvalProtocol) -> Tensor:
    """Logits of each view as it is shown, mirrored or not: uint8 [B, V, T, 3, s, s] -> [B, V, K]."""
    return model(views.flatten(0, 1)).unflatten(0, (-1, protocol.num_views))
