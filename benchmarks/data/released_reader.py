"""The reader of the released code, written plainly: what training clips were made of there, and how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gateshift.data.clips.transforms import multi_scale_boxes

MEAN_BGR = (104.0, 117.0, 128.0)


class ReleasedClips(Dataset[tuple[Tensor, int]]):
    """Random clips of folders of JPEGs: float BGR minus the mean, [T * 3, size, size], and a label."""

    def __init__(self, folders: Sequence[Path], *, num_frames: int, num_segments: int, size_px: int) -> None:
        self.folders = folders
        self.num_frames = num_frames
        self.num_segments = num_segments
        self.size_px = size_px

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        part = self.num_frames // self.num_segments
        numbers = np.arange(self.num_segments) * part + np.random.randint(part, size=self.num_segments)
        images = [Image.open(self.folders[index] / f"{number + 1:05d}.jpg").convert("RGB") for number in numbers]
        boxes = multi_scale_boxes(images[0].height, images[0].width, size_px=self.size_px)
        box = boxes[np.random.randint(len(boxes))]
        corners = (box.left, box.top, box.left + box.width, box.top + box.height)
        size = (self.size_px, self.size_px)
        images = [image.crop(corners).resize(size, Image.Resampling.BILINEAR) for image in images]
        if np.random.random() < 0.5:
            images = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
        pixels = np.concatenate([np.array(image)[:, :, ::-1] for image in images], axis=2)  # [H, W, T * 3]
        clip = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float()  # [T * 3, H, W]
        for channel, mean in zip(clip, MEAN_BGR * self.num_segments, strict=True):
            channel.sub_(mean)
        return clip, 0
