"""Gradients of gradients, and the transforms of torch.func, through what has a backward pass of its own."""

from collections.abc import Callable

import pytest
import torch
from streaming_data import tiny_model
from torch import Tensor

from gateshift.model.backbones.conv_bn import AveragePool
from gateshift.model.temporal.functional import gate_shift, gate_shift_in_steps, temporal_shift
from gateshift.model.temporal.site import on_share


def features(*, seed: int = 0) -> Tensor:
    return torch.randn(4, 8, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gates() -> Tensor:
    return features(seed=1)[:, :2].tanh()


def gated(frames: Tensor, interleave: bool) -> Tensor:
    return gate_shift(frames, frames[:, :2].tanh(), num_frames=2, interleave=interleave)


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "gate-shift": lambda x: gated(x, True),
    "gate-shift without interleave": lambda x: gated(x, False),
    "temporal shift": lambda x: temporal_shift(x.pow(2), num_frames=2),
    "share": lambda x: on_share(torch.tanh, x.pow(2), 4, in_place=False),
    "share in place": lambda x: on_share(torch.tanh, x.pow(2), 4, in_place=True),
    "pool": lambda x: AveragePool()(x.pow(2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_gradients_can_be_differentiated_again(name: str) -> None:
    frames = features().requires_grad_()
    assert torch.autograd.gradcheck(STEPS[name], (frames,))
    assert torch.autograd.gradgradcheck(STEPS[name], (frames,))


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_of_gate_shift_that_are_differentiated_again_are_those_of_its_plain_steps(
    channels_last: bool,
) -> None:
    memory = torch.channels_last if channels_last else torch.contiguous_format
    found = []
    for function in (gate_shift, gate_shift_in_steps):
        inputs = features().to(memory_format=memory).requires_grad_(), gates().requires_grad_()
        answer = function(*inputs, num_frames=4)
        first = torch.autograd.grad(answer.pow(3).sum(), inputs, create_graph=True)
        found.append([*first, *torch.autograd.grad(sum(each.pow(2).sum() for each in first), inputs)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # torch's own way to jvp
@pytest.mark.parametrize("name", STEPS)
def test_every_transform_of_torch_func_follows(name: str) -> None:
    function, frames, tangent = STEPS[name], features(), features(seed=2)

    def energy(x: Tensor) -> Tensor:
        return function(x).pow(2).sum()

    plain = frames.clone().requires_grad_()
    energy(plain).backward()
    torch.testing.assert_close(torch.func.grad(energy)(frames), plain.grad)
    slope = torch.func.jvp(energy, (frames,), (tangent,))[1]
    torch.testing.assert_close(slope, (plain.grad * tangent).sum())
    several = torch.stack((frames, tangent))
    torch.testing.assert_close(torch.func.vmap(function)(several), torch.stack([function(x) for x in several]))
    of_each = torch.func.vmap(torch.func.grad(energy))(several)
    torch.testing.assert_close(of_each[0], plain.grad)
    around = torch.func.jvp(torch.func.grad(energy), (frames,), (tangent,))[1]  # Hessian times vector
    torch.testing.assert_close(around, torch.func.grad(lambda x: (torch.func.grad(energy)(x) * tangent).sum())(frames))


def test_gradients_of_each_clip_by_vmap_over_a_whole_model_are_those_of_each_clip_alone() -> None:
    model = tiny_model("gsm", ratio=0.5)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    clips = torch.rand(3, 4, 3, 8, 8, dtype=torch.float64)

    def loss(weights: dict[str, Tensor], clip: Tensor) -> Tensor:
        return torch.func.functional_call(model, weights, (clip[None],)).logsumexp(1).sum()

    # The rectifier of this network works in place, which vmap follows where weights are not per clip.
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, clips)
    for number, clip in enumerate(clips):
        alone = torch.func.grad(loss)(weights, clip)
        for name in weights:
            torch.testing.assert_close(found[name][number], alone[name])
