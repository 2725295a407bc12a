"""What a clip out of a long recording costs beside the same clip cut out: python benchmarks/use/clips.py FOLDER.

FOLDER receives recordings of each length, once, and clips.csv. 8 frames of a clip of 2 s are read from a recording and
from a file that holds it alone, in turn; printed are the ratios of the medians, for the second clip and those after it,
and the time of the first clip, which indexes the recording, in passes of PyAV over all packets of the file. Another
process that finds the index on disk has the time of its first clip in "stored". All frames of the clip are compared
with those of a plain decoding of the file from its start.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from recordings import CLIP_S, CODINGS, NUM_FRAMES, cut_out, key_frame_s, repeat, write_minute

from gateshift.data.video import decode
from gateshift.data.video.files import open_video
from gateshift.data.video.index_cache import IndexCache

NUM_TAKEN = 8
NEAR_S = 41.0  # into the last minute; clips begin at the key frame before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 10], help="lengths, such as 1 10 60")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = []
    for name in CODINGS:
        minute = write_minute(options.folder / f"1-{name}")
        cut = cut_out(minute, options.folder / f"cut-{name}", key_frame_s(minute, NEAR_S))
        for minutes in options.minutes:
            recording = repeat(minute, options.folder / f"{minutes}-{name}", minutes)
            start_s = key_frame_s(recording, NEAR_S + 60 * (minutes - 1))
            row = {"recording": name, "minutes": minutes, **measure(recording, start_s, cut, options.rounds)}
            row["frames_differ"] = count_different(recording, start_s)
            print(row, flush=True)
            rows.append(row)
    with (options.folder / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure(recording: Path, start_s: float, cut: Path, rounds: int) -> dict[str, object]:
    """Medians of the cut clip, of a pass over all packets, and of the first, a later and a stored clip over these."""

    def later() -> torch.Tensor:
        return read_clip(recording, start_s)

    def first() -> torch.Tensor:
        forget()
        return later()

    def stored() -> torch.Tensor:
        forget()
        return read_clip(recording, start_s, index_folder=folder)

    def median_s(program: Callable[[], object]) -> float:
        return statistics.median(time_of(program) for _ in range(3))

    pass_s, first_s = median_s(lambda: count_packets(recording)), median_s(first)
    times = [(time_of(later), time_of(lambda: read_clip(cut, num_frames=NUM_FRAMES))) for _ in range(rounds)]
    later_s, cut_s = (statistics.median(column) for column in zip(*times, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        stored()
        stored_s = median_s(stored)
    return {
        "cut_ms": f"{1e3 * cut_s:.1f}",
        "later_over_cut": f"{later_s / cut_s:.2f}",
        "pass_ms": f"{1e3 * pass_s:.0f}",
        "first_ms": f"{1e3 * first_s:.0f}",
        "stored_ms": f"{1e3 * stored_s:.0f}",
    }


def forget() -> None:
    """Begin as a new process does."""
    decode.CACHE = IndexCache()


def read_clip(
    path: Path, start_s: float | None = None, *, num_frames: int | None = None, index_folder: str | None = None
) -> torch.Tensor:
    """8 frames of 2 s from a time on, or of a file's first frames."""
    end_s = None if start_s is None else start_s + CLIP_S
    with open_video(path, start_s=start_s, end_s=end_s, num_frames=num_frames, index_folder=index_folder) as video:
        return video.read([number * video.num_frames // NUM_TAKEN for number in range(NUM_TAKEN)])


def count_packets(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.demux(video=0))


def count_different(recording: Path, start_s: float) -> int:
    """Frames of the clip that are not those that decoding the file from its start gives, to the bit."""
    with open_video(recording, start_s=start_s, end_s=start_s + CLIP_S) as video:
        clip = video.read(range(video.num_frames)).permute(0, 2, 3, 1).numpy()  # [frames, H, W, 3]
    with av.open(str(recording)) as container:
        zero_s = (container.start_time or 0) / av.time_base
        plain = [
            frame.to_ndarray(format="rgb24")
            for frame in container.decode(video=0)
            if start_s - 5e-4 <= frame.time - zero_s < start_s + CLIP_S - 5e-4
        ]
    if len(plain) != len(clip):
        return abs(len(plain) - len(clip))
    return sum(not np.array_equal(one, other) for one, other in zip(clip, plain, strict=True))


def time_of(program: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    program()
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
