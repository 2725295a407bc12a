"""Labels that contradict each other, or are not what they seem: each is told in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateshift.data.lists.entries import Entries
from gateshift.data.lists.label_sets import LABEL_SEPARATOR, first_of, names_in
from gateshift.data.video.folders import folders_in
from gateshift.errors import ManifestError


def check_separators(entries: Entries, source: Path) -> None:
    """Raise ManifestError if labels that are taken for one class each look like sets of classes.

    A class may have a semicolon in its name; but where what stands before or after it is in another label too, clips
    of one class would be learned as two.
    """
    times = Counter(name for label in entries.labels for name in set(names_in(label)))
    for code, label in enumerate(entries.labels):
        shared = [name for name in names_in(label) if times[name] > 1]
        if not (shared and LABEL_SEPARATOR in str(label)):
            continue
        codes = entries.map_labels(range(len(entries.labels)))
        if code in codes:  # labels of entries that were left out stay, and do not matter
            raise ManifestError(
                f"{source}: label {label!r} of {entries[codes.index(code)].video_id}, and {shared[0]!r} is in another "
                "label too; train --multi-label if a video has several labels, or, if this is one class, name all "
                "classes in classes.txt beside the list"
            )


def describe_numbers(entries: Entries, source: Path, classes: Sequence[str], *, learned: bool) -> tuple[str, ...]:
    """What is odd about labels that are numbers, in a line or none: they count from 1, or lack some.

    Args:
        entries: Of the list.
        source: The list.
        classes: What the numbers stand for.
        learned: Whether all classes should have a video, as in a list to learn from.
    """
    used = set(entries.map_labels([label if isinstance(label, int) else -1 for label in entries.labels])) - {-1}
    if not used:
        return ()
    if 0 not in used:
        name = "" if classes[0] == "0" else f", {classes[0]!r}"
        return (
            f"{source}: labels count from 0, and these are {min(used)} to {max(used)}; no video is of class 0{name}; "
            "if they were meant to count from 1, subtract 1",
        )
    missing = [number for number in range(len(classes)) if number not in used]
    if not missing or not learned:
        return ()
    named = first_of([f"{number} ({classes[number]!r})" for number in missing])
    return (f"{source}: {len(missing)} of the classes 0 to {len(classes) - 1} have no video: {named}",)


def hint_for_number(entries: Entries, num_classes: int) -> str:
    """What to do about a number that stands for no class."""
    numbers = [label for label in entries.labels if isinstance(label, int)]
    if min(numbers) == 1 and max(numbers) == num_classes:
        return f"labels count from 0, and these are 1 to {num_classes}; subtract 1"
    return "put classes.txt, the names in the order of the numbers, beside the list"


def check_agreement(lists: Sequence[tuple[Path, Entries, NDArray[np.int64]]]) -> None:
    """Raise ManifestError if lists say different things of one video, or of the same part of it.

    Args:
        lists: Where each is from, its entries, and what a network is to say of each of them.
    """
    targets = np.concatenate([each for _, _, each in lists])
    places = [(source, entries, place) for source, entries, _ in lists for place in range(len(entries))]
    first: dict[str, int] = {}
    for place, name in enumerate(chain.from_iterable(entries.whole_names() for _, entries, _ in lists)):
        other = first.setdefault(name, place)
        if other != place and np.any(targets[other] != targets[place]):
            (source, entries, number), (source_2, entries_2, number_2) = places[other], places[place]
            also = "" if source == source_2 else f" in {source_2}"
            labels = entries.label(number), entries_2.label(number_2)
            raise ManifestError(
                f"{source}: {entries[number].video_id} is listed as {labels[0]!r}, and as {labels[1]!r}{also}; correct "
                f"one of them; several labels a video are for train --multi-label, in one row, as 'open;push'"
            )


def check_several(classes: Sequence[str], source: Path) -> None:
    """Raise ManifestError if there is one class alone, which a network can only always answer."""
    if len(classes) == 1:
        raise ManifestError(describe_one_class(source, classes[0]))


def describe_one_class(source: Path, name: str) -> str:
    """What is wrong with a list or a folder of one class alone, and what may have been meant."""
    said = f"{source}: one class alone, {name!r}"
    if not source.is_dir():
        return (
            f"{said}, and a training needs two to tell apart; list videos of another class too, or train "
            "--multi-label, where a video may have no label"
        )
    below = folders_in(source / name)
    if below:
        return f"{said}; it holds the folders {first_of(below)}: if these are the classes, give {source / name}"
    return f"{said}, and a training needs two to tell apart; add a folder for another class"
