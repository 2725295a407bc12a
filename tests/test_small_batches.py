"""A batch in which a batch norm would see a single value is found before the first step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import SettingsError
from gateshift.recipes.options import ModelOptions, OptimOptions
from gateshift.training.optimizer import freeze_batch_norms
from gateshift.training.settings import TrainSettings
from gateshift.training.small_batches import check_small_batches, smallest_batch

TINY = ["--backbone", "test_resnet", "--size", "32", "--epochs", "1", "--warmup-epochs", "0", "--workers", "0"]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--batch-size", "1"], "the epoch has batches of 1 video"),
        (["--batch-size", "3"], "the last batch of an epoch, of 10 videos in batches of 3, has 1 video"),
        (["--batch-size", "9", "--temporal", "none"], "of 10 videos in batches of 9"),
        (["--batch-size", "5", "--skip-bad", "4"], "--skip-bad 4 may leave 1 video"),
    ],
)
def test_a_batch_of_one_value_is_one_line_before_the_first_step(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    out = tmp_path / "run"
    said = refused(
        capsys, "train", clips / "train.csv", clips / "val.csv", "--out", out, *TINY, "--segments", "1", *options
    )
    assert named in said
    assert "a batch norm" in said and "1 value of each channel" in said and "--batch-size" in said
    assert not out.exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--segments", "1", "--batch-size", "5"],
        ["--segments", "2", "--batch-size", "1"],
        ["--segments", "1", "--batch-size", "1", "--size", "64"],
        ["--segments", "1", "--batch-size", "1", "--partial-bn", "--temporal", "none"],
        ["--segments", "1", "--batch-size", "3", "--backbone", "test_convnext", "--temporal", "none"],
    ],
)
def test_what_can_be_trained_is(clips: Path, tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "run"
    main(["train", str(clips / "train.csv"), str(clips / "val.csv"), "--out", str(out), *TINY, *options])
    assert (out / "best.safetensors").is_file()


def test_a_list_of_one_video_of_one_frame_is_one_line(
    write_video: Callable[..., Path],
    counting_frames: Callable[..., np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_video(tmp_path / "one.mp4", counting_frames(1))
    (tmp_path / "list.csv").write_text("path,label\none.mp4,only\n")
    lists = [tmp_path / "list.csv"] * 2
    said = refused(capsys, "train", *lists, "--out", tmp_path / "run", *TINY, "--segments", "1", "--multi-label")
    assert "1 video" in said and "--segments" in said


@pytest.mark.parametrize(
    ("videos", "batch_size", "processes", "skip_bad", "smallest"),
    [(10, 4, 1, 0, 2), (8, 4, 1, 0, 4), (3, 8, 1, 0, 3), (10, 4, 2, 0, 2), (3, 8, 4, 0, 2), (8, 4, 1, 9, 1)],
)
def test_the_smallest_batch_follows_from_the_numbers(
    videos: int, batch_size: int, processes: int, skip_bad: int, smallest: int
) -> None:
    assert smallest_batch(videos, batch_size, processes=processes, skip_bad=skip_bad) == smallest


def test_the_check_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    settings = TrainSettings(
        tmp_path, tmp_path, tmp_path, model=ModelOptions(segments=1), optim=OptimOptions(batch_size=1)
    )
    torch.manual_seed(0)
    model = gs.create_model("test_resnet", "gsm", num_classes=3, size_px=32).train()
    freeze_batch_norms(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes, drawn = [module.training for module in model.modules()], torch.get_rng_state()
    with pytest.raises(SettingsError, match=r"batch norm \(backbone\.layer4.*temporal\.bn\)"):
        check_small_batches(model, settings, num_videos=3, processes=1)
    assert torch.equal(drawn, torch.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
