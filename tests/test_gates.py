"""The gate-shift module against slow loops, and the properties it must have."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_fuse, slow_gate_shift, slow_gates, slow_shift
from released_order import ReleasedOrder
from torch import Tensor

from gateshift.errors import ModelError
from gateshift.model.temporal.functional import gate_shift, gate_shift_in_steps, temporal_shift
from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalShift, gate_planes


def random_gate(
    channels: int, num_frames: int, *, interleave: bool = True, kind: type[GateShift] = GateShift
) -> GateShift:
    """A gate-shift module in eval mode whose every number is random, in float64."""
    module = kind(channels, num_frames, interleave=interleave).double().eval()
    for tensor in (*module.parameters(), module.bn.running_mean):
        torch.nn.init.normal_(tensor, std=0.3)
    torch.nn.init.uniform_(module.bn.running_var, 0.5, 2.0)
    return module


def random_frames(channels: int, num_frames: int, clips: int = 2) -> Tensor:
    return torch.randn(clips * num_frames, channels, 4, 3, dtype=torch.float64)


def kernel_3d(module: GateShift) -> Tensor:
    return module.weight.detach().unflatten(0, (2, 3)).transpose(1, 2)  # [2, C/2, 3, 3, 3]


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5])
@pytest.mark.parametrize(("channels", "interleave"), [(4, True), (8, True), (12, True), (2, False), (6, False)])
def test_the_module_computes_the_papers_equations(channels: int, interleave: bool, num_frames: int) -> None:
    module = random_gate(channels, num_frames, interleave=interleave)
    frames = random_frames(channels, num_frames)
    with torch.no_grad():
        found = module(frames).unflatten(0, (-1, num_frames))
        normalized = torch.relu(module.bn(frames)).unflatten(0, (-1, num_frames)).transpose(1, 2)  # [B, C, T, H, W]
        for clip, source in enumerate(frames.unflatten(0, (-1, num_frames)).transpose(1, 2)):
            gates = slow_gates(normalized[clip], kernel_3d(module), module.bias)
            expected = slow_gate_shift(source, gates, interleave=interleave)  # [C, T, H, W]
            torch.testing.assert_close(found[clip].transpose(0, 1), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_it_equals_the_released_order_of_operations_and_its_gradients(training: bool) -> None:
    module = random_gate(16, 4).train(training)
    released = ReleasedOrder(module)
    ours, theirs = (random_frames(16, 4).requires_grad_() for _ in range(2))
    theirs.data.copy_(ours.data)
    upstream = torch.randn_like(ours)
    (module(ours) * upstream).sum().backward()
    (released(theirs) * upstream).sum().backward()
    torch.testing.assert_close(module(ours), released(theirs), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)
    grad_3d = module.weight.grad.unflatten(0, (2, 3)).transpose(1, 2)
    torch.testing.assert_close(grad_3d, released.conv.weight.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(module.bias.grad, released.conv.bias.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(module.bn.weight.grad, released.bn.weight.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("num_frames", [1, 2, 4])
@pytest.mark.parametrize(("channels", "interleave"), [(4, True), (8, True), (12, True), (2, False), (6, False)])
def test_gate_shift_fuse_computes_the_papers_equations(channels: int, interleave: bool, num_frames: int) -> None:
    module = random_gate(channels, num_frames, interleave=interleave, kind=GateShiftFuse)
    frames = random_frames(channels, num_frames)
    with torch.no_grad():
        found = module(frames).unflatten(0, (-1, num_frames))
        gates = module.gates(frames).unflatten(0, (-1, num_frames)).transpose(1, 2)  # [B, 2, T, H, W]
        for clip, source in enumerate(frames.unflatten(0, (-1, num_frames)).transpose(1, 2)):
            expected = slow_fuse(source, gates[clip], module.fuse.weight, module.fuse.bias, interleave=interleave)
            torch.testing.assert_close(found[clip].transpose(0, 1), expected, rtol=1e-10, atol=1e-10)


def test_gate_shift_fuse_with_even_shares_is_half_a_gate_shift() -> None:
    fused, plain = random_gate(8, 3, kind=GateShiftFuse), random_gate(8, 3)
    plain.load_state_dict(fused.state_dict(), strict=False)
    torch.nn.init.zeros_(fused.fuse.weight)
    torch.nn.init.zeros_(fused.fuse.bias)
    frames = random_frames(8, 3)
    with torch.no_grad():
        torch.testing.assert_close(2 * fused(frames), plain(frames), rtol=1e-12, atol=1e-12)


def test_a_new_module_is_the_identity_without_interleave() -> None:
    frames = random_frames(6, 3)
    assert torch.equal(GateShift(6, 3, interleave=False).double()(frames), frames)


def test_a_new_module_is_a_fixed_permutation_of_channels_with_interleave() -> None:
    frames = random_frames(8, 3)
    mixed = GateShift(8, 3).double()(frames)
    assert torch.equal(mixed, frames[:, [0, 2, 1, 3, 4, 6, 5, 7]])


@pytest.mark.slow
@given(
    num_frames=st.integers(1, 6),
    clips=st.integers(1, 3),
    interleave=st.booleans(),
    kind=st.sampled_from([GateShift, GateShiftFuse]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_frames_of_one_clip_never_reach_another(
    num_frames: int, clips: int, interleave: bool, kind: type[GateShift], seed: int
) -> None:
    torch.manual_seed(seed)
    module = random_gate(8, num_frames, interleave=interleave, kind=kind)
    frames = random_frames(8, num_frames, clips)
    with torch.no_grad():
        together = module(frames)
        alone = torch.cat([module(clip) for clip in frames.split(num_frames)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_a_clip_with_infinities_does_not_spoil_its_neighbour() -> None:
    module = random_gate(8, 2)
    frames = random_frames(8, 2)
    spoiled = frames.clone()
    spoiled[2:] = torch.inf
    with torch.no_grad():
        assert torch.equal(module(spoiled)[:2], module(frames)[:2])


@given(num_frames=st.integers(1, 6), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_playing_backwards_equals_swapping_the_groups_and_mirroring_the_kernels(num_frames: int, seed: int) -> None:
    torch.manual_seed(seed)
    module = random_gate(8, num_frames, interleave=False)
    swapped = random_gate(8, num_frames, interleave=False)
    swap = [4, 5, 6, 7, 0, 1, 2, 3]
    with torch.no_grad():
        swapped.weight.copy_(module.weight.unflatten(0, (2, 3)).flip((0, 1)).flatten(0, 1))
        swapped.bias.copy_(module.bias.flip(0))
        for name, tensor in swapped.bn.state_dict().items():
            if tensor.dim():
                tensor.copy_(module.bn.state_dict()[name][swap])
        frames = random_frames(8, num_frames, clips=1)
        forwards = module(frames.flip(0)).flip(0)
        torch.testing.assert_close(forwards, swapped(frames[:, swap])[:, swap], rtol=1e-12, atol=1e-12)


def test_a_still_video_is_unchanged_away_from_its_ends() -> None:
    module = random_gate(8, 9, interleave=False)
    still = torch.randn(1, 8, 4, 4, dtype=torch.float64).expand(9, -1, -1, -1)
    with torch.no_grad():
        moved = module(still)
    torch.testing.assert_close(moved[2:-2], still[2:-2], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(moved[0], still[0])


def test_gates_lie_between_minus_one_and_one() -> None:
    gates = random_gate(8, 4).gates(100 * random_frames(8, 4))
    assert gates.shape == (8, 2, 4, 3)
    assert gates.abs().max() <= 1


@pytest.mark.parametrize("kind", [GateShift, GateShiftFuse])
def test_channels_last_gives_the_same_and_keeps_the_format(kind: type[GateShift]) -> None:
    module = random_gate(16, 4, kind=kind).float()
    frames = random_frames(16, 4).float()
    kept = copy.deepcopy(module).to(memory_format=torch.channels_last)(frames.to(memory_format=torch.channels_last))
    assert kept.is_contiguous(memory_format=torch.channels_last)
    plain = module(frames)
    assert plain.is_contiguous()
    torch.testing.assert_close(kept, plain, rtol=1e-5, atol=1e-5)


@given(
    num_frames=st.integers(1, 4),
    clips=st.integers(1, 2),
    quarters=st.integers(1, 5),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    interleave=st.booleans(),
    channels_last=st.booleans(),
    part=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_what_runs_and_what_compilers_get_have_the_same_answers_and_gradients(
    num_frames: int,
    clips: int,
    quarters: int,
    size: tuple[int, int],
    interleave: bool,
    channels_last: bool,
    part: bool,
) -> None:
    channels = 4 * quarters
    whole = torch.randn(clips * num_frames, channels + 4 * part, *size, dtype=torch.float64)
    if channels_last:
        whole = whole.to(memory_format=torch.channels_last)
    gates = torch.randn(clips * num_frames, 2, *size, dtype=torch.float64)
    upstream = torch.randn(clips * num_frames, channels, *size, dtype=torch.float64)
    found = []
    for function in (gate_shift, gate_shift_in_steps):
        sources = whole.clone().requires_grad_(), gates.clone().requires_grad_()
        answer = function(sources[0][:, :channels], sources[1], num_frames=num_frames, interleave=interleave)
        found.append((answer, *torch.autograd.grad(answer, sources, upstream)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [GateShift, GateShiftFuse])
def test_under_autocast_the_features_keep_their_type(kind: type[GateShift]) -> None:
    module, frames = random_gate(16, 4, kind=kind).float(), random_frames(16, 4).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert module(frames.bfloat16()).dtype == torch.bfloat16
        rounded = module(frames.bfloat16()).float()
    assert (rounded - module(frames)).norm() <= 2e-2 * rounded.norm()


@pytest.mark.parametrize(("channels", "interleave"), [(6, True), (3, False), (0, True), (1, False)])
def test_channels_that_cannot_be_split_are_refused(channels: int, interleave: bool) -> None:
    with pytest.raises(ModelError, match=f"got {channels} channels; it needs a positive multiple of"):
        GateShift(channels, interleave=interleave)
    with pytest.raises(ModelError, match=f"got {channels} channels"):
        gate_shift(torch.zeros(2, channels, 1, 1), torch.zeros(2, 2, 1, 1), num_frames=2, interleave=interleave)


@pytest.mark.parametrize("num_frames", [3, 5, 0, -1])
def test_a_batch_that_is_not_whole_clips_is_refused(num_frames: int) -> None:
    frames = torch.zeros(4, 4, 2, 2)
    with pytest.raises(
        ModelError, match=f"batch of 4 frames is not a whole number of clips of num_frames={num_frames}"
    ):
        gate_planes(torch.zeros(4, 6, 2, 2), torch.zeros(2), num_frames=num_frames)
    with pytest.raises(ModelError, match="set_num_frames"):
        gate_shift(frames, torch.zeros(4, 2, 2, 2), num_frames=num_frames)


@pytest.mark.slow
def test_it_exports_and_compiles_to_the_same_numbers() -> None:
    module = random_gate(8, 4).float()
    frames = random_frames(8, 4).float()
    exported = torch.export.export(module, (frames,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(frames), module(frames), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5])
@pytest.mark.parametrize(("channels", "fold"), [(8, 1), (12, 1), (16, 2), (24, 3), (40, 5)])
def test_temporal_shift_computes_the_papers_equation(channels: int, fold: int, num_frames: int) -> None:
    frames = random_frames(channels, num_frames)
    found = TemporalShift(channels, num_frames)(frames).unflatten(0, (-1, num_frames))
    for clip, source in enumerate(frames.unflatten(0, (-1, num_frames)).transpose(1, 2)):
        expected = slow_shift(source, fold)  # [C, T, H, W]
        torch.testing.assert_close(found[clip].transpose(0, 1), expected, rtol=1e-10, atol=1e-10)


@given(num_frames=st.integers(1, 6), clips=st.integers(2, 3), fold=st.integers(0, 4), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_temporal_shift_keeps_clips_apart_even_from_infinities(
    num_frames: int, clips: int, fold: int, seed: int
) -> None:
    torch.manual_seed(seed)
    frames = random_frames(8, num_frames, clips)
    spoiled = frames.clone()
    spoiled[num_frames:] = torch.inf
    alone = temporal_shift(frames[:num_frames], num_frames=num_frames, fold=fold)
    assert torch.equal(temporal_shift(spoiled, num_frames=num_frames, fold=fold)[:num_frames], alone)


@given(num_frames=st.integers(1, 6), fold=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_temporal_shift_played_backwards_equals_swapping_the_groups(num_frames: int, fold: int) -> None:
    frames = random_frames(10, num_frames, clips=1)
    swap = [*range(fold, 2 * fold), *range(fold), *range(2 * fold, 10)]
    forwards = temporal_shift(frames.flip(0), num_frames=num_frames, fold=fold).flip(0)
    swapped = temporal_shift(frames[:, swap], num_frames=num_frames, fold=fold)[:, swap]
    assert torch.equal(forwards, swapped)


@given(
    num_frames=st.integers(1, 4),
    clips=st.integers(1, 2),
    fold=st.integers(0, 3),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    channels_last=st.booleans(),
    part=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_temporal_shift_in_place_has_the_gradients_of_its_equation(
    num_frames: int, clips: int, fold: int, size: tuple[int, int], channels_last: bool, part: bool
) -> None:
    whole = torch.randn(clips * num_frames, 7 + part, *size, dtype=torch.float64)
    if channels_last:
        whole = whole.to(memory_format=torch.channels_last)
    upstream = torch.randn(clips * num_frames, 7, *size, dtype=torch.float64)
    source = whole.clone().requires_grad_()
    temporal_shift(source[:, :7], num_frames=num_frames, fold=fold).backward(upstream)
    by_clip = whole[:, :7].unflatten(0, (-1, num_frames)).transpose(1, 2).requires_grad_()  # [B, C, T, H, W]
    slow = torch.stack([slow_shift(clip, fold) for clip in by_clip]).transpose(1, 2).flatten(0, 1)
    (expected,) = torch.autograd.grad(slow, by_clip, upstream)
    torch.testing.assert_close(source.grad[:, :7], expected.transpose(1, 2).flatten(0, 1), rtol=0, atol=0)


def test_temporal_shift_keeps_the_memory_format_and_the_type() -> None:
    module, frames = TemporalShift(16, 4), random_frames(16, 4).bfloat16().to(memory_format=torch.channels_last)
    assert module(frames).dtype == torch.bfloat16
    assert module(frames).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(module(frames), module(frames.contiguous()))
    assert module(frames.contiguous()).is_contiguous()


def test_temporal_shift_exports_and_compiles_to_the_same_numbers() -> None:
    module, frames = TemporalShift(16, 4), random_frames(16, 4).float()
    assert torch.equal(torch.export.export(module, (frames,)).module()(frames), module(frames))


def test_a_temporal_shift_that_cannot_be_is_refused() -> None:
    with pytest.raises(ModelError, match="tsm got 7 channels; it shifts an eighth of at least 8"):
        TemporalShift(7)
    with pytest.raises(ModelError, match="`fold` 5; of 8 channels 0 to 4"):
        temporal_shift(torch.zeros(2, 8, 1, 1), num_frames=2, fold=5)
    with pytest.raises(ModelError, match="batch of 3 frames is not a whole number of clips"):
        TemporalShift(8, 2)(torch.zeros(3, 8, 1, 1))
