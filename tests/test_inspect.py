"""What gateshift inspect shows."""

from pathlib import Path

import pytest
import torch

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError
from gateshift.model.backbones.factory import create_backbone


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def inspect(words: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that it prints, without the bars and spaces of tables."""
    main(["inspect", *words.split()])
    lines = capsys.readouterr().out.splitlines()
    return [" ".join(line.replace("│", " ").split()) for line in lines]


@pytest.mark.slow
def test_it_shows_sites_channels_and_the_cost_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    lines = inspect("bninception --temporal gsm", capsys)
    assert "gsm at 10 sites (bninception)" in lines
    assert "1 after inception_3a.conv_1x1.conv 64 of 64 channels" in lines
    assert "10 after inception_5b.conv_1x1.conv 352 of 352 channels" in lines
    assert "before 10,448,590 2.0318" in lines  # the figures of the paper and of tests/test_cost.py
    assert "with gsm 10,499,650 2.0423" in lines
    assert "more 0.49% 0.52%" in lines
    assert lines[-1] == "bninception, 174 classes, clips of 8 frames of 224 px"


@pytest.mark.slow
def test_it_says_where_a_share_of_the_channels_was_rounded(capsys: pytest.CaptureFixture[str]) -> None:
    lines = inspect("mobilenetv3_small_050 --temporal gsf --ratio 0.25 --segments 4 --size 64", capsys)
    assert "1 before blocks.1.1.conv_pw 4 of 16 channels" in lines
    assert "2 before blocks.2.1.conv_pw 8 of 24 channels (rounded up from 6)" in lines
    assert lines[-1].endswith("clips of 4 frames of 64 px")


@pytest.mark.slow
def test_a_shift_costs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    lines = inspect("torchvision/resnet18 --temporal tsm", capsys)
    assert "8 before layer4.1.conv1 64 + 64 of 512 channels" in lines
    assert "more 0.00% 0.00%" in lines


@pytest.mark.slow
def test_without_a_module_it_shows_the_cost_alone(capsys: pytest.CaptureFixture[str]) -> None:
    lines = inspect("resnet18 --temporal none", capsys)
    assert any(line.startswith("without a module") for line in lines)
    assert not any("sites" in line or "with none" in line for line in lines)


@pytest.mark.slow
def test_a_saved_model_says_what_it_has_and_what_another_module_would_cost(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = gs.create_model("test_resnet", "gsf", num_classes=3, ratio=0.5, size_px=64, num_segments=5)
    gs.save_model(model, tmp_path / "m.safetensors")
    lines = inspect(f"{tmp_path}/m.safetensors", capsys)
    assert "1 after layer1.0.conv2 16 of 32 channels" in lines
    assert lines[-1].endswith("m.safetensors, 3 classes, clips of 5 frames of 64 px")
    total = sum(parameter.numel() for parameter in model.parameters())
    assert any(line.startswith(f"with gsf {total:,} ") for line in lines)
    assert "tsm at 4 sites (resnet)" in inspect(f"{tmp_path}/m.safetensors --temporal tsm", capsys)


@pytest.mark.slow
def test_for_an_unknown_family_it_lists_what_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", "ghostnet_050", "--temporal", "gsm"])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    lines = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    convolutions = [m for m in create_backbone("ghostnet_050").net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert "conv_stem 3 8" in lines
    assert len(lines) == len(convolutions) + 5  # title, and the lines of the table
    assert "no known sites in GhostNet; known families: bninception" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere.safetensors", "nowhere.safetensors: no such model file"),
        ("resnet51", "unknown backbone 'resnet51'"),
        ("torchvision/resnet51", "unknown backbone 'torchvision/resnet51'; torchvision has resnet"),
        ("torchvision/squeezenet1_0", "unknown backbone 'torchvision/squeezenet1_0'"),
        ("resnet18 --temporal lstm", "unknown temporal module 'lstm'; choose one of gsm, gsf, tsm, none"),
        ("resnet18 --ratio 2", " 2.0; it must be a share of the channels above 0 and up to 1"),
        ("resnet18 --segments 0", "a clip has at least 1 frame"),
        ("resnet18 --size 0", "does not take an input of 0 px"),
    ],
)
def test_a_mistake_is_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", *words.split()])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_torchvision_backbone_starts_from_its_own_weight_file(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    source = resnet18().eval()
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    model = gs.create_model(
        "torchvision/resnet18", "none", num_classes=3, size_px=64, weights=tmp_path / "resnet18.pth"
    ).eval()
    frames = torch.rand(2, 3, 64, 64)
    source.fc = torch.nn.Identity()
    assert torch.equal(model.backbone(frames), source(frames))
    with pytest.raises(ModelError, match="does not download weights by itself; give the path or URL .*resnet18-.*pth"):
        gs.create_model("torchvision/resnet18", num_classes=3, weights="imagenet")
