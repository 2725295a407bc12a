"""Videos as tensors: training clips, and the views of a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gateshift.data.choices import CROP_SCALES
from gateshift.data.clips.sampling import segment_indices
from gateshift.data.clips.seeds import spread_seed
from gateshift.data.clips.transforms import (
    jitter_color,
    mirror,
    multi_scale_boxes,
    random_crop,
    random_erasing,
    random_operations,
    reverse,
)
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.class_pairs import flip_label
from gateshift.data.lists.entries import Entry
from gateshift.data.lists.index_folder import index_folder_of
from gateshift.data.lists.manifest import Manifest
from gateshift.data.video.files import Video, open_video
from gateshift.errors import VideoError

Sample = dict[str, Any]


@dataclass(frozen=True)
class Augmentation:
    """How training clips are augmented.

    Attributes:
        size_px: Side of the training square.
        num_segments: T.
        mirror_map: [K], the class that each class becomes by a horizontal flip.
        may_mirror: [K], whether clips of each class are flipped horizontally, with probability 0.5.
        color_jitter: Largest relative change of brightness and of contrast, 0 for none.
        reversal_map: [K], the class that each class becomes when played backwards, with probability 0.5; -1 for a
            class that is never reversed. None to reverse no clip.
        magnitude: Magnitude of RandAugment, 0 for none.
        erasing: Probability that a rectangle is grayed out.
        min_crop_scale: Smallest side of the crop as a fraction of the frame's short side, up to 1.
        whole_frame: Whether crops are fractions of the frame's height and width, as the network sees whole frames.
        square_pixels: Whether frames with non-square pixels are resized first; see ``open_video``.
    """

    size_px: int
    num_segments: int
    mirror_map: Tensor
    may_mirror: Tensor
    color_jitter: float = 0.0
    reversal_map: Tensor | None = None
    magnitude: int = 0
    erasing: float = 0.0
    min_crop_scale: float = CROP_SCALES[-1]
    whole_frame: bool = False
    square_pixels: bool = False

    def __call__(
        self, frames: Tensor, label: int | Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, int | Tensor]:
        """Augment one clip.

        Args:
            frames: uint8 [T, 3, H, W].
            label: A class, or a set of classes, [K] of 0 and 1. A flip or reversal must be allowed for each of them; a
                clip of no class is neither flipped nor reversed. Or what each frame is, [T, K].
            generator: Random numbers.

        Returns:
            The clip, uint8 [T, 3, size_px, size_px], and its label after flips and reversals.
        """
        own = label if isinstance(label, int) else (label if label.dim() == 1 else label.amax(0)) > 0
        is_any = isinstance(label, int) or bool(label.any())
        boxes = multi_scale_boxes(
            *frames.shape[-2:], size_px=self.size_px, min_crop_scale=self.min_crop_scale, whole_frame=self.whole_frame
        )
        clip = random_crop(frames, boxes, size_px=self.size_px, generator=generator)
        if torch.rand((), generator=generator) < 0.5 and is_any and self.may_mirror[own].all():
            clip, label = mirror(clip), flip_label(label, self.mirror_map)
        if self.color_jitter:
            clip = jitter_color(clip, amount=self.color_jitter, generator=generator)
        # Drawn last and only if enabled, so that the draws above are those of a training without these options.
        if self.reversal_map is not None:
            own = label if isinstance(label, int) else label > 0
            if torch.rand((), generator=generator) < 0.5 and is_any and (self.reversal_map[own] >= 0).all():
                clip, label = reverse(clip), flip_label(label, self.reversal_map)
        if self.magnitude:
            clip = random_operations(clip, magnitude=self.magnitude, generator=generator)
        if self.erasing:
            clip = random_erasing(clip, probability=self.erasing, generator=generator)
        return clip, label


class TrainingClips(Dataset[Sample]):
    """One random clip of each video: random frames in its segments, augmented as :class:`Augmentation` says.

    Random numbers depend only on the seed, the epoch and the index, so a run is the same with any number of workers,
    and a resumed run is the same as one without a stop. ``index + len(clips)`` is another clip of the same video, for
    samplers that take a video several times in an epoch.

    A sample is ``clips`` uint8 [T, 3, size, size] with ``labels`` and ``indices``, or ``failure``, one line, with
    ``indices``. A label is a class, or, of a multi-label list, float [K] of 0 and 1.
    """

    def __init__(self, manifest: Manifest, classes: Sequence[str], augmentation: Augmentation, *, seed: int) -> None:
        self.manifest = manifest
        self.index_folder = index_folder_of(manifest.source)
        self.labels = manifest.targets(classes)
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.manifest)

    def name_of(self, index: int) -> str:
        """What the list calls a video."""
        return self.manifest.entries[index].video_id

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(spread_seed(self.seed, self.epoch, index))
        index %= len(self)
        try:
            with open_entry(
                self.manifest.entries[index],
                square_pixels=self.augmentation.square_pixels,
                index_folder=self.index_folder,
            ) as video:
                picked = segment_indices(video.num_frames, self.augmentation.num_segments, jitter=generator)
                frames = video.read(picked.tolist())  # [T, 3, H, W]
        except VideoError as error:
            return {"failure": str(error), "indices": index}
        own = torch.from_numpy(self.labels[index]).float() if self.manifest.multi_label else int(self.labels[index])
        clip, label = self.augmentation(frames, own, generator=generator)
        return {"clips": clip, "labels": label, "indices": index}


class ViewDataset(Dataset[Sample]):
    """All views of each video, without randomness.

    A sample is ``views`` uint8 [V, T, 3, size, size] with ``indices``, or ``failure`` with ``indices``.
    Labels are not used.
    """

    def __init__(
        self,
        manifest: Manifest,
        protocol: EvalProtocol,
        *,
        size_px: int,
        resize_px: int | None,
        square_pixels: bool = False,
    ) -> None:
        self.manifest = manifest
        self.index_folder = index_folder_of(manifest.source)
        self.protocol = protocol
        self.size_px = size_px
        self.resize_px = resize_px
        self.square_pixels = square_pixels

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> Sample:
        try:
            with open_entry(
                self.manifest.entries[index], square_pixels=self.square_pixels, index_folder=self.index_folder
            ) as video:
                views = read_views(video, self.protocol, size_px=self.size_px, resize_px=self.resize_px)
        except VideoError as error:
            return {"failure": str(error), "indices": index}
        return {"views": views, "indices": index}


def open_entry(entry: Entry, *, square_pixels: bool = False, index_folder: Path | None = None) -> Video:
    """Open the video of an entry, or the part of it; the options are those of ``open_video``."""
    return open_video(
        entry.path,
        start_s=entry.start_s,
        end_s=entry.end_s,
        num_frames=entry.num_frames,
        box=entry.box,
        square_pixels=square_pixels,
        index_folder=index_folder,
    )


def read_views(video: Video, protocol: EvalProtocol, *, size_px: int, resize_px: int | None) -> Tensor:
    """All views of a video.

    Args:
        video: An open one.
        protocol: The number of clips, of their frames and of crops.
        size_px: Side of a crop.
        resize_px: Short side that frames are resized to first; None to resize whole frames to a square.

    Returns:
        uint8 RGB [V, T, 3, size_px, size_px], clip after clip, the crops of a clip together.

    Raises:
        VideoError: If a frame cannot be read.
    """
    clips = protocol.frame_indices(video.num_frames)
    frames = video.read([index for clip in clips for index in clip])  # [clips * T, 3, H, W]
    crops = protocol.crops(frames, size_px=size_px, resize_px=resize_px)  # [crops, clips * T, 3, s, s]
    by_clip = crops.unflatten(1, (protocol.num_clips, -1)).transpose(0, 1)  # [clips, crops, T, 3, s, s]
    return by_clip.flatten(0, 1)  # [V, T, 3, s, s]
