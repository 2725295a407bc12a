"""Videos as tensors: the pieces of this room put together for torch's DataLoader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gateshift.data.draws import spread_seed
from gateshift.data.entries import Entry
from gateshift.data.manifest import Manifest
from gateshift.data.sampling import segment_indices
from gateshift.data.transforms import (
    mirror,
    random_brightness,
    random_crop,
    random_erasing,
    random_operations,
    reverse,
)
from gateshift.data.video import Video, open_video
from gateshift.data.views import Protocol
from gateshift.errors import SettingsError, VideoError

Sample = dict[str, Any]


@dataclass(frozen=True)
class Augmentation:
    """How training clips are varied.

    Attributes:
        size_px: Side of the training square.
        num_segments: T.
        mirror_map: [K], what each class becomes in a mirror.
        may_mirror: [K], whether clips of each class are mirrored, half of the time.
        brightness: Largest relative change of brightness and of contrast, 0 for none.
        reversal_map: [K], what each class becomes when half of its clips are played backwards; -1 for a class of
            which none is, None where no clip is.
        magnitude: Of RandAugment's operations, 0 for none.
        erasing: Probability that a rectangle is greyed out.
    """

    size_px: int
    num_segments: int
    mirror_map: Tensor
    may_mirror: Tensor
    brightness: float = 0.0
    reversal_map: Tensor | None = None
    magnitude: int = 0
    erasing: float = 0.0

    def vary(self, frames: Tensor, label: int, *, generator: torch.Generator) -> tuple[Tensor, int]:
        """Crop and vary one clip: uint8 [T, 3, H, W] -> [T, 3, size_px, size_px], with the label that it then has."""
        clip = random_crop(frames, size_px=self.size_px, generator=generator)
        if torch.rand((), generator=generator) < 0.5 and self.may_mirror[label]:
            clip, label = mirror(clip), int(self.mirror_map[label])
        if self.brightness:
            clip = random_brightness(clip, amount=self.brightness, generator=generator)
        # What follows is drawn last, and only where it is on: the draws above are those of a training without it.
        if self.reversal_map is not None:
            backwards, reversed_label = torch.rand((), generator=generator) < 0.5, int(self.reversal_map[label])
            if backwards and reversed_label >= 0:
                clip, label = reverse(clip), reversed_label
        if self.magnitude:
            clip = random_operations(clip, magnitude=self.magnitude, generator=generator)
        if self.erasing:
            clip = random_erasing(clip, probability=self.erasing, generator=generator)
        return clip, label


class TrainingClips(Dataset[Sample]):
    """One random clip of each video: random frames in its segments, varied as :class:`Augmentation` says.

    What is drawn depends on the seed, the epoch and the index alone, so a run is the same with any number
    of workers, and one that was stopped goes on as if it had not been. An index past the videos is one of them
    again, for samplers that take a video several times in an epoch: ``index + len(clips)`` is another clip of it.

    A sample is ``clips`` uint8 [T, 3, size, size] with ``labels`` and ``indices``, or ``failure``, one line, with
    ``indices``.
    """

    def __init__(self, manifest: Manifest, classes: Sequence[str], augmentation: Augmentation, *, seed: int) -> None:
        self.manifest = manifest
        self.labels = np.array(manifest.label_indices(classes))  # in columns, as the entries are
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(spread_seed(self.seed, self.epoch, index))
        index %= len(self)
        try:
            with open_entry(self.manifest.entries[index]) as video:
                picked = segment_indices(video.num_frames, self.augmentation.num_segments, jitter=generator)
                frames = video.read(picked.tolist())  # [T, 3, H, W]
        except VideoError as error:
            return {"failure": str(error), "indices": index}
        clip, label = self.augmentation.vary(frames, int(self.labels[index]), generator=generator)
        return {"clips": clip, "labels": label, "indices": index}


class TestViews(Dataset[Sample]):
    """All views of each video, the same every time.

    A sample is ``views`` uint8 [V, T, 3, size, size] with ``labels`` and ``indices``, or ``failure`` with ``indices``.
    """

    __test__ = False  # not a test of pytest

    def __init__(
        self, manifest: Manifest, classes: Sequence[str], protocol: Protocol, *, size_px: int, resize_px: int
    ) -> None:
        self.manifest = manifest
        self.labels = np.array(manifest.label_indices(classes))  # in columns, as the entries are
        self.protocol = protocol
        self.size_px = size_px
        self.resize_px = resize_px

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> Sample:
        try:
            with open_entry(self.manifest.entries[index]) as video:
                views = read_views(video, self.protocol, size_px=self.size_px, resize_px=self.resize_px)
        except VideoError as error:
            return {"failure": str(error), "indices": index}
        return {"views": views, "labels": int(self.labels[index]), "indices": index}


def open_entry(entry: Entry) -> Video:
    """Open the video, or the part of it, that a manifest's entry names."""
    return open_video(entry.path, start_s=entry.start_s, end_s=entry.end_s, num_frames=entry.num_frames)


def read_views(video: Video, protocol: Protocol, *, size_px: int, resize_px: int) -> Tensor:
    """All views of a video.

    Args:
        video: An open one.
        protocol: How many clips of how many frames, and which crops.
        size_px: Side of a crop.
        resize_px: Short side that frames are resized to before.

    Returns:
        uint8 RGB [V, T, 3, size_px, size_px], clip after clip, the crops of a clip together.

    Raises:
        VideoError: If a frame that is wanted cannot be read.
    """
    clips = protocol.frame_indices(video.num_frames)
    frames = video.read([index for clip in clips for index in clip])  # [clips * T, 3, H, W]
    crops = protocol.crops(frames, size_px=size_px, resize_px=resize_px)  # [crops, clips * T, 3, s, s]
    by_clip = crops.unflatten(1, (protocol.num_clips, -1)).transpose(0, 1)  # [clips, crops, T, 3, s, s]
    return by_clip.flatten(0, 1)  # [V, T, 3, s, s]


class EpochShuffle(Sampler[int]):
    """A new order in each epoch, that depends on the seed and the epoch alone."""

    def __init__(self, length: int, *, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(spread_seed(self.seed, self.epoch))
        return iter(torch.randperm(self.length, generator=generator).tolist())


class BalancedShuffle(EpochShuffle):
    """As many videos in each epoch as :class:`EpochShuffle`, of each class as many, or one more.

    Of a class with more videos than that, other ones each epoch; of one with fewer, every video several times, as
    indices past the videos (see :class:`TrainingClips`).

    Args:
        labels: The class of each video; classes without a video get no share.
        seed: Of the draws.
    """

    def __init__(self, labels: NDArray[np.int64], *, seed: int) -> None:
        super().__init__(len(labels), seed=seed)
        self.groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng(spread_seed(self.seed, self.epoch))
        shares = np.full(len(self.groups), self.length // len(self.groups))
        shares[draw.permutation(len(shares))[: self.length % len(shares)]] += 1
        taken = [_rounds(group, share, self.length, draw) for group, share in zip(self.groups, shares, strict=True)]
        return iter(draw.permutation(np.concatenate(taken)).tolist())


def _rounds(group: NDArray[np.int64], count: int, length: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Indices of a group, each once in each round, in a random order; those of the nth round are past n lengths."""
    num_rounds = -(-count // len(group))
    rounds = [draw.permutation(group) + number * length for number in range(num_rounds)]
    return np.concatenate([np.empty(0, np.int64), *rounds])[:count]


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples to a batch; of failures, never dropped, ``failures`` has the lines and ``failed`` the indices.

    Frames stay as the decoders wrote them and as convolutions like them best, with the channels of a pixel side by
    side: they are copied once, whole, into the memory that the processes share.
    """
    failed = [sample for sample in samples if "failure" in sample]
    good = [_map_frames(sample, lambda frames: frames.movedim(-3, -1)) for sample in samples if "failure" not in sample]
    batch = torch.utils.data.default_collate(good) if good else {}
    lines, indices = ([sample[name] for sample in failed] for name in ("failure", "indices"))
    return {**_map_frames(batch, lambda frames: frames.movedim(-1, -3)), "failures": lines, "failed": indices}


def _map_frames(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    return {name: change(value) if name in ("clips", "views") else value for name, value in sample.items()}


MAX_DEFAULT_WORKERS = 8


def default_workers() -> int:
    """How many processes load videos: a core for each but one, which trains; at least 1, at most 8.

    Where a training is several processes, each gets its share of the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by accelerate launch and torchrun
    return min(max(cores // processes - 1, 1), MAX_DEFAULT_WORKERS)


def make_loader(
    dataset: Dataset[Sample], *, batch_size: int, workers: int | None, sampler: Sampler[int] | None = None
) -> DataLoader[Sample]:
    """A DataLoader over clips or views; for ``workers`` None stands for :func:`default_workers`.

    Raises:
        SettingsError: If the batch size is below 1 or the number of workers below 0.
    """
    if batch_size < 1:
        raise SettingsError(f"batch size {batch_size}; give at least 1")
    if workers is None:
        workers = default_workers()
    if workers < 0:
        raise SettingsError(f"{workers} loader workers; give 0 (load in the main process) or more")
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        # Its own, so that loading draws nothing from the global generator, which dropout uses.
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
    )
