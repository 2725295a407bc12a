"""The demo: a network with gate-shift and one without, trained on clips that differ by their order alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.class_pairs import mirror_map
from gateshift.data.video.files import open_video
from gateshift.demo.reversal_clips import PAIRS, write_reversal_clips
from gateshift.errors import SettingsError
from gateshift.evaluation.evaluate import evaluate
from gateshift.evaluation.metrics import pair_accuracy
from gateshift.evaluation.result import Evaluation
from gateshift.explanation.drawings import draw_prediction
from gateshift.explanation.gate_maps import exchange_maps, gate_maps
from gateshift.files import write_text
from gateshift.model.io import load_model
from gateshift.recipes.options import ModelOptions, OptimOptions
from gateshift.training.loop import run_training
from gateshift.training.reporter import Reporter, Silent
from gateshift.training.settings import TrainSettings

SEGMENTS, EPOCHS = 8, 16  # with 12 epochs, 3 in 100 clips are the wrong way round
NAMES = {"gsm": "with gate-shift", "none": "without gate-shift"}


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demo found.

    Attributes:
        evaluations: "gsm" and "none" -> the last weights of each network on clips that it had not seen.
        pairs: "gsm" and "none" -> share of these clips whose class beat the same action backwards; chance is 0.5.
        model: The saved network with gate-shift.
        video: A clip of neither list.
        top: Its likeliest classes and their probabilities, likeliest first.
        picture: Its frames, gates and classes.
    """

    evaluations: dict[str, Evaluation]
    pairs: dict[str, float]
    model: Path
    video: Path
    top: tuple[tuple[str, float], ...]
    picture: Path


def run_demo(
    out: str | PathLike[str] = Path("demo"), *, seed: int = 0, workers: int = 1, reporter: Reporter | None = None
) -> DemoResult:
    """Draw clips, train a network with gate-shift and one without on the same budget, test both, predict one clip.

    Args:
        out: Folder to write; it must not exist. Among its files are demo.json and demo.png.
        seed: Of the clips and the weights.
        workers: Processes that load videos beside the training.
        reporter: Told of each step, of each epoch, and of each network's accuracy.

    Raises:
        SettingsError: If the folder exists.
    """
    out, reporter = Path(out), reporter or Silent()
    if out.exists():
        raise SettingsError(f"`out` {out} exists; choose another folder, or delete it")
    settings = {temporal: training_settings(out, temporal, seed=seed, workers=workers) for temporal in NAMES}
    for each in settings.values():
        each.check()
    reporter.log(f"drawing clips into {out / 'clips'} ...")
    write_reversal_clips(out / "clips", seed=seed)
    evaluations, pairs = {}, {}
    for temporal, name in NAMES.items():
        reporter.log(f"training {name} ...")
        run_training(settings[temporal], reporter)
        # The last weights: nothing was chosen by looking at these clips.
        found = evaluate(out / temporal / "last.safetensors", out / "clips" / "val.csv", batch_size=16, workers=workers)
        found.save(out / f"{temporal}.npz")
        scores, partner = found.scores, mirror_map(found.scores.classes, PAIRS).numpy()
        evaluations[temporal], pairs[temporal] = found, pair_accuracy(scores.logits, scores.labels, partner)
        reporter.log(f"{name}, unseen clips, {found}; the right way round in its pair: {pairs[temporal]:.1%}")
    summary = {
        temporal: {
            "top1": found.accuracies()["top1"],
            "within_pairs": pairs[temporal],
            "num_videos": len(found.scores.ids),
        }
        for temporal, found in evaluations.items()
    }
    write_text(out / "demo.json", json.dumps({"seed": seed, **summary}, indent=2) + "\n")
    model, video, picture = out / "gsm" / "last.safetensors", out / "clips" / "unseen" / "pick_up.mp4", out / "demo.png"
    return DemoResult(evaluations, pairs, model, video, _draw_unseen(model, video, picture), picture)


def training_settings(out: Path, temporal: str, *, seed: int, workers: int) -> TrainSettings:
    """The training of one of the two networks: all but ``temporal`` is the same."""
    return TrainSettings(
        train=out / "clips" / "train.csv",
        val=out / "clips" / "val.csv",
        out=out / temporal,
        model=ModelOptions(backbone="test_resnet", temporal=temporal, segments=SEGMENTS, size=56, dropout=0.0),
        optim=OptimOptions(
            epochs=EPOCHS,
            warmup_epochs=2,
            batch_size=8,
            optimizer="adamw",
            lr=0.004,
            new_layers_lr=5.0,
            gates_lr="auto",
            weight_decay=0.02,
            validate_every=EPOCHS,
        ),
        workers=workers,
        seed=seed,
    )


def _draw_unseen(saved: Path, video: Path, picture: Path) -> tuple[tuple[str, float], ...]:
    """Predict one file that was in neither list, and draw its frames, gates and classes."""
    model = load_model(saved)
    config = model.config
    with open_video(video, square_pixels=config.square_pixels) as opened:
        clip = read_views(opened, EvalProtocol(SEGMENTS), size_px=config.size_px, resize_px=config.resize_px)
    found = exchange_maps(model, clip), gate_maps(model, clip)
    top = config.likeliest(config.probabilities(model(clip)[0].detach()), 5)  # clip: [1, T, 3, size, size]
    # The first layer has the finest maps.
    exchanged, gates = ({name: maps[0] for name, maps in list(each.items())[:1]} for each in found)
    draw_prediction(clip[0], exchanged, gates, top, picture, title=f"{video.name}: called {top[0][0]!r}")
    return top
