"""Measure the loading of clips and lists: python benchmarks/data/run.py FOLDER [--rounds 7].

FOLDER receives the footage, once, and results.csv. Programs that are compared run in turn in one process, each once
a round, and every figure is a median over the rounds.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Event

import av
import numpy as np
import psutil
import torch
from footage import draw_frames, extract_as_released, write_h264
from PIL import Image
from released_reader import ReleasedClips
from torch.utils.data import DataLoader, Dataset

from gateshift.data.clips.dataset import Augmentation, TrainingClips
from gateshift.data.clips.loader import collate, make_loader
from gateshift.data.clips.transforms import multi_scale_boxes, random_crop
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.prepare.frames import extract_frames
from gateshift.data.video.files import open_video
from gateshift.data.video.images import decode_image
from gateshift.data.video.packed import PackedFiles

SIZES = {"240p": (426, 240), "720p": (1280, 720)}
NUM_VIDEOS, NUM_FRAMES, T, SIZE_PX, PACK_PX = 8, 90, 8, 224, 256
BATCH_SIZE, NUM_BATCHES = 8, 9
LENGTHS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
NUM_LISTED = 100_000

Rows = list[dict[str, object]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--list", type=Path, help="only read this list, and print what it took")
    parser.add_argument(
        "--workers-of", choices=("objects", "columns", "nothing"), help="only load once through a long list"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.list:
        print(*measure_list(options.list))
        return
    if options.workers_of:
        print(*measure_workers(options.folder, options.workers_of))
        return
    make_footage(options.folder)
    rows: Rows = []
    for footage in SIZES:
        rows += compare_loaders(options.folder / footage, footage, options.rounds)
        rows += compare_direct(options.folder / footage, footage, options.rounds)
        rows += time_stages(options.folder / footage, footage, options.rounds)
    rows += measure_lists(options.folder)
    with (options.folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["what", "footage", "name", "value", "unit"])
        writer.writeheader()
        writer.writerows(rows)


def make_footage(folder: Path) -> None:
    for name, (width, height) in SIZES.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for seed in range(NUM_VIDEOS):
            video = place / f"{seed}.mp4"
            if not video.exists():
                write_h264(video, draw_frames(seed, width=width, height=height, num_frames=NUM_FRAMES))
            if not (place / str(seed)).exists():
                extract_as_released(video, place / str(seed))
            for suffix, side_px in ((".zip", PACK_PX), (".224.zip", SIZE_PX)):
                target = place / f"{seed}{suffix}"
                extract_frames(video, [(target, range(NUM_FRAMES))], Event(), PackedFiles(side_px))


def row(what: str, footage: str, name: str, value: float, unit: str) -> dict[str, object]:
    print(f"{what:>10} {footage:>5} {name:>40} {value:10.3f} {unit}", flush=True)
    return {"what": what, "footage": footage, "name": name, "value": f"{value:.4g}", "unit": unit}


def clips_of(folder: Path, suffix: str) -> TrainingClips:
    source = folder / f"list{suffix}.csv"
    lines = [f"{number % NUM_VIDEOS}{suffix},a\n" for number in range(BATCH_SIZE * NUM_BATCHES)]
    source.write_text("path,label\n" + "".join(lines))
    augmentation = Augmentation(SIZE_PX, T, torch.tensor([0]), torch.tensor([True]))
    return TrainingClips(read_manifest(source), ["a"], augmentation, seed=0)


def ms_per_clip(dataset: Dataset, epoch: int) -> float:
    """Of one worker at full speed: from the first batch, when it runs, to the last."""
    if isinstance(dataset, TrainingClips):
        dataset.epoch = epoch
        loader = make_loader(dataset, batch_size=BATCH_SIZE, workers=1)
    else:
        loader = DataLoader(dataset, batch_size=BATCH_SIZE, num_workers=1)
    batches = iter(loader)
    next(batches)
    started = time.perf_counter()
    count = sum(1 for _ in batches)
    return 1e3 * (time.perf_counter() - started) / (count * BATCH_SIZE)


def in_turn(programs: dict[str, Callable[[int], float]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, program in programs.items():
            taken = program(number)
            if number:  # the first round warms up
                times[name].append(taken)
    return times


def compare(what: str, footage: str, base: str, programs: dict[str, Callable[[int], float]], rounds: int) -> Rows:
    times = in_turn(programs, rounds)
    rows = []
    for name, each in times.items():
        ratio = statistics.median(a / b for a, b in zip(times[base], each, strict=True))
        rows.append(row(what, footage, name, statistics.median(each), "ms a clip"))
        rows.append(row(what, footage, name, ratio, f"x {base}"))
    return rows


def compare_loaders(folder: Path, footage: str, rounds: int) -> Rows:
    """Training clips end to end, through a DataLoader."""
    folders = [folder / str(number % NUM_VIDEOS) for number in range(BATCH_SIZE * NUM_BATCHES)]
    released = ReleasedClips(folders, num_frames=NUM_FRAMES, num_segments=T, size_px=SIZE_PX)
    readers = {
        "release": released,
        "packed": clips_of(folder, ".zip"),
        "packed at 224 px": clips_of(folder, ".224.zip"),
        "the release's JPEG folders": clips_of(folder, ""),
        "video files": clips_of(folder, ".mp4"),
    }
    programs = {name: partial(ms_per_clip, reader) for name, reader in readers.items()}
    return compare("loader", footage, "release", programs, rounds)


def compare_direct(folder: Path, footage: str, rounds: int) -> Rows:
    """Reading frames of video files, and nothing else; the pixels must be the same."""
    drawn = np.random.default_rng(0)
    wanted = [[int((segment + drawn.random()) * NUM_FRAMES / T) for segment in range(T)] for _ in range(NUM_VIDEOS)]

    def read(reader: Callable[[Path, Sequence[int]], np.ndarray], _: int) -> float:
        started = time.perf_counter()
        for number in range(NUM_VIDEOS):
            reader(folder / f"{number}.mp4", wanted[number])
        return 1e3 * (time.perf_counter() - started) / NUM_VIDEOS

    for number in range(NUM_VIDEOS):
        path = folder / f"{number}.mp4"
        assert np.array_equal(sequentially(path, wanted[number]), directly(path, wanted[number]))
    programs = {"PyAV, in order": partial(read, sequentially), "open_video": partial(read, directly)}
    return compare("direct", footage, "PyAV, in order", programs, rounds)


def sequentially(path: Path, wanted: Sequence[int]) -> np.ndarray:
    frames = []
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if number == wanted[-1]:
                break
    return np.stack(frames)


def directly(path: Path, wanted: Sequence[int]) -> np.ndarray:
    with open_video(path) as video:
        return video.read(wanted).permute(0, 2, 3, 1).numpy()


def time_stages(folder: Path, footage: str, rounds: int) -> Rows:
    """Where the time of a clip goes."""
    numbers = [NUM_FRAMES * (2 * segment + 1) // (2 * T) for segment in range(T)]
    jpegs = [(folder / "0" / f"{number + 1:05d}.jpg").read_bytes() for number in numbers]
    images = [Image.open(folder / "0" / f"{number + 1:05d}.jpg").convert("RGB") for number in numbers]
    clips = clips_of(folder, ".zip")
    samples = [clips[number] for number in range(BATCH_SIZE)]
    read = {name: open_video(folder / name).read(numbers) for name in ("0.zip", "0.mp4")}
    square = (0, 0, images[0].height, images[0].height)

    def opened(name: str) -> None:
        with open_video(folder / name) as video:
            video.read(numbers)

    def cropped(name: str) -> None:
        boxes = multi_scale_boxes(*read[name].shape[-2:], size_px=SIZE_PX)
        random_crop(read[name], boxes, size_px=SIZE_PX, generator=torch.Generator().manual_seed(0))

    def resized() -> None:
        for image in images:
            image.crop(square).resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR)

    def decoded() -> None:
        for number in numbers:
            Image.open(folder / "0" / f"{number + 1:05d}.jpg").convert("RGB")

    stages: dict[str, tuple[Callable[[], object], int]] = {
        "release: open and decode JPEGs": (decoded, 1),
        "release: crop and resize": (resized, 1),
        "the same JPEGs by simplejpeg": (lambda: [decode_image(jpeg, "") for jpeg in jpegs], 1),
        "packed: open and decode": (partial(opened, "0.zip"), 1),
        "packed: crop and resize": (partial(cropped, "0.zip"), 1),
        "packed: collate": (lambda: collate(samples), BATCH_SIZE),
        "video file: open and decode": (partial(opened, "0.mp4"), 1),
        "video file: crop and resize": (partial(cropped, "0.mp4"), 1),
        "in the model: to float, minus mean": (lambda: samples[0]["clips"].float().sub_(104.0), 1),
    }

    def timed(program: Callable[[], object], share: int, _: int) -> float:
        started = time.perf_counter()
        for _ in range(3):
            program()
        return 1e3 * (time.perf_counter() - started) / 3 / share

    times = in_turn({name: partial(timed, *stage) for name, stage in stages.items()}, rounds)
    return [row("stage", footage, name, statistics.median(each), "ms a clip") for name, each in times.items()]


def measure_lists(folder: Path) -> Rows:
    """Each list is read by a process of its own."""
    rows = []
    for length in LENGTHS:
        source = folder / f"{length}.csv"
        lines = (f"packed/{number:08d}.zip,class {number % 174},{number % 300 + 1}\n" for number in range(length))
        source.write_text("path,label,frames\n" + "".join(lines))
        seconds, size = map(float, again(folder, "--list", str(source)))
        rows.append(row("list", "", f"{length} videos", seconds, "s"))
        rows.append(row("list", "", f"{length} videos", size / length, "bytes a video"))
        source.unlink()
    for kind in ("objects", "columns", "nothing"):
        sizes = map(float, again(folder, "--workers-of", kind))
        for name, size in zip(("USS, start", "PSS, start", "USS, end", "PSS, end"), sizes, strict=True):
            rows.append(row("workers", "", f"list as {kind}: {name}", size / 1e6, "MB, both workers"))
    return rows


def again(*arguments: object) -> list[str]:
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def measure_list(source: Path) -> tuple[float, int]:
    process = psutil.Process()
    before = process.memory_info().rss
    started = time.perf_counter()
    manifest = read_manifest(source)
    seconds = time.perf_counter() - started
    assert len(manifest)
    return seconds, process.memory_info().rss - before


class Repeated(Dataset):
    """As many clips of a list of one video: what an epoch costs in memory without any list."""

    def __init__(self, clips: TrainingClips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return NUM_LISTED

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.clips[index % len(self.clips)]


def measure_workers(folder: Path, kind: str) -> list[int]:
    """Private and proportional memory (USS, PSS) of 2 workers after their first batches, and after an epoch."""
    small = folder / "small.mp4"
    write_h264(small, draw_frames(0, width=64, height=48, num_frames=8))
    extract_frames(small, [(folder / "small.zip", range(8))], Event(), PackedFiles(PACK_PX))
    source = folder / "long.csv"
    source.write_text("path,label\n" + "small.zip,a\n" * (1 if kind == "nothing" else NUM_LISTED))
    augmentation = Augmentation(16, 1, torch.tensor([0]), torch.tensor([False]))
    clips = TrainingClips(read_manifest(source), ["a"], augmentation, seed=0)
    if kind == "objects":  # a tuple of entries and a list of labels, as it was before there were columns
        entries = tuple(clips.manifest.entries)
        clips.labels = clips.labels.tolist()
        clips.manifest = type("Objects", (), {"entries": entries, "__len__": lambda self: len(self.entries)})()
    dataset = Repeated(clips) if kind == "nothing" else clips
    sizes: list[int] = []
    for number, _ in enumerate(make_loader(dataset, batch_size=100, workers=2)):
        if number in (20, NUM_LISTED // 100 - 20):
            memory = [child.memory_full_info() for child in psutil.Process().children()]
            sizes += [sum(each.uss for each in memory), sum(each.pss for each in memory)]
    return sizes


if __name__ == "__main__":
    main()
