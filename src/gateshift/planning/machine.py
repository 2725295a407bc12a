"""What a plan has to know of the machine: its device and cores, and how long it takes for a clip of a training."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from gateshift.devices import Precision, num_cores, num_processes, why_bf16_is_slow
from gateshift.errors import ModelError
from gateshift.model.backbones.factory import create_backbone, fit_size
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.stand_ins.depthwise import keep_depthwise_float32
from gateshift.recipes.options import FrameOptions, ModelOptions

TIMED_CLIPS, TIMED_FRAMES, TIMED_STEPS = 4, 64, 2
INFERENCE = 0.4  # time of a clip in validation, relative to training


@dataclass(frozen=True)
class Machine:
    """Where a training runs.

    Attributes:
        device: "cpu", "cuda", ...
        cores: CPU cores that this process may use.
        processes: That share the training.
    """

    device: str
    cores: int
    processes: int

    @property
    def is_slow(self) -> bool:
        """Whether it has no accelerator."""
        return self.device == "cpu"

    def __str__(self) -> str:
        return f"{self.device} with {self.cores} core{'s' if self.cores > 1 else ''}"


@dataclass(frozen=True)
class Timing:
    """How long a network takes for a clip here, forward and backward, in seconds, and in which precision."""

    step_s: float
    precision: Precision

    def epoch_s(self, machine: Machine, *, num_train: int, num_val: float, read_s: float) -> float:
        """Seconds of an epoch that ends with the validation of ``num_val`` videos."""
        loading_s = read_s / machine.cores  # in other processes, which share a CPU's cores with the network

        def video_s(step_s: float) -> float:
            return step_s + loading_s if machine.is_slow else max(step_s, loading_s)

        return num_train * video_s(self.step_s) + num_val * video_s(self.step_s * INFERENCE)


def this_machine() -> Machine:
    """What this process runs on."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return Machine("cpu" if found is None else found.type, num_cores(), num_processes())


def takes_size(backbone: str, size_px: int) -> bool:
    """Whether a backbone can be given frames of a size; some can be given one size only."""
    try:
        fit_size(create_backbone(backbone).net, backbone, size_px)
    except ModelError:
        return False
    return True


def time_network(
    options: ModelOptions,
    *,
    num_classes: int,
    machine: Machine,
    precision: Precision | None,
    frames: FrameOptions | None = None,
) -> Timing:
    """Train a few steps on random pixels, in each precision that is worth a try here, or in the one that is given.

    Args:
        options: Of the network; a clip has its segments.
        num_classes: K.
        machine: What this is.
        precision: The given one.
        frames: What a network with an answer for each frame sees of recordings; None for one of clips.
    """
    model = create_model(
        options.backbone,
        options.temporal,
        num_classes=num_classes,
        num_sites=options.num_sites,
        ratio=options.ratio,
        size_px=options.size,
        task=frames.task if frames else "clip",
        head=frames.head if frames else None,
        fps=frames.fps if frames else None,
    )
    model.to(machine.device).to(memory_format=torch.channels_last).train()
    fast: list[Precision] = [] if why_bf16_is_slow(torch.device(machine.device)) else ["bf16"]
    tried: list[Precision] = [precision] if precision else (["no", *fast] if machine.is_slow else fast or ["no"])
    return min((_time(model, options.segments, each) for each in tried), key=lambda timing: timing.step_s)


def _time(model: VideoClassifier, num_frames: int, precision: Precision) -> Timing:
    device, size_px = model.mean.device, model.config.size_px
    if precision == "bf16" and device.type == "cpu":
        keep_depthwise_float32(model.backbone)
    num_clips = max(min(TIMED_CLIPS, TIMED_FRAMES // num_frames), 1)
    clips = torch.randint(256, (num_clips, num_frames, 3, size_px, size_px), dtype=torch.uint8, device=device)
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    seconds = []
    for _ in range(1 + TIMED_STEPS):
        began_s = time.perf_counter()
        with torch.autocast(device.type, kind, enabled=precision != "no"):
            logits = model(clips).flatten(0, -2)  # of clips, or of all their frames
            loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=device))
        loss.backward()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - began_s)
    return Timing(min(seconds[1:]) / num_clips, precision)
