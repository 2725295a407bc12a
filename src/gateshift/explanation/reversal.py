"""What becomes of gate maps when a clip is played backwards."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.explanation.gate_maps import DIRECTIONS, gate_directions, gate_maps
from gateshift.model.classifier import VideoClassifier
from gateshift.model.temporal.modules import GateShift, GateShiftFuse


@dataclass(frozen=True)
class ReversalMaps:
    """Gates of clips and of the same clips played backwards: layer name -> [B, T, 2, h, w].

    Frames are in the order of the clips everywhere: the same place of any two is the same picture.

    Attributes:
        clip: Of the clips.
        backwards: Of the clips played backwards, by the same network.
        mirrored: Of the clips played backwards, by the network mirrored in time; see :func:`mirror_in_time`.
    """

    clip: Mapping[str, Tensor]
    backwards: Mapping[str, Tensor]
    mirrored: Mapping[str, Tensor]

    def differences(self) -> dict[str, tuple[float, float]]:
        """How far the gates of a clip are from those of its reversal: layer -> mean absolute difference, 0..2.

        The first number compares the same directions: 0 where gates follow what a frame shows, whatever is before and
        after it. The second compares opposite directions: 0 where maps swap direction with the clip.
        """
        pairs = {name: (maps, self.backwards[name]) for name, maps in self.clip.items()}
        return {
            name: (float((one - other).abs().mean()), float((one - other.flip(2)).abs().mean()))
            for name, (one, other) in pairs.items()
        }


def reversal_maps(model: VideoClassifier, clips: Tensor) -> ReversalMaps:
    """The gates of clips and of their reversals.

    Args:
        model: In eval mode.
        clips: [B, T, 3, H, W], as the model takes them.

    Raises:
        ModelError: As :func:`mirror_in_time`.
    """
    mirrored = mirror_in_time(model)
    backwards = clips.flip(1)
    found = (gate_maps(model, clips), gate_maps(model, backwards), gate_maps(mirrored, backwards))
    forwards, *reversals = found
    return ReversalMaps(forwards, *({name: maps.flip(1) for name, maps in each.items()} for each in reversals))


def mirror_in_time(model: VideoClassifier) -> VideoClassifier:
    """The network that sees a clip played backwards as this one sees the clip: the same logits, maps swapped.

    In each gate-shift module the halves of the channels are swapped and the kernels turned round in time. The result
    is for looking at: hooks hold it together, which are not saved.

    Args:
        model: With gate-shift or gate-shift-fuse that looks both ways; left as it is.

    Raises:
        ModelError: If it has no such modules, or causal ones: their mirror image would look ahead.
    """
    if gate_directions(model) != DIRECTIONS:
        raise ModelError("a causal model has no mirror image in time; compare clips by a model that looks both ways")
    mirrored = copy.deepcopy(model)
    gates = [module for module in mirrored.modules() if isinstance(module, GateShift)]
    if not gates:
        raise ModelError(f"a model with {model.config.temporal!r} has no gates to compare; give one with gsm or gsf")
    for gate in gates:
        _mirror(gate)
    return mirrored


@torch.no_grad()
def _mirror(gate: GateShift) -> None:
    """Turn a module round in time, in place; it takes and gives the channels in their order as before."""

    def swap_inputs(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (_swap_halves(inputs[0], 1),)

    def swap_output(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return _swap_halves(output, 1)

    gate.weight.copy_(gate.weight.unflatten(0, (2, 3)).flip((0, 1)).flatten(0, 1))  # [6, C/2, 3, 3]
    gate.bias.copy_(gate.bias.flip(0))
    for tensor in gate.bn.state_dict().values():
        if tensor.dim():  # not the number of batches
            tensor.copy_(_swap_halves(tensor, 0))
    if isinstance(gate, GateShiftFuse):
        gate.fuse.weight.copy_(gate.fuse.weight.flip((0, 3)))  # halves of the channels, and time
        gate.fuse.bias.copy_(gate.fuse.bias.flip(0))  # type: ignore[union-attr]  # there is one
    gate.register_forward_pre_hook(swap_inputs)
    gate.register_forward_hook(swap_output)


def _swap_halves(tensor: Tensor, axis: int) -> Tensor:
    """The second half of an axis before the first."""
    return tensor.roll(tensor.shape[axis] // 2, axis)
