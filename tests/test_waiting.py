"""A training does not wait for its device in every step, and leaves nothing behind in it."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

import gateshift as gs
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.manifest import read_manifest
from gateshift.devices import create_accelerator
from gateshift.errors import SettingsError
from gateshift.evaluation.scoring import score_videos
from gateshift.recipes.options import ModelOptions, OptimOptions
from gateshift.training.loop import run_training
from gateshift.training.settings import TrainSettings


class Readings(TorchDispatchMode):
    """Counts how often a number is read from a tensor, for which a GPU has to have computed it."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def settings_for(clips: Path, out: Path, *, batch_size: int, **changes: Any) -> TrainSettings:
    return TrainSettings(
        train=clips / "train.csv",
        val=clips / "val.csv",
        out=out,
        model=ModelOptions(backbone="test_resnet", segments=2, size=32),
        optim=OptimOptions(epochs=1, warmup_epochs=0, batch_size=batch_size, lr=changes.pop("lr", 0.01)),
        **{"workers": 0, "save_minutes": 1000.0, **changes},
    )


@pytest.mark.slow
def test_more_steps_read_no_more_numbers(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateshift.training.loop.READ_EVERY_S", 1e9)  # on a slow machine, steps take seconds
    counts = []
    for number, batch_size in enumerate((5, 5, 2, 1)):
        with Readings() as readings:
            run_training(settings_for(clips, tmp_path / str(number), batch_size=batch_size))
        counts.append(readings.count)
    assert counts[1] == counts[2] == counts[3]  # the first has also read what is kept for the others


@pytest.mark.parametrize("minutes", [0.0, 1000.0])
def test_a_loss_that_is_no_number_is_found_before_it_is_saved(clips: Path, tmp_path: Path, minutes: float) -> None:
    with pytest.raises(SettingsError, match=r"the loss became (nan|inf) in epoch 1; start again with a lower `lr`"):
        run_training(settings_for(clips, tmp_path / "run", batch_size=2, lr=1e30, save_minutes=minutes))
    for state in (tmp_path / "run").glob("state*/model.safetensors"):
        assert all(bool(value.isfinite().all()) for value in load_file(state).values())
    assert not (tmp_path / "run" / "last.safetensors").exists()


@pytest.mark.slow
def test_validations_leave_no_loader_behind(clips: Path) -> None:
    model = gs.create_model("test_resnet", "none", classes=read_manifest(clips / "val.csv").class_names(), size_px=32)
    accelerator = create_accelerator("no")

    def loaders() -> int:
        gc.collect()
        return sum(issubclass(type(each), DataLoader) for each in gc.get_objects())

    before = loaders()
    for _ in range(3):
        score_videos(
            accelerator.prepare(model),
            model.config,
            read_manifest(clips / "val.csv"),
            EvalProtocol(2),
            accelerator=accelerator,
            batch_size=4,
            workers=0,
        )
    assert loaders() == before
