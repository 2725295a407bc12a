"""One step of a training: a forward and a backward pass, and an update after each group of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift.run.train_settings import Accumulation


class TrainingStep:
    """Forward and backward passes whose gradients are added up, and an update after each group of them.

    An update is that of one batch of all videos of its group: each pass counts by its videos, and the norm of the sum
    is clipped once. ``"release"`` does what the papers' code does instead: the mean loss of each pass is divided by
    ``accumulate``, in an incomplete group too, and the norm of what is gathered is clipped after each pass.

    Args:
        accelerator: Runs the backward pass in its precision and on its devices. Where it is several processes, they
            have equally many videos in each pass.
        model: In train mode.
        optimizer: Over :func:`gateshift.run.parameter_groups.trained_parameters`.
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
