"""Test a model on labelled videos by a protocol: each video once, whatever the batches and processes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, gather_object
from torch import Tensor, nn

from gateshift.data.dataset import TestViews, make_loader
from gateshift.data.manifest import Manifest
from gateshift.data.mirror import mirror_map
from gateshift.data.sampling import ShortVideos
from gateshift.data.views import Protocol, merge_views
from gateshift.errors import ModelError, SettingsError, VideoError
from gateshift.model.config import ModelConfig
from gateshift.run.scores import Scores


def create_accelerator(precision: str) -> Accelerator:
    """Devices, processes and precision of a run; batch sizes are those of all processes together.

    Raises:
        SettingsError: If this machine cannot compute in that precision.
    """
    try:
        return Accelerator(
            # Without this, processes launched on a machine with no GPU would not know of each other.
            cpu=not torch.accelerator.is_available(),
            mixed_precision=precision,
            dataloader_config=DataLoaderConfiguration(split_batches=True, even_batches=True),
        )
    except ValueError as error:
        raise SettingsError(f"--precision {precision}: {error}; try --precision no") from error


def choose_protocol(
    config: ModelConfig,
    *,
    segments: int | None = None,
    clips: int | None = None,
    crops: int | None = None,
    short_videos: ShortVideos = "spread",
) -> Protocol:
    """How a model is tested: as asked, and else as the model says.

    Raises:
        SettingsError: If neither says how many frames a clip has, or a number is out of range.
    """
    segments = config.num_segments if segments is None else segments
    if segments is None:
        raise SettingsError("a released checkpoint does not say how many frames it takes; give --segments, such as 8")
    clips = config.num_clips if clips is None else clips
    crops = config.num_crops if crops is None else crops
    return Protocol(segments, clips, crops, short_videos)


def check_classes(config: ModelConfig, manifest: Manifest) -> None:
    """Raise ModelError or ManifestError unless a model's classes have names, and the list's labels are among them."""
    if not config.named:
        raise ModelError(
            "a released checkpoint has no class names, and classes are not matched by number alone; name them by "
            "--classes FILE, such as the release's category.txt, or fetch the model by gateshift download"
        )
    manifest.label_indices(config.classes)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    config: ModelConfig,
    manifest: Manifest,
    protocol: Protocol,
    accelerator: Accelerator,
    *,
    batch_size: int,
    workers: int | None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Scores:
    """Score every video of a list.

    Args:
        model: [B, T, 3, H, W] -> [B, K], on the accelerator's device; left in eval mode.
        config: Its description.
        manifest: Labelled videos, each listed once.
        protocol: The views of each video.
        accelerator: Of this process; every process ends with all scores.
        batch_size: Videos of one batch, over all processes.
        workers: Loader processes; None for as many as suit the machine.
        on_batch: Called with the number of videos in each finished batch.

    Raises:
        VideoError: If a video cannot be read.
        ManifestError: If a label is not one of the model's classes, or a video is listed twice.
    """
    check_classes(config, manifest)
    manifest.check_unique()
    views = TestViews(manifest, config.classes, protocol, size_px=config.size_px, resize_px=config.resize_px)
    loader = accelerator.prepare(make_loader(views, batch_size=batch_size, workers=workers))
    swap = mirror_map(config.classes, config.mirror_pairs).to(accelerator.device)
    model.eval()
    found: dict[int, Tensor] = {}
    for batch in loader:
        if batch["failures"]:
            raise VideoError(batch["failures"][0])
        with accelerator.autocast():
            logits = score_views(model, batch["views"], protocol, swap)
        found.update(zip(batch["indices"].tolist(), logits.float().cpu(), strict=True))
        on_batch(len(logits) * accelerator.num_processes)
    if accelerator.num_processes > 1:
        # The last batch is filled up with the first videos so that processes agree; by index they count once.
        found = dict(gather_object(list(found.items())))
    logits = torch.stack([found[index] for index in range(len(manifest))])
    ids = tuple(entry.video_id for entry in manifest.entries)
    return Scores(ids, np.array(views.labels, dtype=np.int64), logits.numpy(), config.classes, str(protocol))


def score_views(model: nn.Module, views: Tensor, protocol: Protocol, swap: Tensor) -> Tensor:
    """Merged logits of videos: uint8 [B, V, T, 3, s, s] -> [B, K]."""
    logits = model(views.flatten(0, 1)).unflatten(0, (-1, protocol.num_views))  # [B, V, K]
    return merge_views(logits, protocol, swap)
