"""Heads over time on a recording that comes a few frames at a time: the same answers, some frames later."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.model.streaming.buffers import DelayLine, Place, Recent
from gateshift.model.temporal.frame_head import DilatedBlock, DilatedConvolutions, FrameHead


class StreamedHead(nn.Module):
    """A head over time on chunks of features: [k, F] -> [k, A].

    Args:
        head: Its weights are shared.
        place: Where in the network it is.

    Attributes:
        delay: How many frames later an answer comes.

    Raises:
        ModelError: If the head reads a recording from its end.
    """

    def __init__(self, head: FrameHead, place: Place) -> None:
        super().__init__()
        if head.kind == "gru":
            raise ModelError(
                "`head=gru` reads a recording from both ends and cannot be streamed; train with `head=gru-forward` or "
                "`head=tcn`"
            )
        self.linear, self.delay = head.linear, 0
        self.mix: nn.Module = nn.Identity()
        if isinstance(head.mix, nn.GRU):
            self.mix = StreamedGRU(head.mix, place)
        elif isinstance(head.mix, DilatedConvolutions):
            self.mix = StreamedConvolutions(head.mix, place)
            self.delay = self.mix.delay

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.mix(features))


class StreamedGRU(nn.Module):
    """A GRU in forward direction that goes on where the chunk before ended: [k, F] -> [k, D], without delay."""

    def __init__(self, gru: nn.GRU, place: Place) -> None:
        super().__init__()
        self.gru, self.place = gru, place
        self.state: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        mixed = features.new_zeros(len(features), self.gru.hidden_size)
        here = self.place.present(len(features))
        if here.start < here.stop:  # what is not of the recording must not be remembered
            mixed[here], self.state = self.gru(features[here], self.state)
        return mixed


class StreamedConvolutions(nn.Module):
    """Dilated convolutions, as many frames late as they look ahead: [k, F] -> [k, D]."""

    def __init__(self, convolutions: DilatedConvolutions, place: Place) -> None:
        super().__init__()
        self.project, self.delay = convolutions.project, 0
        self.blocks = nn.ModuleList()
        for block in convolutions.each_block():
            self.blocks.append(_StreamedBlock(block, place.later(self.delay)))
            self.delay += block.ahead

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.project(features)
        for block in self.blocks:
            mixed = block(mixed)
        return mixed


class _StreamedBlock(nn.Module):
    def __init__(self, block: DilatedBlock, place: Place) -> None:
        super().__init__()
        self.block, self.place = block, place
        self.around, self.itself = Recent(2 * block.step), DelayLine(block.ahead)

    def forward(self, chunk: Tensor) -> Tensor:
        chunk = self.place.blank(chunk)
        changed = self.block.change(self.around(chunk).t().unsqueeze(0))[0].t()  # [k, D]
        return torch.add(self.itself(chunk), changed)
