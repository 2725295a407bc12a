"""Each option of a training beside the papers' recipe, and a run with all of them."""

import dataclasses
import pkgutil
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import InterruptIn, assert_same_run, assert_same_weights, read_csv, train_small

import gateshift as gs
from gateshift.cli.main import parse
from gateshift.errors import SettingsError
from gateshift.recipes.options import AugmentOptions, ModelOptions, OptimOptions, SkewOptions
from gateshift.training.settings import TrainSettings

pytestmark = pytest.mark.usefixtures("no_pictures")

EVERYTHING: dict[str, Any] = {
    "drop_path": 0.3,
    "schedule": "cosine-step",
    "gates_warmup_epochs": 2,
    "layer_decay": 0.8,
    "freeze_epochs": 1,
    "ema": 0.9,
    "label_smoothing": 0.1,
    "optimizer": "adamw",
    "lr": 0.002,
    "gates_lr": 0.01,
    "accumulate": 2,
    "color_jitter": 0.2,
    "rand_augment": 9,
    "erasing": 0.3,
    "mixup": 0.4,
    "cutmix": 1,
    "balanced": True,
    "focal_gamma": 2,
    "skip_bad": 1,
    "min_crop_scale": 0.75,
}


def test_stochastic_depth_acts_in_training_alone_and_is_not_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = gs.create_model("test_resnet", num_classes=3, dropout=0.0, drop_path=0.9)
    clips = torch.randint(0, 256, (4, 4, 3, 32, 32), dtype=torch.uint8)
    model.train()
    assert not torch.equal(model(clips), model(clips))
    model.eval()
    gs.save_model(model, tmp_path / "m.safetensors")
    loaded = gs.load_model(tmp_path / "m.safetensors").eval()
    assert torch.equal(loaded(clips), model(clips))
    assert not any("DropPath" in type(module).__name__ for module in loaded.modules())


@pytest.mark.parametrize("name", ["bninception", "densenet121", "torchvision/resnet18"])
def test_a_network_without_stochastic_depth_says_so(name: str) -> None:
    with pytest.raises(gs.GateShiftError, match=f"{name} has no stochastic depth; .*leave `drop_path` out"):
        gs.create_model(name, num_classes=2, drop_path=0.1)


@pytest.mark.slow
def test_a_run_with_everything_on_that_is_stopped_ends_with_the_same_weights(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, folder := tmp_path / "clips")
    rows = read_csv(folder / "train.csv")
    (folder / rows[0]["path"]).write_bytes(b"no video")
    options = EVERYTHING | {"reversal_pairs": [f"{rows[1]['label']}={rows[2]['label']}"], "epochs": 3}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train_small(folder, whole, **options)
    with pytest.raises(KeyboardInterrupt):
        train_small(folder, stopped, InterruptIn(2), **options)
    train_small(folder, stopped, resume=True, **options)
    assert_same_run(whole, stopped)
    assert_same_weights(whole / "state/model.safetensors", stopped / "state/model.safetensors")
    assert (whole / "skipped.csv").read_text() == (stopped / "skipped.csv").read_text()


@pytest.mark.slow
def test_the_average_of_the_weights_is_what_is_validated_and_saved(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of three updates, followed by hand."""
    updated: list[dict[str, torch.Tensor]] = []
    validated: list[dict[str, torch.Tensor]] = []
    follow(monkeypatch, "gateshift.training.setup.WeightAverage.update", lambda _, model, __: model, updated)
    follow(monkeypatch, "gateshift.training.loop.score_videos", lambda model, *_, **__: model, validated)
    train_small(clips, tmp_path / "run", ema=0.5, epochs=2, lr=0.05)
    expected = updated[0]
    for number, weights in enumerate(updated[1:], start=2):
        decay = min(0.5, 1 - number ** (-2 / 3))
        expected = {
            name: decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value
            for name, value in weights.items()
        }
    saved = gs.load_model(tmp_path / "run" / "last.safetensors").state_dict()
    assert len(updated) == 6
    torch.testing.assert_close(saved, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(saved["head.weight"], updated[-1]["head.weight"])
    assert len(validated) == 2
    assert all(torch.equal(validated[-1][name], value) for name, value in saved.items())


def follow(
    monkeypatch: pytest.MonkeyPatch, name: str, model_of: Callable, weights: list[dict[str, torch.Tensor]]
) -> None:
    """Keep the weights of the model that a function is called with, and let it do its work."""
    function = pkgutil.resolve_name(name)

    def followed(*args: object, **options: object) -> object:
        weights.append({key: value.clone() for key, value in model_of(*args, **options).state_dict().items()})
        return function(*args, **options)

    monkeypatch.setattr(name, followed)


MISTAKES = {
    "both": ({"balanced": True, "class_weights": True}, "`balanced` and `class_weights` are exclusive"),
    "sets": ({"multi_label": True, "class_weights": True}, "`multi_label` and `class_weights`, which needs one class"),
    "two starts": ({"start": "m", "weights": "imagenet"}, "`start` and `weights` both initialize the network"),
    "extend": ({"extend": True}, "`extend` needs `resume`"),
    "ema": ({"ema": 1}, "`ema` 1.0; it must be at least 0 and less than 1"),
    "mixup": ({"mixup": -1}, "`mixup` -1.0; it must be 0 or more"),
    "lr": ({"lr": float("nan")}, "`lr` nan; it must be above 0 and finite"),
    "epochs": ({"epochs": 0}, "`epochs` 0; it must be at least 1"),
    "seed": ({"seed": 2**32}, "`seed` 4294967296; it must be from 0 to 4294967295"),
    "rand_augment": ({"rand_augment": 31}, "`rand_augment` 31; it must be from 0 to 30"),
    "min_crop_scale": ({"min_crop_scale": 0.5}, "`min_crop_scale` 0.5; it must be from 0.66"),
    "gates_lr": ({"gates_lr": 0}, "`gates_lr` 0.0; it must be above 0 and finite"),
    "layer_decay": ({"layer_decay": 0}, "`layer_decay` 0.0; it must be above 0 and at most 1"),
    "freeze_epochs": ({"freeze_epochs": 2, "epochs": 2}, "`freeze_epochs` 2 of `epochs` 2"),
    "gates_warmup_epochs": ({"gates_warmup_epochs": 3, "epochs": 2}, "`gates_warmup_epochs` 3 of `epochs` 2"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_option_that_cannot_be_used_says_why(mistake: str, tmp_path: Path) -> None:
    options, message = MISTAKES[mistake]
    with pytest.raises(SettingsError, match=re.escape(message)) as raised:
        train_small(tmp_path, tmp_path / "run", **options)
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_document_of_the_switches_names_options_that_there_are() -> None:
    groups = (TrainSettings, ModelOptions, OptimOptions, AugmentOptions, SkewOptions)
    known = {f"--{field.name.replace('_', '-')}" for group in groups for field in dataclasses.fields(group)}
    text = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
    named = set(re.findall(r"--[a-z][a-z-]+", text)) - {"--help"}
    assert named <= known
    switches = {f"--{name.replace('_', '-')}" for name in EVERYTHING} - {"--lr", "--accumulate"}
    assert switches <= named
    for command in re.findall(r"^gateshift (train .*?)(?: +#.*)?$", text, re.MULTILINE):
        parse(command.split()).check()
