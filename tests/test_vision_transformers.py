"""Vision transformers: they average frames, in any size, and take no temporal module."""

import copy
from pathlib import Path

import pytest
import timm
import torch
from golden_data import golden_clips
from torch import nn
from torch.nn import functional as F

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError
from gateshift.model.stand_ins.activation_checkpointing import checkpoint_blocks


@pytest.mark.parametrize("temporal", ["gsm", "gsf", "tsm"])
@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "deit_tiny_distilled_patch16_224", "xcit_nano_12_p16_224"])
def test_a_temporal_module_is_refused_in_one_line_and_changes_nothing(name: str, temporal: str) -> None:
    net = timm.create_model(name)
    layers = list(net.named_modules())
    with pytest.raises(ModelError, match=r"is a vision transformer, and no published placement .* such as resnet50$"):
        gs.insert_temporal(net, temporal)
    assert list(net.named_modules()) == layers


@pytest.mark.slow
def test_the_command_line_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["inspect", "test_vit3"])
    said = capsys.readouterr()
    assert "no published placement of temporal modules in these is known" in said.err
    assert said.err.count("\n") == 1
    main(["inspect", "test_vit3", "--temporal", "none"])


def test_attention_cannot_be_named_and_convolutions_can() -> None:
    net = timm.create_model("test_vit3", num_classes=0, img_size=32)
    message = r"no convolution named blocks.0.attn in VisionTransformer; `sites` are names such as patch_embed.proj"
    with pytest.raises(ModelError, match=message):
        gs.insert_temporal(net, "gsm", sites=["blocks.0.attn"])
    gs.insert_temporal(net, "gsm", num_frames=2, sites=["patch_embed.proj"])
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 96)


def test_a_network_that_holds_a_transformer_lists_what_could_be_named() -> None:
    net = nn.Sequential(timm.create_model("test_vit3", num_classes=0))
    with pytest.raises(ModelError, match=r"no known sites in Sequential; .* such as 0.patch_embed.proj"):
        gs.insert_temporal(net, "gsm")


@pytest.mark.slow
@torch.no_grad()
def test_weights_for_the_published_size_are_resampled_for_another(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = timm.create_model("test_vit3", num_classes=0).eval()
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    model = gs.create_model("test_vit3", "none", num_classes=2, size_px=64, weights=tmp_path / "vit.pth").eval()
    source.set_input_size(img_size=(64, 64))
    frames = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(model.backbone(frames), source(frames))  # position embeddings alone were changed


def test_a_size_of_less_than_a_patch_is_an_error_with_a_reason() -> None:
    with pytest.raises(ModelError, match="test_vit3 does not take an input of 8 px: its patches are 16 px wide"):
        gs.create_model("test_vit3", "none", num_classes=2, size_px=8)


@pytest.mark.slow
def test_inspect_shows_a_saved_model_in_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gs.save_model(gs.create_model("test_vit3", "none", num_classes=2, size_px=48), tmp_path / "m.safetensors")
    main(["inspect", str(tmp_path / "m.safetensors"), "--size", "32"])
    assert "clips of 8 frames of 32 px" in capsys.readouterr().out


@pytest.mark.slow
def test_blocks_that_take_embeddings_can_be_checkpointed() -> None:
    torch.manual_seed(0)
    plain = gs.create_model("test_vit_relpos", "none", num_classes=3, size_px=48, dropout=0.0).double()
    saving = copy.deepcopy(plain)
    checkpoint_blocks(saving.backbone)
    clips, labels = golden_clips(0, count=2, num_frames=3, size_px=48), torch.tensor([0, 2])
    for model in (plain, saving):
        torch.manual_seed(1)  # of dropouts
        F.cross_entropy(model.train()(clips), labels).backward()
    for (name, first), second in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert first.grad is not None, name
        torch.testing.assert_close(first.grad, second.grad, rtol=1e-10, atol=1e-14)
