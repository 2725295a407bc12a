"""The temporal modules on a video that comes a few frames at a time: the same answers, some frames later.

Each keeps the past frames that its gate and its shift need, and no more. Chunks are [k, C, H, W], of any k.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.errors import ModelError
from gateshift.model.deploy.folded_gate import FoldedGateShift
from gateshift.model.streaming.buffers import DelayLine, Place, Recent
from gateshift.model.temporal.causal import CausalGateShift, CausalGateShiftFuse, CausalTemporalShift, gated, split_fold
from gateshift.model.temporal.functional import mix_halves, part_means
from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalModule, TemporalShift, gate_maps


class Streamed(nn.Module):
    """A temporal module on chunks of frames: [k, C, H, W] -> [k, C, H, W].

    Attributes:
        delay: How many frames later an answer comes.
    """

    delay: int


class StreamedGates(Streamed):
    """What the streamed forms of gate-shift have in common: both parts of it, two frames late.

    A frame takes from the next one, whose gate looks at the one after that.

    Args:
        bias: Of the gates, [2].
        place: Where in the network the module is.
    """

    delay = 2

    def __init__(self, bias: Tensor, place: Place) -> None:
        super().__init__()
        self.bias = bias.detach().view(2, 1, 1)
        self.place = place
        self.from_before, self.from_now = DelayLine(2), DelayLine(1)
        self.features, self.kept, self.to_next = DelayLine(1), DelayLine(1), DelayLine(2)

    @abstractmethod
    def maps(self, features: Tensor) -> Tensor:
        """What the gates take from the frame before, from this one and from the next: [k, C, H, W] -> [k, 6, H, W]."""

    def parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What stays and what arrives: each [k, C, H, W], two frames late."""
        features = self.place.blank(features)
        maps = self.place.blank(self.maps(features)).unflatten(1, (2, 3))  # [k, 2, 3, H, W]
        summed = self.from_before(maps[:, :, 0]) + self.from_now(maps[:, :, 1]) + maps[:, :, 2]
        gates = torch.tanh(summed + self.bias)  # [k, 2, H, W], one frame late
        halves = self.features(features).unflatten(1, (2, -1))  # [k, 2, C/2, H, W], one frame late
        sent = halves * gates.unsqueeze(2)
        kept = self.kept((halves - sent).flatten(1, 2))  # [k, C, H, W], two frames late
        return kept, torch.cat((sent[:, 0], self.to_next(sent[:, 1])), dim=1)


class StreamedGateShift(StreamedGates):
    """Gate-shift, two frames late.

    Args:
        gate: The module; its weights are shared.
        place: Where in the network it is.
    """

    def __init__(self, gate: GateShift, place: Place) -> None:
        super().__init__(gate.bias, place)
        self.gate = gate

    def forward(self, features: Tensor) -> Tensor:
        kept, arriving = self.parts(features)
        return mix_halves(kept + arriving) if self.gate.interleave else kept + arriving

    def maps(self, features: Tensor) -> Tensor:
        return gate_maps(self.gate, features)


class StreamedGateShiftFuse(StreamedGateShift):
    """Gate-shift-fuse, three frames late: its weights look at what stays and arrives one frame further.

    Arguments are those of :class:`StreamedGateShift`.
    """

    delay = 3

    def __init__(self, gate: GateShiftFuse, place: Place) -> None:
        super().__init__(gate, place)
        self.fuse = gate.fuse
        self.staying, self.arriving, self.means = DelayLine(1), DelayLine(1), Recent(2)

    def forward(self, features: Tensor) -> Tensor:
        kept, arriving = self.parts(features)
        means = self.place.later(2).blank(part_means(kept, arriving))  # [k, 4, C/2]
        around = self.means(means).permute(1, 2, 0)  # [4, C/2, 2 + k]
        scores = F.conv2d(around[None], self.fuse.weight, self.fuse.bias, padding=(1, 0), groups=2)[0]  # [2, C/2, k]
        share = torch.sigmoid(scores).flatten(0, 1).t()[..., None, None]  # [k, C, 1, 1]
        mixed = torch.lerp(self.staying(kept), self.arriving(arriving), share)
        return mix_halves(mixed) if self.gate.interleave else mixed


class StreamedTemporalShift(Streamed):
    """Temporal shift, one frame late.

    Args:
        fold: How many channels come from the next frame; as many after them come from the previous one.
        place: Where in the network it is.
    """

    delay = 1

    def __init__(self, fold: int, place: Place) -> None:
        super().__init__()
        self.fold = fold
        self.place = place
        self.to_next, self.rest = DelayLine(2), DelayLine(1)

    def forward(self, features: Tensor) -> Tensor:
        to_previous, to_next, rest = split_fold(self.place.blank(features), self.fold)
        return torch.cat((to_previous, self.to_next(to_next), self.rest(rest)), dim=1)


class StreamedCausalGateShift(Streamed):
    """:class:`CausalGateShift` on chunks of frames, without delay.

    Args:
        gate: The module; its weights are shared.
        place: Where in the network it is.
    """

    delay = 0

    def __init__(self, gate: CausalGateShift, place: Place) -> None:
        super().__init__()
        self.gate = gate
        self.place = place
        self.earliest, self.earlier, self.sent = DelayLine(2), DelayLine(1), DelayLine(1)

    def forward(self, features: Tensor) -> Tensor:
        kept, arriving = self.parts(features)
        return mix_halves(kept + arriving) if self.gate.interleave else kept + arriving

    def parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What stays in each frame and what arrives from the one before: each [k, C, H, W]."""
        features = self.place.blank(features)
        maps = self.place.blank(gate_maps(self.gate, features)).unflatten(1, (2, 3))  # [k, 2, 3, H, W]
        summed = self.earliest(maps[:, :, 0]) + self.earlier(maps[:, :, 1]) + maps[:, :, 2]
        sent = gated(features, torch.tanh(summed + self.gate.bias.view(2, 1, 1)))
        return features - sent, self.sent(sent)


class StreamedCausalGateShiftFuse(StreamedCausalGateShift):
    """:class:`CausalGateShiftFuse` on chunks of frames, without delay; arguments as of the class above."""

    gate: CausalGateShiftFuse

    def __init__(self, gate: CausalGateShiftFuse, place: Place) -> None:
        super().__init__(gate, place)
        self.means = Recent(2)

    def forward(self, features: Tensor) -> Tensor:
        kept, arriving = self.parts(features)
        around = self.means(self.place.blank(part_means(kept, arriving)))  # [2 + k, 4, C/2]
        scores = self.gate.fuse_over_time(around.permute(1, 2, 0).unsqueeze(0))[0]  # [2, C/2, k]
        return self.gate.mix(kept, arriving, scores.permute(2, 0, 1))


class StreamedCausalTemporalShift(Streamed):
    """:class:`CausalTemporalShift` on chunks of frames, without delay.

    Args:
        fold: How many channels are moved, behind as many that are not.
        place: Where in the network it is.
    """

    delay = 0

    def __init__(self, fold: int, place: Place) -> None:
        super().__init__()
        self.fold = fold
        self.place = place
        self.moved = DelayLine(1)

    def forward(self, features: Tensor) -> Tensor:
        before, moved, behind = split_fold(self.place.blank(features), self.fold)
        return torch.cat((before, self.moved(moved), behind), dim=1)


class StreamedFoldedGateShift(StreamedGates):
    """:class:`FoldedGateShift` on a video that comes a few frames at a time, two frames late."""

    def __init__(self, gate: FoldedGateShift, place: Place) -> None:
        super().__init__(gate.gate_bias, place)
        self.gate = gate

    def forward(self, features: Tensor) -> Tensor:
        kept, arriving = self.parts(features)
        return kept.add_(arriving).add_(self.gate.shift)

    def maps(self, features: Tensor) -> Tensor:
        return self.gate.planes(torch.relu(features * self.gate.scale + self.gate.offset))


# The form of each temporal module on a recording; it shares the module's weights.
STREAMED_FORMS: dict[type[TemporalModule], Callable[[Any, Place], Streamed]] = {
    GateShift: StreamedGateShift,
    GateShiftFuse: StreamedGateShiftFuse,
    TemporalShift: lambda shift, place: StreamedTemporalShift(shift.fold, place),
    CausalGateShift: StreamedCausalGateShift,
    CausalGateShiftFuse: StreamedCausalGateShiftFuse,
    CausalTemporalShift: lambda shift, place: StreamedCausalTemporalShift(shift.fold, place),
    FoldedGateShift: StreamedFoldedGateShift,
}


def streamed_form(module: TemporalModule, place: Place) -> Streamed:
    """Make a module's form for a video that comes a few frames at a time; its weights are shared.

    Args:
        module: Of a network.
        place: Where in the network it is.

    Raises:
        ModelError: If there is no such form.
    """
    form = STREAMED_FORMS.get(type(module))
    if form is None:
        raise ModelError(
            f"{type(module).__name__} at delay {place.delay} has no streamed form; stream the model in windows"
        )
    return form(module, place)
