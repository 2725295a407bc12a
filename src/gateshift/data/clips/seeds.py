"""Randomness that depends only on a few numbers, so that a resumed run draws the same again."""

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
    """Seed torch's CPU generator inside the block, for code that takes no generator; its state is restored after it."""
    before = torch.random.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too
    try:
        yield
    finally:
        torch.random.set_rng_state(before)
