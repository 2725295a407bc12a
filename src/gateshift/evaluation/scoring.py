"""Score a list of videos with a network: each video once, whatever the batches and processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gateshift.data.clips.dataset import Sample, ViewDataset
from gateshift.data.clips.loader import make_loader, read_batches
from gateshift.data.clips.views import EvalProtocol, merge_views, turn_mirrored
from gateshift.data.lists.class_pairs import mirror_map
from gateshift.data.lists.manifest import Manifest
from gateshift.errors import SettingsError, VideoError
from gateshift.evaluation.protocol import check_classes, view_logits
from gateshift.evaluation.scores import Scores
from gateshift.model.config import ModelConfig
from gateshift.recipes.options import Precision

if TYPE_CHECKING:
    from accelerate import Accelerator

AUTOCAST: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, eq=False)
class Scored:
    """What a network made of a list.

    Attributes:
        scores: Of the videos that could be read.
        choices: The class that each view alone would have chosen: int64 [videos, clips, crops].
        skipped: Why other videos could not be read, by their id.
    """

    scores: Scores
    choices: NDArray[np.int64]
    skipped: Mapping[str, str]


@torch.inference_mode()
def score_videos(
    model: nn.Module,
    config: ModelConfig,
    manifest: Manifest,
    protocol: EvalProtocol,
    *,
    batch_size: int = 4,
    workers: int | None = None,
    precision: Precision = "no",
    skip_bad: int = 0,
    on_batch: Callable[[int], None] = lambda _: None,
    accelerator: Accelerator | None = None,
) -> Scored:
    """Score the videos of a list, and remember what each view of them chose.

    Args:
        model: [B, T, 3, H, W] -> [B, K]; left in eval mode.
        config: Its description.
        manifest: Labelled videos, each listed once.
        protocol: The views of each video.
        batch_size: Videos of one batch, over all processes.
        workers: Loader processes; None for as many as suit the machine.
        precision: Mixed precision, where no accelerator says so.
        skip_bad: Skip up to so many unreadable videos, and list them.
        on_batch: Called with the number of videos in each finished batch.
        accelerator: Of this process, where several share the list: the model is on its device, and every process ends
            with all scores. None scores on the model's own device.

    Raises:
        VideoError: If more videos than may be skipped cannot be read, or all.
        SettingsError: If an argument is out of range.
        ManifestError: If a label is not one of the model's classes, or a video is listed twice.
    """
    if skip_bad < 0:
        raise SettingsError(f"`skip_bad` {skip_bad}; it must be at least 0; try the default")
    check_classes(config, manifest)
    manifest.check_unique()
    views = ViewDataset(
        manifest, protocol, size_px=config.size_px, resize_px=config.resize_px, square_pixels=config.square_pixels
    )
    loader, num_processes = make_loader(views, batch_size=batch_size, workers=workers), 1
    if accelerator is None:
        device = _device_of(model)
        context = _autocast(device, precision)
    else:
        device, num_processes, context = accelerator.device, accelerator.num_processes, accelerator.autocast
        loader = _shared(loader, accelerator)
    swap = mirror_map(config.classes, config.mirror_pairs).to(device)
    model.eval()
    found: dict[int, tuple[Tensor, Tensor]] = {}  # logits [K] and choices [V]
    failures: dict[int, str] = {}
    for batch in read_batches(loader):
        failures.update(zip(batch["failed"], batch["failures"], strict=True))
        _check_failures(failures, skip_bad)
        if "views" in batch:
            with context():
                logits = view_logits(model, batch["views"].to(device, non_blocking=True), protocol).float()  # [B, V, K]
            merged = merge_views(logits, protocol, swap)  # [B, K]
            choices = turn_mirrored(logits, protocol, swap).argmax(-1)  # [B, V]
            rows = zip(merged.cpu(), choices.cpu(), strict=True)
            found.update(zip(batch["indices"].tolist(), rows, strict=True))
        on_batch((len(batch["failed"]) + len(batch.get("indices", ()))) * num_processes)
    if num_processes > 1:
        from accelerate.utils import gather_object

        # The last batch is filled up with the first videos so that processes agree; by index they count once.
        found, failures = (dict(gather_object(list(part.items()))) for part in (found, failures))
        _check_failures(failures, skip_bad)
    return _put_together(found, failures, views, config, protocol)


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise SettingsError unless a device computes in this precision."""
    if precision == "fp16" and device.type == "cpu":
        raise SettingsError(f"`precision={precision}` needs a GPU; take `precision=bf16` or `precision=no`")


def _device_of(model: nn.Module) -> torch.device:
    """Where a model's weights are; an exported file has none, and runs on the CPU."""
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))


def _autocast(device: torch.device, precision: Precision) -> Callable[[], torch.autocast]:
    check_precision(precision, device)
    return lambda: torch.autocast(device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def _shared(
    loader: torch.utils.data.DataLoader[Sample], accelerator: Accelerator
) -> torch.utils.data.DataLoader[Sample]:
    """This process's part of a loader; not by accelerator.prepare, which keeps every loader for good."""
    from accelerate.data_loader import prepare_data_loader

    return prepare_data_loader(
        loader,
        accelerator.device,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        split_batches=accelerator.split_batches,
        put_on_device=True,
        even_batches=accelerator.even_batches,
    )


def _check_failures(failures: Mapping[int, str], limit: int) -> None:
    if len(failures) <= limit:
        return
    *_, reason = failures.values()
    if limit == 0:
        raise VideoError(reason)
    raise VideoError(
        f"`skip_bad={limit}`: {len(failures)} videos cannot be read, the last: {reason}; raise it, or correct the list"
    )


def _put_together(
    found: Mapping[int, tuple[Tensor, Tensor]],
    failures: Mapping[int, str],
    views: ViewDataset,
    config: ModelConfig,
    protocol: EvalProtocol,
) -> Scored:
    """Results by the videos' places in the list, in its order."""
    entries = views.manifest.entries
    read = [place for place in range(len(entries)) if place in found]
    if not read:
        raise VideoError(f"none of the {len(entries)} videos can be read; the first: {failures[0]}")
    scores = Scores(
        tuple(entries[place].video_id for place in read),
        views.manifest.targets(config.classes)[read],
        torch.stack([found[place][0] for place in read]).numpy(),
        config.classes,
        str(protocol),
    )
    choices = torch.stack([found[place][1] for place in read]).unflatten(1, (protocol.num_clips, protocol.num_crops))
    skipped = {entries[place].video_id: failures[place] for place in sorted(failures)}
    return Scored(scores, choices.numpy(), skipped)
