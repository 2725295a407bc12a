"""What makes things faster or smaller changes no answer. No test here depends on a time."""

import copy
from pathlib import Path

import pytest
import torch
from golden_data import golden_clips, relative_error
from safetensors.torch import load_file
from test_deploy import trained
from torch import nn

import gateshift as gs
from gateshift.cli import main
from gateshift.model.checkpointing import checkpoint_blocks
from gateshift.model.classifier import VideoClassifier

NETS = {"bninception": 64, "inceptionv3": 107, "resnet26": 64, "tf_efficientnet_lite0": 64}


def one_step(model: VideoClassifier, clips: torch.Tensor) -> None:
    torch.manual_seed(1)
    loss = nn.functional.cross_entropy(model.train()(clips), torch.arange(len(clips)))
    loss.backward()


def saved_bytes(model: VideoClassifier, clips: torch.Tensor) -> int:
    """What a forward pass keeps for the backward pass, weights aside."""
    sizes: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = model.train()(clips)
    assert answer.requires_grad
    return sum(size for place, size in sizes.items() if place not in weights)


@pytest.mark.parametrize("backbone", NETS)
def test_checkpointing_changes_no_gradient_and_no_statistic_and_keeps_a_third(backbone: str) -> None:
    size_px = NETS[backbone]
    model = trained(gs.create_model(backbone, num_classes=5, size_px=size_px))
    saving = copy.deepcopy(model)
    assert checkpoint_blocks(saving.backbone) > 5
    clips = golden_clips(0, count=2, num_frames=3, size_px=size_px)
    one_step(model, clips)
    one_step(saving, clips)
    for (name, ours), theirs in zip(saving.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad), name
    for (name, ours), theirs in zip(saving.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name  # batch norms counted the clips once
    assert saved_bytes(saving, clips) <= 0.35 * saved_bytes(model, clips)
    with torch.no_grad():
        assert torch.equal(saving.eval()(clips), model.eval()(clips))


def train(clips: Path, out: Path, *options: str) -> dict[str, torch.Tensor]:
    words = ["train", str(clips / "train.csv"), str(clips / "val.csv"), "--out", str(out), "--backbone", "test_resnet"]
    words += ["--size", "32", "--segments", "4", "--batch-size", "5", "--epochs", "1", "--warmup-epochs", "0"]
    main([*words, "--workers", "0", *options])
    return load_file(out / "last.safetensors")


def test_training_with_checkpointing_ends_with_the_same_weights(clips: Path, tmp_path: Path) -> None:
    plain, saving = train(clips, tmp_path / "plain"), train(clips, tmp_path / "saving", "--checkpointing")
    assert all(torch.equal(plain[name], saving[name]) for name in plain)


@pytest.mark.slow
def test_a_compiled_training_ends_with_nearly_the_same_weights(clips: Path, tmp_path: Path) -> None:
    options = ["--dropout", "0"]  # a compiled network draws other random numbers
    plain = train(clips, tmp_path / "plain", *options)
    compiled = train(clips, tmp_path / "compiled", *options, "--compile")
    assert plain.keys() == compiled.keys()
    assert any(not torch.equal(plain[name], compiled[name]) for name in plain)
    for name in plain:
        torch.testing.assert_close(compiled[name], plain[name], rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@torch.no_grad()
def test_a_compiled_network_of_real_size_answers_as_it_does_eagerly() -> None:
    model = trained(gs.create_model("bninception", num_classes=174))
    clips = golden_clips(0, count=1, num_frames=8, size_px=224)
    compiled = torch.compile(model.deploy())
    assert relative_error(compiled(clips), model(clips)) <= 1e-4
    assert relative_error(compiled(clips.flip(1)), model(clips.flip(1))) <= 1e-4
