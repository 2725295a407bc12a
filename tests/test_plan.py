"""A training without a recipe: what is planned for the videos and the machine, and that it is a recipe itself."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WriteVideo
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import SMALL, Log, StopAt, assert_same_run

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.manifest import read_manifest
from gateshift.demo.reversal_clips import draw_clip
from gateshift.errors import SettingsError, StoppedError
from gateshift.planning.machine import Machine, Timing, takes_size, this_machine, time_network
from gateshift.planning.plan import (
    CLEARLY,
    MOST_EPOCHS,
    SMALL_PX,
    fit_minutes,
    may_start_from_motion,
    plan_network,
    plan_training,
    training_s,
)
from gateshift.planning.videos import Videos, look_at, movement_outside
from gateshift.probing.starts import compare_starts
from gateshift.recipes.options import ModelOptions, OptimOptions
from gateshift.recipes.recipe import load_recipe
from gateshift.training.settings import TrainSettings

FEW = Videos(175, 129, 17, 10, frames=74, size_px=(284, 160), moves_outside=0.1, read_s=0.02)
# Which the start that knows motion is not of.
OTHER_NETWORKS: tuple[dict[str, Any], ...] = (
    {"backbone": "resnet50"},
    {"temporal": "none"},
    {"temporal": "tsm"},
    {"temporal": "gsf"},
    {"causal": True},
)
CPU, GPU = Machine("cpu", 2, 1), Machine("cuda", 16, 1)
TIMING = Timing(0.15, "no")
# Open enough for a plan, and quick: no weights to fetch, and a network and a picture that are small.
QUICK: dict[str, Any] = {name: SMALL[name] for name in ("backbone", "size", "segments", "workers", "save_minutes")}
QUICK["weights"] = None


def plan(videos: Videos = FEW, machine: Machine = CPU, minutes: float | None = None, **given: Any) -> dict[str, Any]:
    network = plan_network(videos, machine, given, size_px=SMALL_PX if machine.is_slow else None)
    training = plan_training(videos, machine, TIMING, {**given, **network.options}, minutes=minutes)
    assert len(network.reasons) + len(training.reasons) <= 4
    return {**network.options, **training.options}


def test_what_is_given_is_not_planned_and_the_rest_is_planned_around_it() -> None:
    planned = plan()
    for name, value in planned.items():
        assert name not in plan(**{name: value})
    assert planned["start"] == "motion"
    for other in OTHER_NETWORKS:
        assert plan(**other)["start"] == "imagenet"
    assert "start" not in plan(backbone="bninception")  # there are no weights to fetch
    assert "start" not in plan(weights="a.pth")
    assert plan(epochs=2)["ema"] == 0 < plan()["ema"]  # few steps have no average that is of their end
    assert plan(weights=None)["lr"] > plan()["lr"]  # from random weights there is more to learn
    assert {"lr", "new_layers_lr", "gates_lr"}.isdisjoint(plan(optimizer="sgd"))
    assert plan()["fit_classifier"] and plan()["frozen_bn"]
    assert not plan(multi_label=True)["fit_classifier"] and not plan(start="imagenet")["fit_classifier"]
    assert not plan(frozen_bn=False)["fit_classifier"] and not plan(weights="a.pth")["fit_classifier"]
    assert not plan(temporal="none")["frozen_bn"] and not plan(partial_bn=True)["frozen_bn"]
    assert not plan(dataclasses.replace(FEW, per_class=100))["frozen_bn"]
    assert plan(epochs=3)["warmup_epochs"] == 1
    assert plan(epochs=1)["warmup_epochs"] == 0
    assert plan(warmup_epochs=50)["epochs"] == 51


@pytest.mark.parametrize("machine", [CPU, GPU, Machine("cuda", 8, 4)])
@pytest.mark.parametrize("count", [2, 175, 100_000])
def test_a_plan_is_one_that_training_takes(machine: Machine, count: int) -> None:
    planned = plan(dataclasses.replace(FEW, num_train=count), machine)
    made = TrainSettings.from_options("a", "b", out="c", **planned)
    made.check()
    assert made.optim.batch_size % machine.processes == 0
    assert plan(machine=GPU)["batch_size"] > plan(machine=CPU)["batch_size"]


def start_of(known: dict[str, float], **given: Any) -> str:
    network = plan_network(FEW, CPU, given, size_px=SMALL_PX, known=known)
    assert all(f"{share:.0%} from {name}" in network.reasons[0] for name, share in known.items())
    return network.options.get("start", "as given")


def test_the_start_is_the_one_that_knows_clearly_more_of_the_videos() -> None:
    assert start_of({"motion": 0.25, "imagenet": 0.46}) == "imagenet"
    assert start_of({"motion": 0.95, "imagenet": 0.02}) == "motion"
    assert start_of({"motion": 0.50, "imagenet": 0.54}) == "motion"  # no more than chance may be
    assert start_of({}) == "motion"
    assert start_of({"motion": 0.25, "imagenet": 0.46}, start="motion") == "as given"
    assert may_start_from_motion({}) and may_start_from_motion({"temporal": "gsm"})
    for other in (*OTHER_NETWORKS, {"weights": None}, {"start": "a"}):
        assert not may_start_from_motion(other)


@pytest.mark.slow
def test_what_only_motion_tells_is_known_from_the_start_that_knows_motion(
    write_video: WriteVideo, tmp_path: Path
) -> None:
    rows = ["path,label"]
    for number, label in itertools.product(range(8), ("move left", "move right")):
        clip = draw_clip(label, rng=np.random.default_rng(number), size_px=(112, 84))
        rows.append(f"{write_video(tmp_path / f'{label} {number}.mp4', clip).name},{label}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    options = ModelOptions(backbone="tf_efficientnet_lite0", size=80, whole_frame=True)
    found = compare_starts(("motion", "imagenet"), read_manifest(tmp_path / "list.csv"), options, workers=0)
    assert 1 >= found["motion"] > found["imagenet"] + CLEARLY
    assert found["imagenet"] < 0.75  # of two classes


def test_the_whole_frame_is_used_where_things_move_at_its_edges_unless_it_would_squash_upright_and_wide_ones() -> None:
    at_edges = dataclasses.replace(FEW, moves_outside=0.6)
    assert not plan()["whole_frame"]
    assert plan(at_edges)["whole_frame"]
    assert not plan(dataclasses.replace(at_edges, mixed_shapes=True))["whole_frame"]


@pytest.mark.parametrize(("place", "share"), [(slice(0, 6), 1.0), (slice(14, 18), 0.0)])
def test_movement_is_found_where_it_is(place: slice, share: float) -> None:
    frames = torch.full((4, 3, 16, 32), 100, dtype=torch.uint8)
    frames[1::2, :, 6:10, place] = 250
    assert movement_outside(frames) == pytest.approx(share)
    assert movement_outside(frames[:1].expand(4, -1, -1, -1)) == 0  # nothing moves
    brighter = frames + torch.tensor([0, 1, 2, 3], dtype=torch.uint8).view(4, 1, 1, 1)
    assert movement_outside(brighter) == pytest.approx(share, abs=0.02)  # light is no movement


@pytest.mark.slow
def test_a_plan_looks_at_the_lists_and_passes_over_what_cannot_be_read(clips: Path, tmp_path: Path) -> None:
    rows = (clips / "train.csv").read_text().splitlines()
    listed = [rows[0], *(f"{clips / row}" for row in rows[1:]), "bad.mp4,move left"]
    (tmp_path / "train.csv").write_text("\n".join(listed) + "\n")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    train_list = read_manifest(tmp_path / "train.csv")
    found = look_at(train_list, read_manifest(clips / "val.csv"), train_list.class_names(), num_segments=4)
    assert (found.num_train, found.num_val, found.num_classes, found.per_class) == (11, 10, 10, 1)
    assert found.size_px == (48, 36)
    assert 17 <= found.frames <= 47
    assert not found.mixed_shapes
    assert 0 < found.moves_outside < 1


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 600), st.floats(0.001, 2), st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 60))
def test_as_many_epochs_as_fit_into_the_minutes(
    minutes: float, step_s: float, num_train: int, num_val: int, at_most: int
) -> None:
    videos, timing = dataclasses.replace(FEW, num_train=num_train, num_val=num_val), Timing(step_s, "no")

    def minutes_of(epochs: int) -> float:
        a_clip = [scale * step_s + videos.read_s / 2 for scale in (1, 0.4)]
        return epochs * (num_train * a_clip[0] + num_val * a_clip[1]) / 60

    seconds = training_s(videos, CPU, timing, every=1, probed=False)
    try:
        epochs = fit_minutes(minutes, seconds, "so many videos", at_most=at_most)
    except SettingsError as error:
        assert "an epoch of so many videos takes" in str(error)
        assert minutes_of(1) > 0.9 * minutes
        return
    assert 1 <= epochs <= at_most
    assert minutes_of(epochs) <= minutes
    assert epochs == at_most or minutes_of(epochs + 2) > 0.9 * minutes


def test_fewer_minutes_are_fewer_epochs_and_validations_stay_a_few() -> None:
    assert plan()["epochs"] == plan(minutes=1e6)["epochs"] == 23
    assert 1 <= plan(minutes=5)["epochs"] < 12
    assert plan(dataclasses.replace(FEW, num_train=10))["epochs"] == MOST_EPOCHS
    assert plan(validate_every=5).keys().isdisjoint({"validate_every"})


def test_videos_that_are_read_slowly_are_told() -> None:
    for read_s, is_told in ((0.02, False), (1.0, True)):
        slow = plan_training(dataclasses.replace(FEW, read_s=read_s), CPU, TIMING, {"temporal": "gsm"})
        assert ("reading takes most of it, and videos packed by `prepare`" in slow.reasons[-1]) == is_told


@pytest.mark.slow
def test_a_network_that_has_one_size_keeps_it() -> None:
    assert takes_size("test_resnet", SMALL_PX)
    assert not takes_size("inceptionv3", SMALL_PX)


def test_a_network_is_timed_on_this_machine() -> None:
    machine = this_machine()
    options = ModelOptions(backbone="test_resnet", size=32, segments=2)
    timing = time_network(options, num_classes=3, machine=machine, precision="no")
    assert timing.step_s > 0
    assert timing.precision == "no"


@pytest.fixture(scope="module")
def planned(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Log]:
    """A training whose options are open, of two epochs, and what it said."""
    log, out = Log(), tmp_path_factory.mktemp("planned") / "run"
    gs.train(clips / "train.csv", clips / "val.csv", out=out, epochs=2, reporter=log, **QUICK)
    return out, log


@pytest.mark.slow
def test_a_training_says_its_plan_in_five_lines_and_its_recipe_trains_the_same_again(
    planned: tuple[Path, Log], clips: Path, tmp_path: Path
) -> None:
    out, log = planned
    starts = ("plan for 10 videos of 10 classes", "network: test_resnet with gsm", "picture:", "training: 2", "time:")
    for line, start in zip(log.lines, starts, strict=False):
        assert line.startswith(start)
    recipe = load_recipe(out / "recipe.toml")
    assert (recipe.model["size"], recipe.model["weights"], recipe.optim["epochs"]) == (32, None, 2)
    options = {"recipe": out / "recipe.toml", "workers": 0, "out": tmp_path / "again"}
    gs.train(clips / "train.csv", clips / "val.csv", **options)
    assert_same_run(out, tmp_path / "again")


@pytest.mark.slow
def test_the_command_line_plans_as_python_does(planned: tuple[Path, Log], clips: Path, tmp_path: Path) -> None:
    words = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words += [
        "--precision",
        load_recipe(planned[0] / "recipe.toml").optim["precision"],
    ]  # the faster one, as it was timed
    run = tmp_path / "run"
    main(["train", str(clips / "train.csv"), str(clips / "val.csv"), "--out", str(run), "--epochs", "2", *words])
    assert_same_run(planned[0], run)


@pytest.mark.slow
def test_the_report_has_the_floor_and_says_which_class_needs_clips(planned: tuple[Path, Log]) -> None:
    out, log = planned
    found = json.loads((out / "probe.json").read_text())
    assert any(f"frozen features: {found['accuracy']:.1%} of 10 videos" in line for line in log.lines)
    page = (out / "training.html").read_text()
    assert "More clips?" in page
    assert all(each["name"] in page for each in found["classes"])


@pytest.mark.slow
def test_a_run_that_was_fitted_to_minutes_resumes_as_it_was_planned(clips: Path, tmp_path: Path) -> None:
    lists = (clips / "train.csv", clips / "val.csv")
    gs.train(*lists, out=tmp_path / "whole", minutes=0.2, **QUICK)
    recipe = tmp_path / "whole" / "recipe.toml"
    epochs = load_recipe(recipe).optim["epochs"]
    stopping = StopAt(2)
    with pytest.raises(StoppedError):
        gs.train(*lists, out=tmp_path / "run", recipe=recipe, reporter=stopping, stop=stopping.request, workers=0)
    # On a machine that is another by now the same epochs: they are those of the run, not of the minutes.
    settings_file = tmp_path / "run" / "settings.json"
    settings_file.write_text(settings_file.read_text().replace(json.dumps(str(recipe)), "null"))
    gs.train(*lists, out=tmp_path / "run", resume=True, minutes=1000, **QUICK)
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert json.loads(settings_file.read_text())["epochs"] == epochs


@pytest.mark.slow
def test_a_recipe_is_shortened_to_the_minutes(clips: Path, tmp_path: Path) -> None:
    log, options = Log(), {**SMALL, "recipe": "own.toml"}
    own = tmp_path / "own.toml"
    own.write_text("[optim]\nepochs = 100000\nwarmup_epochs = 50000\nvalidate_every = 100000\n")
    del options["epochs"], options["warmup_epochs"]
    options |= {"recipe": own, "minutes": 0.05}
    gs.train(clips / "train.csv", clips / "val.csv", out=tmp_path / "run", reporter=log, **options)
    optim = load_recipe(tmp_path / "run" / "recipe.toml").optim
    assert 1 <= optim["epochs"] < 1000
    assert optim["warmup_epochs"] == optim["epochs"] // 2
    assert log.lines[0].startswith(f"plan: {optim['epochs']} of 100000 epochs")
    with pytest.raises(SettingsError, match="`minutes` 1 and `epochs` 2; leave one of them out"):
        gs.train("a", "b", out=tmp_path / "other", minutes=1, epochs=2)


def test_papers_are_the_plain_defaults() -> None:
    plain = TrainSettings.from_options("a", "b", out="c", recipe="papers")
    assert plain == dataclasses.replace(TrainSettings.from_options("a", "b", out="c"), recipe="papers")
    assert plain.optim == OptimOptions()
