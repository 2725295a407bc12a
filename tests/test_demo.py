"""The demo and its pictures. `make demo` runs the real size; three seeds of it are recorded in benchmarks/."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import gateshift as gs
from gateshift.cli import main
from gateshift.model.gates import GateShift
from gateshift.run.explain import gate_maps
from gateshift.run.explain_drawings import draw_prediction


@pytest.fixture(scope="module")
def model() -> gs.VideoClassifier:
    torch.manual_seed(0)
    made = gs.create_model("test_resnet", "gsm", num_classes=3).eval()
    for module in made.modules():
        if isinstance(module, GateShift):
            torch.nn.init.normal_(module.weight, std=0.2)
    return made


def test_gate_maps_are_the_gates_of_each_layer_and_leave_no_trace(model: gs.VideoClassifier) -> None:
    clips = torch.randint(0, 256, (2, 5, 3, 48, 48), dtype=torch.uint8)
    seen = {}
    gates = [(name, m) for name, m in model.backbone.named_modules() if isinstance(m, GateShift)]
    for name, module in gates:
        seen[name.removesuffix(".temporal")] = module
    with torch.no_grad():
        before = model(clips)
    maps = gate_maps(model, clips)
    assert list(maps) == list(seen)
    first = next(iter(maps.values()))
    assert first.shape == (2, 5, 2, 12, 12)
    assert all(part.abs().max() <= 1 and part.abs().max() > 0 for part in maps.values())
    with torch.no_grad():
        frames = model.backbone.maxpool(
            model.backbone.act1(model.backbone.bn1(model.backbone.conv1(model.normalise(clips.flatten(0, 1)))))
        )
        block = model.backbone.layer1[0]
        entering = block.conv2.layer(block.aa(block.act1(block.bn1(block.conv1(frames)))))
        torch.testing.assert_close(first.flatten(0, 1), block.conv2.temporal.gates(entering))
        assert torch.equal(model(clips), before)
    assert not any(module._forward_pre_hooks for _, module in gates)


def test_a_model_without_gates_has_no_gate_maps() -> None:
    plain = gs.create_model("test_resnet", "none", num_classes=3).eval()
    assert gate_maps(plain, torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8)) == {}


@pytest.mark.parametrize("with_gates", [True, False])
def test_a_prediction_is_drawn_as_a_png(model: gs.VideoClassifier, with_gates: bool, tmp_path: Path) -> None:
    clip = torch.randint(0, 256, (1, 4, 3, 48, 48), dtype=torch.uint8)
    maps = {name: part[0] for name, part in gate_maps(model, clip).items()} if with_gates else {}
    draw_prediction(clip[0], maps, [("open", 0.8), ("close", 0.2)], tmp_path / "a.png", title="a clip")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 500


@pytest.mark.slow
def test_the_demo_learns_order_with_gate_shift_and_cannot_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    main(["demo", "--out", str(out)])
    printed = capsys.readouterr().out
    found = json.loads((out / "demo.json").read_text())
    assert found["none"]["within_pairs"] <= 0.6
    assert found["gsm"]["within_pairs"] >= 0.95
    assert "without gate-shift" in printed
    assert "gateshift predict" in printed
    with Image.open(out / "demo.png") as picture:
        assert picture.format == "PNG"
