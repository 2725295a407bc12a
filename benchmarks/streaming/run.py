"""Time of the stream modes for each frame, on one core; see README.md."""

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.streaming.network import ExactStream
from gateshift.model.temporal.modules import GateShift
from gateshift.prediction.stream import Stream

NETWORKS = {
    "bninception": {"backbone": "bninception"},
    "resnet50, a quarter": {"backbone": "resnet50", "ratio": 0.25},
}
FIELDS = ["network", "mode", "ms_per_frame", "fps", "longest_ms", "delay_frames", "kept_mb", "times_faster"]
SEGMENTS = 8
WINDOW, HOP = 64, 16
WARM_UP, FRAMES = 72, 64  # until the first window is full and every delay line too; then timed
FRAME_SHAPE = (240, 320, 3)


def network(name: str, *, causal: bool) -> VideoClassifier:
    """A deployed network with random weights and open gates."""
    torch.manual_seed(0)
    model = create_model(**NETWORKS[name], temporal="gsm", num_classes=174, causal=causal)
    for module in model.modules():
        if isinstance(module, GateShift):
            torch.nn.init.normal_(module.weight, std=0.02)
            torch.nn.init.normal_(module.bias, std=0.1)
    return model.eval().deploy()


def streams(name: str) -> dict[str, Callable[[], Stream]]:
    """The modes, and first what they are compared with: the window computed again for each frame."""
    model, causal = network(name, causal=False), network(name, causal=True)
    return {
        "window again for each frame": lambda: Stream(model, window=WINDOW, hop=1, segments=SEGMENTS),
        f"windows, one for {HOP} frames": lambda: Stream(model, window=WINDOW, hop=HOP, segments=SEGMENTS),
        "exact": lambda: Stream(model, exact=True),
        "exact, causal": lambda: Stream(causal, exact=True),
    }


def time_frames(stream: Stream) -> list[float]:
    """Seconds of each push of a frame, resizing and cropping included."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (8, *FRAME_SHAPE), dtype=np.uint8)
    seconds = []
    for number in range(WARM_UP + FRAMES):
        started = time.perf_counter()
        stream.push(frames[number % len(frames)])
        seconds.append(time.perf_counter() - started)
    return seconds[WARM_UP:]


def kept_mb(name: str, *, causal: bool) -> float:
    """Memory of the delay lines of an exact stream."""
    stream = ExactStream(network(name, causal=causal))
    size_px = 224
    stream.push(torch.zeros(1, 3, size_px, size_px, dtype=torch.uint8))
    return stream.kept_bytes / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.csv")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for name in given.networks:
            reference = None
            for mode, make in streams(name).items():
                stream = make()
                seconds = time_frames(stream)
                mean = statistics.fmean(seconds)
                reference = reference or mean
                is_exact = mode.startswith("exact")
                row = {
                    "network": name,
                    "mode": mode,
                    "ms_per_frame": f"{1e3 * mean:.1f}",
                    "fps": f"{1 / mean:.1f}",
                    "longest_ms": f"{1e3 * max(seconds):.1f}",
                    "delay_frames": stream.delay,
                    "kept_mb": f"{kept_mb(name, causal='causal' in mode):.1f}" if is_exact else "",
                    "times_faster": f"{reference / mean:.2f}",
                }
                writer.writerow(row)
                file.flush()
                print(row)


if __name__ == "__main__":
    main()
