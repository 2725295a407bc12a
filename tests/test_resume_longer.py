"""Runs that go on with more epochs, and with lists that are given by another path."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from trainings import Log, StopAt, assert_same_run, few_to_validate

from gateshift.errors import GateShiftError, SettingsError, StoppedError
from gateshift.recipes.options import ModelOptions, OptimOptions
from gateshift.training.loop import run_training
from gateshift.training.run_folder import RunFolder
from gateshift.training.schedule import epoch_rate
from gateshift.training.settings import TrainSettings

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def clips(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_to_validate(clips, tmp_path_factory.mktemp("few"))


def settings_for(clips: Path, out: Path, *, epochs: int, warmup_epochs: int = 0, **changes: Any) -> TrainSettings:
    """10 videos, 3 batches an epoch."""
    schedule = changes.pop("schedule", "cosine-epoch")
    return TrainSettings(
        train=clips / "train.csv",
        val=clips / "val.csv",
        out=out,
        model=ModelOptions(backbone="test_resnet", segments=2, size=32),
        optim=OptimOptions(epochs=epochs, warmup_epochs=warmup_epochs, batch_size=4, schedule=schedule),
        **{"workers": 0, "save_minutes": 1000.0, **changes},
    )


def stop_after(batches: int, settings: TrainSettings) -> None:
    stopping = StopAt(batches)
    with pytest.raises(StoppedError):
        run_training(settings, stopping, stopping.request)


def rates(folder: RunFolder) -> list[float]:
    return [row["lr"] for row in folder.read_log()]


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch."""
    return run_training(settings_for(clips, tmp_path_factory.mktemp("whole") / "run", epochs=1)).path


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["cosine-epoch", "cosine-step"])
def test_a_run_goes_on_with_more_epochs_while_its_rates_are_the_same(
    clips: Path, tmp_path: Path, schedule: str
) -> None:
    whole = run_training(settings_for(clips, tmp_path / "whole", epochs=3, warmup_epochs=1, schedule=schedule))
    stop_after(2, settings_for(clips, tmp_path / "run", epochs=2, warmup_epochs=1, schedule=schedule))
    told = Log()
    longer = settings_for(clips, tmp_path / "run", epochs=3, warmup_epochs=1, schedule=schedule, resume=True)
    run_training(longer, told)
    assert "3 epochs instead of 2" in told.text
    assert_same_run(tmp_path / "run", whole.path)
    assert json.loads(RunFolder(tmp_path / "run").settings.read_text())["epochs"] == 3


@pytest.mark.slow
def test_one_whose_rate_has_fallen_says_what_to_do_and_is_left_as_it_was(clips: Path, tmp_path: Path) -> None:
    folder = run_training(settings_for(clips, tmp_path / "run", epochs=2))
    before = folder.settings.read_text()
    with pytest.raises(SettingsError, match=r"`epochs` 4.*planned for 2 epochs.*add `extend=True`"):
        run_training(settings_for(clips, tmp_path / "run", epochs=4, resume=True))
    assert folder.settings.read_text() == before
    run_training(
        settings_for(clips, tmp_path / "run", epochs=2, resume=True)
    )  # nothing is left to do, and nothing broken


@pytest.mark.slow
def test_an_extended_run_has_the_rates_of_the_longer_one_from_there_on(clips: Path, tmp_path: Path) -> None:
    run_training(settings_for(clips, tmp_path / "run", epochs=2))
    told = Log()
    folder = run_training(settings_for(clips, tmp_path / "run", epochs=5, resume=True, extend=True), told)
    (line,) = (line for line in told.lines if "extended from 2 to 5 epochs after epoch 2" in line)
    assert "the learning rate rises from 0.005 to 0.00655, the schedule of a run of 5 epochs" in line
    planned = [epoch_rate(e, peak=0.01, warmup_epochs=0, num_epochs=2) for e in range(2)]
    planned += [epoch_rate(e, peak=0.01, warmup_epochs=0, num_epochs=5) for e in range(2, 5)]
    assert rates(folder) == pytest.approx(planned)
    assert json.loads(folder.settings.read_text())["extended"] == [{"epochs": 2, "to": 5, "at": "after epoch 2"}]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["cosine-epoch", "cosine-step"])
def test_an_extended_run_that_is_stopped_ends_as_if_it_had_not_been(clips: Path, tmp_path: Path, schedule: str) -> None:
    longer = settings_for(clips, tmp_path / "whole", epochs=3, schedule=schedule, resume=True, extend=True)
    stopped = dataclasses.replace(longer, out=tmp_path / "run")
    for settings in (longer, stopped):
        stop_after(5, dataclasses.replace(settings_for(clips, settings.out, epochs=2, schedule=schedule)))
    run_training(longer)
    stop_after(3, stopped)
    run_training(stopped)  # the same command again
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    extended = json.loads(RunFolder(tmp_path / "run").settings.read_text())["extended"]
    assert extended == [{"epochs": 2, "to": 3, "at": "after batch 2 of epoch 2"}]
    run_training(dataclasses.replace(stopped, extend=False))  # it is a run of 3 epochs now
    assert json.loads(RunFolder(tmp_path / "run").settings.read_text())["extended"] == extended


@pytest.mark.slow
def test_fewer_epochs_and_an_extension_of_nothing_are_refused(clips: Path, tmp_path: Path) -> None:
    stop_after(1, settings_for(clips, tmp_path / "run", epochs=2))
    with pytest.raises(GateShiftError, match="`resume` with epochs 1, but the run has 2"):
        run_training(settings_for(clips, tmp_path / "run", epochs=1, resume=True, extend=True))
    with pytest.raises(SettingsError, match="`extend` needs `resume`"):
        run_training(settings_for(clips, tmp_path / "other", epochs=2, extend=True))


@pytest.mark.slow
def test_a_list_by_another_path_is_the_same_list(
    clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(clips, tmp_path / "clips")
    (own / "newest.csv").symlink_to(own / "train.csv")
    (tmp_path / "link").symlink_to(own)
    begun = settings_for(own, tmp_path / "run", epochs=1)
    monkeypatch.chdir(own)
    stop_after(1, dataclasses.replace(begun, train=Path("train.csv"), val=Path("val.csv"), root=Path()))
    monkeypatch.chdir(tmp_path)
    again = dataclasses.replace(begun, root=Path("link"), resume=True)
    stop_after(1, dataclasses.replace(again, train=Path("clips/train.csv")))
    (own / "copy.csv").write_text((clips / "train.csv").read_text())
    with pytest.raises(SettingsError, match="`resume` with train .*copy.csv"):
        run_training(dataclasses.replace(again, train=own / "copy.csv"))
    run_training(dataclasses.replace(again, train=Path("link/newest.csv")))
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_start_by_another_path_is_the_same_start(
    clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.toml").write_text("[optim]\nlr = 0.01\n")
    monkeypatch.chdir(tmp_path)
    settings = settings_for(clips, tmp_path / "run", epochs=1, recipe="own.toml")
    start = ModelOptions(backbone="test_resnet", segments=2, size=32, start=whole / "last.safetensors")
    stop_after(1, dataclasses.replace(settings, model=start))
    monkeypatch.chdir("/")
    start = dataclasses.replace(start, start=Path(os.path.relpath(whole / "last.safetensors", "/")))
    run_training(dataclasses.replace(settings, model=start, recipe=str(tmp_path / "own.toml"), resume=True))


def test_the_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = [
        {"epoch": 1, "loss": 0.1 + 0.2, "seconds": 3.0, "lr": 1e-09},
        {"epoch": 2, "loss": float("inf"), "seconds": 3, "lr": -1e20, "val_top1": 1.0},
    ]
    for row in rows:
        folder.log(row)
    read = folder.read_log()
    assert read == rows
    assert [[type(value) for value in row.values()] for row in read] == [
        [int, float, float, float],
        [int, float, int, float, float],
    ]


@pytest.mark.slow
def test_a_run_of_the_two_logs_of_before_goes_on_and_keeps_its_epochs(clips: Path, tmp_path: Path) -> None:
    begun = settings_for(clips, tmp_path / "run", epochs=2)
    stop_after(4, begun)
    (tmp_path / "run" / "log.jsonl").write_text(json.dumps(RunFolder(tmp_path / "run").read_log()[0]) + "\n")
    whole = run_training(settings_for(clips, tmp_path / "whole", epochs=2))
    run_training(dataclasses.replace(begun, resume="auto"))
    assert_same_run(tmp_path / "run", whole.path)
    shutil.rmtree(tmp_path / "run" / "state")
    shutil.rmtree(tmp_path / "run" / "state.old")
    with pytest.raises(SettingsError, match="exists; choose another folder"):
        run_training(dataclasses.replace(begun, resume="auto"))  # it is finished


@pytest.mark.slow
@pytest.mark.parametrize("text", ["loss\n0.5\n", "epoch;loss\n1;0.5\n", "epoch,loss\n1,high\n", "epoch\n1,2\n"])
def test_a_log_that_was_changed_is_told_before_the_run_goes_on(clips: Path, tmp_path: Path, text: str) -> None:
    begun = settings_for(clips, tmp_path / "run", epochs=2)
    stop_after(1, begun)
    RunFolder(tmp_path / "run").table.write_text(text)
    with pytest.raises(SettingsError, match=r"log.csv: not as the training wrote it; restore it, or move it away"):
        run_training(dataclasses.replace(begun, resume=True))
