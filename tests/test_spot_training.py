"""Trainings on long recordings: events and spans, from lists to the best model, by Python and by the command line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WriteVideo
from torch.nn import functional as F
from trainings import Log, StopAt, assert_same_run, read_csv

import gateshift as gs
from gateshift.cli.main import main, parse
from gateshift.errors import ManifestError, SettingsError, StoppedError, VideoError
from gateshift.training.losses import FrameLoss, Loss
from gateshift.training.settings import TrainSettings
from gateshift.training.train import fill_open_options

pytestmark = pytest.mark.usefixtures("no_pictures")
FPS, NUM_FRAMES = 10, 60
SMALL: dict[str, Any] = {
    "task": "spot",
    "backbone": "test_resnet",
    "weights": None,
    "size": 32,
    "context": 1.6,
    "epochs": 1,
    "warmup_epochs": 0,
    "batch_size": 4,
    "workers": 0,
    "whole_frame": True,
    "save_minutes": 1000.0,
}


def lamp(number: int) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Frames [n, H, W, 3] of a lamp that is switched, and the frames at which it is."""
    rng = np.random.default_rng(number)
    switches = np.cumsum(rng.integers(6, 14, 6))
    switches = switches[switches < NUM_FRAMES - 2]
    is_on = (np.searchsorted(switches, np.arange(NUM_FRAMES), side="right") + number) % 2
    frames = rng.integers(0, 60, (NUM_FRAMES, 36, 48, 3)) + 60
    frames += (110 * is_on)[:, None, None, None]
    return frames.astype(np.uint8), [(int(at), "on" if is_on[at] else "off") for at in switches]


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> Path:
    """Four recordings to learn from and one to test: as events and as spans."""
    folder = tmp_path_factory.mktemp("lamps")
    for split, numbers in (("train", range(4)), ("val", range(4, 5))):
        events, spans = ["path,time_s,label"], ["path,label,start,end"]
        for number in numbers:
            frames, switches = lamp(number)
            write_video(folder / f"{number}.mp4", frames, fps=FPS)
            events += [f"{number}.mp4,{at / FPS},{label}" for at, label in switches]
            ends = [*(at for at, _ in switches[1:]), NUM_FRAMES]
            spans += [
                f"{number}.mp4,{label},{at / FPS},{end / FPS}" for (at, label), end in zip(switches, ends, strict=True)
            ]
        (folder / f"{split}.csv").write_text("\n".join(events) + "\n")
        (folder / f"{split}_spans.csv").write_text("\n".join(spans) + "\n")
    return folder


def train(lists: Path, out: Path, **options: Any) -> gs.TrainResult:
    suffix = "_spans" if options.get("task") == "segment" else ""
    return gs.train(lists / f"train{suffix}.csv", lists / f"val{suffix}.csv", out=out, **SMALL | options)


@pytest.mark.slow
def test_a_network_learns_opposite_events_from_lists_and_finds_them_in_a_file(lists: Path, tmp_path: Path) -> None:
    log = Log()
    result = train(lists, tmp_path / "run", epochs=16, epoch_clips=32, lr=3e-3, reporter=log, mixup=0.0)
    assert "32 clips an epoch of 16 frames at 10 a second" in log.text
    assert "best so far" in log.text
    config = result.model.config
    assert (config.task, config.head, config.fps, config.num_segments, config.classes) == (
        "spot",
        "gru",
        10.0,
        16,
        ("off", "on"),
    )
    assert result.metrics.validation["mean_ap"] == max(row["val_mean_ap"] for row in result.metrics.history)
    assert result.metrics.validation["mean_ap"] > 0.9
    found = gs.spot_events(result.model, lists / "4.mp4", threshold=0.3)
    _, switches = lamp(4)
    assert len(found) >= len(switches)
    for at, label in switches:
        assert any(abs((event.frame or 0) - at) <= 1 and event.label == label for event in found)


@pytest.mark.slow
def test_what_goes_on_is_learned_from_spans(lists: Path, tmp_path: Path) -> None:
    result = train(
        lists,
        tmp_path / "run",
        task="segment",
        head="none",
        epochs=6,
        epoch_clips=32,
        lr=3e-3,
        mixup=0.0,
        background=1.0,
    )
    assert result.metrics.validation["frame_accuracy"] > 0.8
    assert {"edit", "f1_10", "f1_25", "f1_50"} <= result.metrics.validation.keys()
    assert gs.find_events(result.model, lists / "4.mp4")


@pytest.mark.slow
def test_a_stopped_training_ends_as_one_that_was_not(lists: Path, tmp_path: Path) -> None:
    options = {"epochs": 2, "epoch_clips": 12, "head": "tcn", "displacement": 0.2, "mirror": "none"}
    train(lists, tmp_path / "whole", **options)
    stop = StopAt(4)
    with pytest.raises(StoppedError):
        train(lists, tmp_path / "parts", **options, reporter=stop, stop=stop.request)
    train(lists, tmp_path / "parts", **options, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_a_training_goes_on_only_with_the_boxes_frames_and_recordings_that_it_was_begun_with(
    lists: Path, tmp_path: Path
) -> None:
    rows, video = [*(lists / "train.csv").read_text().splitlines()[1:]], lists / "4.mp4"
    begun = ["path,time_s,label,frame,box", *(f"{row},{round(float(row.split(',')[1]) * FPS)}," for row in rows)]
    listed = tmp_path / "train.csv"
    options: dict[str, Any] = {**SMALL, "epoch_clips": 4, "head": "none", "root": lists, "out": tmp_path / "run"}

    def write(*lines: str) -> tuple[Path, Path]:
        listed.write_text("\n".join(lines) + "\n")
        return listed, lists / "val.csv"

    gs.train(*write(*begun), **options)
    gs.train(*write(*begun), resume=True, **options)
    boxed = [begun[0], *(f'{line}"0,0,0.5,1"' for line in begun[1:])]
    moved = [begun[0], begun[1].rpartition(",")[0][:-1] + "1,", *begun[2:]]
    for changed in (boxed, moved, [*begun, f"{video},,,,"]):
        with pytest.raises(SettingsError, match="train.csv has other videos, labels or boxes than when the run was"):
            gs.train(*write(*changed), resume=True, **options)
    with pytest.raises(SettingsError, match="`resume` with fps 5.0, but the run has 10.0"):
        gs.train(*write(*begun), resume=True, fps=5.0, **options)
    file = tmp_path / "run" / "settings.json"
    file.write_text(re.sub(r'  "frames_seen": .*\n', "", file.read_text()).replace('",\n}', '"\n}'))
    gs.train(*write(*begun), resume=True, **options)


@pytest.mark.slow
def test_a_run_of_before_clips_were_read_as_of_other_rates_goes_on_without(lists: Path, tmp_path: Path) -> None:
    options = {"epoch_clips": 4, "head": "none"}
    train(lists, tmp_path / "run", **options, rate_jitter=0.0)
    for file, line in (("settings.json", '  "rate_jitter": 0.0,\n'), ("recipe.toml", "rate_jitter = 0.0\n")):
        text = (tmp_path / "run" / file).read_text()
        assert line in text
        (tmp_path / "run" / file).write_text(text.replace(line, ""))
    with pytest.raises(SettingsError, match="`resume` with rate_jitter 0.5, but the run has 0.0; give the same"):
        train(lists, tmp_path / "run", **options, resume=True)
    train(lists, tmp_path / "run", **options, resume=True, rate_jitter=0.0)


@pytest.mark.slow
def test_a_start_that_is_named_is_planned_as_if_it_was_chosen(lists: Path) -> None:
    small: dict[str, Any] = {"task": "spot", "size": 32, "context": 0.4, "precision": "no"}
    planned = [
        fill_open_options(
            TrainSettings.from_options(lists / "train.csv", lists / "val.csv", out="run", **small, **named), Log()
        ).options()
        for named in ({}, {"start": "motion"}, {"start": "motion", "temporal": "none"})
    ]
    assert planned[0] == planned[1] == planned[2] | {"temporal": "gsm"}
    assert planned[0]["gates_lr"] == "auto"


@pytest.mark.slow
def test_the_command_line_trains_tests_and_predicts(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, model = tmp_path / "run", str(tmp_path / "run" / "best.safetensors")
    small = [
        "--backbone",
        "test_resnet",
        "--weights",
        "None",
        "--size",
        "32",
        "--context",
        "1.6",
        "--epoch-clips",
        "8",
        "--epochs",
        "1",
        "--warmup-epochs",
        "0",
    ]
    main(
        [
            "train",
            str(lists / "train.csv"),
            str(lists / "val.csv"),
            "--task",
            "spot",
            *small,
            "--workers",
            "0",
            "--out",
            str(run),
        ]
    )
    assert [row["epoch"] for row in read_csv(run / "log.csv")] == ["1"]
    assert 'optimizer": "adamw"' in (run / "settings.json").read_text()
    capsys.readouterr()
    main(["test", model, str(lists / "val.csv"), "--scores", str(tmp_path / "answers.csv"), "--suppress", "0.3"])
    printed = capsys.readouterr().out
    assert "suppressed: mAP" in printed
    assert "all answers: mAP" in printed
    assert "│ off" in printed  # its row of precision, recall and errors
    main(["predict", model, str(lists / "4.mp4"), "--events", str(tmp_path / "events.csv"), "--threshold", "0.0"])
    assert gs.read_events(tmp_path / "events.csv").events
    with pytest.raises(SystemExit):
        main(["test", model, str(lists / "val.csv"), "--segments", "8"])
    assert "--segments is of models that classify clips" in capsys.readouterr().err


@pytest.mark.slow
def test_unreadable_recordings_are_skipped_and_counted(lists: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows = (lists / "train.csv").read_text() + f"{tmp_path / 'broken.mp4'},1.0,on\n"
    (lists / "with_broken.csv").write_text(rows)
    options = {**SMALL, "epoch_clips": 4}
    with pytest.raises(VideoError, match="broken.mp4"):
        gs.train(lists / "with_broken.csv", lists / "val.csv", out=tmp_path / "a", fps=10.0, **options)
    result = gs.train(lists / "with_broken.csv", lists / "val.csv", out=tmp_path / "b", fps=10.0, skip_bad=1, **options)
    assert [Path(row["path"]).name for row in read_csv(result.folder / "skipped.csv")] == ["broken.mp4"]


@pytest.mark.slow
def test_what_a_scan_of_events_finds_is_left_out_of_a_training(lists: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows = (lists / "train.csv").read_text() + f"{tmp_path / 'broken.mp4'},1.0,on\n"
    (tmp_path / "train.csv").write_text(rows)
    found = gs.scan([tmp_path / "train.csv", lists / "val.csv"], root=lists, out=tmp_path / "bad.csv", workers=1)
    assert [(each.path.name, each.problem) for each in found.problems] == [("broken.mp4", "unreadable")]
    log = Log()
    options = {**SMALL, "epoch_clips": 4, "root": lists, "reporter": log}
    both = tmp_path / "train.csv", lists / "val.csv"
    gs.train(*both, out=tmp_path / "run", exclude=tmp_path / "bad.csv", **options)
    assert "bad.csv excludes 1 of 5 training recordings, 0 of 1 validation recordings" in log.text
    for named, message in (("other.mp4", "none of its 1 paths is in"), ("4.mp4", "leaves no video of .*val.csv")):
        (tmp_path / "bad.csv").write_text(f"path\n{named}\n")
        with pytest.raises(ManifestError, match=message):
            gs.train(*both, out=tmp_path / "none", exclude=tmp_path / "bad.csv", **options)


@pytest.mark.slow
def test_a_model_of_clips_is_a_start(lists: Path, tmp_path: Path) -> None:
    gs.save_model(gs.create_model("test_resnet", num_classes=3, size_px=32), tmp_path / "clips.safetensors")
    log = Log()
    train(lists, tmp_path / "run", epoch_clips=4, start=tmp_path / "clips.safetensors", reporter=log)
    assert "classes that are new to it: off, on" in log.text


@pytest.mark.slow
def test_parts_of_one_recording_are_learned_from_and_tested_as_their_lists_name_them(
    lists: Path, tmp_path: Path
) -> None:
    switches = lamp(0)[1]
    for split, (start, end) in {"train": (0, 40), "val": (40, NUM_FRAMES)}.items():
        events = [{"frame": at - start, "label": label} for at, label in switches if start <= at < end]
        part = {"video": f"0_{start}_{end}", "num_frames": end - start, "fps": FPS, "events": events}
        (tmp_path / f"{split}.json").write_text(json.dumps([part]))
    paths = tmp_path / "train.json", tmp_path / "val.json"
    log = Log()
    run = gs.train(*paths, out=tmp_path / "run", root=lists, epoch_clips=4, reporter=log, **SMALL)
    assert "recordings too" not in log.text
    gs.evaluate_frames(run.model, paths[1], root=lists, scores=tmp_path / "answers.json")
    answers = gs.read_events(tmp_path / "answers.json")
    assert {*answers.videos} == {f"0_40_{NUM_FRAMES}"}
    assert {event.frame for event in answers.events} == {*range(NUM_FRAMES - 40)}

    gs.train(paths[0], paths[0], out=tmp_path / "same", root=lists, epoch_clips=4, reporter=log, **SMALL)
    assert "1 of the 1 validation recordings are training recordings too" in log.text


def test_the_loss_is_weighed_cross_entropy_over_the_frames_that_have_a_target() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4), torch.tensor([[0, 1, 2], [2, 0, 0]])
    targets = torch.cat(
        (F.one_hot(labels, 3).float(), torch.tensor([[[0.0], [1.0], [-2.0]], [[0.0], [0.0], [0.0]]])), -1
    )
    targets[1, 2] = 0  # beyond the end
    total = 0.0
    for b, t in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        label = int(labels[b, t])
        weight = 1 if label == 0 else 5
        total -= weight * float(logits[b, t, :3].log_softmax(0)[label])
        total += float((logits[b, t, 3] - targets[b, t, 3]) ** 2)
    loss = FrameLoss(Loss(class_weights=torch.tensor([1.0, 5.0, 5.0])), 2)
    assert float(loss(logits, targets)) == pytest.approx(total / 5, rel=1e-5)


def test_the_task_has_defaults_of_its_own_which_options_and_recipes_replace(tmp_path: Path) -> None:
    made: Callable[..., TrainSettings] = TrainSettings.from_options
    spot, clip = (made("a", "b", out="c", task=task) for task in ("spot", "clip"))
    assert (spot.optim.optimizer, spot.optim.lr, spot.optim.epochs, spot.augment.mixup) == ("adamw", 1e-3, 50, 0.2)
    assert (clip.optim.optimizer, clip.optim.epochs, clip.augment.mixup) == ("sgd", 60, 0.0)
    assert made("a", "b", out="c", task="spot", lr=0.1).optim.lr == 0.1
    typed = parse(["train", "a", "b", "--out", "c", "--task", "spot", "--epochs", "7"])
    assert (typed.optim.optimizer, typed.optim.epochs, typed.frames.task) == ("adamw", 7, "spot")
    (tmp_path / "own.toml").write_text('[frames]\ntask = "segment"\nhead = "tcn"\n[optim]\nlr = 0.02\n')
    recipe = made("a", "b", out="c", recipe=tmp_path / "own.toml")
    assert (recipe.frames.task, recipe.frames.head, recipe.optim.lr, recipe.optim.epochs) == (
        "segment",
        "tcn",
        0.02,
        50,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "clip", "context": 2.0}, "`context` is of recordings with an answer for each frame; add `task=spot`"),
        ({"cutmix": 1.0}, "`cutmix` with `task=spot`, where each frame has one label; leave it out"),
        ({"reverse": True}, "`reverse` with `task=spot`"),
        ({"background": 1.5}, "`background` 1.5; it must be from 0 to 1; try 0.5"),
        ({"rate_jitter": -0.1}, "`rate_jitter` -0.1; it must be from 0 to 1; try 0.5"),
        ({"task": "segment", "displacement": 0.1}, "`displacement` with `task=segment`; it is of events; leave it out"),
    ],
)
def test_options_that_contradict_the_task_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TrainSettings.from_options("a", "b", out="c", **{"task": "spot", **options}).check()


def test_what_a_head_looks_ahead_is_told_in_seconds_where_it_is_too_far(lists: Path, tmp_path: Path) -> None:
    message = "`look_ahead` 0.32 seconds are 38 frames at 120 a second, and at most 31 .*; give up to 0.258, or a lower"
    with pytest.raises(SettingsError, match=message):
        train(lists, tmp_path / "run", head="tcn", fps=120.0, context=0.1)


def test_a_list_of_events_without_a_task_says_what_to_add(lists: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"lists events with their times; add `task=spot`"):
        train(lists, tmp_path / "run", task="clip", context=4.0)


@pytest.mark.slow
def test_a_label_of_validation_that_is_new_is_told_before_the_training(lists: Path, tmp_path: Path) -> None:
    (lists / "other.csv").write_text("path,time_s,label\n4.mp4,1.0,blink\n")
    with pytest.raises(ManifestError, match="label 'blink' of 4.mp4@1.0 is none of the 2 classes"):
        gs.train(lists / "train.csv", lists / "other.csv", out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()
