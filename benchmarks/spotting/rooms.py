"""Dense labels of real recordings: what goes on in each frame, and when it begins, on recordings not seen before.

    python benchmarks/spotting/rooms.py TRAIN.csv VAL.csv --out rooms_results

TRAIN and VAL are spans, ``path,label,start,end``, of recordings beside them; labels need be good to 2 s only. Three
models are trained on TRAIN and tested on VAL: a network that answers for each frame (``--task segment``), with
gate-shift; the same without it; and a classifier of the clips of the spans, with the answers of ``predict --timeline``.
``rooms.csv`` has for each the frame accuracy, edit score and F1 at IoU 0.1 and 0.25 of its spans, and the mAP of their
starts within 2 s; the answer "nothing" is a row too.
"""

from __future__ import annotations

import argparse
import csv
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import gateshift as gs
from gateshift.data.events.events import VideoInfo
from gateshift.data.video.files import VideoFile

WITHIN_S = 2.0
Spans = dict[str, list[gs.Span]]  # by recording
MODELS: dict[str, dict[str, Any]] = {
    "segment, gsm": {"task": "segment", "temporal": "gsm"},
    "segment, none": {"task": "segment", "temporal": "none"},
    "timeline of clips, gsm": {"temporal": "gsm"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--context", type=float, default=12.8)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    truth = gs.read_spans(options.val)
    rows = [{"model": "nothing", **scored(options, truth, {name: [] for name in truth}), "minutes": 0.0}]
    for name in options.models:
        began_s = time.perf_counter()
        model = train(options, name)
        found = {each: gs.find_events(model, options.val.parent / each) for each in truth}
        minutes = round((time.perf_counter() - began_s) / 60, 1)
        rows.append({"model": name, **scored(options, truth, found), "minutes": minutes})
        print(rows[-1], flush=True)
        with (options.out / "rooms.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def train(options: argparse.Namespace, name: str) -> gs.VideoClassifier:
    """The last weights of a training, from the start that knows motion."""
    folder = options.out / name.replace(", ", "-").replace(" ", "_")
    own = MODELS[name]
    dense = {"fps": options.fps, "context": options.context} if "task" in own else {"probe": False}
    gs.train(
        options.train,
        options.val,
        out=folder,
        start="motion",
        size=options.size,
        epochs=options.epochs,
        validate_every=options.epochs,
        whole_frame=True,
        seed=options.seed,
        resume="auto",
        **own,
        **dense,
    )
    return gs.load_model(folder / "last.safetensors").eval()


def scored(options: argparse.Namespace, truth: Spans, found: Spans) -> dict[str, float]:
    """The figures of spans, and of their starts as events."""
    durations_s = {}
    for name in truth:
        with closing(VideoFile(options.val.parent / name)) as video:
            durations_s[name] = float(video.ends_s()[-1])
    spans = gs.score_spans(truth, found, durations_s=durations_s)
    tolerance_ms = 1000 * WITHIN_S
    events = gs.score_events(starts(truth), starts(found), tolerances=(tolerance_ms,), fps=1000.0)
    return {
        "frame_accuracy": round(spans.frame_accuracy, 3),
        "edit": round(spans.edit, 1),
        "f1_10": round(spans.f1[0.1], 3),
        "f1_25": round(spans.f1[0.25], 3),
        "starts_within_2_s": round(events["mAP"][tolerance_ms], 3),
    }


def starts(spans: Spans) -> gs.EventList:
    """The start of each span as an event."""
    events = (
        gs.Event(name, each.label, time_s=each.start_s, score=each.score) for name, own in spans.items() for each in own
    )
    return gs.EventList(tuple(events), dict.fromkeys(spans, VideoInfo()))


if __name__ == "__main__":
    main()
