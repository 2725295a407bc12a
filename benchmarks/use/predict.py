"""What `predict` costs beside its parts: python benchmarks/use/predict.py FOLDER [--precision bf16] [--keep-freed].

FOLDER receives 500 clips of 2 s, once, and predict.csv, or predict-bf16.csv and the like. With --keep-freed the process
keeps the memory that tensors leave, as the command line does. One call classifies all clips, with one decoding thread;
after each 25 of them, the parts are timed in turn: the deployed network alone on decoded clips, decoding alone by one
thread, and the way of before: the undeployed network on one video at a time. Times are those of the processor, so that
other work on the machine counts little; with one core for all, they are what one waits for. Given are medians of the
rounds and of the rounds' ratios. The rate of a matrix product on the same core says how much faster any program could
be with this network's sums and products.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import psutil
import torch
from recordings import CLIP_S, cut_out, key_frames_s, write_minute

import gateshift as gs
from gateshift.evaluation.fast_form import fast_form
from gateshift.model.temporal.modules import GateShift
from gateshift.prediction.scoring import VideoScorer

NUM_VIDEOS, PER_ROUND, BATCH_SIZE = 500, 25, 4
NETWORK_VIDEOS, BEFORE_VIDEOS = 8, 3  # timed in a round
SEGMENTS, SIDE = 8, 2048
NAME = "b-frames.mp4"
Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", default="bninception")
    parser.add_argument("--precision", default="no")
    parser.add_argument("--keep-freed", action="store_true")
    parser.add_argument("--videos", type=int, default=NUM_VIDEOS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.keep_freed and not gs.keep_freed_memory():
        parser.error("--keep-freed: the C library of this machine cannot")
    videos = write_clips(options.folder)[: options.videos]
    model = make_model(options.backbone, videos)
    scorer, form = VideoScorer(model), fast_form(model, options.precision)
    predictions = gs.predict(model, videos, workers=1, batch_size=BATCH_SIZE, precision=options.precision)
    seconds: dict[str, list[float]] = {"predict": [], "network alone": [], "decoding alone": [], "before": []}
    largest, memory_mb, product_rates = 0.0, [], []
    for start in range(0, len(videos), PER_ROUND):
        part = videos[start : start + PER_ROUND]
        taken_s, found = cpu_seconds(lambda: list(islice(predictions, PER_ROUND)))
        seconds["predict"].append(taken_s / PER_ROUND)
        taken_s, views = cpu_seconds(lambda part=part: decode(scorer, part))
        seconds["decoding alone"].append(taken_s / PER_ROUND)
        taken_s, _ = cpu_seconds(lambda views=views: run_network(form, views[:NETWORK_VIDEOS]))
        seconds["network alone"].append(taken_s / NETWORK_VIDEOS)
        taken_s, answers = cpu_seconds(lambda part=part: list(predict_before(model, scorer, part[:BEFORE_VIDEOS])))
        seconds["before"].append(taken_s / BEFORE_VIDEOS)
        for prediction, expected in zip(found, answers, strict=False):
            largest = max(largest, float((prediction.probabilities - expected).abs().max()))
        product_rates.append(product_rate(options.precision))
        memory_mb.append(round(psutil.Process().memory_info().rss / 2**20))
    larger = [max(pair) for pair in zip(seconds["network alone"], seconds["decoding alone"], strict=True)]
    rows = [(f"{name}, ms a video", f"{1e3 * statistics.median(each):.1f}") for name, each in seconds.items()]
    rows.append(("predict over the larger part", f"{ratio(seconds['predict'], larger):.3f}"))
    rows.append(("before over predict", f"{ratio(seconds['before'], seconds['predict']):.2f}"))
    macs = gs.inspect(options.backbone, temporal="gsm").after.macs * SEGMENTS
    rows.append(("predict, GFLOP/s", f"{2e-9 * macs / statistics.median(seconds['predict']):.0f}"))
    rows.append(("a matrix product, GFLOP/s", f"{1e-9 * statistics.median(product_rates):.0f}"))
    rows.append(("largest difference of a probability", f"{largest:.1e}"))
    rows.append(("MB after 100 videos", str(memory_mb[100 // PER_ROUND - 1])))
    rows.append((f"MB after {len(videos)} videos", str(memory_mb[-1])))
    name = "predict" + (f"-{options.precision}" if options.precision != "no" else "") + "-kept" * options.keep_freed
    with (options.folder / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("what", "value"), *rows])
    for name, value in rows:
        print(f"{name:40} {value}")


def product_rate(precision: str) -> float:
    """Operations a second of the product of two large square matrices."""
    one, other = (torch.randn(SIDE, SIDE, dtype=torch.bfloat16 if precision == "bf16" else None) for _ in range(2))
    return 2 * SIDE**3 / cpu_seconds(lambda: one @ other)[0]


def ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(each / base for each, base in zip(one, other, strict=True))


def write_clips(folder: Path) -> list[Path]:
    """500 clips, of which about 30 are different."""
    place = folder / "short clips"
    place.mkdir(parents=True, exist_ok=True)
    minute = write_minute(folder / f"1-{NAME}")
    starts = [start_s for start_s in key_frames_s(minute) if start_s < 60 - CLIP_S]
    cuts = [cut_out(minute, folder / f"cut-{number}-{NAME}", start_s) for number, start_s in enumerate(starts)]
    videos = [place / f"{number:03}.mp4" for number in range(NUM_VIDEOS)]
    for number, video in enumerate(videos):
        if not video.exists():
            shutil.copy(cuts[number % len(cuts)], video)
    return videos


def make_model(backbone: str, videos: list[Path], size_px: int | None = None) -> gs.VideoClassifier:
    """A network with random weights and open gates, whose batch norms know some of the videos."""
    torch.manual_seed(0)
    model = gs.create_model(backbone, "gsm", num_classes=174, num_segments=SEGMENTS, size_px=size_px)
    for module in model.modules():
        if isinstance(module, GateShift):
            torch.nn.init.normal_(module.weight, std=0.02)
            torch.nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics are those of the clips that it sees
    torch.nn.init.normal_(model.head.weight, std=0.1)
    reader = VideoScorer(model.eval())
    with torch.no_grad():
        model.train()(torch.cat([reader.read(video) for video in videos[:2]]))
    return model.eval()


def cpu_seconds(program: Callable[[], Result]) -> tuple[float, Result]:
    start_s = time.process_time()
    result = program()
    return time.process_time() - start_s, result


def decode(scorer: VideoScorer, videos: list[Path]) -> list[torch.Tensor]:
    with ThreadPoolExecutor(1) as pool:
        return list(pool.map(scorer.read, videos))


@torch.inference_mode()
def run_network(form: torch.nn.Module, views: list[torch.Tensor]) -> list[torch.Tensor]:
    batches = [torch.cat(views[start : start + BATCH_SIZE]) for start in range(0, len(views), BATCH_SIZE)]
    return [form(batch) for batch in batches]


def predict_before(model: gs.VideoClassifier, scorer: VideoScorer, videos: list[Path]) -> Iterator[torch.Tensor]:
    """Probabilities [K] of each video, one after the other, by the network as it is trained."""
    for video in videos:
        with torch.inference_mode():
            yield model(scorer.read(video))[0].softmax(0)


if __name__ == "__main__":
    main()
