"""The start that comes with the library: its network, its gates, and every name that a training may start from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_data import released_state, write_checkpoint
from safetensors.torch import load_file

import gateshift as gs
from gateshift.cli.main import main
from gateshift.demo.reversal_clips import draw_clip
from gateshift.errors import ModelError, SettingsError
from gateshift.model.backbones.factory import SHIPPED, SHIPPED_FILE
from gateshift.model.motion_start import BACKBONE, FILE
from gateshift.model.surgery.insert import find_temporal
from gateshift.model.temporal.modules import GateShift
from gateshift.model.temporal.site import fit_layers
from gateshift.published.download import fetch_published
from gateshift.recipes.recipe import load_recipe
from gateshift.training.settings import TrainSettings

LISTS = ("train.csv", "val.csv")


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """Eight frames of two drawn clips: [2, 8, 3, 84, 112] uint8."""
    clips = []
    for label in ("move left", "approach"):
        drawn = draw_clip(label, rng=np.random.default_rng(0), size_px=(112, 84))
        clips.append(torch.from_numpy(drawn[np.linspace(0, len(drawn) - 1, 8).round().astype(int)]))
    return torch.stack(clips).permute(0, 1, 4, 2, 3)


def settings(**options: Any) -> TrainSettings:
    return TrainSettings.from_options(*LISTS, out="run", **options)


def test_it_is_efficientnet_lite0_with_gate_shift_at_nine_sites_and_small_enough_to_ship() -> None:
    model = gs.load_model(FILE)
    report = find_temporal(model.backbone)
    assert (model.config.backbone, report.temporal, len(report.sites), report.interleave) == (BACKBONE, "gsm", 9, False)
    assert all(name.startswith("drawn: ") for name in model.classes)  # no class of a user's begins with one of these
    assert FILE.stat().st_size <= 12e6


@pytest.mark.slow
def test_a_new_model_has_the_features_of_the_file_whatever_the_seed(frames: torch.Tensor) -> None:
    shipped = gs.load_model(FILE).frame_features(frames)
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = gs.create_model(BACKBONE, classes=["a", "b"], weights="motion").eval()
        assert torch.equal(model.frame_features(frames), shipped)
        assert model.head.weight.abs().max() < 0.01  # its classifier is new


@pytest.mark.slow
def test_gates_are_neither_shut_nor_full_at_most_sites(frames: torch.Tensor) -> None:
    model = gs.create_model(BACKBONE, num_classes=2, weights="motion").eval()
    opened = []
    for module in model.modules():
        if isinstance(module, GateShift):
            module.register_forward_pre_hook(
                lambda gate, given: opened.append(gate.gates(given[0]).abs().mean().item())
            )
    model(frames)
    assert len(opened) == 9
    assert all(0.01 < value < 0.95 for value in opened)
    assert sum(0.05 < value < 0.85 for value in opened) >= 7


@pytest.mark.slow
def test_features_of_a_clip_tell_it_from_the_same_clip_backwards(frames: torch.Tensor) -> None:
    model = gs.create_model(BACKBONE, num_classes=2, weights="motion").eval()
    forwards, backwards = (
        model.frame_features(clip).unflatten(0, (-1, 8)).mean(1) for clip in (frames, frames.flip(1))
    )
    assert (forwards - backwards).norm() > 0.02 * forwards.norm()


@pytest.mark.slow
def test_its_network_starts_from_imagenet_without_a_download(frames: torch.Tensor) -> None:
    assert SHIPPED == BACKBONE
    shipped = load_file(SHIPPED_FILE)
    model = gs.create_model(BACKBONE, "none", num_classes=2, weights="imagenet").eval()
    own = model.backbone.state_dict()
    assert own.keys() == shipped.keys()
    assert all(torch.equal(own[name], tensor.to(own[name].dtype)) for name, tensor in shipped.items())
    assert SHIPPED_FILE.stat().st_size <= 12e6
    # The first layers of the start that knows motion are ImageNet's, which it began with.
    motion = gs.create_model(BACKBONE, "none", num_classes=2, weights="motion").backbone.state_dict()
    assert torch.equal(motion["conv_stem.weight"], own["conv_stem.weight"])
    assert torch.isfinite(model(frames)).all()


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["none", "tsm"])
def test_networks_whose_modules_have_no_weights_take_the_backbone(temporal: str) -> None:
    shipped = gs.load_model(FILE).backbone.state_dict()
    own = gs.create_model(BACKBONE, temporal, num_classes=2, weights="motion").backbone
    for name, tensor in fit_layers(shipped, own).items():
        assert torch.equal(own.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("test_resnet", {}, f"motion is a start of {BACKBONE}, and `backbone` is test_resnet"),
        (BACKBONE, {"temporal": "gsf"}, "motion is a start of gsm, and also for none and tsm; `temporal` is gsf"),
        (BACKBONE, {"causal": True}, "motion is a start of gsm at all sites and channels, that looks both ways"),
        (BACKBONE, {"num_sites": 3}, "motion is a start of gsm at all sites and channels"),
        (BACKBONE, {"interleave": True}, "without interleave; leave the options that say otherwise out"),
    ],
)
def test_another_network_is_refused_in_one_line(backbone: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        gs.create_model(backbone, num_classes=2, weights="motion", **options)


def test_a_named_start_brings_its_network_and_what_is_given_beside_it_wins() -> None:
    assert (settings(start="motion").model.backbone, settings(start="motion").model.temporal) == (BACKBONE, "gsm")
    assert settings(start="motion", temporal="none").model.temporal == "none"
    assert settings(start="gsm-inceptionv3-8").model.backbone == "inceptionv3"
    assert settings(start="imagenet").model.backbone == settings().model.backbone
    assert settings(start="motion", recipe="gsm-bninception-8").model.backbone == "bninception"


def test_a_recipe_may_name_the_start(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[model]\nstart = "motion"\n[optim]\nlr = 0.002\n')
    found = settings(recipe=own)
    assert (found.model.start, found.model.backbone, found.optim.lr) == ("motion", BACKBONE, 0.002)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("motoin", "`start` motoin: no such start, and no file; did you mean motion?"),
        ("gsm-inceptionv3-9", "did you mean gsm-inceptionv3-"),
        ("zzzz", "give a file, or one of imagenet, motion, "),
        ("gsm-inceptionv3-ensemble", "a recipe of several models; choose one of its parts, "),
    ],
)
def test_a_name_that_is_no_start_is_one_line_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message.replace("?", r"\?")):
        settings(start=name).check()


def test_a_file_that_is_not_there_is_said_when_it_is_read() -> None:
    settings(start="models/mine.safetensors").check()
    settings(start="hf://somebody/something").check()


@pytest.mark.slow
def test_training_starts_from_motion_by_the_command_line(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--recipe papers --size 32 --segments 2 --epochs 1 --warmup-epochs 0 --batch-size 4 --workers 0 --lr 1e-30"
    lists = [str(clips / name) for name in ("train.csv", "val.csv")]
    main(["train", *lists, *words.split(), "--start", "motion", "--out", str(tmp_path / "run")])
    assert "starting from motion" in capsys.readouterr().err
    trained, shipped = (gs.load_model(path) for path in (tmp_path / "run" / "last.safetensors", FILE))
    for (name, new), old in zip(trained.backbone.named_parameters(), shipped.backbone.parameters(), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=1e-20, msg=name)


@pytest.mark.slow
def test_a_published_start_is_taken_from_torch_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    released = load_recipe("gsm-bninception-8").released
    assert released is not None
    cache = tmp_path / "hub" / "gateshift"
    cache.mkdir(parents=True)
    write_checkpoint(cache / released.file, released_state("bninception_gsm_T8_C174"))
    model = fetch_published("gsm-bninception-8")
    assert model == cache / "gsm-bninception-8.safetensors"
    assert len(gs.load_model(model).classes) == 174
    assert fetch_published("gsm-bninception-8") == model
