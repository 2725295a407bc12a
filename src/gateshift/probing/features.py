"""Features of a network that is not trained: what it sees in a clip, how much that changes, and which way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Subset

from gateshift.data.clips.dataset import ViewDataset
from gateshift.data.clips.loader import make_loader, read_batches
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.manifest import Manifest
from gateshift.errors import VideoError
from gateshift.model.classifier import VideoClassifier


def over_time(frame_features: Tensor) -> Tensor:
    """A clip's features from those of its frames: their mean, change and movement, [B, T, F] -> [B, 3 * F].

    Change is the mean difference of successive frames without its sign; movement is how much larger the feature is in
    the second half of the clip than in the first, with its sign, which is turned where the clip is played backwards.

    >>> over_time(torch.tensor([[[1.0], [2.0], [5.0], [4.0]]])).tolist()
    [[3.0, 1.6666666269302368, 3.0]]
    """
    num_frames = frame_features.shape[1]
    early, late = frame_features[:, : (num_frames + 1) // 2], frame_features[:, num_frames // 2 :]
    change = frame_features.diff(dim=1).abs().mean(1) if num_frames > 1 else torch.zeros_like(frame_features[:, 0])
    return torch.cat([frame_features.mean(1), change, late.mean(1) - early.mean(1)], 1)


@torch.inference_mode()
def clip_features(
    model: VideoClassifier,
    videos: Manifest,
    places: Sequence[int],
    *,
    num_segments: int,
    batch_size: int,
    workers: int | None,
) -> tuple[NDArray[np.float32], list[int]]:
    """Features of the center crop of one clip of each wanted video that can be read.

    Args:
        model: In eval mode.
        videos: A list.
        places: Of its videos that are wanted.
        num_segments: T.
        batch_size: Videos that go through the network at once.
        workers: Processes that load; None for as many as training takes.

    Returns:
        Features [V, 3 * F] as of :func:`over_time`, and the places of these V videos.

    Raises:
        VideoError: If no video can be read.
    """
    config, device = model.config, model.mean.device
    views = ViewDataset(
        videos,
        EvalProtocol(num_segments),
        size_px=config.size_px,
        resize_px=config.resize_px,
        square_pixels=config.square_pixels,
    )
    features, read, failure = [], [], ""
    for batch in read_batches(make_loader(Subset(views, places), batch_size=batch_size, workers=workers)):
        failure = (batch["failures"] or [failure])[0]
        if "views" in batch:
            clips = batch["views"].flatten(0, 1).to(device)  # [B, T, 3, H, W]: a view of each
            of_frames = model.frame_features(clips).unflatten(0, (len(clips), num_segments))  # [B, T, F]
            features.append(over_time(of_frames.float()).cpu().numpy())
            read += batch["indices"].tolist()
    if not features:
        raise VideoError(failure)
    return np.concatenate(features), read
