"""Gradients gathered over several batches: the update is that of one batch of the same videos."""

import copy
import dataclasses
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trainings import few_to_validate, start_process

import gateshift as gs
from gateshift.devices import create_accelerator
from gateshift.errors import SettingsError
from gateshift.recipes.options import AugmentOptions, ModelOptions, OptimOptions, SkewOptions
from gateshift.recipes.recipe import load_recipe, recipe_names
from gateshift.training.loop import run_training
from gateshift.training.losses import Loss
from gateshift.training.optimizer import TrainingStep
from gateshift.training.settings import TrainSettings

pytestmark = pytest.mark.usefixtures("no_pictures")

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def clips(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_to_validate(clips, tmp_path_factory.mktemp("few"))


def settings_for(clips: Path, out: Path, *, batch_size: int, accumulate: int, **changes: Any) -> TrainSettings:
    """Plain gradient descent on a network without batch norm, in which a video does not know its batch."""
    return TrainSettings(
        train=clips / "train.csv",
        val=clips / "val.csv",
        out=out,
        model=ModelOptions(backbone="test_convnext", temporal="tsm", segments=2, size=32, dropout=0.0),
        optim=OptimOptions(
            epochs=1,
            warmup_epochs=0,
            batch_size=batch_size,
            accumulate=accumulate,
            lr=0.1,
            clip_norm=changes.pop("clip_norm", 1e9),
            label_smoothing=changes.pop("label_smoothing", 0.0),
        ),
        **{"workers": 0, "save_minutes": 1000.0, **changes},
    )


def weights_of(settings: TrainSettings) -> dict[str, torch.Tensor]:
    return load_file(run_training(settings).last)


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture
def skewed(clips: Path, tmp_path: Path) -> Path:
    """The clips, in lists of which some classes have several videos: 13 rows."""
    rows = (clips / "train.csv").read_text().splitlines()
    folder = tmp_path / "lists"
    folder.mkdir()
    text = "\n".join([*rows, *rows[1:3], rows[1]])
    (folder / "train.csv").write_text(text)
    (folder / "val.csv").write_text((clips / "val.csv").read_text())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"skew": SkewOptions(class_weights=True, focal_gamma=1.0), "label_smoothing": 0.2},
        {"clip_norm": 0.05},
    ],
    ids=["plain", "weights, focal and smoothed", "clipped"],
)
def test_batches_that_are_gathered_move_the_weights_as_one_batch_does(
    clips: Path, skewed: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """13 videos: groups of 4 batches of 2 and of 3, the last of a single video."""
    options = {"root": clips, **changes}
    gathered = weights_of(settings_for(skewed, tmp_path / "gathered", batch_size=2, accumulate=4, **dict(options)))
    at_once = weights_of(settings_for(skewed, tmp_path / "at_once", batch_size=8, accumulate=1, **dict(options)))
    assert_close(gathered, at_once)


@pytest.fixture(scope="module")
def network() -> gs.VideoClassifier:
    """Only to be copied."""
    torch.manual_seed(0)
    return gs.create_model("test_resnet", "gsm", num_classes=3, dropout=0.0)


@pytest.mark.parametrize("sizes", [(4,), (2, 2), (3, 1), (1, 2), (2,), (1, 1, 1)])
@pytest.mark.parametrize("kind", ["one label", "smoothed", "class weights", "focal", "sets of labels", "mixtures"])
def test_a_group_of_batches_of_any_sizes_has_the_gradient_of_the_whole(
    network: gs.VideoClassifier, kind: str, sizes: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    count = sum(sizes)
    model = copy.deepcopy(network).eval()  # batch norms see no batch
    clips = torch.randint(0, 256, (count, 2, 3, 32, 32), dtype=torch.uint8)
    targets = torch.randint(0, 3, (count,))
    loss = Loss()
    if kind == "smoothed":
        loss = Loss(label_smoothing=0.2)
    elif kind == "class weights":
        loss = Loss(class_weights=torch.tensor([0.1, 1.0, 7.0]))
    elif kind == "focal":
        loss = Loss(focal_gamma=2.0)
    elif kind == "sets of labels":
        loss, targets = Loss(multi_label=True), torch.randint(0, 2, (count, 3)).float()
    elif kind == "mixtures":
        targets = torch.rand(count, 3).softmax(1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss(model(clips), targets).backward()
    wanted = [-parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    step = TrainingStep(
        create_accelerator("no"),
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        loss,
        clip_norm=1e9,
        accumulate=3,
    )
    parts = list(zip(clips.split(sizes), targets.split(sizes), strict=True))
    for number, part in enumerate(parts, start=1):
        step(*part, update=number == len(parts))
    for old, new, change in zip(before, model.parameters(), wanted, strict=True):
        torch.testing.assert_close(new - old, change, rtol=1e-4, atol=TOLERANCE)


def test_gradients_are_clipped_once_an_update_and_in_the_releases_way_after_every_pass(
    network: gs.VideoClassifier,
) -> None:
    for accumulation, is_clipped in (("exact", False), ("release", True)):
        torch.manual_seed(0)
        model = copy.deepcopy(network).train()
        clips, labels = torch.randint(0, 256, (4, 4, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 1, 2, 0])
        step = TrainingStep(
            create_accelerator("no"),
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            Loss(),
            clip_norm=1e-3,
            accumulate=2,
            accumulation=accumulation,
        )
        step(clips, labels, update=False)
        norm = torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm()
        assert (float(norm) < 1.001e-3) == is_clipped


def test_the_releases_way_divides_an_incomplete_group_by_accumulate(network: gs.VideoClassifier) -> None:
    torch.manual_seed(0)
    model = copy.deepcopy(network).eval()
    clips, labels = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 1])
    before = model.head.weight.detach().clone()
    Loss()(model(clips), labels).backward()
    wanted = -model.head.weight.grad / 4
    model.zero_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step = TrainingStep(
        create_accelerator("no"), model, optimizer, Loss(), clip_norm=1e9, accumulate=4, accumulation="release"
    )
    step(clips, labels)
    torch.testing.assert_close(model.head.weight - before, wanted, rtol=1e-4, atol=1e-6)


def test_every_recipe_of_the_releases_accumulates_in_their_way() -> None:
    recipes = [load_recipe(name) for name in recipe_names()]
    assert all(recipe.optim["accumulation"] == "release" for recipe in recipes if recipe.optim)
    assert OptimOptions().accumulation == "exact"


def train_as(rank: int, port: int, settings: TrainSettings) -> None:
    """One process of two."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1"
    )
    os.environ["MASTER_PORT"] = str(port)
    run_training(settings)


@pytest.mark.slow
def test_two_processes_move_the_weights_as_one_batch_in_one_process_does(clips: Path, tmp_path: Path) -> None:
    """10 videos: 5 batches of 2, a group of 3 and one of 2, in two processes; in one, a batch of 6 and one of 4."""
    settings = settings_for(
        clips, tmp_path / "two", batch_size=2, accumulate=3, augment=AugmentOptions(), skew=SkewOptions()
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start_process(train_as, rank, port, settings) for rank in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    at_once = weights_of(settings_for(clips, tmp_path / "one", batch_size=6, accumulate=1))
    assert_close(load_file(tmp_path / "two" / "last.safetensors"), at_once)


@pytest.mark.slow
def test_a_run_begun_before_there_was_a_choice_goes_on_in_the_way_it_began(clips: Path, tmp_path: Path) -> None:
    settings = settings_for(clips, tmp_path / "run", batch_size=2, accumulate=2)
    settings = dataclasses.replace(settings, optim=dataclasses.replace(settings.optim, accumulation="release"))
    folder = run_training(settings)
    begun = json.loads(folder.settings.read_text())
    del begun["accumulation"]
    folder.settings.write_text(json.dumps(begun))
    run_training(dataclasses.replace(settings, resume=True))
    folder.settings.write_text(json.dumps(begun))
    settings = dataclasses.replace(settings, optim=dataclasses.replace(settings.optim, accumulation="exact"))
    with pytest.raises(SettingsError, match="`resume` with accumulation 'exact', but the run has 'release'"):
        run_training(dataclasses.replace(settings, resume=True))
