"""The videos of a training: the two lists, the augmentation of their clips, and the order of these."""

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
    """The training and validation videos, without those of ``exclude``; their files exist.

    Raises:
        ManifestError: If a list cannot be used, or nothing is left of one.
    """
    train_list, val_list = (
        read_manifest(path, root=settings.root, multi_label=settings.multi_label)
        for path in (settings.train, settings.val)
    )
    if settings.exclude is not None:
        train_list, val_list = _exclude(settings, train_list, val_list, reporter)
    for note in dict.fromkeys((*train_list.notes, *val_list.notes)):
        reporter.log(note)
    for manifest in (train_list, val_list):
        manifest.check_files()
    val_list.check_unique()
    shared = set(val_list.entries.whole_names()).intersection(train_list.entries.whole_names())
    if shared:
        reporter.log(
            f"{len(shared)} of the {len(val_list)} validation videos are training videos too, such as "
            f"{min(shared)}: the accuracy on them says nothing about new videos"
        )
    return train_list, val_list


def _exclude(
    settings: TrainSettings, train_list: Manifest, val_list: Manifest, reporter: Reporter
) -> tuple[Manifest, Manifest]:
    """The lists without the videos of ``exclude``."""
    paths = read_paths(settings.exclude) if settings.exclude is not None else []
    kept = train_list.without(paths), val_list.without(paths)
    fewer = len(train_list) - len(kept[0]), len(val_list) - len(kept[1])
    if not sum(fewer) and paths:
        raise ManifestError(
            f"`exclude` {settings.exclude}: none of its {len(paths)} paths is in {train_list.source} or "
            f"{val_list.source}; write them as the lists do"
        )
    for old, new in zip((train_list, val_list), kept, strict=True):
        if not len(new):
            raise ManifestError(f"`exclude` {settings.exclude}: leaves no video of {old.source}; correct one of them")
    reporter.log(
        f"{settings.exclude} excludes {fewer[0]} of {len(train_list)} training videos, "
        f"{fewer[1]} of {len(val_list)} validation videos"
    )
    return kept


def choose_reversal_pairs(augment: AugmentOptions, train_list: Manifest, classes: Sequence[str]) -> Pairs:
    """The classes whose training clips are reversed: pairs as given, or of the file beside the list.

    Raises:
        SettingsError: If clips are to be reversed, and no pair is known.
    """
    given = parse_pairs(augment.reversal_pairs, classes, kind="reversal")
    if given or not augment.reverse:
        return given
    pairs = train_list.reversal_pairs(classes)
    if not pairs:
        raise SettingsError(
            f"`reverse`: no pairs of classes; write them to {REVERSAL_FILE} (class,reversed) beside "
            f"{train_list.source}, or give `reversal_pairs` 'A=B'"
        )
    return pairs


def create_augmentation(
    augment: AugmentOptions, config: ModelConfig, reversed_pairs: Pairs, *, num_segments: int
) -> Augmentation:
    """The augmentation of a network's training clips.

    With several labels per video, a clip also says which classes it does not show. So none is flipped if it could
    then show a class that names a side and has no counterpart; and clips are reversed only if all classes have a pair.

    Raises:
        SettingsError: If they have not.
    """
    allowed = may_mirror(config.classes, config.mirror_pairs, augment.mirror)
    if config.multi_label:
        allowed &= may_mirror(config.classes, config.mirror_pairs, "all").all()
        unpaired = [name for name in config.classes if not any(name in pair for pair in reversed_pairs)]
        if reversed_pairs and unpaired:
            raise SettingsError(
                f"`multi_label` with reversed clips: {unpaired[0]!r} is in no reversal pair, so its label in a "
                f"reversed clip is unknown; pair each class, as '{unpaired[0]}={unpaired[0]}' if it looks the same "
                "backwards"
            )
    return Augmentation(
        size_px=config.size_px,
        num_segments=num_segments,
        mirror_map=mirror_map(config.classes, config.mirror_pairs),
        may_mirror=allowed,
        color_jitter=augment.color_jitter,
        reversal_map=reversal_map(config.classes, reversed_pairs) if reversed_pairs else None,
        magnitude=augment.rand_augment,
        erasing=augment.erasing,
        min_crop_scale=augment.min_crop_scale,
        whole_frame=config.whole_frame,
        square_pixels=config.square_pixels,
    )


def create_order(settings: TrainSettings, clips: TrainingClips) -> EpochShuffle:
    """The order of the clips of an epoch."""
    if settings.skew.balanced:
        return BalancedShuffle(clips.labels, seed=settings.seed)
    return EpochShuffle(len(clips), seed=settings.seed)
