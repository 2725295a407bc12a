"""How far a training has come: what is saved beside weights and optimiser, so that it can go on within an epoch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gateshift.errors import SettingsError


@dataclass
class EpochSoFar:
    """The part of an epoch that is done.

    Attributes:
        taken: Batches that the loader gave, bad ones too.
        batches: Batches that were learned from.
        updates: Times that the weights changed.
        loss: Sum of the losses of all videos.
        hits: Videos whose class was found; where a video may have several, each counts by the share of right answers.
        videos: Videos that were learned from.
        seconds: Time that this took, over all programs that took part.
    """

    taken: int = 0
    batches: int = 0
    updates: int = 0
    loss: float = 0.0
    hits: float = 0.0
    videos: float = 0.0
    seconds: float = 0.0

    def forget_counts(self) -> None:
        """Count losses, hits and videos from 0 again."""
        self.loss = self.hits = self.videos = 0.0

    @property
    def mean_loss(self) -> float:
        """Of the videos so far."""
        return self.loss / self.videos

    @property
    def accuracy(self) -> float:
        """Share of the videos so far whose class was found, or of right answers, in 0..1."""
        return self.hits / self.videos


class Progress:
    """How far a training has come; saved and restored with the weights.

    Attributes:
        epoch: Epochs that are finished.
        so_far: Of the epoch after these.
        best_accuracy: Highest validation accuracy so far, in 0..1; -1 before the first.
        validated_on: Digest of the videos that the best accuracy is of; empty before the first.
        skipped: Why videos could not be read and were left out, by their place in the list.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.so_far = EpochSoFar()
        self.best_accuracy = -1.0
        self.validated_on = ""
        self.skipped: dict[int, str] = {}
        self._unread: list[tuple[Tensor, int]] = []

    def count(self, loss: Tensor, hits: Tensor, videos: int) -> None:
        """Add what came out of a batch to what came out of the epoch, once it is read: mean loss, and right answers."""
        self._unread.append((torch.stack([loss.float(), hits.float()]), videos))

    def read(self) -> None:
        """Read what was counted. Only this waits for the device, so that steps need not.

        Raises:
            SettingsError: If a loss is no finite number.
        """
        if not self._unread:
            return
        numbers = torch.stack([both for both, _ in self._unread]).tolist()
        for (loss, hits), (_, videos) in zip(numbers, self._unread, strict=True):
            if not math.isfinite(loss):
                raise SettingsError(f"the loss became {loss} in epoch {self.epoch + 1}; start again with a lower --lr")
            self.so_far.loss += loss * videos
            self.so_far.hits += hits
            self.so_far.videos += videos
        self._unread.clear()

    def state_dict(self) -> dict[str, Any]:
        """For accelerate's state saving."""
        so_far = dataclasses.asdict(self.so_far)
        best = {"best_accuracy": self.best_accuracy, "validated_on": self.validated_on}
        return {"epoch": self.epoch, "so_far": so_far, **best, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """For accelerate's state saving."""
        self.epoch, self.best_accuracy = int(state["epoch"]), float(state["best_accuracy"])
        self.validated_on = str(state.get("validated_on", ""))  # older states do not say
        self.so_far = EpochSoFar(**state["so_far"])
        self.skipped = dict(state["skipped"])

    def __str__(self) -> str:
        """Where it is, for people."""
        if not self.so_far.taken:
            return f"after epoch {self.epoch}"
        return f"after batch {self.so_far.taken} of epoch {self.epoch + 1}"
