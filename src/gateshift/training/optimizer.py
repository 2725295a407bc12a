"""How weights are updated: the optimizer's groups of parameters, one training step, and the average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.model.classifier import VideoClassifier
from gateshift.model.temporal.modules import GateShift, TemporalModule
from gateshift.recipes.options import Accumulation, OptimOptions
from gateshift.training.batch_norms import batch_norms

GATE_PATH = 80.0  # how far what tanh is taken of may move in a training
GATE_STEP = 0.5  # and in one update
GATE_LIMIT = 8.0  # how far it may get where all updates agree; a sixth of them does, and tanh is taken of 1.3
POSITIVE_MEAN = 0.4  # of the positive part of a normal distribution


def trained_parameters(model: nn.Module, *, partial_bn: bool) -> list[nn.Parameter]:
    """The parameters given to the optimizer.

    With ``partial_bn``, scale and shift of batch norms inside temporal modules are left out: no group of the release's
    optimizer has them, so they count in the gradient norm but do not move.
    """
    fixed: set[int] = set()
    if partial_bn:
        fixed = {id(p) for inside, module in batch_norms(model) if inside for p in module.parameters()}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in fixed]


def create_optimizer(
    model: VideoClassifier, optim: OptimOptions, *, num_updates: int | None = None
) -> torch.optim.Optimizer:
    """SGD or AdamW; each of its parameter groups has its own ``lr_scale`` and ``warmup_epochs``.

    Temporal modules and the classifier, which no pretrained backbone has, are scaled by ``new_layers_lr``, the
    convolutions of the gates by ``gates_lr`` if given, and the backbone's layers by ``layer_decay``.

    Args:
        model: Its parameters are trained.
        optim: Options of the training.
        num_updates: Optimizer steps of the whole training, where ``gates_lr`` is "auto".
    """
    temporal, decays = _temporal_parameters(model), dict[int, float]()
    scales = layer_scales(model.backbone, optim.layer_decay) if optim.layer_decay < 1 else {}
    scales |= dict.fromkeys(temporal | {id(p) for p in model.head.parameters()}, optim.new_layers_lr)
    if optim.gates_lr is not None:
        for gate in (module for module in model.modules() if isinstance(module, GateShift)):
            scale = optim.gates_lr
            if scale == "auto":
                rate, decays[id(gate.weight)] = gate_rate(gate, num_updates=num_updates or 1)
                scale = rate / optim.peak_lr
            scales |= {id(gate.weight): scale, id(gate.bias): scale}
    groups: dict[tuple[float, int, float], dict[str, Any]] = {}
    for parameter in trained_parameters(model, partial_bn=optim.partial_bn):
        scale, decay = scales.get(id(parameter), 1.0), decays.get(id(parameter), optim.weight_decay)
        warmup = optim.gates_warmup if id(parameter) in temporal else optim.warmup_epochs
        options = {"lr_scale": scale, "warmup_epochs": warmup, "weight_decay": decay}
        groups.setdefault((scale, warmup, decay), {"params": [], **options})["params"].append(parameter)
    kind = torch.optim.AdamW if optim.optimizer == "adamw" else torch.optim.SGD
    momentum = {} if optim.optimizer == "adamw" else {"momentum": 0.9}
    return kind(groups.values(), lr=optim.lr, **momentum)  # type: ignore[arg-type]


def gate_rate(gate: GateShift, *, num_updates: int) -> tuple[float, float]:
    """AdamW's peak rate and weight decay for a gate's weights, so that it opens early in a training and stays moderate.

    Adam moves each weight by up to its rate in each update, and a gate's inputs, relu(bn(x)), are all positive, 0.4 in
    the mean. So what tanh is taken of moves by up to 0.4 times the rate times the number of inputs, and at the rate of
    other weights a gate of many inputs is at its end within a few updates. Here it may move by ``GATE_PATH`` over all
    updates of a cosine, whose mean is half of the peak, and by ``GATE_STEP`` in one. AdamW's decay keeps a weight below
    the decay's inverse, whatever the rate, and so what tanh is taken of below ``GATE_LIMIT``. So there is no warm-up.
    """
    input_sum = POSITIVE_MEAN * 3 * gate.weight[0].numel()  # of one gate: 3 x 3 x 3 places of half of the channels
    return min(2 * GATE_PATH / num_updates, GATE_STEP) / input_sum, input_sum / GATE_LIMIT


def layer_scales(backbone: nn.Module, decay: float) -> dict[int, float]:
    """The learning-rate factor of each parameter by its id: ``decay`` for the last layer, its square before, ...

    Layers are timm's, where a network defines them, and else its direct children that have weights.
    """
    if hasattr(backbone, "group_matcher"):
        from timm.models import group_parameters

        matcher = backbone.group_matcher(coarse=False)  # type: ignore[operator]
        layer_of = group_parameters(backbone, matcher, reverse=True)
    else:
        layer_of = _direct_children(backbone)
    num_layers = max(layer_of.values()) + 1
    return {id(p): decay ** (num_layers - layer_of[name]) for name, p in backbone.named_parameters()}


def _direct_children(net: nn.Module) -> dict[str, int]:
    """The number of the child that each parameter belongs to, by the parameter's name."""
    names = [name for name, _ in net.named_parameters()]
    depth = 0
    while len({name.split(".")[depth] for name in names}) == 1:  # as torchvision's "features"
        depth += 1
    numbers: dict[str, int] = {}
    return {name: numbers.setdefault(name.split(".")[depth], len(numbers)) for name in names}


def _temporal_parameters(model: nn.Module) -> set[int]:
    return {id(p) for module in model.modules() if isinstance(module, TemporalModule) for p in module.parameters()}


def freeze_backbone(model: VideoClassifier) -> list[nn.Parameter]:
    """Freeze the statistics of the backbone's batch norms until the next ``model.train()``.

    Returns:
        The backbone's parameters without those of temporal modules: their gradients are to be dropped.
    """
    for inside, module in batch_norms(model):
        if not inside:
            module.eval()
    temporal = _temporal_parameters(model)
    return [p for p in model.backbone.parameters() if id(p) not in temporal]


class TrainingStep:
    """Forward and backward passes with gradient accumulation, and an update after each group of them.

    With ``accumulation="exact"`` an update is that of one batch of all videos of its group: each pass counts by its
    videos, and the norm of the sum is clipped once. ``"release"`` is the papers' code: the mean loss of each pass is
    divided by ``accumulate``, even in an incomplete group, and the accumulated gradients are clipped after each pass.

    Args:
        accelerator: Its processes have equally many videos in each pass.
        model: In train mode.
        optimizer: Over :func:`trained_parameters`.
        loss: Mean loss over the videos of a batch, from logits [B, K] and targets.
        clip_norm: Maximum gradient norm.
        accumulate: Passes of a complete group.
        accumulation: See above.
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
        self._first_count = 0  # videos of the group's first pass
        self._weight = 0.0  # videos of the group so far, in multiples of these

    def __call__(
        self, clips: Tensor, targets: Tensor, *, update: bool = True, frozen: Sequence[nn.Parameter] = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One forward and backward pass, and the update at the end of a group.

        Args:
            clips: [B, T, 3, H, W].
            targets: [B] int64, or soft targets [B, K].
            update: Whether this pass ends a group.
            frozen: Parameters whose gradients are dropped. (Turning ``requires_grad`` off would change the graph that
                several processes have agreed on.)

        Returns:
            Mean loss of the batch, gradient norm before clipping (0 where none is clipped), logits [B, K].
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
        """The weight of a pass of ``count`` videos, relative to the first of its group."""
        if self.is_release:
            return 1.0
        self._first_count = self._first_count or count
        share = count / self._first_count
        self._weight += share
        return share

    def _divide(self) -> None:
        """Make the gradients a mean over the group's videos, as those of a complete group of equal passes are."""
        factor = self.accumulate / self._weight
        if factor != 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)


class WeightAverage:
    """An exponential moving average of weights and batch-norm statistics.

    With few updates the average is over fewer: the decay of update n, counted from 1, is at most 1 - n^(-2/3).

    Args:
        model: Copied; on its device.
        decay: Weight of the old average in the new one, after many updates.
        accelerator: Saves the average with the state of the run.
    """

    def __init__(self, model: VideoClassifier, decay: float, accelerator: Accelerator) -> None:
        self._average = ModelEmaV3(model, decay=decay, use_warmup=True)
        accelerator.register_for_checkpointing(self._average)

    def update(self, model: VideoClassifier, number: int) -> None:
        """Add the weights after an update; the first has number 1 and replaces the average."""
        self._average.update(model, step=number)

    def synchronize(self) -> VideoClassifier:
        """Broadcast the first process's batch-norm statistics, and return the averaged model.

        Every process must call it at the same time.
        """
        model: VideoClassifier = self._average.module
        broadcast(list(model.buffers()))
        return model
