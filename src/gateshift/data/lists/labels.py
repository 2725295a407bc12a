"""Labels: one class each or a set of classes, and what is wrong with those of a list, in one line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateshift.data.lists.entries import Entries
from gateshift.data.video.folders import folders_in
from gateshift.errors import ManifestError

LABEL_SEPARATOR = ";"


def names_in(label: str | int) -> list[str]:
    """The classes of a label.

    >>> names_in("open; wave;")
    ['open', 'wave']
    """
    return [name.strip() for name in str(label).split(LABEL_SEPARATOR) if name.strip()]


def first_of(classes: Sequence[str]) -> str:
    """The first of many names, for an error."""
    return f"{', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}"


def unknown_label(
    source: Path, label: str | int, video_id: str, classes: Sequence[str], hint: str = "correct the list or the classes"
) -> ManifestError:
    """The error for a label that is none of the classes."""
    return ManifestError(
        f"{source}: label {label!r} of {video_id} is none of the {len(classes)} classes ({first_of(classes)}); {hint}"
    )


def label_rows(entries: Entries, classes: Sequence[str], source: Path) -> NDArray[np.int64]:
    """Which of the classes each entry has: [N, K] of 0 and 1.

    Args:
        entries: With such labels.
        classes: K names.
        source: What an error calls the list.

    Raises:
        ManifestError: If a label is none of the classes, no entry has one, or a video has two different labels.
    """
    known = {name: index for index, name in enumerate(classes)}
    codes = np.array(entries.map_labels(range(len(entries.labels))))
    rows = np.zeros((len(entries.labels), len(classes)), dtype=np.int64)
    for code in np.unique(codes):  # of entries that were left out, labels stay
        for name in names_in(entries.labels[code]):
            if name not in known:
                video = entries[int(np.flatnonzero(codes == code)[0])].video_id
                raise unknown_label(source, name, video, classes)
            rows[code, known[name]] = 1
    targets = rows[codes]
    if not targets.any():
        raise ManifestError(f"{source}: no video has a label; label some")
    check_agreement([(source, entries, targets)])
    return targets


def check_separators(entries: Entries, source: Path) -> None:
    """Raise ManifestError if labels that are taken for one class each look like sets of classes.

    A class may have a semicolon in its name. But if the part before or after it occurs in another label too, clips of
    one class would be trained as two.
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
                "label too; set `multi_label=True` if a video has several labels, or, if this is one class, name all "
                "classes in classes.txt beside the list"
            )


def describe_numbers(entries: Entries, source: Path, classes: Sequence[str], *, train: bool) -> tuple[str, ...]:
    """Warn of numeric labels that start at 1 or skip classes; one line, or none.

    Args:
        entries: Entries of the list.
        source: Its path.
        classes: Class names by number.
        train: Whether it is a training list, in which every class should have a video.
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
    if not missing or not train:
        return ()
    named = first_of([f"{number} ({classes[number]!r})" for number in missing])
    return (f"{source}: {len(missing)} of the classes 0 to {len(classes) - 1} have no video: {named}",)


def describe_unused(targets: NDArray[np.int64], classes: Sequence[str], source: Path) -> tuple[str, ...]:
    """Warn of classes that no entry of a training list has, which therefore cannot be learned; one line, or none.

    Args:
        targets: Of its entries: [N], or [N, K] of 0 and 1.
        classes: K names.
        source: What the line calls the list.
    """
    counts = targets.sum(0) if targets.ndim == 2 else np.bincount(targets, minlength=len(classes))
    unused = [name for name, count in zip(classes, counts, strict=True) if not count]
    if not unused:
        return ()
    return (f"{source}: {len(unused)} of the {len(classes)} classes have no video to learn from: {first_of(unused)}",)


def hint_for_number(entries: Entries, num_classes: int) -> str:
    """What to do about a number without a class."""
    numbers = [label for label in entries.labels if isinstance(label, int)]
    if min(numbers) == 1 and max(numbers) == num_classes:
        return f"labels count from 0, and these are 1 to {num_classes}; subtract 1"
    return "put classes.txt, the names in the order of the numbers, beside the list"


def check_agreement(lists: Sequence[tuple[Path, Entries, NDArray[np.int64]]]) -> None:
    """Raise ManifestError if one video, or the same part of it, has different labels.

    Args:
        lists: The path of each list, its entries, and their targets: [N], or [N, K] of 0 and 1.
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
                "one of them; several labels of one video go in one row, as 'open;push', with `multi_label=True`"
            )


def check_several(classes: Sequence[str], source: Path) -> None:
    """Raise ManifestError if there is only one class, so that there is nothing to tell apart."""
    if len(classes) == 1:
        raise ManifestError(describe_one_class(source, classes[0]))


def describe_one_class(source: Path, name: str) -> str:
    """The error for a list or folder of a single class, with what may have been meant."""
    said = f"{source}: only one class, {name!r}"
    if not source.is_dir():
        return (
            f"{said}, and a training needs two to tell apart; list videos of another class too, or set "
            "`multi_label=True`, with which a video may have no label"
        )
    below = folders_in(source / name)
    if below:
        return f"{said}; it holds the folders {first_of(below)}: if these are the classes, give {source / name}"
    return f"{said}, and a training needs two to tell apart; add a folder for another class"
