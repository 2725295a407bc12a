"""Training with less memory: the activations inside a block are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(net: nn.Module) -> int:
    """Make every block of a network keep its input alone in training, in place; weights and answers stay the same.

    Unlike with timm's own checkpointing, batch norms that are computed again do not count their batch twice.

    A block is a run of layers that the network itself names in ``runs``, a direct child with weights, or a
    member of a child that is a sequence.

    Returns:
        How many blocks there are.
    """
    runs = [[net.get_submodule(name) for name in names] for names in getattr(net, "runs", ())]
    taken = {id(layer) for run in runs for layer in run}
    blocks = runs + [[block] for block in _blocks(net) if id(block) not in taken]
    for block in blocks:
        _checkpoint(block)
    return len(blocks)


def _blocks(net: nn.Module) -> Iterator[nn.Module]:
    for child in net.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(child)
        elif next(child.parameters(), None) is not None:
            yield child


def _checkpoint(layers: Sequence[nn.Module]) -> None:
    """The first of these layers, which follow each other, does the work of all of them, and the others nothing."""
    first, *others = [layer.forward for layer in layers]

    def run(*inputs: Any, **options: Any) -> Any:
        x = first(*inputs, **options)
        for compute in others:
            x = compute(x)
        return x

    def forward(*inputs: Any, **options: Any) -> Any:
        if not (layers[0].training and torch.is_grad_enabled()):
            return run(*inputs, **options)
        return checkpoint(run, *inputs, use_reentrant=False, context_fn=lambda: _contexts(layers), **options)

    layers[0].forward = forward
    for layer in layers[1:]:
        layer.forward = lambda x: x


def _contexts(layers: Sequence[nn.Module]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _without_statistics(layers)


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
