"""Randomness that depends on a few numbers alone, so that a run which was stopped draws the same again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def spread_seed(*numbers: int) -> int:
    """One well-spread seed of several numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch draw from a seed of its own on the CPU, for code that takes no generator; then all is as before."""
    before = torch.random.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too
    try:
        yield
    finally:
        torch.random.set_rng_state(before)
