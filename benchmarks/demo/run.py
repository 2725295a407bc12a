"""Run the demo with several seeds and note what came out: python benchmarks/demo/run.py OUT [SEED ...]."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path


def main(out: Path, seeds: list[int]) -> None:
    rows = []
    for seed in seeds:
        folder = out / f"seed{seed}"
        started = time.monotonic()
        subprocess.run(["gateshift", "demo", "--out", str(folder), "--seed", str(seed)], check=True)
        found = json.loads((folder / "demo.json").read_text())
        for temporal in ("none", "gsm"):
            scores = found[temporal]
            rows.append(
                {
                    "seed": seed,
                    "temporal": temporal,
                    "within_pairs": round(scores["within_pairs"], 4),
                    "top1": round(scores["top1"], 4),
                    "num_videos": scores["num_videos"],
                    "demo_seconds": round(time.monotonic() - started),
                }
            )
        with (out / "results.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [0, 1, 2])
