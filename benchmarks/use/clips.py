"""What a clip out of a long recording costs beside the same clip cut out: python benchmarks/use/clips.py FOLDER.

FOLDER receives recordings of each length, once. The clip of 2 s, 8 frames of it, is read from a recording and from a
file that holds it alone, in turn; printed are the ratios of the medians, for the second clip and those after it, and
the time of the first clip, which indexes the recording.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import av
import torch

from gateshift.data.video.files import open_video

CODINGS = {
    "b-frames.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-bf", "3", "-c:a", "aac"],
    "plain.mkv": ["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-bf", "3", "-c:a", "aac"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "50", "-c:a", "libopus"],
    "variable-rate.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-bf", "3", "-c:a", "aac"],
}
# Of 25 frames a second, each third one comes later.
VARIABLE = ["-vf", "setpts='PTS+if(eq(mod(N,3),1),0.015/TB,0)'", "-fps_mode", "vfr", "-video_track_timescale", "90000"]
CLIP_S, NUM_FRAMES, NUM_TAKEN = 2.0, 50, 8
NEAR_S = 41.0  # into the last minute; clips begin at the key frame before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 10], help="lengths, such as 1 10 60")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    print(f"{'recording':20} {'minutes':>7} {'cut, ms':>8} {'first, ms':>9} {'later / cut':>11}")
    for name in CODINGS:
        minute = write_minute(options.folder / f"1-{name}")
        cut = cut_out(minute, options.folder / f"cut-{name}")
        for minutes in options.minutes:
            recording = repeat(minute, options.folder / f"{minutes}-{name}", minutes)
            start_s = key_frame_s(recording, NEAR_S + 60 * (minutes - 1))
            first_s, later_s, cut_s = measure(recording, start_s, cut, options.rounds)
            print(f"{name:20} {minutes:7} {1e3 * cut_s:8.1f} {1e3 * first_s:9.1f} {later_s / cut_s:11.2f}", flush=True)


def measure(recording: Path, start_s: float, cut: Path, rounds: int) -> tuple[float, float, float]:
    """Seconds of the first clip of a recording, of a later one, and of the same frames in a file of their own."""
    programs: list[Callable[[], object]] = [
        lambda: read_clip(recording, start_s, start_s + CLIP_S),
        lambda: read_clip(cut, num_frames=NUM_FRAMES),
    ]
    first_s = time_of(programs[0])
    times = [[time_of(program) for program in programs] for _ in range(rounds)]
    later_s, cut_s = (statistics.median(column) for column in zip(*times, strict=True))
    return first_s, later_s, cut_s


def read_clip(
    path: Path, start_s: float | None = None, end_s: float | None = None, num_frames: int | None = None
) -> torch.Tensor:
    with open_video(path, start_s=start_s, end_s=end_s, num_frames=num_frames) as video:
        return video.read([number * video.num_frames // NUM_TAKEN for number in range(NUM_TAKEN)])


def time_of(program: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    program()
    return time.perf_counter() - start_s


def write_minute(path: Path) -> Path:
    """A minute of moving pictures with sound, at 320 x 240."""
    name = path.name.partition("-")[2]
    timing = VARIABLE if name.startswith("variable") else []
    picture = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=60", "-f", "lavfi", "-i", "sine=d=60"]
    return path if path.exists() else ffmpeg(path, *picture, *timing, *CODINGS[name])


def cut_out(minute: Path, path: Path) -> Path:
    if path.exists():
        return path
    start_s = key_frame_s(minute, NEAR_S)
    return ffmpeg(path, "-ss", f"{start_s + 0.05}", "-i", str(minute), "-t", f"{CLIP_S}", "-c", "copy")


def key_frame_s(path: Path, near_s: float) -> float:
    """When the key frame before a time is shown, on the file's clock."""
    with av.open(str(path)) as container:
        start_s = (container.start_time or 0) / av.time_base
        container.seek(round((near_s + start_s) * av.time_base))
        packet = next(container.demux(video=0))
        assert packet.pts is not None
        return float(packet.pts * packet.time_base) - start_s


def repeat(minute: Path, path: Path, minutes: int) -> Path:
    """So many minutes, without coding them again."""
    if path.exists():
        return path
    return ffmpeg(path, "-stream_loop", str(minutes - 1), "-i", str(minute), "-c", "copy")


def ffmpeg(path: Path, *arguments: str) -> Path:
    """Write a file; it appears when it is whole."""
    partial = path.with_name(f"partial-{path.name}")
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments, str(partial)], check=True)
    return partial.replace(path)


if __name__ == "__main__":
    main()
