"""The same model on the same videos at other frame rates: mAP within 40 ms.

    gateshift demo --spot
    python benchmarks/spotting/rates.py demo/gsm/last.safetensors demo/videos/test.csv --out rates_results

The videos of the list are written again at 12.5 and 60 frames a second, and at a rate that varies, where each frame
lasts 20 to 80 ms, with the events at the same seconds: by showing at each time what they show then, and by the ffmpeg
program where it is installed, which rounds to the nearest frame, and, for a rate that varies, drops a third of the
frames. (It is told to keep times: ``ffmpeg -r 12.5`` would move frames by up to 120 ms.) ``rates.csv`` in the folder
has a row for each.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
from pathlib import Path

import gateshift as gs
from gateshift.demo.spot_videos import write_at_rate

RATES = {"12.5": 12.5, "60": 60.0, "variable": None}
BY_FFMPEG = {
    "12.5 by ffmpeg": ["-vf", "fps=12.5"],
    "60 by ffmpeg": ["-vf", "fps=60"],
    "a third dropped": ["-vf", "select='eq(n,0)+gt(random(3),0.333)'", "-vsync", "vfr"],
}
WITHIN_MS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("list", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = score_rates(gs.load_model(options.model).eval(), options.list, options.out)
    with (options.out / "rates.csv").open("w", newline="") as file:
        rows = [("rate", f"map_within_{WITHIN_MS}_ms"), *((name, f"{value:.4f}") for name, value in found.items())]
        csv.writer(file, lineterminator="\n").writerows(rows)
    for name, value in found.items():
        print(f"{name}: {value:.1%}")


def score_rates(model: gs.VideoClassifier, table: Path, out: Path) -> dict[str, float]:
    """mAP within 40 ms of videos as they are, and at each other rate; those are written where they are not yet."""
    found = {"as they are": within(model, table)}
    for name, fps in RATES.items():
        folder = out / f"videos_{name}"
        if not folder.exists():
            write_at_rate(table, folder, fps=fps)
        found[name] = within(model, folder / table.name)
    if shutil.which("ffmpeg") is None:
        print("left out, as the ffmpeg program is not installed: " + ", ".join(BY_FFMPEG))
        return found
    for name, words in BY_FFMPEG.items():
        folder = out / f"videos_{name.replace(' ', '_')}"
        if not folder.exists():
            write_by_ffmpeg(table, folder, words)
        found[name] = within(model, folder / table.name)
    return found


def write_by_ffmpeg(table: Path, folder: Path, words: list[str]) -> None:
    """Write the videos of a list again by the ffmpeg program, and a list with the events at the same seconds."""
    listed = gs.read_events(table)
    for name in listed.videos:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        command = ["ffmpeg", "-v", "error", "-i", table.parent / name, *words, "-crf", "16", "-preset", "veryfast"]
        subprocess.run([*command, folder / name], check=True)
    events = (gs.Event(each.video, each.label, time_s=each.time_s) for each in listed.events)
    gs.write_events(gs.EventList(tuple(events), listed.videos), folder / table.name)


def within(model: gs.VideoClassifier, table: Path) -> float:
    """mAP within 40 ms."""
    return gs.evaluate_frames(model, table, fps=1000.0, tolerances=(WITHIN_MS,)).figures()[f"map_{WITHIN_MS}"]


if __name__ == "__main__":
    main()
