"""How many frames a clip has, told to the temporal modules of one call: other threads may call the same network."""

from __future__ import annotations

import threading
from types import TracebackType

import torch


class _Call(threading.local):
    """What holds for the calls under way in this thread."""

    def __init__(self) -> None:  # once for each thread
        self.num_frames: int | None = None


_call = _Call()


class ClipLength:
    """While it is entered, the clips that this thread sends through any network have T frames.

    It goes before what :func:`gateshift.set_num_frames` has told the network's modules.

    Args:
        num_frames: T; None leaves it to the modules.
    """

    def __init__(self, num_frames: int | None) -> None:
        self._num_frames = num_frames
        self._before: int | None = None

    def __enter__(self) -> None:
        self._before, _call.num_frames = _call.num_frames, self._num_frames

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _call.num_frames = self._before


def current_num_frames() -> int | None:
    """T of the call under way in this thread; None if nothing tells it."""
    return _call.num_frames


def runs_plainly() -> bool:
    """Whether operations are computed one by one as they are called.

    They are not while a compiler, an exporter or a tracer looks on, or a transform of torch.func, such as vmap or jvp:
    these follow plain operations alone.
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return False
    traced = torch._C._get_tracing_state() is not None  # by torch.jit.trace
    return not (traced or is_transformed())


def is_transformed() -> bool:
    """Whether a transform of torch.func is at work."""
    # What torch's own autograd.Function asks; there is no public name for it.
    return torch._C._are_functorch_transforms_active()
