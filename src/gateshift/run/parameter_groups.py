"""What is trained, and how fast each part of it learns compared with the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from gateshift.model.classifier import VideoClassifier
from gateshift.model.gates import GateShift, TemporalModule
from gateshift.run.train_settings import OptimOptions


def batch_norms(model: nn.Module) -> Iterator[tuple[bool, nn.Module]]:
    """Every batch norm of a model, with whether it is inside a temporal module."""
    inside = {id(m) for gate in model.modules() if isinstance(gate, TemporalModule) for m in gate.modules()}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield id(module) in inside, module


def freeze_batch_norms(model: nn.Module) -> None:
    """Partial batch norm of TSN: all but the first keep their statistics, scale and shift.

    Call it after every ``model.train()``. As in the release, batch norms inside temporal modules go on
    normalising by the batch; see :func:`trained_parameters` for their scale and shift.
    """
    backbone = [module for inside, module in batch_norms(model) if not inside]
    for module in backbone[1:]:
        module.eval().requires_grad_(False)


def freeze_backbone(model: VideoClassifier) -> list[nn.Parameter]:
    """Let the batch norms of the backbone keep their statistics, until the next ``model.train()``.

    Returns:
        The parameters of the backbone, without those of temporal modules, whose gradients are to be dropped.
    """
    for inside, module in batch_norms(model):
        if not inside:
            module.eval()
    new = _parameters_of(_temporal_modules(model))
    return [p for p in model.backbone.parameters() if id(p) not in new]


def trained_parameters(model: nn.Module, *, partial_bn: bool) -> list[nn.Parameter]:
    """The parameters given to the optimiser.

    With ``partial_bn`` the scale and shift of batch norms inside temporal modules are left out too: the
    release gives them to no group of its optimiser, so they count in the gradients' norm but do not move.
    """
    still: set[int] = set()
    if partial_bn:
        still = {id(p) for inside, module in batch_norms(model) if inside for p in module.parameters()}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in still]


def create_optimizer(model: VideoClassifier, optim: OptimOptions) -> torch.optim.Optimizer:
    """SGD or AdamW; each group of its parameters has an ``lr_scale`` and ``warmup_epochs`` of its own.

    Temporal modules and the classifier, which no published backbone has, learn at ``new_layers_lr``, the convolutions
    of their gates at ``gates_lr`` where it is given. The rate of the backbone's layers falls by ``layer_decay`` from
    each to the one before it, where that is below 1.
    """
    temporal = _parameters_of(_temporal_modules(model))
    scales = layer_scales(model.backbone, optim.layer_decay) if optim.layer_decay < 1 else {}
    scales |= dict.fromkeys(temporal | _parameters_of([model.head]), optim.new_layers_lr)
    if optim.gates_lr is not None:
        scales |= dict.fromkeys(_gate_convolutions(model), optim.gates_lr)
    gates_warmup = optim.warmup_epochs if optim.gates_warmup_epochs is None else optim.gates_warmup_epochs
    groups: dict[tuple[float, int], dict[str, Any]] = {}
    for parameter in trained_parameters(model, partial_bn=optim.partial_bn):
        scale = scales.get(id(parameter), 1.0)
        warmup = gates_warmup if id(parameter) in temporal else optim.warmup_epochs
        group = groups.setdefault((scale, warmup), {"params": [], "lr_scale": scale, "warmup_epochs": warmup})
        group["params"].append(parameter)
    kind = torch.optim.AdamW if optim.optimizer == "adamw" else torch.optim.SGD
    options = {} if optim.optimizer == "adamw" else {"momentum": 0.9}
    return kind(groups.values(), lr=optim.lr, weight_decay=optim.weight_decay, **options)  # type: ignore[arg-type]


def layer_scales(backbone: nn.Module, decay: float) -> dict[int, float]:
    """The factor of each parameter's learning rate by its id: ``decay`` for the last layer, its square before, ...

    Layers are timm's, where a network says which it has, and else its direct parts with weights in their order.
    """
    if hasattr(backbone, "group_matcher"):
        from timm.models import group_parameters

        matcher = backbone.group_matcher(coarse=False)  # type: ignore[operator]
        layer_of = group_parameters(backbone, matcher, reverse=True)
    else:
        layer_of = _direct_parts(backbone)
    num_layers = max(layer_of.values()) + 1
    return {id(p): decay ** (num_layers - layer_of[name]) for name, p in backbone.named_parameters()}


def _direct_parts(net: nn.Module) -> dict[str, int]:
    """The number of the part that each parameter is in, by its name."""
    names = [name for name, _ in net.named_parameters()]
    depth = 0
    while len({name.split(".")[depth] for name in names}) == 1:  # as torchvision's "features"
        depth += 1
    numbers: dict[str, int] = {}
    return {name: numbers.setdefault(name.split(".")[depth], len(numbers)) for name in names}


def _temporal_modules(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, TemporalModule)]


def _gate_convolutions(model: nn.Module) -> set[int]:
    return {id(p) for gate in model.modules() if isinstance(gate, GateShift) for p in (gate.weight, gate.bias)}


def _parameters_of(modules: list[nn.Module]) -> set[int]:
    return {id(p) for module in modules for p in module.parameters()}
