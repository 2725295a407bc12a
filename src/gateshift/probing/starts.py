"""Which start knows more of the videos: frozen features of each, tried on training videos that are held out."""

from __future__ import annotations

from collections.abc import Sequence

from gateshift.data.lists.manifest import Manifest
from gateshift.devices import put_on_device
from gateshift.model.classifier import create_model
from gateshift.probing.probe import held_out_accuracy, labelled_features
from gateshift.recipes.options import ModelOptions

COMPARED = 300  # videos that are looked at
BATCH_SIZE = 8


def compare_starts(
    starts: Sequence[str], videos: Manifest, options: ModelOptions, *, workers: int | None
) -> dict[str, float]:
    """How far the features of a network get that starts in one way or another, in half a minute or less.

    A classifier is fitted to the mean features of half of each class's videos, as the training begins with one, and
    tried on the others.

    Args:
        starts: "motion" and "imagenet", say.
        videos: Training videos, one label for each.
        options: Of the network.
        workers: Processes that load; None for as many as training takes.

    Returns:
        Accuracy on held-out videos by start, in 0..1.

    Raises:
        VideoError: If no video can be read.
    """
    found = {}
    for start in starts:
        model = create_model(
            options.backbone,
            options.temporal,
            classes=videos.class_names(),
            weights=start,
            size_px=options.size,
            whole_frame=options.whole_frame,
            square_pixels=not options.keep_squashed,
        )
        features, labels = labelled_features(
            put_on_device(model).eval(),
            videos,
            num_segments=options.segments,
            batch_size=BATCH_SIZE,
            workers=workers,
            at_most=COMPARED,
        )
        found[start] = held_out_accuracy((features[:, : model.head.in_features], labels))
    return found
