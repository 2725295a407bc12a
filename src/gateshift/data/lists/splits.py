"""The two lists of a data set, and the possible names of their folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

Split = Literal["train", "val"]
# Possible names of the folder of a list, upper or lower case; the likeliest first.
SPLIT_FOLDERS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validate", "validation", "test", "testing"),
}


def folders_of(split: Split, names: Iterable[str]) -> list[str]:
    """Those of the names of folders that are of one list, the likeliest first.

    >>> folders_of("val", ["Train", "TEST", "Val", "wave"])
    ['Val', 'TEST']
    """
    order = SPLIT_FOLDERS[split]
    return sorted((name for name in names if name.lower() in order), key=lambda name: (order.index(name.lower()), name))
