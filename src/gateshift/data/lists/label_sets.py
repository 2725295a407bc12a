"""Lists in which a video has several labels, or none: a label is the names of all of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateshift.data.lists.entries import Entries
from gateshift.errors import ManifestError

LABEL_SEPARATOR = ";"


def names_in(label: str | int) -> list[str]:
    """The classes of a label.

    >>> names_in("open; wave;")
    ['open', 'wave']
    """
    return [name.strip() for name in str(label).split(LABEL_SEPARATOR) if name.strip()]


def label_rows(entries: Entries, classes: Sequence[str], source: Path) -> NDArray[np.int64]:
    """Which of the classes each entry has: [N, K] of 0 and 1.

    Args:
        entries: With such labels.
        classes: K names.
        source: What an error calls the list.

    Raises:
        ManifestError: If a label is none of the classes, no entry has one, or one video is listed with two labels.
    """
    known = {name: index for index, name in enumerate(classes)}
    codes = np.array(entries.map_labels(range(len(entries.labels))))
    rows = np.zeros((len(entries.labels), len(classes)), dtype=np.int64)
    for code in np.unique(codes):  # of entries that were left out, labels stay
        for name in names_in(entries.labels[code]):
            if name not in known:
                video = entries[int(np.flatnonzero(codes == code)[0])].video_id
                raise ManifestError(
                    f"{source}: label {name!r} of {video} is none of the {len(classes)} classes ({first_of(classes)}); "
                    "correct the list or the classes"
                )
            rows[code, known[name]] = 1
    targets = rows[codes]
    if not targets.any():
        raise ManifestError(f"{source}: no video has a label; label some")
    _check_agreement(entries, codes, source)
    return targets


def first_of(classes: Sequence[str]) -> str:
    """The first of many names, for an error."""
    return f"{', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}"


def _check_agreement(entries: Entries, codes: NDArray[np.int64], source: Path) -> None:
    """A row for each label of a video would be learned as so many contradictions."""
    seen: dict[str, int] = {}
    for video_id, code in zip(entries.video_ids(), codes.tolist(), strict=True):
        if seen.setdefault(video_id, code) != code:
            raise ManifestError(
                f"{source}: {video_id} is listed with two labels; write all of its labels in one row, as 'open;push'"
            )
