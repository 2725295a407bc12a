"""The class that a clip has after a horizontal flip, or when it is played backwards.

Flipped, "to the left" becomes "to the right"; backwards, "open" becomes "close".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from gateshift.data.choices import Mirroring
from gateshift.errors import SettingsError

Pairs = tuple[tuple[str, str], ...]

# The opposites of each word; the longer first, as counterclockwise holds clockwise.
_OPPOSITES = {
    "counterclockwise": ("clockwise",),
    "anticlockwise": ("clockwise",),
    "clockwise": ("counterclockwise", "anticlockwise"),
    "ccw": ("cw",),
    "cw": ("ccw",),
    "left": ("right",),
    "right": ("left",),
}
_SIDE = re.compile("|".join(_OPPOSITES), re.IGNORECASE)
_SIDE_ALONE = re.compile(f"(?<![a-z])(?:{_SIDE.pattern})(?![a-z])", re.IGNORECASE)  # not the right of bright


def find_mirror_pairs(classes: Sequence[str]) -> Pairs:
    """Pairs of classes whose names differ only in left and right, or clockwise and counterclockwise.

    Replacing every such word of one name by its opposite gives the other name.

    >>> find_mirror_pairs(["swipe_left", "swipe_right", "turn left", "wave"])
    (('swipe_left', 'swipe_right'),)
    >>> find_mirror_pairs(["left hand cw", "left hand ccw", "right hand cw", "right hand ccw"])
    (('left hand cw', 'right hand ccw'), ('left hand ccw', 'right hand cw'))
    """
    known = {name.lower(): name for name in classes}
    other = {name: _counterpart(name.lower(), known) for name in classes}
    return tuple((name, twin) for name, twin in other.items() if twin and name < twin and other[twin] == name)


def _counterpart(text: str, known: Mapping[str, str]) -> str | None:
    """The known class whose name has every word replaced by its opposite, if it is another one."""
    for replaced in (_replace(text, words, choice) for words in (_SIDE, _SIDE_ALONE) for choice in (0, -1)):
        if replaced != text and replaced in known:
            return known[replaced]
    return None


def _replace(text: str, words: re.Pattern[str], choice: int) -> str:
    return words.sub(lambda word: _OPPOSITES[word[0]][choice], text)


def parse_pairs(texts: Sequence[str], classes: Sequence[str], *, kind: Literal["mirror", "reversal"]) -> Pairs:
    """Read pairs of classes given as ``"name=other name"``.

    Args:
        texts: One pair each.
        classes: Class names.
        kind: Purpose of the pairs. A class may be its own reversal, as ``"name=name"``; one that a horizontal flip
            does not change needs no pair.

    Raises:
        SettingsError: If a text is not two known classes, or a class is in two pairs.
    """
    pairs: list[tuple[str, str]] = []
    for text in texts:
        first, _, second = (part.strip() for part in text.partition("="))
        if first not in classes or second not in classes or (first == second and kind == "mirror"):
            raise SettingsError(
                f"{kind} pair {text!r}; give two {'different ' if kind == 'mirror' else ''}classes as "
                f"'name=other name', of {', '.join(classes[:6])}{', ...' if len(classes) > 6 else ''}"
            )
        if any(name in pair for pair in pairs for name in (first, second)):
            raise SettingsError(f"{kind} pair {text!r}: one of the two is in another pair; name each class once")
        pairs.append((first, second))
    return tuple(pairs)


def mirror_map(classes: Sequence[str], pairs: Pairs) -> Tensor:
    """The index of the class that each class becomes by a horizontal flip: [K] int64."""
    index = {name: i for i, name in enumerate(classes)}
    mapped = torch.arange(len(classes))
    for first, second in pairs:
        mapped[index[first]], mapped[index[second]] = index[second], index[first]
    return mapped


def flip_label(label: int | Tensor, mapped: Tensor) -> int | Tensor:
    """The label of a flipped or reversed clip.

    Args:
        label: A class, or a set of classes, [K] of 0 and 1, or what each frame is, [T, K].
        mapped: The index that each class becomes: [K].
    """
    if isinstance(label, int):
        return int(mapped[label])
    if label.dim() == 2:
        return torch.zeros_like(label).index_copy_(1, mapped, label)
    flipped = torch.zeros_like(label)
    flipped[mapped[label > 0]] = 1
    return flipped


def reversal_map(classes: Sequence[str], pairs: Pairs) -> Tensor:
    """The index of the class that each class becomes played backwards, -1 for those in no pair: [K] int64."""
    return torch.where(_in_pairs(classes, pairs), mirror_map(classes, pairs), -1)


def may_mirror(classes: Sequence[str], pairs: Pairs, mirroring: Mirroring) -> Tensor:
    """Whether clips of each class may be flipped horizontally in training: [K] bool.

    With "all", every class except those whose name contains a side but has no counterpart, or is a bare number; with
    "pairs", only the paired classes; with "none", no class.
    """
    if mirroring == "none":
        return torch.zeros(len(classes), dtype=torch.bool)
    paired = _in_pairs(classes, pairs)
    if mirroring == "pairs":
        return paired
    return paired | torch.tensor([not (_SIDE.search(name) or name.isdecimal()) for name in classes])


def _in_pairs(classes: Sequence[str], pairs: Pairs) -> Tensor:
    named = {name for pair in pairs for name in pair}
    return torch.tensor([name in named for name in classes], dtype=torch.bool)
