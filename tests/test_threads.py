"""Models that several threads call at once, each with clips of another length."""

import copy
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from streaming_data import tiny_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gateshift as gs
from gateshift.model.classifier import VideoClassifier
from gateshift.model.stand_ins.activation_checkpointing import checkpoint_blocks

LENGTHS = (2, 3, 4, 6)


def clips_of(num_frames: int, seed: int = 0) -> Tensor:
    """12 frames, as clips of so many."""
    frames = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return frames.unflatten(0, (-1, num_frames))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("temporal", "form"),
    [("gsm", "plain"), ("gsf", "plain"), ("tsm", "plain"), ("gsm", "deployed"), ("gsm", "compiled")],
)
def test_four_threads_with_clips_of_other_lengths_get_the_answers_of_one(temporal: str, form: str) -> None:
    model = tiny_model(temporal)
    lengths = LENGTHS if form != "compiled" else (2, 3, 2, 3)  # each is compiled apart
    with torch.no_grad():
        expected = {length: model(clips_of(length)) for length in lengths}
    called = {"plain": lambda: model, "deployed": model.deploy, "compiled": lambda: compiled(model, lengths)}[form]()
    start = threading.Barrier(len(lengths))

    @torch.no_grad()
    def ask(length: int) -> list[Tensor]:
        start.wait()
        return [called(clips_of(length)) for _ in range(40)]

    with ThreadPoolExecutor(len(lengths)) as pool:
        for length, answers in zip(lengths, pool.map(ask, lengths), strict=True):
            for answer in answers:
                torch.testing.assert_close(answer, expected[length], rtol=1e-8, atol=1e-10)


def compiled(model: VideoClassifier, lengths: Sequence[int]) -> nn.Module:
    """Compiled for each length before threads use it: compiling itself is no work for several."""
    torch._dynamo.reset()
    made = torch.compile(model, backend="eager", dynamic=False, fullgraph=True)
    with torch.no_grad():
        for length in set(lengths):
            made(clips_of(length))
    return made


def test_a_call_changes_no_attribute_of_a_network_and_a_number_that_was_set_stays() -> None:
    model = tiny_model("gsm")
    expected = model(clips_of(4))
    gs.set_num_frames(model.backbone, 4)
    model(clips_of(3))
    frames = model.normalize(clips_of(4).flatten(0, 1))
    torch.testing.assert_close(model.head(model.backbone(frames)).unflatten(0, (-1, 4)).mean(1), expected)
    with pytest.raises(gs.GateShiftError, match="clips of shape"):
        model(clips_of(3)[0])
    torch.testing.assert_close(model.head(model.backbone(frames)).unflatten(0, (-1, 4)).mean(1), expected)


@pytest.mark.parametrize("kind", ["ours", "torch's"])
def test_what_is_computed_again_in_the_backward_pass_has_the_clips_of_its_forward_pass(kind: str) -> None:
    plain = tiny_model("gsm").train()
    saving = copy.deepcopy(plain)
    if kind == "ours":
        checkpoint_blocks(saving.backbone)
        lengths = LENGTHS  # all before the first backward pass
    else:
        saving.backbone = Again(saving.backbone)
        lengths = (3,)
    for model in (plain, saving):
        sum(model(clips_of(length)).square().sum() for length in lengths).backward()
    for ours, theirs in zip(saving.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10)


class Again(nn.Module):
    """A network in torch's own checkpointing."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor) -> Tensor:
        return checkpoint(self.net, frames, use_reentrant=False)
