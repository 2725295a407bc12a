"""Speed of the published networks' forms on this machine; see README.md. Usage: run.py OUT.csv [NETWORK ...]"""

import csv
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.gates import GateShift
from gateshift.run.bench import inference_programs, matrix_rate, share_of_peak, time_programs, training_programs

NETWORKS = {
    "bninception": {"backbone": "bninception"},
    "inceptionv3": {"backbone": "inceptionv3"},
    "resnet50, a quarter": {"backbone": "resnet50", "ratio": 0.25},
}
FIELDS = ["network", "what", "program", "ms", "times_faster", "relative_error", "share_of_peak", "over_tsn"]
SEGMENTS = 8
ROUNDS = 7
STEP_ROUNDS = 3


def network(name: str) -> VideoClassifier:
    """A network with random weights and open gates, whose batch norms know the statistics of random clips."""
    torch.manual_seed(0)
    model = create_model(**NETWORKS[name], temporal="gsm", interleave=True, num_classes=174)
    for module in model.modules():
        if isinstance(module, GateShift):
            torch.nn.init.normal_(module.weight, std=0.02)
            torch.nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    torch.nn.init.normal_(model.head.weight, std=0.1)
    with torch.no_grad():
        model.train()(random_clips(model, 2))
    return model.eval()


def random_clips(model: VideoClassifier, count: int) -> torch.Tensor:
    size_px = model.config.size_px
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, SEGMENTS, 3, size_px, size_px), dtype=torch.uint8, generator=generator)


def rows_of(name: str) -> list[dict[str, object]]:
    model = network(name)
    rates = {False: matrix_rate(torch.float32), True: matrix_rate(torch.bfloat16)}
    rows: list[dict[str, object]] = []
    clips = random_clips(model, 1)
    with tempfile.TemporaryDirectory() as folder:
        programs = inference_programs(model, clips, Path(folder), compiled=name == "bninception")
        found = time_programs(programs, rounds=ROUNDS, alike=lambda program: "TSN" not in program)
    seconds = {timing.name: timing.seconds for timing in found}
    for timing in found:
        floor = seconds.get(timing.name.replace("deployed", "TSN deployed", 1))
        rows.append(
            {
                "network": name,
                "what": "inference, 1 clip",
                "program": timing.name,
                "ms": f"{1e3 * timing.seconds:.1f}",
                "times_faster": f"{timing.ratio:.2f}",
                "relative_error": "" if timing.error is None else f"{timing.error:.1e}",
                "share_of_peak": f"{share_of_peak(model, clips, timing.seconds, rates['bf16' in timing.name]):.2f}",
                "over_tsn": f"{timing.seconds / floor:.3f}" if floor and "TSN" not in timing.name else "",
            }
        )
    if name != "bninception":
        return rows
    programs = training_programs(model, random_clips(model, 2), compiled=False)
    steps = time_programs(programs, rounds=STEP_ROUNDS, alike=lambda _: False)
    for timing in steps:
        rows.append(
            {
                "network": name,
                "what": "training step, 2 clips",
                "program": timing.name,
                "ms": f"{1e3 * timing.seconds:.1f}",
                "times_faster": f"{timing.ratio:.2f}",
            }
        )
    return rows


def linearity(name: str) -> list[dict[str, object]]:
    """Time of the deployed network at T = 8 to 64, and with 1 to 8 clips."""
    model = network(name)
    deployed = model.deploy()
    rows: list[dict[str, object]] = []
    size_px = model.config.size_px
    for count, segments in ((1, 8), (1, 16), (1, 64), (8, 8)):
        clips = torch.randint(0, 256, (count, segments, 3, size_px, size_px), dtype=torch.uint8)
        times = []
        with torch.inference_mode():
            deployed(clips)
            for _ in range(3):
                started = time.perf_counter()
                deployed(clips)
                times.append(time.perf_counter() - started)
        rows.append(
            {
                "network": name,
                "what": "time per frame, deployed",
                "program": f"{count} clips of {segments} frames",
                "ms": f"{1e3 * statistics.median(times) / count / segments:.2f}",
            }
        )
    return rows


def main() -> None:
    out, names = Path(sys.argv[1]), sys.argv[2:] or list(NETWORKS)
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for name in names:
            for row in [*rows_of(name), *(linearity(name) if name == "bninception" else [])]:
                writer.writerow(row)
                file.flush()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")


if __name__ == "__main__":
    main()
