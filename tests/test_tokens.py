"""Temporal modules in vision transformers."""

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from golden_data import golden_clips, relative_error
from reference import slow_gate_shift, slow_gates, slow_shift
from streaming_data import moving_scene, offline_features, trained
from torch import Tensor, nn
from torch.nn import functional as F

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError
from gateshift.explanation.gate_maps import gate_maps
from gateshift.model.activation_checkpointing import checkpoint_blocks
from gateshift.model.streaming.network import ExactStream
from gateshift.model.surgery.sites import TokenGrid
from gateshift.model.surgery.tokens import TokenSite
from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalModule, TemporalShift

T, CHANNELS, NUM_GATED = 3, 20, 8
GRID = TokenGrid(num_prefix=2, height=3, width=4)
MODULES = {
    "gsm": lambda: GateShift(NUM_GATED, T, interleave=True),
    "gsf": lambda: GateShiftFuse(NUM_GATED, T, interleave=False),
    "tsm": lambda: TemporalShift(NUM_GATED, T),
}


class Passing(nn.Module):
    """Where an attention layer would be: what comes to it goes on, and what else it was given is kept."""

    given: dict[str, Any]

    def forward(self, x: Tensor, **given: Any) -> Tensor:
        self.given = given
        return x


@pytest.fixture(params=MODULES)
def site(request: pytest.FixtureRequest) -> TokenSite:
    """A site in eval mode, float64, its gates open and its batch norm far from the identity."""
    torch.manual_seed(0)
    module = MODULES[request.param]()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5) if "bn." in name else nn.init.normal_(tensor, std=0.3)
    return TokenSite(Passing(), module, GRID, NUM_GATED).double().eval()


def tokens_of(num_clips: int = 2) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(num_clips * T, GRID.num_prefix + GRID.height * GRID.width, CHANNELS, dtype=torch.float64)


def slow_maps(tokens: Tensor) -> Tensor:
    """The gated channels of the patch tokens as maps, value by value."""
    maps = torch.zeros(len(tokens), NUM_GATED, GRID.height, GRID.width, dtype=tokens.dtype)
    for n in range(len(tokens)):
        for c in range(NUM_GATED):
            for row in range(GRID.height):
                for column in range(GRID.width):
                    maps[n, c, row, column] = tokens[n, GRID.num_prefix + row * GRID.width + column, c]
    return maps


def slow_mixed(maps: Tensor, module: TemporalModule) -> Tensor:
    """One clip of maps [T, C, H, W] through a module, by the papers' equations as loops."""
    clip = maps.transpose(0, 1)  # [C, T, H, W]
    if isinstance(module, TemporalShift):
        return slow_shift(clip, module.fold).transpose(0, 1)
    assert isinstance(module, GateShift)
    kernel = module.weight.unflatten(0, (2, 3)).transpose(1, 2)  # [2, C/2, 3, 3, 3]
    gates = slow_gates(F.relu(module.bn(maps)).transpose(0, 1), kernel, module.bias)
    return slow_gate_shift(clip, gates, interleave=module.interleave).transpose(0, 1)


@torch.no_grad()
def test_patch_tokens_are_mixed_as_the_module_mixes_maps(site: TokenSite) -> None:
    tokens = tokens_of()
    maps = slow_maps(tokens)
    if isinstance(site.temporal, GateShiftFuse):  # whose equation is tested on maps
        mixed = site.temporal(maps)
    else:
        mixed = torch.cat([slow_mixed(clip, site.temporal) for clip in maps.split(T)])
    found = slow_maps(site(tokens))
    torch.testing.assert_close(found, mixed, rtol=1e-12, atol=1e-12)
    assert relative_error(found, maps) > 0.01


@torch.no_grad()
def test_class_and_register_tokens_and_the_other_channels_pass_bit_for_bit(site: TokenSite) -> None:
    tokens = tokens_of()
    mixed = site(tokens)
    assert torch.equal(mixed[:, : GRID.num_prefix], tokens[:, : GRID.num_prefix])
    assert torch.equal(mixed[:, :, NUM_GATED:], tokens[:, :, NUM_GATED:])
    assert (mixed[:, GRID.num_prefix :, :NUM_GATED] != tokens[:, GRID.num_prefix :, :NUM_GATED]).any()


@torch.no_grad()
def test_a_clip_does_not_see_the_next_one(site: TokenSite) -> None:
    tokens = tokens_of()
    other = tokens.clone()
    other[T:] += 1
    assert torch.equal(site(other)[:T], site(tokens)[:T])
    assert not torch.equal(site(other)[T:], site(tokens)[T:])


def test_masks_and_embeddings_reach_the_attention(site: TokenSite) -> None:
    site(tokens_of(), attn_mask=None, rope=7)
    assert site.layer.given == {"attn_mask": None, "rope": 7}


def test_without_class_tokens_all_tokens_are_patches(site: TokenSite) -> None:
    tokens = tokens_of()
    patches = site(tokens[:, GRID.num_prefix :])
    assert torch.equal(patches, site(tokens)[:, GRID.num_prefix :])


@pytest.mark.parametrize("shape", [(6, 13, CHANNELS), (6, 16, CHANNELS), (6, 3, 4, CHANNELS)])
def test_tokens_that_do_not_fit_the_grid_are_an_error(site: TokenSite, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ModelError, match=r"tokens of shape \[6, .* 2 tokens and 3 x 4 patches; feed frames of the size"
    ):
        site(torch.zeros(shape, dtype=torch.float64))


# What else has attention before which the same site fits: two class tokens, registers, none, a class token that
# joins behind these blocks, in the middle of them, and position embeddings in each block.
OTHERS = {
    "deit_tiny_distilled_patch16_224": 12,
    "vit_wee_patch16_reg1_gap_256": 14,
    "test_vit3": 9,
    "cait_xxs24_224": 24,
    "convit_tiny": 12,
    "test_vit_relpos": 9,
    "eva02_tiny_patch14_224": 12,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_vision_transformers_learn_in_every_gate(name: str) -> None:
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=3)
    size_px = net.patch_embed.img_size[0]
    report = gs.insert_temporal(net, "gsm", num_frames=2)
    assert len(report.sites) == OTHERS[name]
    net(torch.rand(2, 3, size_px, size_px)).square().sum().backward()
    gates = [module for module in net.modules() if isinstance(module, GateShift)]
    assert len(gates) == OTHERS[name]
    for gate in gates:
        assert gate.weight.grad is not None
        assert gate.weight.grad.abs().sum() > 0


def test_a_quarter_of_the_channels_is_gated_and_nothing_is_interleaved() -> None:
    net = timm.create_model("test_vit3")
    report = gs.insert_temporal(net, "gsf")
    assert (report.ratio, report.interleave, set(report.num_gated)) == (0.25, False, {24})
    assert {site.channels for site in report.sites} == {96}


def test_the_report_and_inspect_say_that_it_is_an_experiment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    report = str(gs.insert_temporal(timm.create_model("test_vit3"), "gsm"))
    assert report.startswith("gsm at 9 sites (vision transformer, experimental), ")
    assert "placement: experiment, no published placement" in report
    assert "before blocks.8.attn: 24 of 96 channels" in report
    by_name = gs.insert_temporal(timm.create_model("test_vit3"), "gsm", sites=["blocks.1.attn"])
    assert by_name.title == "gsm at 1 sites (given by name, experimental)"
    assert "experimental" not in str(gs.insert_temporal(timm.create_model("resnet18"), "gsm"))
    main(["inspect", "test_vit3", "--temporal", "tsm"])
    printed = capsys.readouterr().out
    assert "tsm at 9 sites (vision transformer, experimental)" in printed
    assert "placement: experiment, no published placement" in printed


def test_attention_layers_can_be_named_by_hand() -> None:
    net = nn.Sequential(timm.create_model("test_vit3", num_classes=0, img_size=32))
    report = gs.insert_temporal(net, "gsm", num_frames=2, sites=["0.blocks.7.attn", "0.patch_embed.proj"], ratio=0.5)
    assert [(site.side, site.name) for site in report.sites] == [
        ("before", "0.blocks.7.attn"),
        ("after", "0.patch_embed.proj"),
    ]
    assert type(net[0].blocks[7].attn) is TokenSite
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 96)
    assert gs.remove_temporal(net) == 2


def test_other_layers_of_a_transformer_cannot_be_named() -> None:
    net = timm.create_model("test_vit3")
    message = r"no convolution or attention layer named blocks.0.mlp in .*; sites are names such as .*blocks.8.attn"
    with pytest.raises(ModelError, match=message):
        gs.insert_temporal(net, "gsm", sites=["blocks.0.mlp"])
    with pytest.raises(
        ModelError, match="no convolution named layers.0.blocks.0.attn in Swin.* such as patch_embed.proj"
    ):
        gs.insert_temporal(
            timm.create_model("swin_tiny_patch4_window7_224"),
            "gsm",
            sites=["layers.0.blocks.0.attn", "patch_embed.proj"],
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test_vit", "takes frames of any size.* needs one grid; create it with dynamic_img_size=False"),
        ("xcit_nano_12_p16_224", "Xcit does not say how the tokens at blocks.0.attn lie on a frame; .*; take one"),
    ],
)
def test_a_grid_that_cannot_be_known_is_an_error_and_changes_nothing(name: str, message: str) -> None:
    net = timm.create_model(name)
    layers = list(net.named_modules())
    for sites in (None, ["blocks.0.attn"]):
        with pytest.raises(ModelError, match=message) as caught:
            gs.insert_temporal(net, "gsm", sites=sites)
        assert "\n" not in str(caught.value)
    assert list(net.named_modules()) == layers


def test_a_net_whose_size_is_changed_afterwards_is_refused() -> None:
    net = timm.create_model("test_vit3", img_size=32)
    gs.insert_temporal(net, "tsm", num_frames=2)
    net.set_input_size(img_size=(48, 48))
    with pytest.raises(ModelError, match=r"1 tokens and 2 x 2 patches; .*call remove_temporal\(net\), change"):
        net(torch.rand(2, 3, 48, 48))


@torch.no_grad()
def test_a_model_of_another_size_has_its_own_grid_and_comes_back_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = gs.create_model("test_vit3", "gsm", num_classes=2, size_px=48).eval()
    clips = golden_clips(0, count=2, num_frames=3, size_px=48)
    assert {tuple(maps.shape) for maps in gate_maps(model, clips).values()} == {(2, 3, 2, 3, 3)}
    gs.save_model(model, tmp_path / "m.safetensors")
    again = gs.load_model(tmp_path / "m.safetensors")
    assert again.config.size_px == 48
    assert torch.equal(again(clips), model(clips))


@torch.no_grad()
def test_weights_for_the_published_size_are_resampled_for_another(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = timm.create_model("test_vit3", num_classes=0).eval()
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    model = gs.create_model("test_vit3", "gsm", num_classes=2, size_px=64, weights=tmp_path / "vit.pth").eval()
    source.set_input_size(img_size=(64, 64))
    frames = torch.rand(2, 3, 64, 64)
    gs.set_num_frames(model.backbone, 2)
    # New gates send nothing. Position embeddings alone were changed.
    torch.testing.assert_close(model.backbone(frames), source(frames))


def test_a_size_of_less_than_a_patch_is_an_error_with_a_reason() -> None:
    with pytest.raises(ModelError, match="test_vit3 does not take an input of 8 px: .*; take 16 px"):
        gs.create_model("test_vit3", "gsm", num_classes=2, size_px=8)


def test_inspect_shows_a_saved_model_in_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gs.save_model(gs.create_model("test_vit3", "gsm", num_classes=2, size_px=48), tmp_path / "m.safetensors")
    main(["inspect", str(tmp_path / "m.safetensors"), "--size", "32"])
    assert "clips of 8 frames of 32 px" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("temporal", "causal", "delay"), [("gsm", False, 18), ("gsf", False, 27), ("tsm", False, 9), ("gsm", True, 0)]
)
@torch.no_grad()
def test_an_exact_stream_has_the_answers_of_the_whole_recording(temporal: str, causal: bool, delay: int) -> None:
    model = gs.create_model("test_vit3", temporal, num_classes=3, size_px=48, causal=causal)
    for name, parameter in model.named_parameters():
        if name.endswith(".gamma"):  # these branches start a hundred-thousandth wide
            nn.init.ones_(parameter)
    model = trained(model).double()
    frames = torch.from_numpy(moving_scene(40, 48, 48)).permute(0, 3, 1, 2)
    stream = ExactStream(model)
    assert stream.delay == delay
    parts = [*(stream.push(chunk) for chunk in frames.split(7)), stream.flush()]
    found = torch.cat([part.features for part in parts])
    expected = offline_features(model, frames)
    assert relative_error(found, expected) <= 1e-10
    backwards = offline_features(model, frames.flip(0)).flip(0)
    assert relative_error(backwards, expected) > 1e-4  # order counts here


def test_blocks_that_take_embeddings_can_be_checkpointed() -> None:
    torch.manual_seed(0)
    plain = gs.create_model("test_vit_relpos", "gsm", num_classes=3, size_px=48, dropout=0.0).double()
    saving = copy.deepcopy(plain)
    checkpoint_blocks(saving.backbone)
    clips, labels = golden_clips(0, count=2, num_frames=3, size_px=48), torch.tensor([0, 2])
    for model in (plain, saving):
        torch.manual_seed(1)  # of dropouts
        F.cross_entropy(model.train()(clips), labels).backward()
    for (name, first), second in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert first.grad is not None, name
        torch.testing.assert_close(first.grad, second.grad, rtol=1e-10, atol=1e-14)
