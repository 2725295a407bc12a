"""Whether every batch of a training is large enough for batch norms, which need two values of each channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gateshift.errors import SettingsError
from gateshift.model.classifier import VideoClassifier
from gateshift.training.settings import TrainSettings


def check_small_batches(model: VideoClassifier, settings: TrainSettings, *, num_videos: int, processes: int) -> None:
    """Raise SettingsError if a batch norm that trains would see a single value of each channel in some batch.

    Args:
        model: In train mode, with batch norms that do not train in eval mode; left as it was.
        settings: Of the training.
        num_videos: How many an epoch has.
        processes: How many share each batch.
    """
    batch_size, skip_bad = settings.optim.batch_size, settings.skip_bad
    smallest = smallest_batch(num_videos, batch_size, processes=processes, skip_bad=skip_bad)
    if smallest > 1:
        return
    if batch_size // processes == 1:
        reason = "the epoch has batches of 1 video" + (" in each process" if processes > 1 else "")
    elif smallest_batch(num_videos, batch_size, processes=processes, skip_bad=0) == 1:
        reason = f"the last batch of an epoch, of {num_videos} videos in batches of {batch_size}, has 1 video"
    else:
        reason = f"--skip-bad {skip_bad} may leave 1 video in a batch"
    starved = _starved_norm(model, num_segments=settings.model.segments)
    if starved is not None:
        raise SettingsError(
            f"{reason}, of which a batch norm ({starved}) sees 1 value of each channel, and it needs 2: "
            "give another --batch-size, more --segments or a larger --size"
        )


def smallest_batch(num_videos: int, batch_size: int, *, processes: int, skip_bad: int) -> int:
    """Videos of the smallest batch of an epoch in one process; at most ``skip_bad`` of them may be left out."""
    if processes > 1:  # the last batch is filled up
        return batch_size // processes
    return max(1, min(num_videos % batch_size or batch_size, num_videos) - skip_bad)


def _starved_norm(model: VideoClassifier, *, num_segments: int) -> str | None:
    """The first batch norm that trains and sees one value of each channel of a clip, by its name."""
    starved: list[str] = []
    modes = {module: module.training for module in model.modules()}
    norms: dict[nn.Module, str] = {
        module: name for name, module in model.named_modules() if isinstance(module, _BatchNorm)
    }

    def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if modes[norm] and inputs[0].numel() == inputs[0].shape[1]:
            starved.append(norms[norm])

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    size_px, device = model.config.size_px, next(model.parameters()).device
    try:
        model.eval()  # in which nothing is drawn, and no statistics change
        with torch.no_grad():
            model(torch.zeros((1, num_segments, 3, size_px, size_px), dtype=torch.uint8, device=device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return starved[0] if starved else None
