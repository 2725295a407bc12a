"""What networks cost, against the papers' figures."""

import pytest
import torch

import gateshift as gs
from gateshift.cli.main import main
from gateshift.model.cost import count_cost
from gateshift.published.costs import recipe_costs
from gateshift.recipes.recipe import load_recipe


@pytest.mark.slow
def test_bninception_costs_what_the_paper_says() -> None:
    plain, full = recipe_costs(load_recipe("gsm-bninception-8"))
    assert (round(plain.parameters / 1e6, 3), round(full.parameters / 1e6, 3)) == (10.449, 10.5)
    assert (plain.macs / 1e9, full.macs / 1e9) == (pytest.approx(2.0318, rel=1e-4), pytest.approx(2.0424, rel=1e-4))
    assert full.macs / plain.macs - 1 == pytest.approx(0.0052, abs=5e-5)


@pytest.mark.slow
def test_inceptionv3_costs_what_the_paper_says() -> None:
    plain, full = recipe_costs(load_recipe("gsm-inceptionv3-16"))
    assert round(full.parameters / 1e6, 3) == 22.208
    assert full.macs / 1e9 == pytest.approx(3.3366, rel=1e-4)
    assert full.macs / plain.macs - 1 == pytest.approx(0.0028, abs=5e-5)


def test_a_convolution_is_counted_by_hand() -> None:
    model = gs.create_model("test_resnet", "none", num_classes=5, size_px=32)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    macs = 0

    def count(layer: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += layer.weight[0].numel() * output.numel()

    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(count)
    model.eval()(torch.zeros(1, 2, 3, 32, 32))
    by_hand = macs / 2
    assert count_cost(model, num_frames=2).macs == by_hand
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["gsm", "gsf", "tsm"])
def test_a_frame_costs_the_same_in_a_clip_of_any_length(temporal: str) -> None:
    model = gs.create_model("test_resnet", temporal, num_classes=2, size_px=32)
    assert count_cost(model, num_frames=1) == count_cost(model, num_frames=8)


@pytest.mark.slow
def test_the_command_lists_every_published_network(capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipes", "--cost"])
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "gsm-bninception-8 " in line)
    assert all(figure in row for figure in ("10.449", "10.500", "2.0318", "2.0423", "0.52 %"))
    assert "gsf-resnet50-16" in printed
    assert "ensemble" not in printed
