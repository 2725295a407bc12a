"""Small videos with bytes changed at random, each through all of predict; a program, so that a crash is seen.

    python tests/flipped_bytes.py FOLDER FIRST LAST

Says before each what it is about to do, and ends with a line of what came of them. One that takes too long ends the
program.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from video_corpus import CONTAINERS, encode, scene

import gateshift as gs
from gateshift.prediction.predict import predict_with

HANG_S = 20
MAX_CHANGED = 8


def changed(data: bytes, number: int) -> bytes:
    """Change up to eight bytes; every second time in the first kilobyte, where headers are."""
    rng = np.random.default_rng([2020, number])
    within = min(1024, len(data)) if number % 2 else len(data)
    found = bytearray(data)
    for place in rng.integers(within, size=rng.integers(1, MAX_CHANGED + 1)):
        found[place] ^= rng.integers(1, 256)
    return bytes(found)


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20)


def main(folder: Path, first: int, last: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = gs.create_model("test_resnet", num_classes=3, size_px=32, num_segments=4).eval()
    whole = []
    for file, options in CONTAINERS.values():
        encode(folder / file, scene(8, 32, 32), **options)
        whole.append((folder / file, (folder / file).read_bytes()))
    outcomes: Counter[str] = Counter()
    before_mb = peak_mb()
    for number in range(first, last):
        path, data = whole[number % len(whole)]
        path.write_bytes(changed(data, number))
        sys.stdout.write(f"{number} {path.name}\n")
        sys.stdout.flush()
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        (prediction,) = predict_with(model, [path], segments=4)
        faulthandler.cancel_dump_traceback_later()
        outcomes["read" if prediction.error is None else "refused"] += 1
        if prediction.error is not None and (str(path) not in prediction.error or "\n" in prediction.error):
            raise ValueError(f"not one line that names the file: {prediction.error}")
    sys.stdout.write(json.dumps({**outcomes, "grown_mb": peak_mb() - before_mb}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
