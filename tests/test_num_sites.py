"""Temporal modules at the last sites of a network alone."""

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError
from gateshift.model.config import ModelConfig
from gateshift.model.streaming.network import ExactStream
from gateshift.model.temporal.modules import GateShift, GateShiftFuse
from gateshift.model.temporal.site import TemporalSite
from gateshift.model.warm_start import start_from

# By hand: the blocks of the paper's figure, deepest last, and their branch with the fewest convolutions.
BN_INCEPTION = [f"inception_{block}.conv_1x1.conv" for block in ("4c", "4d", "5a", "5b")]
BN_INCEPTION.insert(2, "inception_4e.conv_3x3_reduce.conv")
CLIPS = torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def sites_of(net: nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, TemporalSite)]


def network(num_sites: int | None, temporal: str = "gsm", backbone: str = "test_resnet") -> gs.VideoClassifier:
    """With gates that are open, so that features move."""
    torch.manual_seed(0)
    model = gs.create_model(backbone, temporal, num_classes=3, num_sites=num_sites, size_px=64)
    nn.init.normal_(model.head.weight)
    for gate in model.modules():
        if isinstance(gate, GateShift | GateShiftFuse):
            nn.init.normal_(gate.weight, std=0.5)
    return model.eval()


@pytest.mark.parametrize("number", [1, 5])
def test_modules_are_at_the_last_blocks_of_bn_inception(number: int) -> None:
    model = gs.create_model("bninception", "gsm", num_classes=3, num_sites=number)
    assert sites_of(model.backbone) == BN_INCEPTION[-number:]
    assert model.config.num_sites == number


@pytest.mark.parametrize("temporal", ["gsm", "gsf", "tsm"])
def test_fewer_sites_are_placed_as_the_family_places_all(temporal: str) -> None:
    name = "regnety_002"  # its family has the modules before a layer, and gates on a quarter of the channels
    every = gs.insert_temporal(timm.create_model(name), temporal)
    half = len(every.sites) // 2
    net = timm.create_model(name)
    report = gs.insert_temporal(net, temporal, num_sites=half)
    assert report.sites == every.sites[-half:]
    assert report.num_gated == every.num_gated[-half:]
    assert (report.source, report.ratio) == (every.source, every.ratio)
    assert sites_of(net) == [site.name for site in report.sites]
    assert report.title == f"{temporal} at the last {half} of {len(every.sites)} sites (regnet)"


@pytest.mark.slow
def test_modules_come_out_again_and_go_back_to_the_same_places() -> None:
    net = timm.create_model("test_resnet")
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    first = gs.insert_temporal(net, "gsm", num_sites=2)
    assert gs.remove_temporal(net) == 2
    assert {key: tensor.tolist() for key, tensor in net.state_dict().items()} == {
        key: tensor.tolist() for key, tensor in before.items()
    }
    assert gs.insert_temporal(net, "gsm", num_sites=2) == first


def test_all_sites_asked_for_by_number_are_the_same_model() -> None:
    asked, default = (gs.create_model("test_resnet", "gsm", num_classes=3, num_sites=n) for n in (4, None))
    assert asked.config == default.config
    assert asked.state_dict().keys() == default.state_dict().keys()


@pytest.mark.slow
def test_no_site_is_a_temporal_segment_network(tmp_path: Path) -> None:
    model = network(0)
    assert model.config == network(None, "none").config
    assert sites_of(model.backbone) == []
    assert torch.equal(model(CLIPS), network(None, "none")(CLIPS))
    torch.testing.assert_close(model(CLIPS), model(CLIPS.flip(1)))
    gs.save_model(model, tmp_path / "m.safetensors")
    assert gs.load_model(tmp_path / "m.safetensors").config.temporal == "none"


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("temporal", ["gsm", "gsf", "tsm"])
def test_a_saved_model_loads_bit_for_bit_and_deploys_to_the_same_logits(
    number: int, temporal: str, tmp_path: Path
) -> None:
    model = network(number, temporal)
    assert not torch.allclose(model(CLIPS), model(CLIPS.flip(1)), atol=1e-3)  # it does see the order
    gs.save_model(model, tmp_path / "m.safetensors")
    loaded = gs.load_model(tmp_path / "m.safetensors")
    assert loaded.config == model.config
    assert sites_of(loaded.backbone) == sites_of(model.backbone)
    assert len(sites_of(loaded.backbone)) == number
    assert torch.equal(loaded(CLIPS), model(CLIPS))
    torch.testing.assert_close(loaded.deploy()(CLIPS), model(CLIPS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", [1, 2])
def test_an_exact_stream_gives_the_logits_of_the_clip_and_waits_a_frame_for_each_module(number: int) -> None:
    model = network(number, "tsm")
    stream = ExactStream(model)
    logits = torch.cat([stream.push(CLIPS[0]).logits, stream.flush().logits])
    assert stream.delay == number
    torch.testing.assert_close(logits.mean(0), model(CLIPS[:1])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_file_that_does_not_say_has_modules_everywhere() -> None:
    fields = json.loads(network(None).config.to_json())
    del fields["num_sites"]
    assert ModelConfig.from_json(json.dumps(fields)) == network(None).config


@pytest.mark.parametrize("value", [0, -1, "2", 1.5])
def test_a_damaged_number_is_a_damaged_description(value: object) -> None:
    fields = json.loads(network(1).config.to_json()) | {"num_sites": value}
    with pytest.raises(
        ModelError,
        match="description is damaged: num_sites .*; it must be a whole number from 1 to 10000, or None; save",
    ):
        ModelConfig.from_json(json.dumps(fields))


@pytest.mark.parametrize("number", [-1, 5])
def test_a_number_that_the_network_does_not_have_is_refused_and_changes_nothing(number: int) -> None:
    net = timm.create_model("test_resnet")
    with pytest.raises(ModelError, match=f"`num_sites` {number}; the network has 4 sites; give a number from 0 to 4"):
        gs.insert_temporal(net, "gsm", num_sites=number)
    assert sites_of(net) == []


def test_names_and_a_number_together_are_refused() -> None:
    with pytest.raises(ModelError, match="`num_sites` 1 and `sites` both say where modules go"):
        gs.insert_temporal(timm.create_model("test_resnet"), "gsm", sites=["layer1.0.conv2"], num_sites=1)


def test_a_training_does_not_start_from_a_model_with_modules_elsewhere(tmp_path: Path) -> None:
    gs.save_model(network(1), tmp_path / "one.safetensors")
    with pytest.raises(ModelError, match="its num_sites is 1, and 2 is asked for"):
        start_from(network(2), tmp_path / "one.safetensors")


@pytest.mark.slow
def test_the_command_line_trains_inspects_and_predicts(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    words = "--backbone test_resnet --size 32 --segments 2 --epochs 1 --warmup-epochs 0 --batch-size 4 --workers 0"
    run = tmp_path / "run"
    main(
        [
            "train",
            f"{clips}/train.csv",
            f"{clips}/val.csv",
            *words.split(),
            "--recipe",
            "papers",
            "--num-sites",
            "1",
            "--out",
            str(run),
        ],
    )
    assert sites_of(gs.load_model(run / "best.safetensors").backbone) == ["layer4.0.conv2"]
    main(["inspect", str(run / "best.safetensors")])
    assert "gsm at the last 1 of 4 sites (resnet)" in capsys.readouterr().out
    main(["inspect", "test_resnet", "--num-sites", "0"])
    assert "without a module" in capsys.readouterr().out
    video = next(clips.rglob("*.mp4"))
    main(["predict", str(run / "best.safetensors"), str(video), "--json"])
    (record,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert record["top"][0]["class"]
