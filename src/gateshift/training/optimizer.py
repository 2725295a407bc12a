"""What is trained, how fast, and one step of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.errors import SettingsError
from gateshift.model.classifier import VideoClassifier
from gateshift.model.temporal.modules import GateShift, TemporalModule
from gateshift.recipes.options import Accumulation, OptimOptions
from gateshift.training.state import Progress


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


def learning_rate(epoch: int, *, peak: float, warmup_epochs: int, num_epochs: int) -> float:
    """The rate of an epoch: linear from a tenth of the peak, then half a cosine down to 1e-7 of it.

    Args:
        epoch: From 0 to ``num_epochs`` - 1.
        peak: Reached after the warm-up.
        warmup_epochs: Length of the warm-up, below ``num_epochs``.
        num_epochs: Length of the training.

    >>> [round(learning_rate(e, peak=0.01, warmup_epochs=2, num_epochs=4), 4) for e in range(4)]
    [0.001, 0.0055, 0.01, 0.005]
    """
    if epoch < warmup_epochs:
        return peak * (0.1 + 0.9 * epoch / warmup_epochs)
    progress = (epoch - warmup_epochs) / (num_epochs - warmup_epochs)
    floor = peak * 1e-7
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def one_cycle_rate(update: int, *, peak: float, warmup_updates: int, num_updates: int) -> float:
    """The rate of an update: linear up to the peak, then half a cosine down towards 0.

    Args:
        update: From 0 to ``num_updates`` - 1.
        peak: Reached by update ``warmup_updates``.
        warmup_updates: Length of the warm-up, below ``num_updates``.
        num_updates: Length of the training.

    >>> [round(one_cycle_rate(u, peak=0.04, warmup_updates=3, num_updates=7), 4) for u in range(7)]
    [0.01, 0.02, 0.03, 0.04, 0.0341, 0.02, 0.0059]
    """
    if update < warmup_updates:
        return peak * (update + 1) / (warmup_updates + 1)
    progress = (update - warmup_updates) / (num_updates - warmup_updates)
    return peak * (1 + math.cos(math.pi * progress)) / 2


def set_rates(
    optimizer: torch.optim.Optimizer, optim: OptimOptions, *, epoch: int, update: int, updates_per_epoch: int
) -> float:
    """Give each group of parameters its learning rate for one update.

    Args:
        optimizer: Its groups have an ``lr_scale``, a factor, and ``warmup_epochs``, their own length of warm-up.
        optim: Options of the training.
        epoch: From 0.
        update: Number of the update in its epoch, from 0.
        updates_per_epoch: How many there are.

    Returns:
        The rate of a group with neither.
    """

    def rate(warmup_epochs: int) -> float:
        return _rate(optim, warmup_epochs, epoch=epoch, update=update, updates_per_epoch=updates_per_epoch)

    for group in optimizer.param_groups:
        group["lr"] = rate(group["warmup_epochs"]) * group["lr_scale"]
    return rate(optim.warmup_epochs)


def _rate(optim: OptimOptions, warmup_epochs: int, *, epoch: int, update: int, updates_per_epoch: int) -> float:
    """The rate of an update after a warm-up of so many epochs."""
    if optim.schedule == "epochs":
        return learning_rate(epoch, peak=optim.peak_lr, warmup_epochs=warmup_epochs, num_epochs=optim.epochs)
    return one_cycle_rate(
        epoch * updates_per_epoch + update,
        peak=optim.peak_lr,
        warmup_updates=warmup_epochs * updates_per_epoch,
        num_updates=optim.epochs * updates_per_epoch,
    )


def plan_longer(
    optim: OptimOptions, planned_epochs: int, progress: Progress, *, updates_per_epoch: int, extend: bool
) -> tuple[str, bool]:
    """Let a run go on with more epochs than it was planned with.

    Where its rates so far are those of the longer run, as within the warm-up, it is the longer run. Else it may be
    extended: from here on it has the rates of the longer run, which are higher than those that it came to.

    Args:
        optim: Options with the new number of epochs.
        planned_epochs: The number before.
        progress: How far the run has come.
        updates_per_epoch: How many there are.
        extend: Whether rates may change.

    Returns:
        What to say of it, and whether the run is extended.

    Raises:
        SettingsError: If rates would change, and may not.
    """
    before = dataclasses.replace(optim, epochs=planned_epochs)
    done = progress.epoch * updates_per_epoch + progress.so_far.updates

    def rates(options: OptimOptions, number: int) -> list[float]:
        epoch, update = divmod(number, updates_per_epoch)
        gates = optim.warmup_epochs if optim.gates_warmup_epochs is None else optim.gates_warmup_epochs
        warmups = (optim.warmup_epochs, gates)
        return [
            _rate(options, each, epoch=epoch, update=update, updates_per_epoch=updates_per_epoch) for each in warmups
        ]

    if not done or rates(before, done - 1) == rates(optim, done - 1):  # what was before that is the same, too
        return f"{optim.epochs} epochs in place of {planned_epochs}: no learning rate so far depends on it", False
    (last, *_), (following, *_) = rates(before, done - 1), rates(optim, done)
    if not extend:
        raise SettingsError(
            f"--resume with --epochs {optim.epochs}, but the run's learning rate was planned over {planned_epochs}, "
            f"and has come to {last:.3g} {progress}; add --extend to go on with {following:.3g}, the rates of a run of "
            f"{optim.epochs} epochs from here on, or start a new run"
        )
    text = f"extended from {planned_epochs} to {optim.epochs} epochs {progress}: the learning rate is {following:.3g} "
    return text + f"from here, that of a run of {optim.epochs} epochs, where it was {last:.3g}", True


class TrainingStep:
    """Forward and backward passes whose gradients are added up, and an update after each group of them.

    An update is that of one batch of all videos of its group: each pass counts by its videos, and the norm of the sum
    is clipped once. ``"release"`` does what the papers' code does instead: the mean loss of each pass is divided by
    ``accumulate``, in an incomplete group too, and the norm of what is gathered is clipped after each pass.

    Args:
        accelerator: Runs the backward pass in its precision and on its devices. Where it is several processes, they
            have equally many videos in each pass.
        model: In train mode.
        optimizer: Over :func:`gateshift.training.optimizer.trained_parameters`.
        loss: Mean loss over the videos of a batch, from logits [B, K] and targets.
        clip_norm: Largest norm of the gradients.
        accumulate: How many passes a complete group has.
        accumulation: How they are added up.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        *,
        clip_norm: float,
        accumulate: int = 1,
        accumulation: Accumulation = "exact",
    ) -> None:
        self.accelerator, self.model, self.optimizer, self.loss = accelerator, model, optimizer, loss
        self.clip_norm, self.accumulate, self.is_release = clip_norm, accumulate, accumulation == "release"
        self._first_count = 0  # videos of the first pass of a group
        self._weight = 0.0  # videos of the group so far, in numbers of these

    def __call__(
        self, clips: Tensor, targets: Tensor, *, update: bool = True, frozen: Sequence[nn.Parameter] = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One forward and backward pass, and the update where it is due.

        Args:
            clips: [B, T, 3, H, W].
            targets: [B] int64, or shares of the classes [B, K].
            update: Whether this pass ends a group, so that the optimiser steps.
            frozen: Parameters that get no gradient. (To turn ``requires_grad`` off instead would change the graph that
                several processes have agreed on.)

        Returns:
            Mean loss of the batch, norm of all gradients before clipping (0 where none is clipped), logits [B, K].
        """
        with self.accelerator.autocast():
            logits = self.model(clips)
            value = self.loss(logits, targets)
        self.accelerator.backward(value * self._share(len(targets)) / self.accumulate)
        for parameter in frozen:
            parameter.grad = None
        if update and not self.is_release:
            self._divide()
        norm = torch.zeros(())
        # A gradient scaler (fp16) may be undone once an update only, so there the norm is clipped once.
        if update or (self.is_release and self.accelerator.scaler is None):
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        if update:
            self.optimizer.step()
            self.model.zero_grad()
            self._first_count, self._weight = 0, 0.0
        return value.detach(), norm.detach(), logits.detach()

    def _share(self, count: int) -> float:
        """The weight of a pass with so many videos, compared with the first of its group."""
        if self.is_release:
            return 1.0
        self._first_count = self._first_count or count
        share = count / self._first_count
        self._weight += share
        return share

    def _divide(self) -> None:
        """Divide the gradients by the videos of the group, of which a complete one of equal passes already is."""
        factor = self.accumulate / self._weight
        if factor != 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
