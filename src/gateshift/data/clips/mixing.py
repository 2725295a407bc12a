"""Mixup and CutMix: pairs of clips mixed with their labels, with one draw for all frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from gateshift.data.clips.seeds import seeded, spread_seed


@dataclass(frozen=True)
class Mixing:
    """How the clips of a batch are mixed.

    Attributes:
        num_classes: K.
        mixup: Alpha of mixup's Beta distribution (Zhang et al., ICLR 2018), 0 for none.
        cutmix: Alpha of CutMix's (Yun et al., ICCV 2019), 0 for none. With both, each batch takes one of them.
        seed: Seed of the random numbers.
    """

    num_classes: int
    mixup: float = 0.0
    cutmix: float = 0.0
    seed: int = 0

    def mix(self, clips: Tensor, labels: Tensor, *, epoch: int, batch: int) -> tuple[Tensor, Tensor]:
        """Mix each clip of a batch with its neighbor; random numbers depend only on seed, epoch and batch.

        Args:
            clips: uint8 [B, T, 3, H, W].
            labels: [B] int64, or, with several labels per video, float [B, K] of 0 and 1; or soft targets of each frame
                [B, T, K], which mixup alone takes.
            epoch: From 0.
            batch: Number of the batch in its epoch.

        Returns:
            Clips, float in 0..1 after mixup, and soft targets [B, K] or [B, T, K]; both unchanged if nothing is mixed.
        """
        if not (self.mixup or self.cutmix):
            return clips, labels
        with seeded(spread_seed(self.seed, epoch, batch)):
            if labels.dim() == 3:  # torchvision mixes one label a clip
                share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
                pixels = clips.float() / 255
                return tuple(torch.lerp(each.roll(1, 0), each, share) for each in (pixels, labels))  # type: ignore[return-value]
            takes_mixup = self.mixup > 0 and (not self.cutmix or float(torch.rand(())) < 0.5)
            if takes_mixup:
                kind, pixels = v2.MixUp(alpha=self.mixup, num_classes=self.num_classes), clips.float() / 255
            else:
                kind, pixels = v2.CutMix(alpha=self.cutmix, num_classes=self.num_classes), clips
            mixed, soft_targets = kind(tv_tensors.Video(pixels), labels)
        return mixed.as_subclass(Tensor), soft_targets
