"""What `features` gives and takes: python benchmarks/use/features.py FOLDER [--minutes 10 120] [--ray].

FOLDER receives 200 clips of 2 s and recordings of these lengths, once, and features.csv. The features of the clips are
made by one process, by threads and, if asked for, by Ray, and compared byte for byte; those of each recording in a
process of its own, whose peak memory counts.
"""

from __future__ import annotations

import argparse
import csv
import resource
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from predict import make_model, write_clips
from recordings import repeat, write_minute

import gateshift as gs

NUM_CLIPS, NAME = 200, "b-frames.mp4"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=None, help="side of the network's input")
    parser.add_argument("--minutes", type=int, nargs="*", default=[10, 120])
    parser.add_argument("--per", nargs="+", default=["clip", "frame"], help="of the recordings")
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    clips = write_clips(options.folder)[:NUM_CLIPS]
    model = options.folder / f"{options.backbone}-{options.size}.safetensors"
    if not model.exists():
        gs.save_model(make_model(options.backbone, clips, options.size), model)
    rows = [("what", "value"), *compare(model, clips, options.folder, with_ray=options.ray)]
    minute = write_minute(options.folder / f"1-{NAME}")
    for minutes in options.minutes:
        recording = repeat(minute, options.folder / f"{minutes}-{NAME}", minutes)
        for per in options.per:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                seconds, peak_mb, shape = fresh.submit(
                    extract, model, [recording], options.folder / "long", per=per
                ).result()
            rows += [
                (f"{minutes} minutes, per {per}, {name}", value)
                for name, value in {"s": f"{seconds:.0f}", "peak MB": f"{peak_mb:.0f}", "shape": shape}.items()
            ]
            print(rows[-3:], flush=True)
    with (options.folder / "features.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def compare(model: Path, clips: list[Path], folder: Path, *, with_ray: bool) -> list[tuple[str, str]]:
    """The clips by each way, and whether the files are the same."""
    ways: dict[str, dict[str, Any]] = {"one process": {"workers": 0}, "two threads": {"workers": 2}}
    if with_ray:
        ways["Ray"] = {"engine": "ray"}
    rows, first = [], {}
    for name, options in ways.items():
        out = folder / f"by {name}"
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            seconds, _, _ = fresh.submit(extract, model, clips, out, **options).result()
        found = {path.name: path.read_bytes() for path in sorted(out.iterdir())}
        first = first or found
        same = sum(found.get(each) == first[each] for each in first)
        rows += [(f"{name}, s", f"{seconds:.1f}"), (f"{name}, files as of one process", f"{same} of {len(first)}")]
        print(rows[-2:], flush=True)
    return rows


def extract(model: Path, videos: list[Path], out: Path, **options: Any) -> tuple[float, float, str]:
    """Seconds, peak memory of this process, and the shape of the last array."""
    shutil.rmtree(out, ignore_errors=True)
    torch.set_num_threads(1)
    start_s = time.monotonic()
    found = gs.extract_features(model, videos, out=out, stride=1.0 if "per" in options else None, **options)
    assert not found.failures
    shape = (out / f"{videos[-1].stem}.times.json").read_text().partition('"shape": ')[2].rstrip("}\n")
    return time.monotonic() - start_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, shape


if __name__ == "__main__":
    main()
