"""Scores of a model on labelled videos: what a test leaves behind and an ensemble puts together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateshift.errors import ScoresError
from gateshift.evaluation.metrics import Metrics, MultiLabelMetrics
from gateshift.files import atomic_write, check_writable, write_text

KINDS = {"ids": "U", "labels": "iu", "logits": "f", "classes": "U", "protocol": "U"}  # of the arrays, as numpy says
FIELDS = tuple(KINDS)


@dataclass(frozen=True, eq=False)
class Scores:
    """Logits of videos, each known by its id.

    Attributes:
        ids: Video ids, all different.
        labels: int64 [videos], indices of ``classes``; [videos, classes] of 0 and 1 where a video may have several.
        logits: float32 [videos, classes].
        classes: Class names, in the order of the logits.
        protocol: How the videos were tested, in words.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    classes: tuple[str, ...]
    protocol: str

    def __post_init__(self) -> None:
        videos, classes = len(self.ids), len(self.classes)
        if self.logits.shape != (videos, classes) or self.labels.shape not in ((videos,), (videos, classes)):
            raise ScoresError(
                f"{videos} ids, {classes} classes, labels {self.labels.shape} and logits {self.logits.shape} "
                "do not fit each other; write the file again by a test with `scores`"
            )
        if len(set(self.ids)) != videos:
            raise ScoresError("a video id stands twice; write the file again by a test with `scores`")
        if not videos or not np.isfinite(self.logits).all():
            raise ScoresError(f"{videos} videos, or a logit that is not a finite number; test the model again")
        if not (self.labels.min() >= 0 and self.labels.max() < (2 if self.multi_label else classes)):
            raise ScoresError(f"labels {self.labels.min()}..{self.labels.max()} of {classes} classes; write it again")
        if self.multi_label and not self.labels.any():
            raise ScoresError("none of the videos that could be read has a label; test videos with labels")

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several labels, or none."""
        return self.labels.ndim == 2

    def select(self, ids: Sequence[str]) -> Scores:
        """The scores of some of these videos, in the order given."""
        row = {video: i for i, video in enumerate(self.ids)}
        rows = [row[video] for video in ids]
        return Scores(tuple(ids), self.labels[rows], self.logits[rows], self.classes, self.protocol)

    def metrics(self) -> Metrics | MultiLabelMetrics:
        """Accuracies of these scores."""
        return (MultiLabelMetrics if self.multi_label else Metrics).of(self.logits, self.labels)


def check_output(path: Path, *, overwrite: bool, argument: str = "scores") -> None:
    """Raise SettingsError unless scores can be written there, before any work is done."""
    check_writable(argument, path, overwrite=overwrite, suffixes=[".npz"], beside=[path.with_suffix(".json")])


def save_scores(scores: Scores, path: Path) -> None:
    """Write scores as .npz and their accuracies as .json beside it; each appears when it is whole."""
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            ids=np.array(scores.ids, dtype=np.str_),
            labels=scores.labels,
            logits=scores.logits,
            classes=np.array(scores.classes, dtype=np.str_),
            protocol=np.array(scores.protocol),
        )
    summary = {"protocol": scores.protocol, **scores.metrics().to_dict(), "scores": path.name}
    write_text(path.with_suffix(".json"), json.dumps(summary, indent=2) + "\n")


def load_scores(path: Path) -> Scores:
    """Read a scores file; nothing in it is unpickled.

    Raises:
        ScoresError: If it is missing, damaged or not a scores file.
    """
    if not path.is_file():
        raise ScoresError(f"{path}: no such scores file; write one by a test with `scores={path}`")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in FIELDS}
        if any(found[name].dtype.kind not in kinds for name, kinds in KINDS.items()):
            raise ValueError("an array of another kind")
        return Scores(
            tuple(map(str, found["ids"])),
            found["labels"].astype(np.int64),
            found["logits"].astype(np.float32),
            tuple(map(str, found["classes"])),
            str(found["protocol"]),
        )
    except ScoresError as error:
        raise ScoresError(f"{path}: {error}") from None
    except Exception:  # numpy, zipfile and zlib raise many kinds on damaged bytes
        raise ScoresError(f"{path}: not a whole scores file ({', '.join(FIELDS)}); write it again") from None


def average(parts: Sequence[Scores], names: Sequence[str] = ()) -> Scores:
    """Average several models' logits, video by video and class by class, in whatever order they come.

    Args:
        parts: One of each model.
        names: What an error calls them.

    Raises:
        ScoresError: If they are not of the same videos, labels and classes.
    """
    first = parts[0]
    names = names or [f"file {number}" for number in range(1, len(parts) + 1)]
    total = np.zeros(first.logits.shape, dtype=np.float64)
    for name, part in zip(names, parts, strict=True):
        total += align(part, first, names=(name, names[0])).logits
    protocol = " + ".join(dict.fromkeys(part.protocol for part in parts))
    return Scores(first.ids, first.labels, (total / len(parts)).astype(np.float32), first.classes, protocol)


def align(part: Scores, first: Scores, *, names: tuple[str, str]) -> Scores:
    """Put scores into the order of others: their videos and their classes.

    Args:
        part: To be put in order.
        first: Whose order it gets.
        names: What an error calls the two.

    Raises:
        ScoresError: If they are not of the same videos, labels and classes.
    """
    here, there = names
    check_classes_and_videos(part, classes=first.classes, ids=first.ids, names=names)
    row = {video: i for i, video in enumerate(part.ids)}
    rows = [row[video] for video in first.ids]
    columns = [part.classes.index(name) for name in first.classes]
    labels = part.labels[np.ix_(rows, columns)] if part.multi_label else np.argsort(columns)[part.labels[rows]]
    if not np.array_equal(labels, first.labels):
        raise ScoresError(f"{here} and {there} have different labels for the same videos; test them again")
    return Scores(first.ids, first.labels, part.logits[np.ix_(rows, columns)], first.classes, part.protocol)


def check_classes_and_videos(
    part: Scores, *, classes: Sequence[str], ids: Sequence[str], names: tuple[str, str]
) -> None:
    """Raise ScoresError unless scores are of these classes and videos, in any order; ``names`` as for :func:`align`."""
    here, there = names
    if set(part.classes) != set(classes) or len(part.classes) != len(classes):
        raise ScoresError(
            f"{here} has {len(part.classes)} classes and {there} has {len(classes)}, or other names; "
            "only models of the same classes go together"
        )
    if set(part.ids) != set(ids):
        other = sorted(set(part.ids) ^ set(ids))
        raise ScoresError(
            f"{here} and {there} are of different videos: {len(other)} are in one alone, such as {other[0]}; "
            "test the models on the same list"
        )
