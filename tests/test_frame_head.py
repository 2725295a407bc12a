"""Networks that answer for every frame: their heads, their files, their streams."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_data import relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_data import TinyNet
from torch import Tensor, nn

import gateshift as gs
from gateshift.errors import ModelError
from gateshift.exported.loading import ExportedModel
from gateshift.exporting.writing import write_export
from gateshift.model import config
from gateshift.model.config import HEADS, ModelConfig
from gateshift.model.cost import count_cost
from gateshift.model.streaming.network import ExactStream
from gateshift.model.surgery.insert import find_temporal, insert_temporal
from gateshift.model.temporal.causal import make_causal
from gateshift.model.temporal.frame_head import DILATIONS, MAX_LOOK_AHEAD, DilatedConvolutions, FrameHead
from gateshift.model.temporal.modules import GateShift
from gateshift.model.warm_start import start_from

CLIPS = torch.randint(0, 256, (2, 6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(head: Any = "gru", seed: int = 0, **options: Any) -> gs.VideoClassifier:
    torch.manual_seed(seed)
    options = {"task": "spot", "fps": 25.0, "classes": ("bounce", "hit"), **options}
    model = gs.create_model("test_resnet", head=head, size_px=64, **options).eval()
    for gate in model.modules():
        if isinstance(gate, GateShift):
            nn.init.normal_(gate.weight, std=0.1)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("num_frames", [1, 6])
def test_every_frame_has_an_answer_for_each_class_and_for_nothing(head: str, num_frames: int) -> None:
    model = network(head)
    assert model(CLIPS[:, :num_frames]).shape == (2, num_frames, 3)
    assert model.config.probabilities(model(CLIPS)).sum(-1).allclose(torch.ones(2, 6))
    assert network(head, displacement=2)(CLIPS).shape == (2, 6, 4)


@pytest.mark.parametrize("head", HEADS)
def test_a_clip_does_not_see_another_one(head: str) -> None:
    model = network(head)
    torch.testing.assert_close(model(CLIPS)[1:], model(CLIPS[1:]))


@torch.no_grad()
def slow_gru(x: Tensor, gru: nn.GRU, suffix: str = "") -> Tensor:
    """One direction of a GRU layer, frame by frame as torch documents it: [T, F] -> [T, D]."""
    weights = {name: getattr(gru, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    w_r, w_z, w_n = weights["weight_ih"].chunk(3)
    u_r, u_z, u_n = weights["weight_hh"].chunk(3)
    b_r, b_z, b_n = weights["bias_ih"].chunk(3)
    c_r, c_z, c_n = weights["bias_hh"].chunk(3)
    h, states = torch.zeros(gru.hidden_size), []
    for frame in x:
        r = torch.sigmoid(w_r @ frame + b_r + u_r @ h + c_r)
        z = torch.sigmoid(w_z @ frame + b_z + u_z @ h + c_z)
        n = torch.tanh(w_n @ frame + b_n + r * (u_n @ h + c_n))
        h = (1 - z) * n + z * h
        states.append(h)
    return torch.stack(states)


@pytest.mark.parametrize("kind", ["gru", "gru-forward"])
def test_the_recurrent_heads_are_one_layer_and_a_linear_one(kind: str) -> None:
    torch.manual_seed(0)
    head = FrameHead(5, 3, kind=kind, look_ahead=0, dropout=0.5).eval()
    x = torch.randn(7, 5)
    assert isinstance(head.mix, nn.GRU)
    mixed = slow_gru(x, head.mix)
    if kind == "gru":
        mixed = torch.cat((mixed, slow_gru(x.flip(0), head.mix, "_reverse").flip(0)), dim=1)
    torch.testing.assert_close(head(x[None])[0], mixed @ head.linear.weight.T + head.linear.bias)


def test_a_description_allows_as_much_look_ahead_as_the_convolutions_have() -> None:
    assert config.MAX_LOOK_AHEAD == MAX_LOOK_AHEAD == sum(DILATIONS)


def test_the_recurrent_head_is_as_wide_as_the_features_and_at_most_768() -> None:
    widths = {size: FrameHead(size, 2, kind="gru", look_ahead=0, dropout=0.0).mix.hidden_size for size in (368, 2048)}
    assert widths == {368: 368, 2048: 768}


@torch.no_grad()
@pytest.mark.parametrize("look_ahead", [0, 2, 31])
def test_the_convolutions_add_what_three_frames_say_layer_by_layer(look_ahead: int) -> None:
    torch.manual_seed(0)
    convolutions = DilatedConvolutions(4, look_ahead)
    x = torch.randn(20, 4)
    expected = x @ convolutions.project.weight.T + convolutions.project.bias
    left = look_ahead
    for block, step in zip(convolutions.each_block(), DILATIONS, strict=True):
        ahead, before = min(step, left), expected
        left -= ahead
        expected = before.clone()
        for t in range(20):
            total = block.over_time.bias.clone()
            for tap in range(3):
                at = t + ahead - (2 - tap) * step
                if 0 <= at < 20:
                    total += block.over_time.weight[:, :, tap] @ before[at]
            expected[t] += block.mix.weight[:, :, 0] @ total.clamp(min=0) + block.mix.bias
    assert left == 0
    torch.testing.assert_close(convolutions(x[None])[0], expected)


@torch.no_grad()
@pytest.mark.parametrize("look_ahead", [0, 3, 31])
def test_an_answer_depends_on_so_many_frames_ahead_and_on_no_later_one(look_ahead: int) -> None:
    torch.manual_seed(0)
    head = FrameHead(16, 3, kind="tcn", look_ahead=look_ahead, dropout=0.0).double()
    x = torch.randn(1, 80, 16, dtype=torch.float64)
    changed = x.clone()
    changed[:, 40] += 1
    differs = (head(x) != head(changed)).any(-1)[0].nonzero().flatten().tolist()
    assert differs[0] == 40 - look_ahead


def tiny(temporal: str, head: str, *, causal: bool, look_ahead: int = 0) -> gs.VideoClassifier:
    """A small network in float64, on frames of 8 px."""
    torch.manual_seed(1)
    net = TinyNet()
    insert_temporal(net, temporal, sites=["conv_a", "conv_b"])
    if causal:
        make_causal(net)
    color = (120.0, 120.0, 120.0)
    about = ModelConfig("tiny", temporal, ("hit",), False, 0.5, 8, color, color, False, task="spot", head=head)
    about = dataclasses.replace(about, causal=causal, look_ahead=look_ahead)
    model = gs.VideoClassifier(net, 12, about).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.slow
@given(
    temporal=st.sampled_from(["gsm", "gsf", "tsm"]),
    causal=st.booleans(),
    kind=st.sampled_from([("gru-forward", 0), ("none", 0), ("tcn", 0), ("tcn", 5)]),
    num_frames=st.integers(1, 40),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_streamed_answers_are_those_of_the_whole_recording_however_it_comes(
    temporal: str, causal: bool, kind: tuple[str, int], num_frames: int, sizes: list[int]
) -> None:
    model = tiny(temporal, kind[0], causal=causal, look_ahead=kind[1])
    frames = torch.randint(0, 256, (num_frames, 3, 8, 8), dtype=torch.uint8)
    stream, parts, done = ExactStream(model), [], 0
    assert stream.delay == kind[1] + (0 if causal else 2 * {"gsm": 2, "gsf": 3, "tsm": 1}[temporal])
    while done < num_frames:
        size = sizes[len(parts) % len(sizes)]
        parts.append(stream.push(frames[done : done + size]))
        done += size
        assert sum(map(len, parts)) == max(min(done, num_frames) - stream.delay, 0)
    parts.append(stream.flush())
    with torch.no_grad():
        expected, features = model(frames[None])[0], model.frame_features(frames[None])
    torch.testing.assert_close(torch.cat([part.logits for part in parts]), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.cat([part.features for part in parts]), features, rtol=1e-10, atol=1e-10)


def test_what_a_stream_remembers_does_not_grow() -> None:
    stream = ExactStream(tiny("gsm", "tcn", causal=True, look_ahead=5))
    sizes = set()
    for _ in range(6):
        stream.push(torch.zeros(20, 3, 8, 8, dtype=torch.uint8))
        sizes.add(stream.kept_bytes)
    assert len(sizes) == 1


def test_a_head_that_reads_backwards_is_not_streamed() -> None:
    with pytest.raises(ModelError, match="`head=gru` reads a recording from both ends and cannot be streamed"):
        ExactStream(network())


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_a_file_says_the_task_and_gives_the_same_answers(head: str, tmp_path: Path) -> None:
    model = network(head, task="segment", num_segments=100)
    gs.save_model(model, tmp_path / "model.safetensors")
    loaded = gs.load_model(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    assert (loaded.config.task, loaded.config.fps, loaded.config.num_segments) == ("segment", 25.0, 100)
    assert loaded.config.look_ahead == (8 if head == "tcn" else 0)
    assert torch.equal(loaded(CLIPS), model(CLIPS))


@pytest.mark.parametrize("head", HEADS)
def test_the_deployed_form_answers_alike(head: str) -> None:
    model = network(head)
    assert relative_error(model.deploy()(CLIPS), model(CLIPS).detach()) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("head", "kind"), [("gru", "onnx"), ("tcn", "openvino"), ("gru-forward", "torch")])
def test_an_exported_file_answers_alike(head: str, kind: Any, tmp_path: Path) -> None:
    model = network(head)
    path = tmp_path / {"onnx": "m.onnx", "openvino": "m.xml", "torch": "m.pt2"}[kind]
    assert write_export(model, path, kind, clips=CLIPS) <= 1e-5
    file = ExportedModel(path)
    assert (file.config.task, file.config.fps, file.config.num_segments) == ("spot", 25.0, 6)
    np.testing.assert_allclose(file(CLIPS[:1]).detach(), model(CLIPS[:1]).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_network_of_clips_is_a_start_for_the_backbone_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    clips = gs.create_model("test_resnet", classes=("bounce", "other"), size_px=64)
    gs.save_model(clips, tmp_path / "clips.safetensors")
    model, other = network(), network()
    assert start_from(model, tmp_path / "clips.safetensors") == ["bounce", "hit"]
    own, theirs = model.backbone.state_dict(), clips.backbone.state_dict()
    assert all(torch.equal(own[key], theirs[key]) for key in theirs)
    assert torch.equal(model.head.linear.weight, other.head.linear.weight)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gru", "tcn"])
def test_a_network_of_frames_starts_from_another_by_its_class_names(head: str, tmp_path: Path) -> None:
    trained = network(head)
    gs.save_model(trained, tmp_path / "trained.safetensors")
    model = network(head, seed=1, classes=("hit", "serve"))
    assert start_from(model, tmp_path / "trained.safetensors") == ["serve"]
    torch.testing.assert_close(model(CLIPS)[..., [0, 1]], trained(CLIPS)[..., [0, 2]])


@pytest.mark.slow
def test_other_classes_keep_what_goes_over_time() -> None:
    model = network()
    model.reset_classifier(["one", "two", "three"])
    assert model(CLIPS).shape == (2, 6, 4)
    assert torch.equal(model.head.mix.weight_ih_l0, network().head.mix.weight_ih_l0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "event"}, "`task` 'event'; it must be one of clip, spot, segment"),
        ({"task": "spot", "head": "lstm"}, "`head` 'lstm'; it must be one of gru, gru-forward, tcn, none"),
        ({"head": "gru"}, "`head`, `fps`, `look_ahead` and `displacement` are for `task=spot` or `task=segment`"),
        ({"task": "spot", "look_ahead": 3}, "`look_ahead` 3 with `head=gru`; take `head=tcn`, or leave it out"),
        ({"task": "spot", "head": "tcn", "look_ahead": 32}, "`look_ahead` 32; it must be a whole number from 0 to 31"),
        ({"task": "segment", "displacement": 1}, "`displacement` 1 with `task=segment`; it is of events"),
        ({"task": "spot", "multi_label": True}, "`multi_label=True` with `task=spot`, where a frame has one label"),
        ({"task": "spot", "fps": 0}, "`fps` 0; it must be above 0, or None"),
    ],
)
def test_what_contradicts_itself_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        gs.create_model("test_resnet", classes=("bounce", "hit"), **options)


def test_what_is_of_clips_refuses_a_network_of_frames() -> None:
    with pytest.raises(ModelError, match=r"answers for each frame \(`task=spot`\), and not for clips"):
        network(num_segments=6).predict(CLIPS[0].permute(0, 2, 3, 1))


@pytest.mark.slow
def test_regnet_200mf_with_gates_and_a_recurrent_head_is_the_published_network() -> None:
    model = gs.create_model("regnety_002", "gsm", num_classes=6, task="spot")
    sites = find_temporal(model.backbone)
    blocks = [f"s{stage + 1}.b{block + 1}" for stage, depth in enumerate((1, 1, 4, 7)) for block in range(depth)]
    assert [site.name for site in sites.sites] == [f"{block}.conv1.conv" for block in blocks]
    assert {site.side for site in sites.sites} == {"before"}
    widths = [32, 24, *[56], *[152] * 4, *[368] * 6]
    assert [site.channels for site in sites.sites] == widths
    gated = [-(-width // 16) * 4 for width in widths]  # a quarter, in fours
    assert list(sites.num_gated) == gated
    # A gate has a 3x3x3 kernel for each channel, two biases, and a batch norm.
    gates = sum(27 * channels + 2 + 2 * channels for channels in gated)
    plain = 3_162_996 - 368 * 1000 - 1000  # the published classifier of images, without its last layer
    gru = 2 * 3 * 368 * (368 + 368 + 2)
    cost = count_cost(model, num_frames=100)
    assert cost.parameters == plain + gates + gru + 2 * 368 * 7 + 7
    without = count_cost(gs.create_model("regnety_002", "none", num_classes=6, task="spot", head="none"), num_frames=4)
    # Blocks begin at 112, 56, 28, 14, 14, ... px; a gate costs 27 multiply-adds a channel and place.
    sides = [112, 56, 28, *[14] * 4, *[7] * 6]
    ahead = sum(27 * channels * side**2 for channels, side in zip(gated, sides, strict=True))
    assert cost.macs - without.macs == pytest.approx(ahead + gru_macs(368) + 368 * 7, rel=1e-9)
    assert without.macs == pytest.approx(0.2e9, rel=0.02)


def gru_macs(size: int) -> int:
    """Multiply-adds of both directions of a layer for one frame."""
    return 2 * 3 * size * 2 * size
