"""The GPU kernels of gate-shift against their twin in PyTorch: on a GPU, and without one in Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from gateshift.errors import ModelError
from gateshift.model.temporal import functional as shift
from gateshift.model.temporal import kernels as gate_kernels
from gateshift.model.temporal.functional import gate_shift, gate_shift_in_steps
from gateshift.model.temporal.kernels import TRITON_INSTALLED, fused_gate_shift
from gateshift.model.temporal.modules import GateShift

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FORMATS = (torch.contiguous_format, torch.channels_last)

on_kernels = pytest.mark.skipif(
    not INTERPRETED and DEVICE == "cpu", reason="no GPU; run by test_all_of_it_holds_in_tritons_interpreter"
)
on_gpu = pytest.mark.skipif(INTERPRETED or DEVICE == "cpu", reason="no GPU")
outside = pytest.mark.skipif(INTERPRETED or not TRITON_INSTALLED, reason="no Triton, or in its interpreter")


@pytest.mark.slow
@outside
def test_all_of_it_holds_in_tritons_interpreter() -> None:
    # In a process of its own: Triton decides when it is imported whether it interprets.
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def inputs(
    num_frames: int, channels: int, size: tuple[int, int], *, clips: int = 2, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, gates, and the gradient of what is made of them."""
    generator = torch.Generator().manual_seed(num_frames * channels)
    frames = num_frames * clips
    features, upstream = (torch.randn(frames, channels, *size, generator=generator) for _ in range(2))
    gate = torch.rand(frames, 2, *size, generator=generator) * 2 - 1
    return tuple(tensor.to(DEVICE, dtype) for tensor in (features, gate, upstream))


def answer_and_grads(function, features: Tensor, gate: Tensor, upstream: Tensor, **options) -> tuple[Tensor, ...]:
    sources = features.detach().requires_grad_(), gate.detach().requires_grad_()
    answer = function(*sources, **options)
    return answer, *torch.autograd.grad(answer, sources, upstream)


def assert_like_twin(*tensors: Tensor, rtol: float = 1e-6, atol: float = 1e-6, **options) -> None:
    found = answer_and_grads(fused_gate_shift, *tensors, **options)
    expected = answer_and_grads(gate_shift_in_steps, *tensors, **options)
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    # A sum over channels, in another order.
    torch.testing.assert_close(found[2], expected[2], rtol=10 * rtol, atol=10 * atol)


@on_kernels
def test_its_gradients_can_be_differentiated_again() -> None:
    found = []
    for function in (fused_gate_shift, gate_shift_in_steps):
        features, gate, upstream = inputs(3, 8, (2, 3), dtype=torch.float64)
        sources = features.requires_grad_(), gate.requires_grad_()
        answer = function(*sources, num_frames=3, interleave=True)
        first = torch.autograd.grad(answer.pow(2), sources, upstream, create_graph=True)
        found.append([*first, *torch.autograd.grad(sum(each.pow(2).sum() for each in first), sources)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@on_kernels
@given(
    num_frames=st.integers(1, 4),
    clips=st.integers(1, 2),
    quarters=st.integers(1, 5),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    interleave=st.booleans(),
    memory_format=st.sampled_from(FORMATS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=8, deadline=None)
def test_answers_and_gradients_are_those_of_the_twin(
    num_frames: int,
    clips: int,
    quarters: int,
    size: tuple[int, int],
    interleave: bool,
    memory_format: torch.memory_format,
    dtype: torch.dtype,
) -> None:
    channels = quarters * (4 if interleave else 2)
    features, gate, upstream = inputs(num_frames, channels, size, clips=clips, dtype=dtype)
    features, upstream = (tensor.to(memory_format=memory_format) for tensor in (features, upstream))
    exact = 1e-6 if dtype == torch.float32 else 1e-14
    assert_like_twin(features, gate, upstream, num_frames=num_frames, interleave=interleave, rtol=exact, atol=exact)


@on_kernels
@pytest.mark.parametrize(
    ("memory_format", "interleave", "channels", "size"),
    [  # more than two tiles of channels, more than one of pixels, the last ones not full
        (FORMATS[0], True, 40, (13, 11)),
        (FORMATS[1], True, 264, (6, 3)),
        (FORMATS[1], False, 264, (6, 3)),
    ],
)
def test_maps_of_more_than_one_tile_are_whole(
    memory_format: torch.memory_format, interleave: bool, channels: int, size: tuple[int, int]
) -> None:
    half, pixels = channels // 2, size[0] * size[1]
    tile = gate_kernels.tile_shape(half, pixels, channels_last=memory_format == torch.channels_last)
    assert half > 2 * tile[0] and pixels > tile[1] and half % tile[0] and pixels % tile[1]
    features, gate, upstream = inputs(2, channels, size, clips=1)
    features = features.to(memory_format=memory_format)
    assert_like_twin(features, gate, upstream, num_frames=2, interleave=interleave, rtol=1e-5, atol=2e-6)


@on_kernels
@pytest.mark.parametrize(("memory_format", "interleave"), [(FORMATS[0], False), (FORMATS[1], True)])
@pytest.mark.parametrize(("dtype", "step"), [(torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
def test_half_precision_rounds_once(
    dtype: torch.dtype, step: float, memory_format: torch.memory_format, interleave: bool
) -> None:
    features, gate, upstream = inputs(2, 24, (5, 3), dtype=dtype)
    features = features.to(memory_format=memory_format)
    options = {"num_frames": 2, "interleave": interleave}
    found = answer_and_grads(fused_gate_shift, features, gate, upstream, **options)
    exact = answer_and_grads(gate_shift_in_steps, features.float(), gate.float(), upstream.float(), **options)
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.float(), theirs, rtol=step, atol=1e-5)


@on_kernels
@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_part_of_the_channels_of_a_larger_tensor_is_read_in_place(memory_format: torch.memory_format) -> None:
    features, gate, upstream = inputs(3, 16, (4, 5), clips=1)
    part = features.to(memory_format=memory_format)[:, :12]
    assert_like_twin(part, gate, upstream[:, 4:], num_frames=3, interleave=True)
    made = fused_gate_shift(part, gate, num_frames=3, interleave=True)
    assert made.is_contiguous(memory_format=memory_format)


@on_kernels
@pytest.mark.parametrize("interleave", [False, True])
def test_any_strides_are_read(interleave: bool) -> None:
    features, gate, upstream = inputs(2, 8, (4, 5), clips=1)
    options = {"num_frames": 2, "interleave": interleave}
    turned = features.mT.contiguous().mT
    assert_like_twin(turned, gate.mT.contiguous().mT, upstream.to(memory_format=torch.channels_last), **options)
    assert_like_twin(features, gate[:, :, :1, :1], upstream[:1, :1, :1, :1].expand_as(features), **options)
    assert_like_twin(features[:, :, ::2, ::2], gate[:, :, ::2, ::2], upstream[:, :, ::2, ::2], **options)


@on_kernels
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, which the interpreter computes with
@pytest.mark.parametrize("num_frames", [1, 2])
def test_clips_never_mix(num_frames: int) -> None:
    features, gate, upstream = inputs(num_frames, 8, (3, 3), clips=3)
    options = {"num_frames": num_frames, "interleave": True}
    before = answer_and_grads(fused_gate_shift, features, gate, upstream, **options)
    middle = slice(num_frames, 2 * num_frames)
    for tensor in (features, gate, upstream):
        tensor[:num_frames], tensor[2 * num_frames :] = torch.nan, torch.inf
    after = answer_and_grads(fused_gate_shift, features, gate, upstream, **options)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[middle], other[middle])


@on_kernels
def test_gradients_are_the_same_bits_every_time() -> None:
    tensors = inputs(2, 32, (5, 7), clips=1)
    one, other = (answer_and_grads(fused_gate_shift, *tensors, num_frames=2, interleave=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@on_kernels
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # in the check's own code
@pytest.mark.parametrize("memory_format", FORMATS)
def test_torch_accepts_the_operators(memory_format: torch.memory_format) -> None:
    features, gate, upstream = inputs(2, 4, (3, 2), clips=1)  # few programs, as each check calls it several times
    features = features.to(memory_format=memory_format).requires_grad_()
    opcheck(gate_kernels._gate_shift, (features, gate.requires_grad_(), 2, True))
    plain = features.detach(), gate.detach(), upstream
    opcheck(gate_kernels._gate_shift_backward, (*plain, 2, True))


@on_kernels
def test_a_module_with_them_compiles_as_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "kernels_run_on", lambda _: True)
    module = GateShift(8, 3).to(DEVICE).eval()
    torch.nn.init.normal_(module.weight)
    features, _, upstream = inputs(3, 8, (4, 3), clips=1)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager" if INTERPRETED else "inductor")
    source = features.requires_grad_()
    found, expected = compiled(source), module(source)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    grads = (torch.autograd.grad(answer, (source, module.weight), upstream) for answer in (found, expected))
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@outside
@pytest.mark.parametrize(  # each pair of these once
    ("element", "channels_last", "interleave"),
    [("bf16", False, False), ("bf16", True, True), ("fp64", False, True), ("fp64", True, False)],
)
@pytest.mark.parametrize("kernel", [gate_kernels._forward_kernel, gate_kernels._backward_kernel])
def test_tritons_compiler_makes_gpu_programs_of_them(
    kernel, element: str, channels_last: bool, interleave: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    compiled = gate_kernels._compiled(kernel)
    channels, pixels = gate_kernels.tile_shape(12, 49, channels_last=channels_last)
    dtype = triton.language.float64 if element == "fp64" else triton.language.float32
    fixed = {"interleave": interleave, "channels_last": channels_last, "dtype": dtype, "half": 12}
    fixed |= {"block_channels": channels, "block_pixels": pixels}
    tensors = {"features", "gates", "result", "upstream", "grad_features", "grad_gates"}
    signature = {name: f"*{element}" if name in tensors else "i32" for name in compiled.arg_names}
    source = ASTSource(compiled, signature | dict.fromkeys(fixed, "constexpr"), fixed)
    program = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
    assert ".visible .entry" in program.asm["ptx"]


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="in Triton's interpreter")
def test_the_cpu_uses_the_twin_and_never_imports_triton() -> None:
    program = (
        "import sys, torch; from gateshift.model.temporal.modules import GateShift;"
        "GateShift(4, 2)(torch.randn(2, 4, 3, 3)).sum().backward(); sys.exit('triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@outside
def test_gate_shift_goes_to_the_kernels_and_still_refuses_a_part_of_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "kernels_run_on", lambda _: True)
    with FakeTensorMode():  # nothing is computed
        features = torch.empty(6, 8, 4, 4, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        made = gate_shift(features, torch.empty(6, 2, 4, 4, dtype=torch.bfloat16), num_frames=3)
        assert made.shape == features.shape
        assert made.dtype == torch.bfloat16
        assert made.is_contiguous(memory_format=torch.channels_last)
        with pytest.raises(ModelError, match="not a whole number of clips"):
            gate_shift(features, torch.empty(6, 2, 4, 4), num_frames=4)


@on_gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_the_module_on_a_gpu_equals_itself_without_the_kernels(
    memory_format: torch.memory_format, autocast: bool, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = GateShift(32, 4).cuda().eval()
    torch.nn.init.normal_(module.weight, std=0.1)
    features, _, upstream = inputs(4, 32, (14, 14))
    features = features.to(memory_format=memory_format)

    def run(called) -> tuple[Tensor, ...]:
        source = features.clone().requires_grad_()
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            answer = called(source)
        return answer, *torch.autograd.grad(answer, (source, module.weight), upstream.to(answer.dtype))

    found = run(torch.compile(module, fullgraph=True) if compiled else module)
    monkeypatch.setattr(shift, "kernels_run_on", lambda _: False)
    tolerance = 2e-2 if autocast else 1e-4
    for ours, theirs in zip(found, run(module), strict=True):
        assert (ours - theirs).norm() <= tolerance * theirs.norm()
