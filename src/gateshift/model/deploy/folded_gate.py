"""Gate-shift as it is computed in a deployed network: without its batch norms, in fewer passes over memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gateshift.model.temporal.clip_length import runs_plainly
from gateshift.model.temporal.functional import mix_halves, shift_from_next, shift_from_previous, split_clips
from gateshift.model.temporal.modules import GateShift, TemporalModule, gate_planes


def interleave_order(channels: int, *, interleave: bool) -> Tensor:
    """Which channel each output channel of a gate-shift module is: [C] int64.

    >>> interleave_order(8, interleave=True).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    order = torch.arange(channels)
    return mix_halves(order.view(1, -1, 1, 1)).flatten() if interleave else order


class FoldedGateShift(TemporalModule):
    """Gate-shift on channels that are already scaled and in their final order: [N, C, H, W] -> [N, C, H, W].

    Gating and shifting commute with scaling channels, and with permuting them within a half. So the scale of the
    batch norm behind the module and the interleave go into the convolution before it, are undone in the affine
    map that the gate's own batch norm is, and the shift of the batch norm behind is added here. The gate's
    kernel is dense over both halves, with zeros where a half does not count: for the few outputs that it has,
    grouped convolutions are slower.

    Args:
        gate: The trained module, in eval mode.
        scale: [C], by which the incoming channels were multiplied; none is zero.
        shift: [C], to be added to the result.
        order: [C], which channel of ``gate`` each incoming channel is.
    """

    scale: Tensor
    offset: Tensor
    gate_bias: Tensor
    shift: Tensor

    def __init__(self, gate: GateShift, scale: Tensor, shift: Tensor, order: Tensor) -> None:
        super().__init__(gate.num_frames)
        channels, half = len(order), len(order) // 2
        mean, var = gate.bn.running_mean, gate.bn.running_var
        own_scale = gate.bn.weight.double() / torch.sqrt(var.double() + gate.bn.eps)  # type: ignore[union-attr]
        own_shift = gate.bn.bias.double() - mean.double() * own_scale  # type: ignore[union-attr]
        kernel = torch.zeros(6, channels, 3, 3, dtype=gate.weight.dtype)
        kernel[:3, :half] = gate.weight[:3, order[:half]]
        kernel[3:, half:] = gate.weight[3:, order[half:] - half]
        self.planes = nn.utils.skip_init(nn.Conv2d, channels, 6, 3, padding=1, bias=False)
        self.planes.weight = nn.Parameter(kernel, requires_grad=False)
        for name, value in (
            ("scale", own_scale[order] / scale.double()),
            ("offset", own_shift[order]),
            ("shift", shift.double()),
        ):
            self.register_buffer(name, value.to(gate.weight.dtype).view(-1, 1, 1).clone())
        self.register_buffer("gate_bias", gate.bias.detach().clone().view(2, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        maps = self.planes(torch.relu(features * self.scale + self.offset))  # [N, 6, H, W]
        gates = gate_planes(maps, self.gate_bias, num_frames=self.num_frames)  # [B, T, 2, H, W]
        if not runs_plainly():
            return self._shift_whole_frames(features, gates)
        # In place: a pass over memory less for each of the two groups.
        gates = gates.unsqueeze(3)  # [B, T, 2, 1, H, W]
        halves = split_clips(features, self.num_frames).unflatten(2, (2, -1))  # [B, T, 2, C/2, H, W]
        result = torch.addcmul(self.shift.unflatten(0, (2, -1)), halves, 1 - gates)
        result[:, :-1, 0].addcmul_(halves[:, 1:, 0], gates[:, 1:, 0])
        result[:, 1:, 1].addcmul_(halves[:, :-1, 1], gates[:, :-1, 1])
        return result.flatten(2, 3).flatten(0, 1)  # [N, C, H, W]

    def _shift_whole_frames(self, features: Tensor, gates: Tensor) -> Tensor:
        """The same for compilers, the features in [N, C, H, W] throughout, where runtimes keep their own layouts.

        Frames move over the whole batch, from clip to clip too; there they meet gates that are zero.
        """
        first, second = features.chunk(2, dim=1)  # each [N, C/2, H, W]
        next_first, previous_second = torch.cat((first[1:], first[:1])), torch.cat((second[-1:], second[:-1]))
        kept, half = (1 - gates).flatten(0, 1), first.shape[1]
        to_first, to_second = shift_from_next(gates[:, :, :1]), shift_from_previous(gates[:, :, 1:])
        first = first * kept[:, :1] + next_first * to_first.flatten(0, 1) + self.shift[:half]
        second = second * kept[:, 1:] + previous_second * to_second.flatten(0, 1) + self.shift[half:]
        return torch.cat((first, second), dim=1)
