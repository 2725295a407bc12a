"""Heads that answer for every frame of a clip: what goes from frame to frame behind the backbone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

MAX_GRU_FEATURES = 768  # E2E-Spot's
MAX_TCN_FEATURES = 256
DILATIONS = (1, 2, 4, 8, 16)
MAX_LOOK_AHEAD = sum(DILATIONS)


class FrameHead(nn.Module):
    """Features of the frames of clips in, an answer for each frame out: [B, T, F] -> [B, T, A].

    "gru" is the head of E2E-Spot ("Spotting Temporally Precise, Fine-Grained Events in Video", ECCV 2022): a GRU layer
    in both directions, as many features as the backbone but at most 768, dropout, linear. "gru-forward" has its forward
    direction alone. "tcn" are residual dilated convolutions over time (Farha and Gall, CVPR 2019) that look a fixed
    number of frames ahead. "none" is the linear layer alone: what the backbone's temporal modules see is all there is.

    Args:
        num_features: F.
        num_answers: A.
        kind: See above.
        look_ahead: Frames that "tcn" looks ahead, up to 31.
        dropout: Probability before the linear layer.
    """

    def __init__(self, num_features: int, num_answers: int, *, kind: str, look_ahead: int, dropout: float) -> None:
        super().__init__()
        self.kind = kind
        self.mix: nn.Module = nn.Identity()
        if kind == "tcn":
            self.mix = DilatedConvolutions(num_features, look_ahead)
        elif kind != "none":
            both = kind == "gru"
            self.mix = nn.GRU(num_features, min(num_features, MAX_GRU_FEATURES), batch_first=True, bidirectional=both)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(_num_mixed(self.mix, num_features), num_answers)

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.mix(features)
        return self.linear(self.dropout(mixed[0] if isinstance(mixed, tuple) else mixed))  # a GRU gives its state too


def _num_mixed(mix: nn.Module, num_features: int) -> int:
    """How many features a frame has behind the layers that mix frames."""
    if isinstance(mix, nn.GRU):
        return mix.hidden_size * (2 if mix.bidirectional else 1)
    return mix.project.out_features if isinstance(mix, DilatedConvolutions) else num_features


class DilatedConvolutions(nn.Module):
    """Residual convolutions over time, each with twice the step of the one before: [B, T, F] -> [B, T, D].

    Together they reach 62 frames. Of these, ``look_ahead`` come after the frame itself: the first layers look ahead as
    far as they look back until that is spent, the others only back. Around the clip are zeros.
    """

    def __init__(self, num_features: int, look_ahead: int) -> None:
        super().__init__()
        if not 0 <= look_ahead <= MAX_LOOK_AHEAD:
            raise ValueError(f"look_ahead must be in 0..{MAX_LOOK_AHEAD}, got {look_ahead}")
        width = min(num_features, MAX_TCN_FEATURES)
        self.project = nn.Linear(num_features, width)
        self.blocks = nn.ModuleList()
        for step in DILATIONS:
            ahead = min(step, look_ahead)
            look_ahead -= ahead
            self.blocks.append(DilatedBlock(width, step, ahead))

    def each_block(self) -> list[DilatedBlock]:
        """The layers in order."""
        return [block for block in self.blocks if isinstance(block, DilatedBlock)]

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.project(features).transpose(1, 2)  # [B, D, T]
        for block in self.each_block():
            mixed = block(mixed)
        return mixed.transpose(1, 2)  # [B, T, D]


class DilatedBlock(nn.Module):
    """One of them: [B, D, T] -> [B, D, T].

    Attributes:
        step: Frames between the three that it sees.
        ahead: How many frames after its own the last of the three is.
    """

    def __init__(self, width: int, step: int, ahead: int) -> None:
        super().__init__()
        self.step, self.ahead = step, ahead
        self.over_time = nn.Conv1d(width, width, 3, dilation=step)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(F.pad(x, (2 * self.step - self.ahead, self.ahead)))

    def change(self, around: Tensor) -> Tensor:
        """What is added to frames, of these and the frames around them: [B, D, 2 * step + T] -> [B, D, T]."""
        return self.mix(F.relu(self.over_time(around)))
