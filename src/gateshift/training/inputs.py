"""The videos of one training: which they are, how their clips are varied, and in which order they come."""

from __future__ import annotations

from collections.abc import Sequence

from gateshift.data.clips.dataset import Augmentation, TrainingClips
from gateshift.data.clips.loader import BalancedShuffle, EpochShuffle
from gateshift.data.lists.class_pairs import Pairs, may_mirror, mirror_map, parse_pairs, reversal_map
from gateshift.data.lists.manifest import REVERSAL_FILE, Manifest, read_manifest
from gateshift.data.lists.tables import read_paths
from gateshift.errors import ManifestError, SettingsError
from gateshift.model.config import ModelConfig
from gateshift.recipes.options import AugmentOptions
from gateshift.training.reporter import Reporter
from gateshift.training.settings import TrainSettings


def read_lists(settings: TrainSettings, reporter: Reporter) -> tuple[Manifest, Manifest]:
    """The videos to learn from and to validate on, without those of ``--exclude``; their files are there.

    Raises:
        ManifestError: If a list cannot be used, or nothing is left of one.
    """
    learned, validation = (
        read_manifest(path, root=settings.root, multi_label=settings.multi_label)
        for path in (settings.train, settings.val)
    )
    if settings.exclude is not None:
        paths = read_paths(settings.exclude)
        kept = [manifest.without(paths) for manifest in (learned, validation)]
        fewer = [len(old) - len(new) for old, new in zip((learned, validation), kept, strict=True)]
        if not sum(fewer) and paths:
            raise ManifestError(
                f"--exclude {settings.exclude}: none of its {len(paths)} paths is in {learned.source} or "
                f"{validation.source}; write them as the lists do"
            )
        for old, new in zip((learned, validation), kept, strict=True):
            if not len(new):
                raise ManifestError(
                    f"--exclude {settings.exclude}: leaves no video of {old.source}; correct one of them"
                )
        reporter.say(
            f"left out by {settings.exclude}: {fewer[0]} of {len(learned)} videos to learn from, "
            f"{fewer[1]} of {len(validation)} to validate on"
        )
        learned, validation = kept
    for note in dict.fromkeys((*learned.notes, *validation.notes)):
        reporter.say(note)
    for manifest in (learned, validation):
        manifest.check_files()
    validation.check_unique()
    shared = set(validation.entries.whole_names()).intersection(learned.entries.whole_names())
    if shared:
        reporter.say(
            f"{len(shared)} of the {len(validation)} videos to validate on are learned from too, such as "
            f"{min(shared)}: the accuracy on them says nothing of new videos"
        )
    return learned, validation


def choose_reversal_pairs(augment: AugmentOptions, learned: Manifest, classes: Sequence[str]) -> Pairs:
    """The classes whose clips are played backwards in training: pairs as given, or of the file beside the list.

    Raises:
        SettingsError: If clips are to be reversed, and no pair is known.
    """
    given = parse_pairs(augment.reversal_pairs, classes, kind="reversal")
    if given or not augment.reverse:
        return given
    pairs = learned.reversal_pairs(classes)
    if not pairs:
        raise SettingsError(
            f"--reverse: no pairs of classes; write them to {REVERSAL_FILE} (class,reversed) beside {learned.source}, "
            "or give --reversal-pairs 'A=B'"
        )
    return pairs


def create_augmentation(
    augment: AugmentOptions, config: ModelConfig, reversed_pairs: Pairs, *, num_segments: int
) -> Augmentation:
    """How clips for a network are varied.

    Where a video may have several labels, what it does not show is said of it too. So none is mirrored where one could
    come to show a class that names a side and has no counterpart; and all classes must be in pairs to be reversed.

    Raises:
        SettingsError: If they are not.
    """
    allowed = may_mirror(config.classes, config.mirror_pairs, augment.mirror)
    if config.multi_label:
        allowed &= may_mirror(config.classes, config.mirror_pairs, "all").all()
        left_out = [name for name in config.classes if not any(name in pair for pair in reversed_pairs)]
        if reversed_pairs and left_out:
            raise SettingsError(
                f"--multi-label with clips played backwards: {left_out[0]!r} is in no pair, and nobody has said which "
                f"clips show it backwards; pair each class, as '{left_out[0]}={left_out[0]}' if it looks the same"
            )
    return Augmentation(
        size_px=config.size_px,
        num_segments=num_segments,
        mirror_map=mirror_map(config.classes, config.mirror_pairs),
        may_mirror=allowed,
        color_jitter=augment.brightness,
        reversal_map=reversal_map(config.classes, reversed_pairs) if reversed_pairs else None,
        magnitude=augment.rand_augment,
        erasing=augment.erasing,
        min_crop_scale=augment.smallest_crop,
        whole_frame=config.whole_frame,
        square_pixels=config.square_pixels,
    )


def create_order(settings: TrainSettings, clips: TrainingClips) -> EpochShuffle:
    """In which order the clips of an epoch come."""
    if settings.skew.balanced:
        return BalancedShuffle(clips.labels, seed=settings.seed)
    return EpochShuffle(len(clips), seed=settings.seed)
