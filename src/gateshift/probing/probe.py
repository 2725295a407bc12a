"""A first answer without any training: a linear classifier on features of a network as it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gateshift.data.lists.labels import check_agreement, check_several
from gateshift.data.lists.manifest import Manifest, read_manifest
from gateshift.devices import put_on_device
from gateshift.errors import SettingsError
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.warm_start import start_from
from gateshift.probing.features import clip_features

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
PENALTY = 0.1  # C of the logistic regression: there are many more features than clips
DRAWS = 5  # of the clips of each point of a curve
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
MOST_CLIPS = 1000  # that a classifier is fitted to, as many of each class


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy with some of the clips.

    Attributes:
        per_class: Training clips of each class, or all of it where it has fewer.
        accuracy: Top-1 accuracy on the validation videos, in 0..1, the mean of some draws.
        spread: Its standard deviation over these draws.
    """

    per_class: int
    accuracy: float
    spread: float


@dataclass(frozen=True)
class ClassNeed:
    """What a class makes of its clips.

    Attributes:
        name: Of the class.
        clips: Training clips.
        recall_half: Share of its validation videos that are found with half of every class's clips; in 0..1, the mean
            of some draws.
        recall: The same with all clips.
    """

    name: str
    clips: int
    recall_half: float
    recall: float


@dataclass(frozen=True)
class ProbeResult:
    """What frozen features are good for.

    Attributes:
        accuracy: Top-1 accuracy on the validation videos with all clips, in 0..1.
        num_videos: How many of these there are.
        curve: How it rises with clips of each class, all of them last.
        classes: What each class makes of its clips, the one that needs more of them most first: whose recall rose
            most with the second half of all clips, among those that are still missed.
    """

    accuracy: float
    num_videos: int
    curve: tuple[CurvePoint, ...]
    classes: tuple[ClassNeed, ...]

    def __str__(self) -> str:
        first = self.classes[0]
        return (
            f"a linear classifier on frozen features: {self.accuracy:.1%} of {self.num_videos} videos; "
            f"{first.name!r} needs clips most ({first.recall_half:.0%} found with half of all, {first.recall:.0%} with "
            "all)"
        )


def probe(
    train: str | os.PathLike[str],
    val: str | os.PathLike[str],
    *,
    backbone: str,
    temporal: str = "none",
    weights: str | None = "imagenet",
    start: str | os.PathLike[str] | None = None,
    size: int | None = None,
    segments: int = 8,
    whole_frame: bool = False,
    root: str | os.PathLike[str] | None = None,
    batch_size: int = 8,
    workers: int | None = None,
) -> ProbeResult:
    """See how far the features of a frozen network get on labelled videos, in seconds to minutes; nothing is trained.

    A logistic regression is fitted to the mean of each clip's frame features, how much they change, and which way they
    move. It is a first answer, and a floor for a training. A training has it of its own network with ``probe=True``.

    Args:
        train: Training videos, as of :func:`gateshift.train`.
        val: Validation videos, likewise.
        backbone: Any name that :func:`gateshift.create_model` takes, such as a timm name.
        temporal: Temporal modules of a ``start``; without one they would send nothing.
        weights: "imagenet" (timm's own), "motion" (with ``temporal="gsm"``), or path or URL of a file; not used with
            ``start``.
        start: A trained model of the same network, whose features are looked at.
        size: Side of the square input in pixels; the backbone's own where left out.
        segments: Frames of a clip.
        whole_frame: Squash whole frames to the square instead of cropping it.
        root: Folder that relative paths in the lists start from.
        batch_size: Videos that go through the network at once.
        workers: Processes that load; by default as many as in training.

    Returns:
        Accuracy, learning curve, and which class needs clips most.

    Raises:
        GateShiftError: If lists, videos or weights cannot be used.
    """
    lists = [read_manifest(each, root=root) for each in (train, val)]
    classes = lists[0].class_names()
    check_several(classes, lists[0].source)
    model = create_model(
        backbone,
        temporal,
        classes=classes,
        weights=weights if start is None else None,
        size_px=size,
        whole_frame=whole_frame,
        square_pixels=True,
    )
    if start is not None:
        start_from(model, start)
    model = put_on_device(model).eval()
    check_agreement([(each.source, each.entries, each.targets(classes)) for each in lists])
    learned, tested = (
        labelled_features(model, each, num_segments=segments, batch_size=batch_size, workers=workers) for each in lists
    )
    return fit_probe(learned, tested, classes=classes)


def labelled_features(
    model: VideoClassifier,
    videos: Manifest,
    *,
    num_segments: int,
    batch_size: int,
    workers: int | None,
    at_most: int = MOST_CLIPS,
) -> tuple[Features, Labels]:
    """A network's features of the videos of a list that can be read, and their classes.

    Args:
        model: In eval mode; nothing of it is changed. Its classes are those of the list.
        videos: One label for each. Of very many some of each class are taken.
        num_segments: T.
        batch_size: Videos that go through the network at once.
        workers: Processes that load.
        at_most: Videos that are looked at.

    Returns:
        Features [V, 3 * F] as of :func:`~gateshift.probing.features.over_time`, and classes [V].
    """
    labels = videos.targets(model.classes)
    places = np.arange(len(labels))
    if len(labels) > at_most:
        counts = np.full(len(model.classes), max(1, at_most // len(model.classes)))
        places = draw_clips(labels, counts, np.random.default_rng(0))
    features, read = clip_features(
        model, videos, places.tolist(), num_segments=num_segments, batch_size=batch_size, workers=workers
    )
    return features, labels[read]


def fit_classifier(classifier: nn.Linear, learned: tuple[Features, Labels]) -> None:
    """Fit a network's own classifier to frozen features of clips, as a training's beginning.

    Fine-tuning from there keeps what the features know, where a random classifier's first gradients would disturb it:
    linear probing, then fine-tuning (Kumar et al., "Fine-Tuning can Distort Pretrained Features", ICLR 2022).

    Args:
        classifier: F features to K classes, changed in place.
        learned: Features [V, 3 * F] and classes [V] of :func:`labelled_features`; the mean of each is used. A class
            of no clip is one that no clip is of.

    Raises:
        SettingsError: If there are not two classes to tell apart.
    """
    from sklearn.linear_model import LogisticRegression

    features, labels = learned[0][:, : classifier.in_features], learned[1]
    found = np.unique(labels)
    if len(found) < 2:
        raise SettingsError(
            "`fit_classifier` needs readable videos of at least two classes; add some, or set `fit_classifier=False`"
        )
    center, scale = _standards(features)
    axes, _ = np.linalg.qr(((features - center) / scale).T)
    fitted = LogisticRegression(C=PENALTY, max_iter=1000).fit(((features - center) / scale) @ axes, labels)
    weights, biases = fitted.coef_, fitted.intercept_
    if len(found) == 2:  # scikit-learn has one row for both
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    weights = weights @ axes.T / scale
    with torch.no_grad():
        for parameter, values in (
            (classifier.weight, weights),
            (classifier.bias, biases - weights @ center),
        ):
            parameter.zero_()
            parameter[found] = torch.from_numpy(values).to(parameter)


def fit_probe(
    learned: tuple[Features, Labels], tested: tuple[Features, Labels], *, classes: Sequence[str]
) -> ProbeResult:
    """Fit to features and labels, and to parts of them.

    Args:
        learned: [V, F] and classes [V].
        tested: The same of the validation videos.
        classes: K names.

    Raises:
        SettingsError: If there are not two classes to tell apart.
    """
    labels, (center, scale) = learned[1], _standards(learned[0])
    learned, tested = (((features - center) / scale, classes_of) for features, classes_of in (learned, tested))
    if len(np.unique(labels)) < 2:
        raise SettingsError("`probe` needs readable videos of at least two classes; add some, or set `probe=False`")
    counts = np.bincount(labels, minlength=len(classes))
    curve = []
    for per_class in (count for count in COUNTS if count < counts.max()):
        draws = _draws(labels, np.minimum(counts, per_class))
        hits = [(_called(learned, tested, kept) == tested[1]).mean() for kept in draws]
        curve.append(CurvePoint(per_class, float(np.mean(hits)), float(np.std(hits))))
    called = _called(learned, tested, np.arange(len(labels)))
    accuracy = float((called == tested[1]).mean())
    curve.append(CurvePoint(int(counts.max()), accuracy, 0.0))
    halves = [_called(learned, tested, kept) for kept in _draws(labels, (counts + 1) // 2)]
    needs = []
    for index in np.unique(tested[1]):
        of_class = tested[1] == index
        recall_half = float(np.mean([(half == index)[of_class].mean() for half in halves]))
        needs.append(
            ClassNeed(classes[index], int(counts[index]), recall_half, float((called == index)[of_class].mean()))
        )
    needs.sort(key=lambda need: (need.recall == 1, need.recall_half - need.recall, need.recall))
    return ProbeResult(accuracy, len(tested[1]), tuple(curve), tuple(needs))


def held_out_accuracy(learned: tuple[Features, Labels]) -> float:
    """How many videos a classifier gets right that was fitted to half of each class's, the mean of some draws.

    Args:
        learned: Features [V, F] and classes [V].

    Returns:
        A share in 0..1; 0 where there are not two classes, or no video is left out.
    """
    labels, (center, scale) = learned[1], _standards(learned[0])
    features = (learned[0] - center) / scale
    hits = []
    for kept in _draws(labels, (np.bincount(labels) + 1) // 2):
        others = np.setdiff1d(np.arange(len(labels)), kept)
        if len(others) and len(np.unique(labels[kept])) > 1:
            called = _called((features, labels), (features[others], labels[others]), kept)
            hits.append((called == labels[others]).mean())
    return float(np.mean(hits)) if hits else 0.0


def _called(learned: tuple[Features, Labels], tested: tuple[Features, Labels], kept: Labels) -> Labels:
    """The classes that the tested videos are called by a classifier that has seen these of the others."""
    from sklearn.linear_model import LogisticRegression

    features, labels = learned[0][kept], learned[1][kept]
    if len(np.unique(labels)) < 2:
        return np.full(len(tested[1]), labels[0])
    # There are fewer clips than features: in the space of the clips it is the same classifier, and faster.
    axes, _ = np.linalg.qr(features.T)
    classifier = LogisticRegression(C=PENALTY, max_iter=1000).fit(features @ axes, labels)
    return np.asarray(classifier.predict(tested[0] @ axes))


def _standards(features: Features) -> tuple[Features, Features]:
    """Mean and standard deviation of each feature; 1 for one that is always the same."""
    scale = features.std(0)
    return features.mean(0), np.where(scale > 0, scale, 1)


def _draws(labels: Labels, counts: Labels) -> list[Labels]:
    """Places of so many videos of each class, drawn again and again."""
    return [draw_clips(labels, counts, np.random.default_rng(seed)) for seed in range(DRAWS)]


def draw_clips(labels: Labels, counts: Labels, draw: np.random.Generator) -> Labels:
    """Places of so many videos of each class, or of all of it, in order.

    >>> draw_clips(np.array([0, 0, 1, 0]), np.array([1, 5]), np.random.default_rng(0)).tolist()
    [0, 2]
    """
    places = draw.permutation(len(labels))
    kept = [places[labels[places] == index][:count] for index, count in enumerate(counts)]
    return np.sort(np.concatenate(kept))
