"""The same clips by the readers and networks that others use: python benchmarks/use/peers.py FOLDER.

FOLDER is that of predict.py. Needs torchcodec and transformers. 8 frames, one of each of 8 equal parts, are read of a
clip of 2 s in a file of its own, and of 2 s within a recording of 10 minutes, each reader used as its pages show and
with one thread, in turn. Then whole videos are classified, file to class, by networks with random weights, for the time
alone: VideoMAE-base (16 frames of 224 px, a transformers pipeline), r2plus1d_18 (16 frames of 112 px, torchvision,
decoded by torchcodec), and gate-shift in BN-Inception (8 frames of 224 px). Times are those of the processor; medians.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import av
import torch
from predict import NAME, make_model, write_clips
from recordings import CLIP_S, key_frames_s, repeat
from torch import Tensor
from torchcodec.decoders import VideoDecoder
from torchvision.models.video import R2Plus1D_18_Weights, r2plus1d_18
from transformers import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEImageProcessor, pipeline

from gateshift.data.clips.sampling import segment_indices
from gateshift.data.video.files import open_video

NUM_TAKEN, MINUTES = 8, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = write_clips(options.folder)
    recording = repeat(options.folder / f"1-{NAME}", options.folder / f"{MINUTES}-{NAME}", MINUTES)
    starts = key_frames_s(recording)[3::7]
    rows: list[tuple[str, str, str]] = []

    def measure(what: str, programs: dict[str, Callable[[int], object]], rounds: int) -> None:
        times: dict[str, list[float]] = {name: [] for name in programs}
        for number in range(-1, rounds):  # the first warms up
            for name, program in programs.items():
                start_s = time.process_time()
                program(max(number, 0))
                times[name].append(time.process_time() - start_s)
        base = next(iter(programs))
        medians = {name: statistics.median(each[1:]) for name, each in times.items()}
        for name, median_s in medians.items():
            rows.append((what, name, f"{1e3 * median_s:.1f}", f"{median_s / medians[base]:.2f}"))
            print(*rows[-1], flush=True)

    readers: dict[str, Callable[[Path, float | None], Tensor]] = {
        "gateshift": read_gateshift,
        "torchcodec, exact": lambda path, start_s: read_torchcodec(path, start_s, "exact"),
        "torchcodec, approximate": lambda path, start_s: read_torchcodec(path, start_s, "approximate"),
        "PyAV": read_pyav,
    }
    alone = {name: lambda number, read=read: read(clips[number], None) for name, read in readers.items()}
    measure("a file of 2 s", alone, options.rounds)
    within = {name: lambda number, read=read: read(recording, starts[number]) for name, read in readers.items()}
    measure("2 s of 10 minutes", within, options.rounds)
    measure("file to class", classifiers(clips), max(options.rounds // 5, 3))
    with (options.folder / "peers.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("what", "by", "ms", "over_gateshift"), *rows])


def read_gateshift(path: Path, start_s: float | None) -> Tensor:
    end_s = None if start_s is None else start_s + CLIP_S
    with open_video(path, start_s=start_s, end_s=end_s) as video:
        return video.read(segment_indices(video.num_frames, NUM_TAKEN).tolist())


def read_torchcodec(path: Path, start_s: float | None, seek_mode: str) -> Tensor:
    decoder = VideoDecoder(path, num_ffmpeg_threads=1, seek_mode=seek_mode)
    if start_s is None:
        return decoder.get_frames_at(segment_indices(len(decoder), NUM_TAKEN).tolist()).data
    middles = [decoder.metadata.begin_stream_seconds + start_s + CLIP_S * (part + 0.5) / NUM_TAKEN for part in range(8)]
    return decoder.get_frames_played_at(middles).data


def read_pyav(path: Path, start_s: float | None) -> Tensor:
    """Decode all frames of the time, and convert those that are wanted."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if start_s is not None:
            container.seek(round(start_s / stream.time_base), stream=stream)
        frames = []
        for frame in container.decode(stream):
            if start_s is None or start_s <= frame.time < start_s + CLIP_S:
                frames.append(frame)
            elif frame.time >= start_s + CLIP_S:
                break
        taken = segment_indices(len(frames), NUM_TAKEN).tolist()
        return torch.stack([torch.from_numpy(frames[number].to_ndarray(format="rgb24")) for number in taken])


def classifiers(clips: list[Path]) -> dict[str, Callable[[int], object]]:
    torch.manual_seed(0)
    ours = make_model("bninception", clips)
    mae = VideoMAEForVideoClassification(VideoMAEConfig(num_labels=174)).eval()
    pipe = pipeline("video-classification", model=mae, image_processor=VideoMAEImageProcessor())
    net, preprocess = r2plus1d_18(num_classes=174).eval(), R2Plus1D_18_Weights.KINETICS400_V1.transforms()

    @torch.inference_mode()
    def by_torchvision(path: Path) -> int:
        decoder = VideoDecoder(path, num_ffmpeg_threads=1)
        frames = decoder.get_frames_at(segment_indices(len(decoder), 16).tolist()).data  # [16, 3, H, W]
        return int(net(preprocess(frames)[None]).argmax())

    return {
        "gateshift, BN-Inception": lambda number: ours.predict(clips[number]).label,
        "transformers, VideoMAE-base": lambda number: pipe(str(clips[number]), top_k=1),
        "torchvision, r2plus1d_18": lambda number: by_torchvision(clips[number]),
    }


if __name__ == "__main__":
    main()
