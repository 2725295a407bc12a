"""The training loop: resumed runs, validation, seeds. Stops are in test_stops.py."""

import json
import shutil
from pathlib import Path

import pytest
from trainings import InterruptIn, assert_same_run, assert_same_weights, read_csv, train_small

from gateshift.errors import GateShiftError

pytestmark = pytest.mark.slow

TWO_PASSES = {"accumulate": 2, "epochs": 3}


def test_an_interrupted_training_ends_with_the_weights_of_one_never_stopped(clips: Path, tmp_path: Path) -> None:
    train_small(clips, tmp_path / "whole", **TWO_PASSES)
    with pytest.raises(KeyboardInterrupt):
        train_small(clips, tmp_path / "run", InterruptIn(2), **TWO_PASSES)
    train_small(clips, tmp_path / "run", resume=True, **TWO_PASSES)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_run_killed_between_two_renames_still_resumes(clips: Path, tmp_path: Path) -> None:
    folder = train_small(clips, tmp_path / "run").folder
    shutil.rmtree(folder / "state.old", ignore_errors=True)
    (folder / "state").rename(folder / "state.old")
    train_small(clips, tmp_path / "run", resume=True)


def test_resuming_with_other_settings_or_classes_is_refused(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    train_small(folder, tmp_path / "run")
    with pytest.raises(GateShiftError, match="`resume` with seed 1, but the run has 0"):
        train_small(folder, tmp_path / "run", resume=True, seed=1)
    (folder / "mirror_pairs.csv").write_text("class,mirrored\n")
    with pytest.raises(GateShiftError, match="`resume` with mirrored_classes"):
        train_small(folder, tmp_path / "run", resume=True)
    (folder / "mirror_pairs.csv").unlink()
    names = (folder / "classes.txt").read_text().splitlines()
    (folder / "classes.txt").write_text("\n".join(reversed(names)))
    with pytest.raises(GateShiftError, match="`resume` with classes"):
        train_small(folder, tmp_path / "run", resume=True)


@pytest.mark.parametrize("text", ["{", "[]", None])
def test_settings_that_are_damaged_or_missing_are_one_line(clips: Path, tmp_path: Path, text: str | None) -> None:
    (tmp_path / "run" / "state").mkdir(parents=True)
    if text is not None:
        (tmp_path / "run" / "settings.json").write_text(text)
    with pytest.raises(GateShiftError, match=r"`resume`: .*settings.json is missing or damaged; start a new run"):
        train_small(clips, tmp_path / "run", resume=True)


def test_a_damaged_state_is_one_line(clips: Path, tmp_path: Path) -> None:
    folder = train_small(clips, tmp_path / "run").folder
    for state in (folder / "state", folder / "state.old"):
        for path in state.glob("*"):
            path.write_bytes(b"damaged")
    with pytest.raises(GateShiftError, match="state is damaged; start a new run"):
        train_small(clips, tmp_path / "run", resume=True)


def test_validation_can_be_rarer_and_changes_no_weight(clips: Path, tmp_path: Path) -> None:
    often = train_small(clips, tmp_path / "often", **TWO_PASSES).folder
    rarely = train_small(clips, tmp_path / "rarely", validate_every=2, **TWO_PASSES)
    assert [row["val_top1"] != "" for row in read_csv(rarely.folder / "log.csv")] == [False, True, True]
    assert rarely.metrics.best_epoch in (2, 3)
    assert_same_weights(often / "last.safetensors", rarely.folder / "last.safetensors")


def test_the_same_seed_gives_the_same_weights(clips: Path, tmp_path: Path) -> None:
    first, second = (train_small(clips, tmp_path / name).folder / "last.safetensors" for name in "ab")
    assert_same_weights(first, second)


def test_settings_json_holds_every_option_that_changes_weights(clips: Path, tmp_path: Path) -> None:
    described = json.loads((train_small(clips, tmp_path / "run").folder / "settings.json").read_text())
    assert {"backbone", "epochs", "color_jitter", "balanced", "seed", "train_videos", "classes"} <= set(described)
    assert not {"workers", "resume", "out", "save_minutes"} & set(described)
