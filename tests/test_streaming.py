"""Exact streams: frame by frame the same answers as the whole recording at once."""

import copy
import functools
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from golden_data import relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import in_fresh_process, resident_mb
from reference import slow_gate_shift
from streaming_data import TinyNet, moving_scene, offline_features, tiny_model, trained
from torch import Tensor, nn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.transforms import resize_short_side
from gateshift.data.video.files import open_video
from gateshift.errors import ModelError
from gateshift.model.classifier import VideoClassifier
from gateshift.model.streaming.network import ExactStream
from gateshift.model.temporal.causal import make_causal
from gateshift.model.temporal.modules import GateShift

MODULES = ("gsm", "gsf", "tsm")
# (backbone, temporal, whether it looks only back, side of the input): how many frames late
NETS = {
    ("bninception", "gsm", False, 32): 20,
    ("resnet18", "gsf", False, 32): 24,
    ("tf_efficientnet_lite0", "tsm", False, 32): 9,
    ("mobilenetv3_small_050", "gsm", True, 32): 0,
}
SMALL_NETS = [
    ("bninception", "gsf", False),
    ("test_resnet", "gsm", False),
    *(("mobilenetv3_small_050", temporal, causal) for temporal in MODULES for causal in (False, True)),
]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Tensor:
    """300 frames [T, 3, 64, 64] of a real encoded video."""
    path = write_video(tmp_path_factory.mktemp("video") / "long.mp4", moving_scene(300))
    with open_video(path) as video:
        frames = video.read(range(video.num_frames))
    return resize_short_side(frames, 64)[..., :64].contiguous()


def streamed(stream: ExactStream, frames: Tensor, sizes: Sequence[int] = (7,)) -> tuple[Tensor, Tensor]:
    """Features and logits of a recording that is pushed in chunks of these sizes, over and over, and ended."""
    found, done = [], 0
    while done < len(frames):
        for size in sizes:
            if done < len(frames):
                found.append(stream.push(frames[done : done + size]))
                done += size
    found.append(stream.flush())
    assert [part.first for part in found if len(part)] == [
        sum(len(earlier) for earlier in found[:i]) for i, part in enumerate(found) if len(part)
    ]
    return torch.cat([part.features for part in found]), torch.cat([part.logits for part in found])


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "temporal", "causal", "size_px"), NETS)
def test_a_stream_of_300_frames_has_the_answers_of_the_whole_recording(
    backbone: str, temporal: str, causal: bool, size_px: int, recording: Tensor
) -> None:
    model = trained(gs.create_model(backbone, temporal, num_classes=5, size_px=size_px, causal=causal))
    recording = resize_short_side(recording, size_px)
    assert len(recording) == 300
    stream = ExactStream(model)
    expected = offline_features(model, recording)
    features, logits = streamed(stream, recording, (16,))
    assert relative_error(features, expected) <= 1e-5
    assert relative_error(logits, model.head(expected).detach()) <= 1e-5
    assert stream.delay == NETS[backbone, temporal, causal, size_px]


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "temporal", "causal"), SMALL_NETS)
def test_in_float64_the_answers_agree_to_1e_10(backbone: str, temporal: str, causal: bool, recording: Tensor) -> None:
    model = trained(gs.create_model(backbone, temporal, num_classes=5, size_px=32, causal=causal)).double()
    frames = resize_short_side(recording[:20], 32)
    expected = offline_features(model, frames)
    assert relative_error(streamed(ExactStream(model), frames, (8,))[0], expected) <= 1e-10
    assert relative_error(offline_features(model, frames.flip(0)).flip(0), expected) > 1e-4  # order counts here


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["test_resnet", "mobilenetv3_small_050"])
def test_a_deployed_model_can_be_streamed(backbone: str, recording: Tensor) -> None:
    model = trained(gs.create_model(backbone, num_classes=5, size_px=32)).double()
    frames = resize_short_side(recording[:20], 32)
    found, _ = streamed(ExactStream(model.deploy()), frames, (8,))
    assert relative_error(found, offline_features(model, frames)) <= 1e-10


kept_model = functools.cache(tiny_model)  # for tests that only call it


@pytest.mark.slow
@given(
    temporal=st.sampled_from(MODULES),
    causal=st.booleans(),
    ratio=st.sampled_from([0.5, 1.0]),
    num_frames=st.integers(1, 14),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_the_size_of_the_chunks_changes_nothing(
    temporal: str, causal: bool, ratio: float, num_frames: int, sizes: list[int]
) -> None:
    model = kept_model(temporal, causal=causal, ratio=1.0 if temporal == "tsm" else ratio)
    frames = torch.randint(0, 256, (num_frames, 3, 8, 8), dtype=torch.uint8)
    found, logits = streamed(ExactStream(model), frames, sizes)
    expected = offline_features(model, frames)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(logits, model.head(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("temporal", "causal", "delay"), [("gsm", False, 4), ("gsf", False, 6), ("tsm", False, 2)])
def test_the_delay_is_known_before_and_is_the_one_that_is_measured(temporal: str, causal: bool, delay: int) -> None:
    stream = ExactStream(tiny_model(temporal, causal=causal))
    frames = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    measured = next(number for number in range(100) if len(stream.push(frames)))
    assert stream.delay == measured == delay


@pytest.mark.parametrize("temporal", MODULES)
def test_a_causal_model_answers_for_a_frame_when_it_comes(temporal: str) -> None:
    stream = ExactStream(tiny_model(temporal, causal=True))
    assert stream.delay == 0
    found = stream.push(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert (found.first, len(found)) == (0, 1)
    assert len(stream.flush()) == 0


@pytest.mark.parametrize("temporal", MODULES)
def test_a_causal_model_never_looks_ahead(temporal: str) -> None:
    model = tiny_model(temporal, causal=True)
    frames = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
    other = frames.clone()
    other[5:] = 255 - other[5:]
    first, second = offline_features(model, frames), offline_features(model, other)
    assert torch.equal(first[:5], second[:5])
    assert not torch.allclose(first[5:], second[5:])


@pytest.mark.parametrize("temporal", ["gsm", "gsf", "tsm"])
def test_a_module_made_causal_is_a_new_one_with_the_very_weights(temporal: str) -> None:
    net = TinyNet()
    gs.insert_temporal(net, temporal, sites=["conv_a", "conv_b"], num_frames=3)
    net.conv_a.eval()
    before = net.conv_a.temporal
    for parameter in net.conv_b.parameters():
        parameter.requires_grad_(False)
    weights, keys, state = dict(net.named_parameters()), list(net.state_dict()), torch.get_rng_state()
    kind = type(before)
    assert make_causal(net) == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert type(before) is kind and net.conv_a.temporal is not before
    assert list(net.state_dict()) == keys
    assert all(after is weights[name] for name, after in net.named_parameters())
    assert (net.conv_a.temporal.training, net.conv_b.temporal.training) == (False, True)
    assert net.conv_a.temporal.num_frames == 3


@pytest.mark.parametrize("interleave", [False, True])
def test_a_causal_gate_shift_computes_what_it_says(interleave: bool) -> None:
    torch.manual_seed(0)
    module = GateShift(8, 5, interleave=interleave).double().eval()
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    holder = TinyNet()
    gs.insert_temporal(holder, "gsm", sites=["conv_a"])
    holder.conv_a.temporal = module
    assert make_causal(holder) == 1
    module = holder.conv_a.temporal
    x = torch.randn(5, 8, 3, 4, dtype=torch.float64)
    seen = torch.relu(module.bn(x))
    gates = torch.zeros(5, 2, 3, 4, dtype=torch.float64)
    for t in range(5):
        for group in range(2):
            total = module.bias[group].expand(1, 3, 4)
            for step, source in enumerate((t - 2, t - 1, t)):
                if source >= 0:
                    kernel = module.weight[3 * group + step][None]
                    total = total + nn.functional.conv2d(seen[source, 4 * group : 4 * group + 4], kernel, padding=1)
            gates[t, group] = torch.tanh(total[0])
    # In the slow loop the second group is sent to the next frame; here both are.
    halves = [torch.cat((half, half), dim=1).transpose(0, 1) for half in x.split(4, dim=1)]  # each [C, T, H, W]
    doubled = [gates[:, [group, group]].transpose(0, 1) for group in range(2)]
    expected = torch.cat(
        [slow_gate_shift(h, g, interleave=interleave)[4:] for h, g in zip(halves, doubled, strict=True)]
    )
    torch.testing.assert_close(module(x).transpose(0, 1), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("temporal", MODULES)
def test_a_causal_model_is_saved_and_loaded_as_such(temporal: str, tmp_path: Path) -> None:
    model = trained(gs.create_model("mobilenetv3_small_050", temporal, num_classes=3, size_px=32, causal=True))
    gs.save_model(model, tmp_path / "model.safetensors")
    loaded = gs.load_model(tmp_path / "model.safetensors")
    clips = torch.randint(0, 256, (1, 6, 3, 32, 32), dtype=torch.uint8)
    assert loaded.config.causal
    assert torch.equal(loaded(clips), model(clips))
    assert ExactStream(loaded).delay == 0


@pytest.mark.parametrize("temporal", MODULES)
def test_gradients_reach_every_parameter_of_a_causal_model(temporal: str) -> None:
    model = tiny_model(temporal, causal=True).train()
    model(torch.randint(0, 256, (2, 5, 3, 8, 8), dtype=torch.uint8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.head.parameters())
    gates = [module for module in model.modules() if isinstance(module, GateShift)]
    assert all(gate.weight.grad.any() and gate.bias.grad.any() for gate in gates)


@pytest.mark.slow
@pytest.mark.parametrize("temporal", MODULES)
def test_clips_of_a_causal_model_do_not_mix_and_compilers_get_the_same(temporal: str) -> None:
    model = tiny_model(temporal, causal=True)
    clips = torch.randint(0, 256, (2, 5, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        together = model(clips)
        alone = torch.cat([model(clip[None]) for clip in clips])
        exported = torch.export.export(model, (clips,)).module()(clips)
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(together, exported, rtol=1e-10, atol=1e-10)


def kept_at(*numbers: int) -> list[tuple[int, float]]:
    """Bytes that a stream keeps, and MB of its process, when it has been given these numbers of frames."""
    stream = ExactStream(tiny_model("gsf"))
    chunk = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
    found = []
    while len(found) < len(numbers):
        stream.push(chunk)
        if stream.num_frames in numbers:
            found.append((stream.kept_bytes, resident_mb()))
    return found


@pytest.mark.slow
def test_memory_is_the_same_after_5000_frames_as_after_100() -> None:
    (kept, before_mb), (kept_later, after_mb) = in_fresh_process(kept_at, 100, 5000)
    assert kept == kept_later > 0
    assert after_mb - before_mb < 8  # what all frames take would be several times that


def test_two_streams_of_one_model_do_not_meet() -> None:
    model = tiny_model("gsm")
    first, second = torch.randint(0, 256, (2, 6, 3, 8, 8), dtype=torch.uint8)
    one, other = ExactStream(model), ExactStream(model)
    for a, b in zip(first.split(2), second.split(2), strict=True):
        one.push(a)
        last = other.push(b)
    expected = offline_features(model, second)
    found = torch.cat((last.features, other.flush().features))
    torch.testing.assert_close(found, expected[last.first :], rtol=1e-10, atol=1e-10)


def test_streaming_leaves_the_model_as_it_was() -> None:
    model = tiny_model("gsm")
    before = {name: type(module) for name, module in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    streamed(ExactStream(model), torch.zeros(6, 3, 8, 8, dtype=torch.uint8))
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_network_that_cannot_be_followed_is_refused() -> None:
    class Curious(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.mean() > 0 else super().forward(-x)

    net = Curious()
    gs.insert_temporal(net, "gsm", sites=["conv_a"])
    with pytest.raises(ModelError, match="Curious cannot be streamed exactly, .*; stream it in windows"):
        ExactStream(VideoClassifier(net, 12, tiny_model("gsm").config).eval())


def test_mistakes_are_said() -> None:
    model = tiny_model("gsm")
    with pytest.raises(ModelError, match="training mode, .*; call model.eval"):
        ExactStream(copy.deepcopy(model).train())
    stream = ExactStream(model)
    with pytest.raises(ModelError, match="flush.. of a stream without frames"):
        stream.flush()
    stream.push(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ModelError, match=r"frames of \[3, 9, 9\] after frames of \[3, 8, 8\]"):
        stream.push(torch.zeros(2, 3, 9, 9, dtype=torch.uint8))
    stream.flush()
    with pytest.raises(ModelError, match="was ended by flush"):
        stream.push(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_only_networks_with_temporal_modules_are_made_causal() -> None:
    with pytest.raises(ModelError, match="without temporal modules cannot be made causal"):
        gs.create_model("resnet18", "none", num_classes=2, causal=True)
    with pytest.raises(ModelError, match="CausalGateShift cannot be made causal"):
        make_causal(tiny_model("gsm", causal=True))


def test_the_streams_help_needs_no_torch() -> None:
    code = (
        "import sys; import gateshift.prediction.settings, gateshift.cli.verbs.predict; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


@pytest.mark.slow
def test_train_makes_a_causal_model(clips: Path, tmp_path: Path) -> None:
    lists = [str(clips / "train.csv"), str(clips / "val.csv")]
    words = ["--backbone", "test_resnet", "--size", "32", "--segments", "4", "--workers", "0", "--causal"]
    words += ["--recipe", "papers"]
    main(["train", *lists, "--out", str(tmp_path / "run"), *words, "--epochs", "1", "--warmup-epochs", "0"])
    model = gs.load_model(tmp_path / "run" / "best.safetensors")
    assert model.config.causal
    assert ExactStream(model).delay == 0
