"""The lists of a training, skipped and excluded videos, and the order of clips."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from trainings import InterruptIn, Log, read_csv, train_small

from gateshift.data.clips.dataset import Augmentation, TrainingClips
from gateshift.data.clips.loader import BalancedShuffle
from gateshift.data.lists.manifest import read_manifest
from gateshift.errors import GateShiftError

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_balanced_epochs_show_every_class_equally_often() -> None:
    labels = np.array([0] * 20 + [1] * 3 + [4] * 1)
    order = BalancedShuffle(labels, seed=0)
    first = list(order)
    assert len(first) == len(order) == 24
    assert np.bincount(labels[np.array(first) % 24], minlength=5).tolist() == [8, 8, 0, 0, 8]
    assert len(set(first)) == 24  # the same video again has another index, and so another clip
    common = [index for index in first if labels[index % 24] == 0]
    assert len({index % 24 for index in common}) == 8
    rare = np.bincount(np.array([index % 24 for index in first if labels[index % 24] == 1]))[20:]
    assert sorted(rare.tolist()) == [2, 3, 3]
    assert list(order) == first
    order.epoch = 1
    assert list(order) != first


def test_the_rest_of_a_balanced_epoch_goes_to_different_classes() -> None:
    order = BalancedShuffle(np.array([0, 0, 0, 1, 1]), seed=0)
    counts = []
    for order.epoch in range(20):
        counts.append(sum(index % 5 < 3 for index in order))
    assert set(counts) == {2, 3}


def test_the_same_video_again_is_another_clip(clips: Path) -> None:
    manifest = read_manifest(clips / "train.csv")
    names = manifest.class_names()
    still = torch.zeros(len(names), dtype=torch.bool)
    dataset = TrainingClips(manifest, names, Augmentation(32, 4, torch.arange(len(names)), still), seed=0)
    one, again = dataset[2], dataset[2 + len(dataset)]
    assert (one["indices"], one["labels"]) == (again["indices"], again["labels"])
    assert not torch.equal(one["clips"], again["clips"])


@pytest.fixture
def flawed(tmp_path: Path, write_video: Callable, counting_frames: Callable) -> Path:
    """Lists of six training videos, of which the first two are unreadable, and one validation video."""
    for number in range(7):
        write_video(tmp_path / f"{number}.mp4", counting_frames(6))
    for number in range(2):
        (tmp_path / f"{number}.mp4").write_bytes(b"no video")
    (tmp_path / "train.csv").write_text("path,label\n" + "".join(f"{n}.mp4,{'ab'[n % 2]}\n" for n in range(6)))
    (tmp_path / "val.csv").write_text("path,label\n6.mp4,a\n")
    return tmp_path


@pytest.mark.slow
def test_unreadable_videos_are_skipped_counted_and_listed(flawed: Path) -> None:
    log = Log()
    train_small(flawed, flawed / "run", log, epochs=2, skip_bad=2, batch_size=1)
    assert "2 unreadable videos were skipped" in log.text
    assert log.text.count("0.mp4") == log.text.count("1.mp4") == 1
    rows = read_csv(flawed / "run/skipped.csv")
    assert sorted(row["path"] for row in rows) == ["0.mp4", "1.mp4"]
    assert all(row["path"] in row["reason"] for row in rows)
    log = Log()
    train_small(flawed, flawed / "next", log, exclude=flawed / "run/skipped.csv")
    assert "skipped.csv excludes 2 of 6 training videos, 0 of 1 validation videos" in log.text
    assert "4 training videos, 1 validation videos, 2 classes" in log.text


def test_one_more_unreadable_video_than_may_be_skipped_stops_the_training(flawed: Path) -> None:
    with pytest.raises(GateShiftError, match="`skip_bad` 1: 2 unreadable videos, the last: "):
        train_small(flawed, flawed / "run", skip_bad=1)


@pytest.mark.slow
def test_a_run_resumes_with_another_limit_and_remembers_what_was_skipped(flawed: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_small(flawed, flawed / "run", InterruptIn(1), epochs=2, skip_bad=2)
    shutil.copy(flawed / "2.mp4", flawed / "0.mp4")  # readable from now on
    train_small(flawed, flawed / "run", epochs=2, skip_bad=3, resume=True)
    assert len(read_csv(flawed / "run/skipped.csv")) == 2


def test_if_no_video_is_readable_there_is_no_training(flawed: Path) -> None:
    (flawed / "train.csv").write_text("path,label\n0.mp4,a\n1.mp4,b\n")
    with pytest.raises(GateShiftError, match="none of the training videos is readable"):
        train_small(flawed, flawed / "run", skip_bad=9)


def test_excluded_videos_go_by_their_path_in_the_list_or_whole(flawed: Path) -> None:
    (flawed / "bad.csv").write_text(f"reason,path\nempty,0.mp4\nempty,{flawed / '1.mp4'}\n")
    log = Log()
    train_small(flawed, flawed / "run", log, exclude=flawed / "bad.csv")
    assert f"{flawed / 'bad.csv'} excludes 2 of 6 training videos" in log.text
    assert json.loads((flawed / "run/settings.json").read_text())["classes"] == ["a", "b"]


@pytest.mark.slow
def test_validation_videos_that_are_training_videos_are_counted(flawed: Path) -> None:
    log = Log()
    with pytest.raises(GateShiftError):
        train_small(flawed, flawed / "run", log)
    assert "training videos too" not in log.text
    (flawed / "lists").mkdir()
    (flawed / "lists/train.csv").write_text("path,label\n../2.mp4,a\n../3.mp4,b\n../4.mp4,b\n")
    (flawed / "lists/val.csv").write_text("path,label\n../3.mp4,b\n../5.mp4,a\n")
    with pytest.raises(KeyboardInterrupt):
        train_small(flawed / "lists", flawed / "next", log := LogUntilTraining())
    assert f"1 of the 2 validation videos are training videos too, such as {flawed / '3.mp4'}: " in log.text


class LogUntilTraining(Log, InterruptIn):
    """Ends a training at its first batch."""

    def __init__(self) -> None:
        Log.__init__(self)
        InterruptIn.__init__(self, 0)


MISTAKES = {
    "no file": ({"exclude": "missing.csv"}, r"missing.csv: no such file; give a CSV with the columns path"),
    "no table": ({"exclude": "train.txt"}, "columns nothing; its first line must be path, and may name more"),
    "other videos": ({"exclude": "other.csv"}, "`exclude` other.csv: none of its 1 paths is in"),
    "all videos": ({"exclude": "all.csv"}, "`exclude` all.csv: leaves no video of"),
    "no pairs": ({"reverse": True}, "`reverse`: no pairs of classes; write them to reversal_pairs.csv"),
    "no class": ({"reversal_pairs": ["a=z"]}, "reversal pair 'a=z'; give two classes"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_option_that_does_not_fit_the_lists_says_why(
    mistake: str, flawed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(flawed)
    (flawed / "train.txt").write_text("nothing\n")
    (flawed / "other.csv").write_text("path\nelsewhere.mp4\n")
    (flawed / "all.csv").write_text("path\n" + "".join(f"{number}.mp4\n" for number in range(6)))
    options, message = MISTAKES[mistake]
    with pytest.raises(GateShiftError, match=message) as raised:
        train_small(flawed, flawed / "run", **options)
    assert len(str(raised.value).splitlines()) == 1
    assert not (flawed / "run").exists()


@pytest.mark.slow
def test_resuming_with_other_reversed_classes_is_refused(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, folder := tmp_path / "clips")
    names = (folder / "classes.txt").read_text().splitlines()
    (folder / "reversal_pairs.csv").write_text(f"class,reversed\n{names[0]},{names[1]}\n")
    log = Log()
    train_small(folder, tmp_path / "run", log, reverse=True)
    assert f"reversed clips; classes that swap: {names[0]} = {names[1]}" in log.text
    (folder / "reversal_pairs.csv").write_text(f"class,reversed\n{names[0]},{names[2]}\n")
    with pytest.raises(GateShiftError, match="`resume` with reversed_classes"):
        train_small(folder, tmp_path / "run", reverse=True, resume=True)
