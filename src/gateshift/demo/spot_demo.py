"""The demo of events: a network with gate-shift and one without, trained on long videos, find events to the frame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from gateshift.data.events.events import Event
from gateshift.demo.demo import NAMES
from gateshift.demo.spot_picture import draw_timelines
from gateshift.demo.spot_scenes import SPOT_PAIRS
from gateshift.demo.spot_videos import write_spot_videos
from gateshift.errors import SettingsError
from gateshift.evaluation.events.event_scores import EventScores
from gateshift.files import write_text
from gateshift.recipes.options import AugmentOptions, FrameOptions, ModelOptions, OptimOptions
from gateshift.spotting.evaluate import FrameEvaluation, evaluate_frames
from gateshift.training.loop import run_training
from gateshift.training.reporter import Reporter, Silent
from gateshift.training.settings import TrainSettings

TRAIN_VIDEOS, TEST_VIDEOS, DURATION_S, EPOCHS, EPOCH_CLIPS = 16, 4, 30.0, 10, 96
# Of the drawn classes those that a small network learns in minutes: a pair of opposite ones, and a ball's.
DEMO_CLASSES = (*SPOT_PAIRS[0], "bounce", "wall hit")
_OTHER = {one: other for pair in SPOT_PAIRS for one, other in (pair, pair[::-1])}


@dataclass(frozen=True, eq=False)
class SpotDemoResult:
    """What the demo of events found.

    Attributes:
        evaluations: "gsm" and "none" -> the last weights of each network on videos that it had not seen.
        pairs: "gsm" and "none" -> share of the found events of opposite classes that are of the right one; see
            :func:`right_of_pairs`. Chance is 0.5.
        model: The saved network with gate-shift.
        video: A video that it had not seen.
        picture: What happens in this video, above what each network answers.
    """

    evaluations: dict[str, FrameEvaluation]
    pairs: dict[str, float]
    model: Path
    video: Path
    picture: Path


def run_spot_demo(
    out: str | PathLike[str] = Path("demo"), *, seed: int = 0, workers: int = 1, reporter: Reporter | None = None
) -> SpotDemoResult:
    """Draw long videos, train a network with gate-shift and one without on the same budget, and find events by both.

    Args:
        out: Folder to write; it must not exist. Among its files are spot.json, spot.png, and gsm.html, a page with the
            timeline of each video and the frames around each mistake.
        seed: Of the videos and the weights.
        workers: Processes that load videos beside the training.
        reporter: Told of each step, of each epoch, and of each network's scores.

    Raises:
        SettingsError: If the folder exists.
    """
    out, reporter = Path(out), reporter or Silent()
    if out.exists():
        raise SettingsError(f"`out` {out} exists; choose another folder, or delete it")
    settings = {name: spot_training_settings(out, name, seed=seed, workers=workers) for name in NAMES}
    for each in settings.values():
        each.check()
    reporter.log(f"drawing {TRAIN_VIDEOS + TEST_VIDEOS} videos of {DURATION_S:g} s into {out / 'videos'} ...")
    write_spot_videos(
        out / "videos",
        train=TRAIN_VIDEOS,
        val=0,
        test=TEST_VIDEOS,
        duration_s=DURATION_S,
        classes=DEMO_CLASSES,
        seed=seed,
    )
    evaluations: dict[str, FrameEvaluation] = {}
    pairs: dict[str, float] = {}
    for name in NAMES:
        reporter.log(f"training {NAMES[name]} ...")
        run_training(settings[name], reporter)
        # The last weights: nothing was chosen by looking at these videos.
        found = evaluate_frames(
            out / name / "last.safetensors", out / "videos" / "test.csv", report=out / f"{name}.html"
        )
        evaluations[name], pairs[name] = found, right_of_pairs(all_answers(found))
        reporter.log(f"{NAMES[name]}, unseen videos, {found.scores}; the right one of a pair: {pairs[name]:.1%}")
    summary = {name: {**evaluations[name].figures(), "right_of_pairs": pairs[name]} for name in NAMES}
    write_text(out / "spot.json", json.dumps({"seed": seed, **summary}, indent=2) + "\n")
    video, picture = out / "videos" / "test" / "0000.mp4", out / "spot.png"
    scores = {NAMES[name]: suppressed_answers(found) for name, found in evaluations.items()}
    draw_timelines(video, "test/0000.mp4", scores, picture)
    return SpotDemoResult(evaluations, pairs, out / "gsm" / "last.safetensors", video, picture)


def spot_training_settings(out: Path, name: str, *, seed: int, workers: int) -> TrainSettings:
    """The training of one of the two networks: all but the temporal module is the same."""
    return TrainSettings(
        train=out / "videos" / "train.csv",
        val=out / "videos" / "test.csv",
        out=out / name,
        model=ModelOptions(backbone="test_resnet", temporal=name, size=64, whole_frame=True, dropout=0.0),
        optim=OptimOptions(
            epochs=EPOCHS,
            warmup_epochs=1,
            schedule="cosine-step",
            batch_size=8,
            optimizer="adamw",
            lr=0.004,
            gates_lr="auto",
            weight_decay=0.02,
            validate_every=EPOCHS,
        ),
        augment=AugmentOptions(mirror="none", min_crop_scale=1.0),
        # Without a head nothing but gate-shift sees another frame than its own.
        frames=FrameOptions(task="spot", head="none", context=1.28, background=0.25, epoch_clips=EPOCH_CLIPS),
        workers=workers,
        seed=seed,
    )


def all_answers(found: FrameEvaluation) -> EventScores:
    """The scores of a test of events before suppression."""
    assert found.unsuppressed is not None
    return found.unsuppressed


def suppressed_answers(found: FrameEvaluation) -> EventScores:
    """The scores of a test of events after suppression."""
    assert isinstance(found.scores, EventScores)
    return found.scores


def right_of_pairs(scores: EventScores) -> float:
    """How often an answer to an event of a class that has an opposite is of the class, and not of its opposite.

    Of the events of :data:`~gateshift.demo.spot_scenes.SPOT_PAIRS` that have an answer of either class of their pair
    within a frame, the share whose likeliest one is of their own class; 0 where there is none.

    Args:
        scores: Of all answers, before suppression.
    """
    answers = scores.compared.answers.by_video()
    right, total = 0, 0
    for event in scores.compared.truth.events:
        near = [each for each in answers.get(event.video, []) if _is_near(each, event)]
        total += bool(near)
        right += bool(near) and max(near, key=lambda each: each.score or 0).label == event.label
    return right / max(total, 1)


def _is_near(answer: Event, event: Event) -> bool:
    assert answer.frame is not None and event.frame is not None
    pair = (event.label, _OTHER.get(event.label))
    return pair[1] is not None and answer.label in pair and abs(answer.frame - event.frame) <= 1
