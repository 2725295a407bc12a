"""Frozen batch norms, and batches that are too small for the others: an error before the first step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gateshift as gs
from gateshift.errors import SettingsError
from gateshift.model.temporal.modules import GateShift
from gateshift.recipes.options import ModelOptions, OptimOptions
from gateshift.training.batch_norms import batch_norms, check_small_batches, freeze_batch_norms, smallest_batch
from gateshift.training.settings import TrainSettings
from gateshift.training.train import train

TINY = {"recipe": "papers", "backbone": "test_resnet", "size": 32, "epochs": 1, "warmup_epochs": 0, "workers": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_size": 1}, "the epoch has batches of 1 video"),
        ({"batch_size": 3}, "the last batch of an epoch, of 10 videos in batches of 3, has 1 video"),
        ({"batch_size": 9, "temporal": "none"}, "of 10 videos in batches of 9"),
        ({"batch_size": 5, "skip_bad": 4}, "`skip_bad` 4 may leave 1 video"),
    ],
)
def test_a_batch_of_one_value_is_one_line_before_the_first_step(
    clips: Path, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(SettingsError, match=rf"{reason}.*a batch norm .*1 value per channel.*`batch_size`"):
        train(clips / "train.csv", clips / "val.csv", out=out, segments=1, **TINY | options)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"segments": 2, "batch_size": 1},
        {"segments": 1, "batch_size": 1, "partial_bn": True, "temporal": "none"},
        {"segments": 1, "batch_size": 1, "frozen_bn": True},
        {"segments": 1, "batch_size": 3, "backbone": "test_convnext", "temporal": "none"},
    ],
)
def test_what_can_be_trained_is(clips: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    train(clips / "train.csv", clips / "val.csv", out=tmp_path / "run", **TINY | options)
    assert (tmp_path / "run" / "best.safetensors").is_file()


def test_a_list_of_one_video_of_one_frame_is_one_line(
    write_video: Callable[..., Path], counting_frames: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    write_video(tmp_path / "one.mp4", counting_frames(1))
    (tmp_path / "list.csv").write_text("path,label\none.mp4,only\n")
    lists = [tmp_path / "list.csv"] * 2
    with pytest.raises(SettingsError, match="1 video.*`segments`"):
        train(*lists, out=tmp_path / "run", segments=1, multi_label=True, **TINY)


@pytest.mark.parametrize(
    ("videos", "batch_size", "processes", "skip_bad", "smallest"),
    [(10, 4, 1, 0, 2), (8, 4, 1, 0, 4), (3, 8, 1, 0, 3), (10, 4, 2, 0, 2), (3, 8, 4, 0, 2), (8, 4, 1, 9, 1)],
)
def test_the_smallest_batch_follows_from_the_numbers(
    videos: int, batch_size: int, processes: int, skip_bad: int, smallest: int
) -> None:
    assert smallest_batch(videos, batch_size, processes=processes, skip_bad=skip_bad) == smallest


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        ({"segments": 1, "size_px": 32}, False),
        ({"segments": 1, "size_px": 64}, True),
        ({"segments": 2, "size_px": 32}, True),
    ],
)
def test_a_batch_norm_needs_two_values_of_any_frames_and_places(options: dict[str, int], fits: bool) -> None:
    settings = TrainSettings(
        Path(), Path(), Path(), model=ModelOptions(segments=options["segments"]), optim=OptimOptions(batch_size=1)
    )
    model = gs.create_model("test_resnet", "gsm", num_classes=3, size_px=options["size_px"]).train()
    if fits:
        check_small_batches(model, settings, num_videos=3, processes=1)
    else:
        with pytest.raises(SettingsError, match="1 value per channel"):
            check_small_batches(model, settings, num_videos=3, processes=1)


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


def test_partial_batch_norm_freezes_all_of_the_backbone_but_the_first() -> None:
    model = gs.create_model("test_resnet", "gsm", num_classes=3).train()
    freeze_batch_norms(model)
    backbone = [norm for inside, norm in batch_norms(model) if not inside]
    assert [norm.training for norm in backbone] == [True] + [False] * (len(backbone) - 1)
    assert not any(p.requires_grad for norm in backbone[1:] for p in norm.parameters())
    gates = [m for m in model.modules() if isinstance(m, GateShift)]
    assert len(gates) == 4
    assert all(gate.bn.training and gate.bn.weight.requires_grad for gate in gates)


@pytest.mark.slow
def test_frozen_batch_norms_keep_the_statistics_of_the_start_and_train_scale_and_shift(
    clips: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    start = gs.create_model("test_resnet", "gsm", num_classes=2, size_px=32)
    for _, norm in batch_norms(start):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    gs.save_model(start, tmp_path / "start.safetensors")
    options = {**TINY, "segments": 2, "start": tmp_path / "start.safetensors", "frozen_bn": True}
    found = train(clips / "train.csv", clips / "val.csv", out=tmp_path / "run", **options).model
    for (_, own), (_, first) in zip(batch_norms(found), batch_norms(start), strict=True):
        assert torch.equal(own.running_mean, first.running_mean)
        assert torch.equal(own.running_var, first.running_var)
        assert not torch.equal(own.weight, first.weight)
    with pytest.raises(SettingsError, match="`partial_bn` and `frozen_bn`"):
        train(clips / "train.csv", clips / "val.csv", out=tmp_path / "both", **options, partial_bn=True)
