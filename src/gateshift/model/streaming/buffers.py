"""What a network that sees a video a few frames at a time has to remember.

Frames come in chunks [k, ...]. A layer that looks ahead gives its answer late: at each place of the network the chunk
is *delayed* by a known number of frames, and holds frames of before the first or after the last one where there are
none. These are zeros wherever a temporal module looks, as they are at the ends of a clip.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Clock:
    """Which frames of a recording a chunk holds; one for all layers of a network.

    Attributes:
        first: Number of the first frame of the chunk that is going in.
        end: How many frames the recording has; None until it ends.
    """

    def __init__(self) -> None:
        self.first = 0
        self.end: int | None = None


class Place:
    """A place in a network, where chunks arrive late.

    Args:
        clock: Of the network.
        delay: By how many frames.
    """

    def __init__(self, clock: Clock, delay: int) -> None:
        self.clock = clock
        self.delay = delay

    def later(self, num_frames: int) -> Place:
        """A place behind this one."""
        return Place(self.clock, self.delay + num_frames)

    def present(self, size: int) -> slice:
        """Which part of a chunk of ``size`` frames is of the recording, here."""
        first = self.clock.first - self.delay
        end = size if self.clock.end is None else min(max(self.clock.end - first, 0), size)
        return slice(min(max(-first, 0), end), end)

    def blank(self, chunk: Tensor) -> Tensor:
        """Put zeros where there is no frame: [k, ...] -> [k, ...]."""
        here = self.present(len(chunk))
        if here == slice(0, len(chunk)):
            return chunk
        blanked = torch.zeros_like(chunk)
        blanked[here] = chunk[here]
        return blanked


class Recent(nn.Module):
    """Puts the last frames of the chunks before in front of a chunk: [k, ...] -> [n + k, ...].

    Args:
        num_frames: n; zeros where there are none yet.
    """

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.kept: Tensor | None = None

    def forward(self, chunk: Tensor) -> Tensor:
        if self.kept is None:
            # Of the chunk's memory format, which torch.cat then keeps.
            self.kept = torch.zeros_like(chunk[:1]).repeat(self.num_frames, *[1] * (chunk.dim() - 1))
        joined = torch.cat((self.kept, chunk))
        self.kept = joined[-self.num_frames :].clone()  # not a view, which would keep the whole chunk
        return joined


class DelayLine(nn.Module):
    """Gives every frame later: [k, ...] -> [k, ...], zeros at first. What is not frames passes.

    Args:
        num_frames: How many frames later; with 0 everything passes.
    """

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.recent = Recent(num_frames)

    def forward(self, chunk: Tensor) -> Tensor:
        is_late = self.recent.num_frames > 0 and isinstance(chunk, Tensor)
        return self.recent(chunk)[: len(chunk)] if is_late else chunk


def kept_bytes(net: nn.Module) -> int:
    """How much the delays in a network remember."""
    kept = (module.kept for module in net.modules() if isinstance(module, Recent))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept if tensor is not None)
