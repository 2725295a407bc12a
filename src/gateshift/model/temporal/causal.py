"""Temporal modules that look only back: for streams whose answers may not wait. They are trained as such.

A *causal* gate-shift sends both halves of the channels to the next frame, and its gate looks through the same 3x3x3
kernel at this frame and the two before it: the kernel is moved one frame back. In gate-shift-fuse the convolution over
(channel, time) moves back alike. A causal temporal shift moves the eighth that comes from the previous frame and leaves
the other where it is. Weights have the names and shapes of the modules that look both ways.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.errors import ModelError
from gateshift.model.temporal.functional import mix_halves, part_means, shift_from_previous, split_clips
from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalModule, TemporalShift, gate_maps
from gateshift.model.temporal.site import TemporalSite


class CausalGateShift(GateShift):
    """Gate-shift that looks only back: [N, C, H, W] -> [N, C, H, W]; arguments as of :class:`GateShift`."""

    def gates(self, features: Tensor) -> Tensor:
        maps = split_clips(gate_maps(self, features), self.num_frames).unflatten(2, (2, 3))  # [B, T, 2, 3, H, W]
        earliest, earlier, now = maps.unbind(3)  # each [B, T, 2, H, W]
        summed = shift_from_previous(shift_from_previous(earliest) + earlier) + now
        return torch.tanh(summed + self.bias.view(2, 1, 1)).flatten(0, 1)  # [N, 2, H, W]

    def forward(self, features: Tensor) -> Tensor:
        kept, arriving = self.parts(features)
        return mix_halves(kept + arriving) if self.interleave else kept + arriving

    def parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What stays in each frame and what arrives from the one before: each [N, C, H, W]."""
        sent = gated(features, self.gates(features))
        return features - sent, shift_from_previous(split_clips(sent, self.num_frames)).flatten(0, 1)


class CausalGateShiftFuse(GateShiftFuse, CausalGateShift):
    """Gate-shift-fuse that looks only back: [N, C, H, W] -> [N, C, H, W]; arguments as of :class:`GateShift`."""

    def forward(self, features: Tensor) -> Tensor:
        kept, arriving = self.parts(features)
        means = split_clips(part_means(kept, arriving), self.num_frames)  # [B, T, 4, C/2]
        # torch.cat, as F.pad is miscompiled by inductor on the CPU.
        around = torch.cat((torch.zeros_like(means[:, :1]), torch.zeros_like(means[:, :1]), means), dim=1)
        scores = self.fuse_over_time(around.permute(0, 2, 3, 1))  # [B, 2, C/2, T]
        return self.mix(kept, arriving, scores.permute(0, 3, 1, 2).flatten(0, 1))

    def fuse_over_time(self, means: Tensor) -> Tensor:
        """The convolution over (channel, time): [B, 4, C/2, T + 2] -> [B, 2, C/2, T]."""
        return F.conv2d(means, self.fuse.weight, self.fuse.bias, padding=(1, 0), groups=2)

    def mix(self, kept: Tensor, arriving: Tensor, scores: Tensor) -> Tensor:
        """The weighted sum of both parts [N, C, H, W], by scores [N, 2, C/2]."""
        share = torch.sigmoid(scores).flatten(1)[..., None, None]  # [N, C, 1, 1]
        mixed = torch.lerp(kept, arriving, share)
        return mix_halves(mixed) if self.interleave else mixed


class CausalTemporalShift(TemporalShift):
    """Temporal shift that looks only back: [N, C, H, W] -> [N, C, H, W]; arguments as of :class:`TemporalShift`."""

    def forward(self, features: Tensor) -> Tensor:
        before, moved, behind = split_fold(features, self.fold)
        arriving = shift_from_previous(split_clips(moved, self.num_frames)).flatten(0, 1)
        return torch.cat((before, arriving, behind), dim=1)


def gated(features: Tensor, gates: Tensor) -> Tensor:
    """What is sent of features [N, C, H, W] through gates [N, 2, H, W], one for each half of the channels."""
    return (features.unflatten(1, (2, -1)) * gates.to(features.dtype).unsqueeze(2)).flatten(1, 2)


def split_fold(features: Tensor, fold: int) -> tuple[Tensor, ...]:
    """The channels before those that are moved, these, and those behind: [N, C, H, W] -> three."""
    return features.split((fold, fold, features.shape[1] - 2 * fold), dim=1)


# What stands for each module that looks both ways.
CAUSAL_FORMS: dict[type[TemporalModule], Callable[..., TemporalModule]] = {
    GateShift: CausalGateShift,
    GateShiftFuse: CausalGateShiftFuse,
    TemporalShift: CausalTemporalShift,
}


def make_causal(net: nn.Module) -> int:
    """Let every temporal module of a network look only back, in place; the weights stay.

    What the modules have learned to send from the next frame is then sent from the previous one: train the network as
    such, before or after.

    Args:
        net: A network with temporal modules.

    Returns:
        How many modules were changed.

    Raises:
        ModelError: If there is none, or one has no causal form, as in a deployed network. Nothing is then changed.
    """
    sites = [module for module in net.modules() if isinstance(module, TemporalSite)]
    unknown = {type(site.temporal).__name__ for site in sites if type(site.temporal) not in CAUSAL_FORMS}
    if unknown or not sites:
        raise ModelError(
            f"{', '.join(sorted(unknown)) or 'a network without temporal modules'} cannot be made causal; give a "
            "network with gsm, gsf or tsm that was not changed before"
        )
    for site in sites:
        site.temporal = _causal_form(site.temporal)
    return len(sites)


def is_causal(net: nn.Module) -> bool:
    """Whether the temporal modules of a network look only back."""
    return any(isinstance(module, CausalGateShift | CausalTemporalShift) for module in net.modules())


def _causal_form(module: TemporalModule) -> TemporalModule:
    """A module that looks only back, with the very layers and weights of one that looks both ways."""
    form = CAUSAL_FORMS[type(module)]
    options = {"interleave": module.interleave} if isinstance(module, GateShift) else {}
    with torch.device("meta"):  # weights that are replaced take neither time nor random numbers
        made: TemporalModule = form(module.channels, module.own_num_frames, **options)
    for name, layer in module.named_children():
        setattr(made, name, layer)
    for name, parameter in module.named_parameters(recurse=False):
        setattr(made, name, parameter)
    made.training = module.training
    return made
