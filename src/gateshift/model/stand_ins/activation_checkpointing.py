"""Training with less memory: the activations inside a block are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from gateshift.model.stand_ins.stand_in import StandIn
from gateshift.model.temporal.clip_length import ClipLength, current_num_frames


def checkpoint_blocks(net: nn.Module) -> int:
    """Make every block of a network keep its input alone in training, in place; weights and answers stay the same.

    Unlike with timm's own checkpointing, batch norms that are computed again do not count their batch twice. The keys
    of the network's state_dict stay as they are.

    A block is a run of layers that the network itself names in ``runs``, a direct child with weights, or a
    member of a child that is a sequence.

    Returns:
        How many blocks there are.
    """
    runs = [list(names) for names in getattr(net, "runs", ())]
    taken = {name for run in runs for name in run}
    blocks = runs + [[name] for name in _blocks(net) if name not in taken]
    for block in blocks:
        first, *others = [net.get_submodule(name) for name in block]
        net.set_submodule(block[0], Checkpointed(first, others))
        for name, layer in zip(block[1:], others, strict=True):
            net.set_submodule(name, _DoneBefore(layer))
    return len(blocks)


def _blocks(net: nn.Module, prefix: str = "") -> Iterator[str]:
    """Names of the blocks."""
    for name, child in net.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(child, f"{prefix}{name}.")
        elif next(child.parameters(), None) is not None:
            yield prefix + name


class Checkpointed(StandIn):
    """A layer, and those that follow it, of which only the input is kept in training.

    Args:
        layer: The first layer, which may take any arguments.
        others: Each takes what the one before gives; they stand elsewhere, as :class:`_DoneBefore`.
    """

    def __init__(self, layer: nn.Module, others: Sequence[nn.Module]) -> None:
        super().__init__(layer)
        self._others = tuple(others)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        if not (self.training and torch.is_grad_enabled()):
            return self._run(*inputs, **options)
        contexts = self._contexts(current_num_frames())
        return checkpoint(self._run, *inputs, use_reentrant=False, context_fn=lambda: contexts, **options)

    def _run(self, *inputs: Any, **options: Any) -> Any:
        x = self.layer(*inputs, **options)
        for layer in self._others:
            x = layer(x)
        return x

    def _contexts(self, num_frames: int | None) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """What the layers are computed in at first, and again: by a backward pass, which is no call of the model."""
        return nullcontext(), _again((self.layer, *self._others), num_frames)


class _DoneBefore(StandIn):
    """Stands where a layer was that is now computed with one before it."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@contextmanager
def _again(layers: Sequence[nn.Module], num_frames: int | None) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(ClipLength(num_frames))
        stack.enter_context(_without_statistics(layers))
        yield


@contextmanager
def _without_statistics(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Batch norms that are computed again count their batch once."""
    modules = (module for layer in layers for module in layer.modules())
    norms = [module for module in modules if isinstance(module, _BatchNorm) and module.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
