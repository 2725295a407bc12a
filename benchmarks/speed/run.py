"""Speed of the published networks' forms on this machine; see README.md."""

import argparse
import csv
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gateshift.bench.programs import (
    Timing,
    answering,
    inference_programs,
    matrix_rate,
    share_of_peak,
    time_programs,
    training_programs,
    training_steps,
)
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.temporal.modules import GateShift

sys.path.insert(0, str(Path(__file__).parent.parent))

from released_order import in_released_order

NETWORKS = {
    "bninception": {"backbone": "bninception"},
    "inceptionv3": {"backbone": "inceptionv3"},
    "resnet50, a quarter": {"backbone": "resnet50", "ratio": 0.25},
}
FIELDS = ["network", "what", "program", "ms", "times_faster", "relative_error", "share_of_peak", "over_tsn"]
SEGMENTS = 8
ROUNDS = 7
STEP_ROUNDS = 5
PARTS = ("inference", "training")
FLOORS = {"model, channels-last": "TSN, channels-last", "bf16": "TSN, bf16"}  # of training steps


def network(name: str) -> VideoClassifier:
    """A network with random weights and open gates, whose batch norms know the statistics of random clips."""
    torch.manual_seed(0)
    model = create_model(**NETWORKS[name], temporal="gsm", interleave=True, num_classes=174)
    for module in model.modules():
        if isinstance(module, GateShift):
            torch.nn.init.normal_(module.weight, std=0.02)
            torch.nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics are those of the clips that it sees
    torch.nn.init.normal_(model.head.weight, std=0.1)
    with torch.no_grad():
        model.train()(random_clips(model, 2))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # None would break the graph of a compiled step
    return model.eval()


def random_clips(model: VideoClassifier, count: int) -> torch.Tensor:
    size_px = model.config.size_px
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, SEGMENTS, 3, size_px, size_px), dtype=torch.uint8, generator=generator)


def rows(
    name: str,
    what: str,
    timings: list[Timing],
    share: Callable[[Timing], float] | None = None,
) -> list[dict[str, object]]:
    """Lines of the table; each program's time is also compared with that of the same form of TSN."""
    seconds = {timing.name: timing.seconds for timing in timings}
    found: list[dict[str, object]] = []
    for timing in timings:
        floor = seconds.get(FLOORS.get(timing.name, timing.name.replace("deployed", "TSN deployed", 1)))
        found.append(
            {
                "network": name,
                "what": what,
                "program": timing.name,
                "ms": f"{1e3 * timing.seconds:.1f}",
                "times_faster": f"{timing.ratio:.2f}",
                "relative_error": "" if timing.error is None else f"{timing.error:.1e}",
                "share_of_peak": "" if share is None else f"{share(timing):.2f}",
                "over_tsn": f"{timing.seconds / floor:.3f}" if floor and "TSN" not in timing.name else "",
            }
        )
    return found


def inference(
    name: str, model: VideoClassifier, *, count: int, rounds: int, compiled: bool = False, only: str = ""
) -> list[dict[str, object]]:
    """The forms of a network on ``count`` clips; those alone that have ``only`` in their name, and the release."""
    rates = {False: matrix_rate(torch.float32), True: matrix_rate(torch.bfloat16)}
    clips = random_clips(model, count)
    with tempfile.TemporaryDirectory() as folder:
        programs = {"release": answering(in_released_order(model), clips)}
        forms = inference_programs(model, clips, Path(folder), compiled=compiled, exported=True)
        programs |= {each: run for each, run in forms.items() if only in each}
        timings = time_programs(programs, rounds=rounds, alike=lambda program: "TSN" not in program)

    def share(timing: Timing) -> float:
        return share_of_peak(model, clips, timing.seconds, rates["bf16" in timing.name])

    return rows(name, f"inference, {count} clips", timings, share)


def training(name: str, model: VideoClassifier, *, compiled: bool) -> list[dict[str, object]]:
    clips = random_clips(model, 2)
    programs = {"release": training_steps(in_released_order(model), clips)}
    programs |= training_programs(model, clips, compiled=compiled)
    return rows(name, "training step, 2 clips", time_programs(programs, rounds=STEP_ROUNDS, alike=lambda _: False))


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.csv")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--compiled", nargs="*", choices=list(NETWORKS), default=["bninception"])
    given = parser.parse_args()
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for name in given.networks:
            model, compiled = network(name), name in given.compiled
            if "inference" in given.parts:
                writer.writerows(inference(name, model, count=1, rounds=ROUNDS, compiled=compiled))
            if "training" in given.parts:
                writer.writerows(training(name, model, compiled=compiled))
            if "inference" in given.parts and name == "bninception":
                writer.writerows(inference(name, model, count=8, rounds=STEP_ROUNDS, only="OpenVINO"))
                writer.writerows(linearity(name))
            file.flush()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")


if __name__ == "__main__":
    main()
