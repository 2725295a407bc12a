"""Training in bf16 on a CPU, by where depthwise convolutions compute; see README.md. Usage: depthwise.py OUT.csv"""

import copy
import csv
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from run import STEP_ROUNDS

from gateshift.bench.programs import time_programs
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.stand_ins.depthwise import keep_depthwise_float32

BACKBONES = ("tf_efficientnet_lite0", "mobilenetv3_large_100", "convnext_atto")
CLIPS, SEGMENTS, SIZE_PX = 4, 8, 96


def step_of(model: VideoClassifier, *, bf16: bool) -> Callable[[], torch.Tensor]:
    clips = torch.randint(0, 256, (CLIPS, SEGMENTS, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    labels = torch.arange(CLIPS)

    def step() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(model(clips), labels)
        loss.backward()
        model.zero_grad()
        return loss.detach()

    return step


def main() -> None:
    with Path(sys.argv[1]).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["backbone", "program", "ms", "times_faster"])
        for backbone in BACKBONES:
            torch.manual_seed(0)
            model = create_model(backbone, temporal="gsm", num_classes=10, size_px=SIZE_PX, num_segments=SEGMENTS)
            model.to(memory_format=torch.channels_last).train()
            kept = copy.deepcopy(model)
            keep_depthwise_float32(kept.backbone)
            programs = {
                "float32": step_of(model, bf16=False),
                "bf16": step_of(model, bf16=True),
                "bf16, depthwise in float32": step_of(kept, bf16=True),
            }
            for timing in time_programs(programs, rounds=STEP_ROUNDS, alike=lambda _: False):
                writer.writerow([backbone, timing.name, f"{1e3 * timing.seconds:.1f}", f"{timing.ratio:.2f}"])


if __name__ == "__main__":
    main()
