"""Starting from a trained model: the same network, with other classes if need be."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError
from gateshift.model.temporal.modules import GateShift
from gateshift.model.warm_start import start_from

FRAMES = torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(
    seed: int = 0, temporal: str = "gsm", classes: tuple[str, ...] = ("a", "b", "c"), **options: Any
) -> gs.VideoClassifier:
    torch.manual_seed(seed)
    model = gs.create_model("test_resnet", temporal, classes=classes, **options).eval()
    nn.init.normal_(model.head.weight)
    for gate in model.modules():
        if isinstance(gate, GateShift):
            nn.init.normal_(gate.weight, std=0.1)
    return model


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    gs.save_model(network(), tmp_path / "trained.safetensors")
    return tmp_path / "trained.safetensors"


def test_a_network_of_the_same_classes_is_the_trained_one_in_whatever_order(trained: Path) -> None:
    model = network(seed=1, classes=("c", "a", "b"))
    assert start_from(model, trained) == []
    torch.testing.assert_close(model(FRAMES), network()(FRAMES)[:, [2, 0, 1]])


def test_classes_that_the_file_does_not_have_are_named_and_start_as_they_were(trained: Path) -> None:
    model = network(seed=1, classes=("new", "b"), size_px=64)
    before = model.head.weight[0].clone()
    assert start_from(model, trained) == ["new"]
    assert torch.equal(model.head.weight[0], before)
    torch.testing.assert_close(model(FRAMES)[:, 1], network()(FRAMES)[:, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal": "gsf"}, "its temporal is gsm, and gsf is asked for; ask for the same"),
        ({"ratio": 0.5}, "its ratio is 1.0, and 0.5 is asked for"),
        ({"interleave": True}, "its interleave is False, and True is asked for"),
        ({"causal": True}, "its causal is False, and True is asked for"),
    ],
)
def test_another_network_is_refused_and_left_as_it_was(trained: Path, options: dict[str, Any], message: str) -> None:
    model = network(seed=1, **options)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(ModelError, match=message):
        start_from(model, trained)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("temporal", ["none", "tsm"])
def test_a_network_whose_modules_have_no_weights_takes_the_backbone_of_any(trained: Path, temporal: str) -> None:
    model, file = network(seed=1, temporal=temporal), network()
    assert start_from(model, trained) == []
    for (name, own), (_, theirs) in zip(_layers(model), _layers(file), strict=True):
        assert torch.equal(own, theirs), name


def _layers(model: gs.VideoClassifier) -> list[tuple[str, torch.Tensor]]:
    state = model.backbone.state_dict()
    return sorted((name.replace(".layer.", "."), state[name]) for name in state if ".temporal." not in name)


@pytest.mark.slow
def test_a_transformer_of_another_size_is_refused_in_one_line(tmp_path: Path) -> None:
    classes = ("a", "b")
    gs.save_model(gs.create_model("vit_tiny_patch16_224", "none", classes=classes), tmp_path / "vit.safetensors")
    model = gs.create_model("vit_tiny_patch16_224", "none", classes=classes, size_px=64)
    with pytest.raises(ModelError, match="its network is for 224 px, and for 64 px it has other weights"):
        start_from(model, tmp_path / "vit.safetensors")


@pytest.mark.slow
def test_training_starts_from_a_model_by_the_command_line(
    trained: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = [str(clips / "train.csv"), str(clips / "val.csv")]
    words = "--backbone test_resnet --size 32 --segments 2 --epochs 1 --warmup-epochs 0 --batch-size 4 --workers 0"
    rate = ["--recipe", "papers", "--lr", "1e-30"]  # so small that only zeros move, and hardly
    main(["train", *lists, *words.split(), *rate, "--start", str(trained), "--out", str(tmp_path / "run")])
    assert f"starting from {trained}; classes that are new to it: " in capsys.readouterr().err
    model = gs.load_model(tmp_path / "run" / "last.safetensors")
    for (name, new), old in zip(model.backbone.named_parameters(), network().backbone.parameters(), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=1e-20, msg=name)


def test_two_starts_are_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "a.csv", "b.csv", "--out", "run", "--start", str(trained), "--weights", "imagenet"])
    assert stop.value.code == 2
    assert "--start and --weights both initialize the network" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trained_model_brings_its_network_with_it_where_nothing_else_is_said(
    trained: Path, clips: Path, tmp_path: Path
) -> None:
    lists = (clips / "train.csv", clips / "val.csv")
    quick: dict[str, Any] = {"size": 32, "segments": 2, "epochs": 1, "workers": 0, "probe": False}
    result = gs.train(*lists, out=tmp_path / "run", start=trained, **quick)
    same = ("backbone", "temporal", "num_sites", "ratio", "interleave", "causal")
    own, theirs = result.model.config, gs.load_model(trained).config
    assert [getattr(own, name) for name in same] == [getattr(theirs, name) for name in same]
    plain = gs.train(*lists, out=tmp_path / "plain", start=trained, temporal="none", **quick).model.config
    assert (plain.backbone, plain.temporal) == ("test_resnet", "none")
