"""The same model on the same videos at other frame rates: mAP within 40 ms.

    gateshift demo --spot
    python benchmarks/spotting/rates.py demo/gsm/last.safetensors demo/videos/test.csv --out rates_results

The videos of the list are written again at 12.5 and 60 frames a second, and at a rate that varies, where each frame
lasts 20 to 80 ms, with the events at the same seconds. ``rates.csv`` in the folder has a row for each.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import gateshift as gs
from gateshift.demo.spot_videos import write_at_rate

RATES = {"12.5": 12.5, "60": 60.0, "variable": None}
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
    return found


def within(model: gs.VideoClassifier, table: Path) -> float:
    """mAP within 40 ms."""
    return gs.evaluate_frames(model, table, fps=1000.0, tolerances=(WITHIN_MS,)).figures()[f"map_{WITHIN_MS}"]


if __name__ == "__main__":
    main()
