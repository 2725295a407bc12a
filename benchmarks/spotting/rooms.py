"""Dense labels of real recordings: what goes on in each frame, and when it begins, on recordings not seen before.

    python benchmarks/spotting/rooms.py TRAIN.csv VAL.csv --out rooms_results

TRAIN and VAL are spans, ``path,label,start,end``, of recordings beside them; labels need be good to 2 s only. Each of
three tasks is trained on TRAIN with gate-shift, from the start that knows motion, and without it, from ImageNet, as a
plan chooses them, and tested on VAL by its last weights: what goes on in each frame (``segment``), what begins when
(``spot``, on the starts of the spans), and what a cut-out span shows (``timeline``: the answers of ``predict
--timeline``; without gate-shift it is a TSN). What no option says is planned as for anyone; to train in minutes of a
core, the first two see 2.5 frames a second, and epochs are few.

``rooms.csv`` has for each the frame accuracy, edit score and F1 at IoU 0.1 and 0.25 of its spans, and the mAP of their
starts within 2 s. The answers "nothing", and the commonest class of TRAIN all the time, are rows too.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gateshift as gs
from gateshift.data.events.events import VideoInfo
from gateshift.data.video.files import VideoFile

WITHIN_S = 2.0
Spans = Mapping[str, Sequence[gs.Span]]  # by recording
TASKS = ("segment", "spot", "timeline")
MODELS = [f"{task}, {temporal}" for task in TASKS for temporal in ("gsm", "none")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--fps", type=float, default=2.5)
    parser.add_argument("--context", type=float, default=12.8)
    parser.add_argument("--epochs", type=int, default=8, help="of segment and spot")
    parser.add_argument("--clip-epochs", type=int, default=16, help="of timeline")
    parser.add_argument("--batch-size", type=int, default=4, help="of segment and spot")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    gs.keep_freed_memory()  # as the command line does
    truth, durations_s = gs.read_spans(options.val), durations(options.val)
    rows: list[dict[str, Any]] = []
    for name, found in baselines(options.train, durations_s).items():
        rows.append({"model": name, **of_spans(truth, found, durations_s), **of_starts(truth, starts(found))})
    for name in options.models:
        began_s = time.process_time()
        model = train(options, name)
        if name.startswith("spot"):
            figures = of_starts(truth, spotted(model, options.val))
        else:
            found = {each: gs.find_events(model, options.val.parent / each) for each in truth}
            figures = {**of_spans(truth, found, durations_s), **of_starts(truth, starts(found))}
        rows.append({"model": name, **figures, "cpu_minutes": round((time.process_time() - began_s) / 60, 1)})
        print(rows[-1], flush=True)
        with (options.out / "rooms.csv").open("w", newline="") as file:
            columns = ["model", "frame_accuracy", "edit", "f1_10", "f1_25", "starts_within_2_s", "cpu_minutes"]
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def train(options: argparse.Namespace, name: str) -> gs.VideoClassifier:
    """The last weights of a training."""
    folder = options.out / name.replace(", ", "-")
    task, temporal = name.split(", ")
    lists = [options.train, options.val]
    own: dict[str, Any] = {"probe": False, "epochs": options.clip_epochs, "validate_every": options.clip_epochs}
    if task != "timeline":
        own = {"task": task, "fps": options.fps, "context": options.context, "epochs": options.epochs}
        own |= {"validate_every": options.epochs, "batch_size": options.batch_size}
    if task == "spot":  # to the labels' own exactness
        own |= {"label_width": WITHIN_S / 2, "tolerance": WITHIN_S}
        for place, source in enumerate(lists):
            lists[place] = options.out / f"starts_of_{source.name}"
            gs.write_events(starts(gs.read_spans(source)), lists[place], overwrite=True)
    gs.train(
        *lists,
        out=folder,
        root=options.train.parent,
        # The motion start's weights mean nothing without its gate-shift: a TSN from them began with a loss of 378.
        start="motion" if temporal == "gsm" else "imagenet",
        temporal=temporal,
        size=options.size,
        seed=options.seed,
        workers=0,
        resume="auto",
        **own,
    )
    return gs.load_model(folder / "last.safetensors").eval()


def baselines(train: Path, durations_s: Mapping[str, float]) -> dict[str, Spans]:
    """What needs no network: no answer, and the class that goes on longest in the training recordings."""
    total_s: Counter[str] = Counter()
    for span in (each for own in gs.read_spans(train).values() for each in own):
        total_s[span.label] += span.end_s - span.start_s
    commonest = max(total_s, key=lambda label: total_s[label])
    always = {name: [gs.Span(0.0, end_s, commonest, 1.0)] for name, end_s in durations_s.items()}
    return {"nothing": {name: [] for name in durations_s}, f"always {commonest}": always}


def durations(source: Path) -> dict[str, float]:
    """How long each recording of a list is, in seconds."""
    found = {}
    for name in gs.read_spans(source):
        with closing(VideoFile(source.parent / name)) as video:
            found[name] = float(video.ends_s()[-1])
    return found


def spotted(model: gs.VideoClassifier, source: Path) -> gs.EventList:
    """What a model says begins when."""
    events: list[gs.Event] = []
    names = list(gs.read_spans(source))
    for name in names:
        found = gs.spot_events(model, source.parent / name, threshold=0.01, suppress=WITHIN_S)
        events += [gs.Event(name, each.label, time_s=each.time_s, score=each.score) for each in found]
    return gs.EventList(tuple(events), dict.fromkeys(names, VideoInfo()))


def of_spans(truth: Spans, found: Spans, durations_s: Mapping[str, float]) -> dict[str, float]:
    """The figures of spans."""
    spans = gs.score_spans(truth, found, durations_s=durations_s)
    return {
        "frame_accuracy": round(spans.frame_accuracy, 3),
        "edit": round(spans.edit, 1),
        "f1_10": round(spans.f1[0.1], 3),
        "f1_25": round(spans.f1[0.25], 3),
    }


def of_starts(truth: Spans, found: gs.EventList) -> dict[str, float]:
    """The mAP of starts."""
    tolerance_ms = 1000 * WITHIN_S
    events = gs.score_events(starts(truth), found, tolerances=(tolerance_ms,), fps=1000.0)
    return {"starts_within_2_s": round(events["mAP"][tolerance_ms], 3)}


def starts(spans: Spans) -> gs.EventList:
    """The start of each span as an event."""
    events = (
        gs.Event(name, each.label, time_s=each.start_s, score=each.score) for name, own in spans.items() for each in own
    )
    return gs.EventList(tuple(events), dict.fromkeys(spans, VideoInfo()))


if __name__ == "__main__":
    main()
