"""The demo: a network with gate-shift and one without, trained on clips that differ by their order alone."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.video.files import open_video
from gateshift.demo.reversal_clips import PAIRS, write_reversal_clips
from gateshift.demo.settings import DemoSettings
from gateshift.devices import create_accelerator
from gateshift.errors import SettingsError
from gateshift.evaluation.evaluate import evaluate
from gateshift.evaluation.metrics import Metrics, confusion, pair_accuracy
from gateshift.evaluation.scores import Scores, save_scores
from gateshift.explanation.drawings import draw_prediction
from gateshift.explanation.gate_maps import gate_maps, most_varied
from gateshift.files import write_text
from gateshift.model.io import load_model
from gateshift.prediction.predict import predict
from gateshift.recipes.options import ModelOptions, OptimOptions
from gateshift.training.loop import run_training
from gateshift.training.reporter import Reporter
from gateshift.training.settings import TrainSettings

SEGMENTS = 8
NAMES = {"none": "without gate-shift", "gsm": "with gate-shift"}


@dataclass(frozen=True)
class Outcome:
    """What one of the two networks did on clips it had not seen.

    Attributes:
        scores: Of the validation clips.
        pairs: Share of clips whose class beat the same action played backwards; a coin gives 0.5.
    """

    scores: Scores
    pairs: float


def demo(settings: DemoSettings, reporter: Reporter, console: Console) -> dict[str, Outcome]:
    """Draw clips, train twice with the same budget, test, predict one file, and show all of it.

    Returns:
        "none" and "gsm" -> what came out.

    Raises:
        SettingsError: If the folder exists.
    """
    if settings.out.exists():
        raise SettingsError(f"{settings.out} exists; choose another folder with --out, or delete it")
    for temporal in NAMES:
        training_settings(settings, temporal).check()
    clips = settings.out / "clips"
    reporter.log(f"drawing clips into {clips} ...")
    write_reversal_clips(clips, seed=settings.seed)
    outcomes = {}
    for temporal in NAMES:
        reporter.log(f"training {NAMES[temporal]} ...")
        run_training(training_settings(settings, temporal), reporter)
        outcomes[temporal] = _test(settings, temporal)
    _show_confusions(outcomes, console)
    _summarise(settings, outcomes, console)
    _predict_unseen(settings, console)
    return outcomes


def training_settings(settings: DemoSettings, temporal: str) -> TrainSettings:
    """The training of one of the two networks: all but ``temporal`` is the same."""
    clips = settings.out / "clips"
    return TrainSettings(
        train=clips / "train.csv",
        val=clips / "val.csv",
        out=settings.out / temporal,
        model=ModelOptions(backbone="test_resnet", temporal=temporal, segments=SEGMENTS, size=56, dropout=0.0),
        optim=OptimOptions(
            epochs=16,
            warmup_epochs=2,
            batch_size=8,
            optimizer="adamw",
            lr=0.004,
            new_layers_lr=5.0,
            weight_decay=0.02,
            validate_every=8,
        ),
        workers=settings.workers,
        seed=settings.seed,
    )


def _test(settings: DemoSettings, temporal: str) -> Outcome:
    """Score the validation clips with the last weights: nothing was chosen by looking at these clips."""
    model = load_model(settings.out / temporal / "last.safetensors")
    manifest = read_manifest(settings.out / "clips" / "val.csv")
    accelerator = create_accelerator("no")
    scores = evaluate(
        accelerator.prepare(model),
        model.config,
        manifest,
        EvalProtocol(SEGMENTS),
        accelerator,
        batch_size=16,
        workers=settings.workers,
    )
    save_scores(scores, settings.out / f"{temporal}.npz")
    order = {name: index for index, name in enumerate(scores.classes)}
    partner = np.arange(len(order))
    for first, second in PAIRS:
        partner[order[first]], partner[order[second]] = order[second], order[first]
    return Outcome(scores, pair_accuracy(scores.logits, scores.labels, partner))


def _show_confusions(outcomes: dict[str, Outcome], console: Console) -> None:
    """Print both confusion matrices side by side: rows are the true classes, columns what they were called."""
    classes = outcomes["gsm"].scores.classes
    letters = [chr(ord("a") + index) for index in range(len(classes))]
    table = Table(title="   ".join(f"{NAMES[temporal]:^28}" for temporal in NAMES), box=None, padding=(0, 1, 0, 0))
    table.add_column("")
    for number in range(len(outcomes)):
        for letter in letters:
            table.add_column(letter, justify="right", width=2)
        if number == 0:
            table.add_column("", width=3)
    matrices = [confusion(outcomes[temporal].scores.logits, outcomes[temporal].scores.labels) for temporal in NAMES]
    for row, letter in enumerate(letters):
        cells = [[_cell(int(count), hit=row == column) for column, count in enumerate(m[row])] for m in matrices]
        table.add_row(letter, *cells[0], "", *cells[1])
    console.print("What each action (row) was called (column):")
    for letter, name in zip(letters, classes, strict=True):
        console.print(f"  {letter} {name}", highlight=False)
    console.print(table)


def _cell(count: int, *, hit: bool) -> str:
    text = str(count) if count else "·"
    return f"[bold green]{text}[/]" if hit and count else text


def _summarise(settings: DemoSettings, outcomes: dict[str, Outcome], console: Console) -> None:
    """Print both accuracies and leave them in demo.json."""
    table = Table(title=f"unseen clips, {outcomes['gsm'].scores.protocol}")
    for column in ("network", f"top-1 of {len(outcomes['gsm'].scores.classes)} classes", "right way round in its pair"):
        table.add_column(column)
    summary = {}
    for temporal, outcome in outcomes.items():
        top1 = Metrics.of(outcome.scores.logits, outcome.scores.labels).top1
        table.add_row(NAMES[temporal], f"{top1:.1%}", f"{outcome.pairs:.1%}")
        summary[temporal] = {"top1": top1, "within_pairs": outcome.pairs, "num_videos": len(outcome.scores.ids)}
    console.print(table)
    console.print("Each clip of a pair is the other class played backwards: without gate-shift it is a coin's toss.")
    text = json.dumps({"seed": settings.seed, **summary}, indent=2)
    write_text(settings.out / "demo.json", text + "\n")


def _predict_unseen(settings: DemoSettings, console: Console) -> None:
    """Predict one file that was in neither list, and draw its frames, gates and classes."""
    model = load_model(settings.out / "gsm" / "last.safetensors")
    video = settings.out / "clips" / "unseen" / "pick_up.mp4"
    protocol = EvalProtocol(SEGMENTS)
    prediction = next(predict(model, [video], protocol))
    with open_video(video) as opened:
        clip = read_views(
            opened, protocol, size_px=model.config.size_px, resize_px=model.config.resize_px
        )  # [1, T, ..]
    gates = {name: maps[0] for name, maps in gate_maps(model, clip).items()}
    gates = most_varied(gates, 2)
    picture = settings.out / "demo.png"
    title = f"{video.name}: called {prediction.top[0][0]!r}"
    draw_prediction(clip[0], gates, prediction.top, picture, title=title)
    console.print(
        f"{video}: {prediction.top[0][0]} ({prediction.top[0][1]:.1%})", highlight=False, soft_wrap=True, markup=False
    )
    saved = settings.out / "gsm" / "last.safetensors"
    console.print(f"picture: {picture}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"try: gateshift predict {saved} {video}", highlight=False, soft_wrap=True, markup=False)
