"""The average of a network's weights over its last updates, which is validated and saved in place of the last ones."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.utils import broadcast
from timm.utils import ModelEmaV3

from gateshift.model.classifier import VideoClassifier


class WeightAverage:
    """An exponential moving average of weights and of batch norms' statistics.

    The first averages are over few updates: the decay of update n, counted from 1, is at most 1 - n^(-2/3).

    Args:
        model: Copied; on its device.
        decay: Share of the old average in the new one, once many updates are done.
        accelerator: Of this process; the average is saved with the state of the run.
    """

    def __init__(self, model: VideoClassifier, decay: float, accelerator: Accelerator) -> None:
        self._average = ModelEmaV3(model, decay=decay, use_warmup=True)
        accelerator.register_for_checkpointing(self._average)

    def update(self, model: VideoClassifier, number: int) -> None:
        """Take in the weights after an update; the first has number 1, and is taken as it is."""
        self._average.update(model, step=number)

    def model(self) -> VideoClassifier:
        """The network with averaged weights, the same in every process."""
        model: VideoClassifier = self._average.module
        broadcast(list(model.buffers()))  # each process has statistics of its own batches
        return model
