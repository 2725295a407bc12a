"""Saving what holds a model: torch.compile, copies on several devices, averages."""

import copy
import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from streaming_data import TinyNet, tiny_model
from torch import nn

import gateshift as gs
from gateshift.errors import ModelError
from gateshift.model.classifier import VideoClassifier
from gateshift.model.stand_ins.activation_checkpointing import checkpoint_blocks


@pytest.fixture
def model() -> VideoClassifier:
    torch.manual_seed(0)
    return gs.create_model("test_resnet", "gsm", num_classes=3, size_px=48).eval()


@pytest.fixture
def process_group() -> Iterator[None]:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533"}
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def compiled_inside(model: VideoClassifier) -> nn.Module:
    model = copy.deepcopy(model)
    model.backbone = torch.compile(model.backbone)
    return nn.DataParallel(torch.compile(model))


def checkpointed(model: VideoClassifier) -> nn.Module:
    model = copy.deepcopy(model)
    checkpoint_blocks(model.backbone)
    return torch.compile(model)


WRAPPED: dict[str, Callable[[VideoClassifier], nn.Module]] = {
    "torch.compile": torch.compile,
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": nn.parallel.DistributedDataParallel,
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "several, inside and outside": compiled_inside,
    "checkpointing": checkpointed,
}


@pytest.mark.slow
@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("kind", WRAPPED)
def test_the_network_inside_is_saved(kind: str, model: VideoClassifier, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    gs.save_model(WRAPPED[kind](model), path)
    with safe_open(path, "pt") as file:
        assert sorted(file.keys()) == sorted(model.state_dict())
    loaded = gs.load_model(path)
    assert loaded.config == model.config
    clips = torch.randint(0, 256, (1, 4, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(loaded(clips), model(clips))


def test_what_is_no_model_is_not_saved(model: VideoClassifier, tmp_path: Path) -> None:
    for other in (nn.Linear(2, 2), nn.DataParallel(nn.Linear(2, 2)), model.backbone):
        with pytest.raises(ModelError, match="is not saved; give the VideoClassifier of create_model"):
            gs.save_model(other, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_model_that_could_not_be_loaded_is_not_saved(model: VideoClassifier, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(ModelError, match="could not build it: unknown backbone 'tiny'.*own by VideoClassifier.wrap"):
        gs.save_model(tiny_model("gsm"), path)
    of_another = VideoClassifier(TinyNet(), 12, dataclasses.replace(model.config, temporal="none"))
    with pytest.raises(
        ModelError, match="not saved, as its .* in the test_resnet with 3 classes that load_model would"
    ):
        gs.save_model(of_another, path)
    model.head = nn.Linear(model.head.in_features, 7)
    with pytest.raises(ModelError, match=r"its head.weight is \[7, 96\], and \[3, 96\] in the test_resnet with 3 cl"):
        gs.save_model(model, path)
    assert not list(tmp_path.iterdir())


def test_saving_draws_no_random_numbers(model: VideoClassifier, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    gs.save_model(model, tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
