"""Events of a long recording: is memory constant, is the cost of a minute flat, and are they those of its pieces?

    python benchmarks/spotting/long_recording.py MODEL --out long_results
    python benchmarks/spotting/long_recording.py MODEL --out quick --minutes 2 4 --source 30

Ten drawn minutes (``--source`` seconds of them) are repeated, packet by packet, until a recording is as long as asked.
For each length ``spot_events`` runs in a process of its own, whose time, peak memory and events are noted. The last of
them, or that of ``--cut``, is then cut at key frames into pieces of a sixth, each with 10 s more at both ends; an event
of a piece is kept where it is in the piece's own part, and all of them are compared with those of the whole.
``long_recording.csv`` in the folder has a row for each length, and one for the pieces.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import av

import gateshift as gs
from gateshift.demo.spot_scenes import draw_spot_video
from gateshift.demo.spot_videos import encode

FPS, KEY_S, PIECES = 25.0, 10.0, 6
Found = list[tuple[int, str, float]]  # frame, class, score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 30, 120])
    parser.add_argument("--source", type=int, default=600, help="seconds that are drawn; they are repeated")
    parser.add_argument("--cut", type=int, help="minutes of the recording that is cut; by default the last one's")
    parser.add_argument("--threshold", type=float, default=0.2, help="score of the events that are compared")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.model, options.measure, options.threshold)))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    source = options.out / "source.mp4"
    if not source.exists():
        drawn = draw_spot_video(0, duration_s=options.source)
        encode(source, drawn, [number / FPS for number in range(drawn.num_frames)], rate=FPS)
    rows: list[dict[str, object]] = []
    cut_minutes = options.cut or options.minutes[-1]
    for minutes in options.minutes:
        path = options.out / f"{minutes}.mp4"
        if not path.exists():
            repeat(source, path, times=60 * minutes // options.source)
        whole = run(options, path)
        rows.append({"recording": f"{minutes} min", **figures(whole, minutes)})
        print(rows[-1], flush=True)
        if minutes == cut_minutes:
            rows.append(compare(options, path, whole, 60.0 * minutes))
            print(rows[-1], flush=True)
    with (options.out / "long_recording.csv").open("w", newline="") as file:
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(names), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def run(options: argparse.Namespace, path: Path) -> dict[str, object]:
    """What :func:`measure` gives in a process of its own."""
    command = [sys.executable, __file__, options.model, "--out", options.out, "--measure", path]
    command = [str(part) for part in (*command, "--threshold", options.threshold)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(model: Path, path: Path, threshold: float) -> dict[str, object]:
    """Seconds, peak memory in MB, and events of a file."""
    loaded = gs.load_model(model).eval()
    began_s, used_s = time.perf_counter(), time.process_time()
    events: Found = [
        (event.frame or 0, event.label, event.score or 0.0)
        for event in gs.spot_events(loaded, path, threshold=threshold)
    ]
    return {
        "wall_s": time.perf_counter() - began_s,
        "cpu_s": time.process_time() - used_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "events": events,
    }


def figures(found: dict, minutes: float) -> dict[str, object]:
    """A row of the table."""
    return {
        "seconds_per_minute": round(found["wall_s"] / minutes, 3),
        "cpu_seconds_per_minute": round(found["cpu_s"] / minutes, 3),
        "peak_mb": round(found["peak_mb"]),
        "events": len(found["events"]),
    }


def compare(options: argparse.Namespace, path: Path, whole: dict, duration_s: float) -> dict[str, object]:
    """Cut the recording, find events in its pieces, and see how far they are from those of the whole."""
    part_s = round(duration_s / PIECES / KEY_S) * KEY_S
    merged: Found = []
    seconds, used_s, peaks = 0.0, 0.0, []
    for number in range(PIECES):
        start_s, end_s = number * part_s, duration_s if number == PIECES - 1 else (number + 1) * part_s
        piece = options.out / f"piece_{number}.mp4"
        first = cut(path, piece, max(start_s - KEY_S, 0), end_s + KEY_S)
        found = run(options, piece)
        seconds, used_s = seconds + found["wall_s"], used_s + found["cpu_s"]
        peaks.append(found["peak_mb"])
        merged += [
            (frame + first, label, score)
            for frame, label, score in found["events"]
            if start_s * FPS <= frame + first < end_s * FPS
        ]
        piece.unlink()
    one, other = ({(frame, label): score for frame, label, score in each} for each in (whole["events"], merged))
    common = one.keys() & other.keys()
    row = figures({"wall_s": seconds, "cpu_s": used_s, "peak_mb": max(peaks), "events": merged}, duration_s / 60)
    return {
        "recording": f"{duration_s / 60:g} min in {PIECES} pieces",
        **row,
        "same_events": len(common),
        "only_one_has": len(one.keys() ^ other.keys()),
        "largest_difference_of_scores": max((abs(one[each] - other[each]) for each in common), default=0.0),
    }


def repeat(source: Path, path: Path, *, times: int) -> None:
    """Write a video several times over, one after the other, without decoding it."""
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        out = writer.add_stream_from_template(stream)
        length = round(stream.frames / FPS / stream.time_base)
        for number in range(times):
            reader.seek(0)
            for packet in reader.demux(stream):
                if packet.dts is not None:
                    packet.dts, packet.pts = packet.dts + number * length, packet.pts + number * length
                    packet.stream = out
                    writer.mux(packet)


def cut(source: Path, path: Path, start_s: float, end_s: float) -> int:
    """Write the part between two key frames, without decoding it, and say which frame of the source is its first."""
    first = None
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        out = writer.add_stream_from_template(stream)
        reader.seek(round(start_s / stream.time_base), stream=stream, backward=True)
        for packet in reader.demux(stream):
            if packet.dts is None:
                continue
            if packet.is_keyframe and packet.pts * stream.time_base > end_s - 0.5 / FPS:
                break
            if first is None:
                first = packet.pts
            packet.dts, packet.pts = packet.dts - first, packet.pts - first
            packet.stream = out
            writer.mux(packet)
    return round(float(first * stream.time_base) * FPS)


if __name__ == "__main__":
    main()
