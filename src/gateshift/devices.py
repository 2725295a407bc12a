"""What models run on: this machine's accelerators, processes, memory and precision.

Nothing heavy is imported before it is used, as settings name the precisions.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Literal, TypeVar

from gateshift.errors import SettingsError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

Model = TypeVar("Model", bound="torch.nn.Module")
Precision = Literal["no", "bf16", "fp16"]  # mixed precision of a training; "no" is float32
AnyPrecision = Literal["no", "bf16", "fp16", "auto"]  # of answers; "auto" is bf16 where that is faster and as good
Tracker = Literal["wandb", "mlflow", "trackio"]  # programs that keep the curves of trainings

# Of mallopt(3): how many bytes at the end of the heap are kept, and how many blocks have a mapping of their own.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let this process keep the memory that tensors leave, for those that follow: networks on a CPU are faster.

    By default the C library gives a large block back as soon as a tensor is gone, and the system clears each page of
    the next one; for networks with large maps that is a tenth to a third of their time. From this call on the process
    holds what it needed at most, and some more, as gaps between blocks are not of the next one's size (a tenth to a
    fifth with networks). The command line calls it; a program of your own may, once, before it computes.

    Returns:
        Whether the C library does so; glibc does, on Linux. Elsewhere, and where the environment says how memory is
        allocated (``MALLOC_...``, ``GLIBC_TUNABLES``), nothing is changed.
    """
    if not sys.platform.startswith("linux") or any(name.startswith(("MALLOC_", "GLIBC_TUN")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))


def return_freed_memory() -> None:
    """Give back what :func:`keep_freed_memory` has kept; later tensors take it anew.

    A process that is forked off would hold on to it: whatever this process writes there from then on is a copy, so that
    both together have twice as much.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)


def create_accelerator(precision: str, *, log_with: Tracker | None = None) -> Accelerator:
    """Devices, processes and precision of a run; batch sizes are those of all processes together.

    One of another precision that was made before in this process is of no use afterwards.

    Args:
        precision: Of the run.
        log_with: Where curves go, of those that :func:`check_tracker` has found.

    Raises:
        SettingsError: If this machine cannot compute in that precision.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DataLoaderConfiguration

    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # else a program could not train in bf16 and then in float32
    try:
        return Accelerator(
            # Without this, processes launched on a machine with no GPU would not know of each other.
            cpu=not torch.accelerator.is_available(),
            mixed_precision=precision,
            log_with=log_with,
            dataloader_config=DataLoaderConfiguration(split_batches=True, even_batches=True),
        )
    except ValueError as error:
        raise SettingsError(f"`precision={precision}`: {error}; take `precision=no`") from error


def check_tracker(name: Tracker) -> None:
    """Raise SettingsError unless accelerate finds a program that keeps curves."""
    from accelerate.tracking import get_available_trackers

    if name not in map(str, get_available_trackers()):
        raise SettingsError(
            f"`log_with={name}`: {name} is not installed; pip install 'gateshift[loggers]', or leave it out"
        )


def num_processes() -> int:
    """How many processes share this run, as torchrun and accelerate launch start them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def num_cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def put_on_device(model: Model) -> Model:
    """Put a model on this machine's accelerator, if it has one; an exported file stays where it runs."""
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return model if found is None else model.to(found)


def why_bf16_is_slow(device: torch.device) -> str | None:
    """Why a device does not multiply faster in bf16 than in float32, as a clause; None where it does."""
    import torch

    if device.type == "cpu":
        is_fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        return None if is_fast else "this CPU has neither AMX nor AVX512-BF16"
    if device.type == "cuda":
        return None if torch.cuda.is_bf16_supported(including_emulation=False) else "this GPU has no bf16"
    return f"bf16 is not known to be faster on {device.type}"
