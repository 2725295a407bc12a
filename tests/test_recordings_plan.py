"""A training on long recordings without a recipe: what the network sees of them, for how long, and in what time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import WriteVideo
from test_plan import CPU, GPU, OTHER_NETWORKS
from trainings import Log

import gateshift as gs
from gateshift.data.clips.recordings import Recording, read_recordings
from gateshift.errors import SettingsError
from gateshift.planning.machine import Machine, Timing, this_machine, time_network
from gateshift.planning.plan import SMALL_PX
from gateshift.planning.recordings_plan import (
    Recordings,
    clip_read_s,
    look_at_recordings,
    plan_frame_network,
    plan_frame_training,
)
from gateshift.recipes.options import FrameOptions, ModelOptions
from gateshift.recipes.recipe import load_recipe
from gateshift.training.settings import TrainSettings

TIMING = Timing(0.5, "no")
TINY: dict[str, Any] = {"backbone": "test_resnet", "weights": None, "size": 32, "workers": 0, "save_minutes": 1000.0}


def planned(
    machine: Machine = CPU,
    total_s: float = 600.0,
    short_span_s: float | None = None,
    minutes: float | None = None,
    **given: Any,
) -> dict[str, Any]:
    recordings = Recordings(total_s, 60.0, 25.0, short_span_s)
    given = {"task": "segment" if short_span_s else "spot"} | given
    network = plan_frame_network(recordings, machine, given, size_px=SMALL_PX if machine.is_slow else None)
    seen = {"fps": 25.0} | given | network.options
    frames = FrameOptions(**{name: seen[name] for name in ("task", "fps", "context", "epoch_clips") if name in seen})
    training = plan_frame_training(
        recordings, machine, TIMING, given | network.options, frames=frames, read_s=0.1, minutes=minutes
    )
    assert len(network.reasons) + len(training.reasons) == 4
    return network.options | training.options


def test_a_training_on_recordings_is_planned_around_what_is_given() -> None:
    found = planned()
    for short_span_s in (None, 2.0):
        for name, value in planned(short_span_s=short_span_s).items():
            assert name not in planned(short_span_s=short_span_s, **{name: value})
    assert found["start"] == "motion"
    for other in OTHER_NETWORKS:
        assert planned(**other)["start"] == "imagenet"
    for other in ({"backbone": "bninception"}, {"weights": None}):
        assert "start" not in planned(**other)
        assert "lr" not in planned(**other)  # from random weights it stays as it is
    for start in ("imagenet", "motion"):
        assert planned(start=start)["backbone"] == found["backbone"]
    assert {"lr", "gates_lr"}.isdisjoint(planned(optimizer="sgd"))
    assert planned(epochs=1)["warmup_epochs"] == 0
    assert planned(warmup_epochs=60)["epochs"] == 61
    assert found["batch_size"] * found["context"] * 25 <= 128  # frames at once, which take memory
    assert (found["batch_size"], found["accumulate"]) == (2, 2)
    of_spans = planned(short_span_s=2.0)  # of 32 frames
    assert (of_spans["batch_size"], of_spans["accumulate"]) == (4, 2)
    assert "accumulate" not in planned(batch_size=16)
    assert {"batch_size", "accumulate"}.isdisjoint(planned(GPU))
    assert planned(total_s=100.0)["epochs"] > planned(total_s=600.0)["epochs"] > planned(total_s=9000)["epochs"]


@pytest.mark.parametrize("machine", [CPU, GPU, Machine("cuda", 8, 4)])
@pytest.mark.parametrize("short_span_s", [None, 0.04, 2.0, 300.0])
def test_a_plan_is_one_that_training_takes(machine: Machine, short_span_s: float | None) -> None:
    task = "spot" if short_span_s is None else "segment"
    TrainSettings.from_options("a", "b", out="c", task=task, **planned(machine, short_span_s=short_span_s)).check()


def test_events_are_seen_at_the_rate_of_the_recordings_and_spans_at_one_that_shows_short_ones_well() -> None:
    assert "fps" not in planned()
    assert planned(short_span_s=2.0)["fps"] == 4.0  # 8 frames
    assert planned(short_span_s=2.0)["context"] == 8.0  # four short spans
    assert planned(short_span_s=0.1)["fps"] == 25.0  # no more than there are
    assert planned(short_span_s=0.1)["context"] == FrameOptions.context
    assert planned(short_span_s=60.0)["fps"] == 2.0  # movement is not seen at less
    assert planned(short_span_s=2.0, fps=10.0)["context"] == FrameOptions.context
    assert planned(short_span_s=2.0)["ema"] > planned(short_span_s=2.0, epochs=2)["ema"] == 0
    assert "ema" not in planned()


def test_as_many_epochs_as_fit_into_the_minutes() -> None:
    assert planned(minutes=1e6)["epochs"] == planned()["epochs"]
    # An epoch: 300 clips of 2 s, each 0.5 s and 0.05 s to read; 60 windows of the validation, each 0.2 s and as long.
    epoch_s = 300 * 0.55 + 60 * 0.25
    assert planned(minutes=12)["epochs"] == 0.92 * 12 * 60 // epoch_s == 3
    assert planned(minutes=12, validate_every=3, epoch_clips=30)["epochs"] > 10
    with pytest.raises(SettingsError, match="`minutes` 1, but an epoch of 300 clips takes 3 minutes here; give more"):
        planned(minutes=1)


def test_recordings_are_looked_at(tmp_path: Path, write_video: WriteVideo) -> None:
    rows = ["path,label,start,end"]
    for number in range(3):
        frames = np.random.default_rng(number).integers(0, 255, (41, 36, 48, 3), dtype=np.uint8)
        write_video(tmp_path / f"{number}.mp4", frames, fps=10)
        rows += [f"{number}.mp4,walk,0,1", f"{number}.mp4,sit,1,{number + 2}"]
    (tmp_path / "spans.csv").write_text("\n".join(rows) + "\n")
    recordings = read_recordings(tmp_path / "spans.csv", "segment")
    gone = Recording("gone.mp4", tmp_path / "gone.mp4")
    found = look_at_recordings([*recordings, gone], recordings[:1], fps=10.0)
    assert (found.train_s, found.val_s) == (pytest.approx(12.0), pytest.approx(4.0))
    assert found.short_span_s == pytest.approx(1.0)
    assert look_at_recordings([gone], [gone], fps=10.0) == Recordings(0.0, 0.0, 10.0)
    assert clip_read_s([*recordings, gone], FrameOptions(fps=5.0, context=2.0)) > 0
    assert clip_read_s([gone], FrameOptions(fps=5.0, context=2.0)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gru", "tcn", "none"])
def test_a_network_with_an_answer_for_each_frame_is_timed_on_this_machine(head: Any) -> None:
    options = ModelOptions(backbone="test_resnet", size=32, segments=100)
    frames = FrameOptions(task="spot", head=head, fps=25.0)
    timing = time_network(options, num_classes=3, machine=this_machine(), precision="no", frames=frames)
    assert timing.step_s > 0


@pytest.mark.slow
def test_a_training_says_its_plan_and_its_time_and_is_fitted_to_minutes(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    for split in ("train", "val"):
        frames = np.random.default_rng(len(split)).integers(0, 255, (81, 36, 48, 3), dtype=np.uint8)
        write_video(tmp_path / f"{split}.mp4", frames, fps=20)
        (tmp_path / f"{split}.csv").write_text(f"path,label,start,end\n{split}.mp4,walk,0,2\n{split}.mp4,sit,2,4\n")
    lists, log = (tmp_path / "train.csv", tmp_path / "val.csv"), Log()
    gs.train(*lists, out=tmp_path / "run", task="segment", minutes=0.05, reporter=log, **TINY)
    starts = (
        "plan for 1 recordings",
        "network: test_resnet with gsm",
        "sees: 4 frames a second",
        "training: ",
        "time:",
    )
    for line, start in zip(log.lines, starts, strict=False):
        assert line.startswith(start)
    recipe = load_recipe(tmp_path / "run" / "recipe.toml")
    assert (recipe.frames["fps"], recipe.frames["context"]) == (4.0, 8.0)
    own = tmp_path / "own.toml"
    own.write_text('[frames]\ntask = "segment"\n[optim]\nepochs = 100000\nwarmup_epochs = 50000\n')
    gs.train(*lists, out=tmp_path / "shorter", recipe=own, minutes=0.02, reporter=log, **TINY)
    optim = load_recipe(tmp_path / "shorter" / "recipe.toml").optim
    assert 1 <= optim["epochs"] < 100000
    assert optim["warmup_epochs"] == optim["epochs"] // 2
