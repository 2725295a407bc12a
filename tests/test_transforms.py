"""Resizing without torchvision gives what torchvision gives."""

import pytest
import torch
from torchvision.transforms.v2 import functional as torchvision_transforms

from gateshift.data.clips.transforms import resize_short_side, resize_square


@pytest.mark.parametrize("shape", [(1, 3, 36, 48), (2, 4, 3, 48, 37), (3, 50, 50)])
@pytest.mark.parametrize("size_px", [16, 50, 112])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_resized_frame_is_that_of_torchvision(shape: tuple[int, ...], size_px: int, channels_last: bool) -> None:
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if channels_last:  # as decoders give them
        frames = frames.movedim(-3, -1).contiguous().movedim(-1, -3)
    expected = torchvision_transforms.resize(frames, [size_px], antialias=True)
    torch.testing.assert_close(resize_short_side(frames, size_px), expected, rtol=0, atol=0)
    expected = torchvision_transforms.resize(frames, [size_px, size_px], antialias=True)
    torch.testing.assert_close(resize_square(frames, size_px), expected, rtol=0, atol=0)


def test_a_machine_without_fast_code_for_bytes_resizes_floats_and_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.randint(0, 256, (2, 3, 36, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    fast = resize_square(frames, 20).int()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    slow = resize_square(frames, 20)
    assert slow.dtype == torch.uint8
    torch.testing.assert_close(slow, torchvision_transforms.resize(frames, [20, 20], antialias=True), rtol=0, atol=0)
    assert (slow.int() - fast).abs().max() <= 1
