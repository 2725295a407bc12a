"""A deployed network for one clip, with tensors in and out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gateshift.model.classifier import DeployedClassifier
from gateshift.model.deploy.one_clip import put_one_clip_forms


class OneClipNetwork(nn.Module):
    """Frames of one clip in, logits out; normalization inside.

    Args:
        deployed: The network; its layers are copied.
        channels_last: Whether a frame comes as [H, W, 3], as cameras have it, and not as [3, H, W].
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, deployed: DeployedClassifier, *, channels_last: bool) -> None:
        super().__init__()
        self.backbone = put_one_clip_forms(copy.deepcopy(deployed.backbone))
        self.head = copy.deepcopy(deployed.head)
        self.is_dense, self.bgr, self.channels_last = deployed.config.is_dense, deployed.config.bgr, channels_last
        self.register_buffer("mean", deployed.mean.clone())
        self.register_buffer("factor", 1 / deployed.std)
        self.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()

    def forward(self, frames: Tensor) -> Tensor:
        """Classify one clip.

        Args:
            frames: float32 RGB in 0..255, [T, 3, H, W], or [T, H, W, 3] with ``channels_last``.

        Returns:
            Logits [1, K]; of a network that answers for each frame [1, T, K + 1].
        """
        pixels = frames.permute(0, 3, 1, 2) if self.channels_last else frames
        if self.bgr:
            pixels = torch.cat((pixels[:, 2:], pixels[:, 1:2], pixels[:, :1]), dim=1)
        features = self.backbone((pixels - self.mean) * self.factor)  # [T, F]
        return self.head(features.unsqueeze(0) if self.is_dense else features.mean(0, keepdim=True))
