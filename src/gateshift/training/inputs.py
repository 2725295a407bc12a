"""The videos of a training: the two lists, the augmentation of their clips, and the order of these."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Callable, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from gateshift.data.clips.dataset import Augmentation, TrainingClips
from gateshift.data.clips.loader import BalancedShuffle, EpochShuffle
from gateshift.data.clips.recording_clips import Labeling, RecordingClips
from gateshift.data.clips.recordings import Recording, as_manifest, lists_events, read_recordings
from gateshift.data.lists.class_pairs import Pairs, may_mirror, mirror_map, parse_pairs, reversal_map
from gateshift.data.lists.labels import check_agreement, describe_unused
from gateshift.data.lists.manifest import REVERSAL_FILE, Manifest, read_manifest
from gateshift.data.lists.tables import read_paths
from gateshift.data.regions import region_of
from gateshift.data.video.files import VideoFile, open_video
from gateshift.errors import ManifestError, SettingsError, VideoError
from gateshift.model.config import ModelConfig
from gateshift.recipes.options import AugmentOptions
from gateshift.training.reporter import Reporter
from gateshift.training.settings import TrainSettings

RATE_JITTER = 0.5  # share of clips that are read as of a recording of a lower or irregular rate ...
JITTERED_FPS = 10.0  # ... of networks from this rate on: files of lower ones are rare


@dataclass(frozen=True)
class Lists:
    """What a training learns from, and what it is validated on.

    Attributes:
        train: Videos; or what happens in recordings, for a network with an answer for each frame.
        val: The same for validation.
        train_recordings: The recordings, those in which nothing happens too; none of videos.
        val_recordings: The same for validation.
    """

    train: Manifest
    val: Manifest
    train_recordings: Sequence[Recording] = ()
    val_recordings: Sequence[Recording] = ()


def read_lists(settings: TrainSettings, reporter: Reporter) -> Lists:
    """The training and validation videos, without those of ``exclude``; their files exist.

    Raises:
        ManifestError: If a list cannot be used, or nothing is left of one.
    """
    for source in (settings.train, settings.val):
        if lists_events(source):
            raise ManifestError(f"{source}: lists events with their times; add `task=spot` to find such ones")
    train_list, val_list = (
        read_manifest(path, root=settings.root, multi_label=settings.multi_label).with_box(region_of(settings.box))
        for path in (settings.train, settings.val)
    )
    if settings.exclude is not None:
        train_list, val_list = _exclude(settings.exclude, train_list, val_list, reporter)
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
    return Lists(train_list, val_list)


def read_recording_lists(settings: TrainSettings, reporter: Reporter) -> Lists:
    """The recordings of both lists, and what happens in them.

    Raises:
        ManifestError: If a list cannot be used, or nothing happens in its recordings.
    """
    frames, box, sources = settings.frames, region_of(settings.box), (settings.train, settings.val)
    found = [read_recordings(each, frames.task, root=settings.root, fps=frames.fps, box=box) for each in sources]
    if settings.exclude is not None:
        paths, listed = read_paths(settings.exclude), found
        found = [[each for each in own if paths.isdisjoint(_names_of(each))] for own in listed]
        _tell_excluded(settings.exclude, paths, sources, listed, found, "recordings", reporter)
    learned = {(each.path.resolve(), each.part) for each in found[0]}
    shared = [each.path.resolve() for each in found[1] if (each.path.resolve(), each.part) in learned]
    if shared:
        reporter.log(
            f"{len(shared)} of the {len(found[1])} validation recordings are training recordings too, such as "
            f"{min(shared)}: how good the model is on them says nothing about new ones"
        )
    train_list, val_list = (as_manifest(own, path) for own, path in zip(found, sources, strict=True))
    return Lists(train_list, val_list, *found)


def _names_of(recording: Recording) -> set[str]:
    """What a table of videos to leave out may call a recording: as its list has it, by its path, or by its part."""
    path = os.path.abspath(recording.path)  # noqa: PTH100 - links stay as they are
    part = "" if recording.part is None else f"#{recording.part.start}-{recording.part.stop}"
    return {recording.name, str(recording.path), path, path + part}


def with_rate(settings: TrainSettings, recordings: Sequence[Recording]) -> TrainSettings:
    """The settings with the rate of the network, the training recordings' median by default, and what follows from it.

    Raises:
        VideoError: If no recording says its rate.
    """
    fps = settings.frames.fps
    if fps is None:
        rates = []
        for recording in recordings:
            rate = recording.fps
            with suppress(VideoError), open_video(recording.path) as video:
                rate = video.rate if isinstance(video, VideoFile) else rate
            rates += [rate] if rate else []
        if not rates:
            raise VideoError("no training recording says how many frames a second it has; give `fps`")
        fps = round(statistics.median(rates), 3)
    num_frames = max(round(settings.frames.context * fps), 1)
    jitter = settings.frames.rate_jitter
    if jitter is None:
        jitter = RATE_JITTER if fps >= JITTERED_FPS else 0.0
    return dataclasses.replace(
        settings,
        frames=dataclasses.replace(settings.frames, fps=fps, rate_jitter=jitter),
        model=dataclasses.replace(settings.model, segments=num_frames),
    )


def check_labels(settings: TrainSettings, lists: Lists, classes: Sequence[str], reporter: Reporter) -> None:
    """Log what a person should know of the labels; an unknown one is an error now, not after the first epoch."""
    targets = [(each.source, each.entries, each.targets(classes)) for each in (lists.train, lists.val)]
    unused: Sequence[str] = ()
    if not settings.frames.is_dense:  # there, two things may happen at once
        check_agreement(targets)
        unused = describe_unused(targets[0][2], classes, lists.train.source)
    for note in lists.train.describe_numbers(train=True) or unused:
        reporter.log(note)


def create_clips(
    settings: TrainSettings,
    lists: Lists,
    config: ModelConfig,
    reversed_pairs: Pairs,
    *,
    on_failure: Callable[[int, VideoError], None] | None,
) -> TrainingClips | RecordingClips:
    """What a network learns from.

    Args:
        settings: Of the training.
        lists: Its lists.
        config: Of the network.
        reversed_pairs: Classes whose clips are reversed.
        on_failure: Told of a recording that cannot be read, by number and reason; by default that is an error.
    """
    if config.is_dense:
        return _create_recording_clips(settings, lists.train_recordings, config, on_failure)
    num_segments = settings.model.segments
    augmentation = create_augmentation(settings.augment, config, reversed_pairs, num_segments=num_segments)
    return TrainingClips(lists.train, config.classes, augmentation, seed=settings.seed)


def _create_recording_clips(
    settings: TrainSettings,
    recordings: Sequence[Recording],
    config: ModelConfig,
    on_failure: Callable[[int, VideoError], None] | None,
) -> RecordingClips:
    """The clips of recordings that a network with an answer for each frame is trained on."""
    frames, fps = settings.frames, config.fps or 1.0
    plain = create_augmentation(settings.augment, config, (), num_segments=settings.model.segments)
    tail = [len(config.classes) + 1] if config.displacement else []
    # Of the numbers of an answer, those of nothing and of displacement stay what they are in a mirror.
    mirrored = torch.tensor([0, *(plain.mirror_map + 1).tolist(), *tail])
    allowed = torch.tensor([True, *plain.may_mirror.tolist(), *map(bool, tail)])
    return RecordingClips(
        recordings,
        config.classes,
        dataclasses.replace(plain, mirror_map=mirrored, may_mirror=allowed),
        Labeling(len(config.classes), fps, round(frames.label_width * fps), config.displacement),
        length=frames.epoch_clips,
        background=frames.background,
        balanced=settings.skew.balanced,
        rate_jitter=frames.rate_jitter or 0.0,
        seed=settings.seed,
        on_failure=on_failure,
    )


def _exclude(exclude: Path, train_list: Manifest, val_list: Manifest, reporter: Reporter) -> tuple[Manifest, Manifest]:
    """The lists without the videos of a table."""
    paths, listed = read_paths(exclude), (train_list, val_list)
    kept = train_list.without(paths), val_list.without(paths)
    _tell_excluded(exclude, paths, [each.source for each in listed], listed, kept, "videos", reporter)
    return kept


def _tell_excluded(
    exclude: Path,
    paths: frozenset[str],
    sources: Sequence[Path],
    listed: Sequence[Sized],
    kept: Sequence[Sized],
    what: str,
    reporter: Reporter,
) -> None:
    """Log how many a table leaves out of the lists of training and validation.

    Raises:
        ManifestError: If it names none of theirs, or leaves none of one.
    """
    fewer = [len(old) - len(new) for old, new in zip(listed, kept, strict=True)]
    if not sum(fewer) and paths:
        raise ManifestError(
            f"`exclude` {exclude}: none of its {len(paths)} paths is in {sources[0]} or {sources[1]}; write them as "
            "the lists do"
        )
    for source, new in zip(sources, kept, strict=True):
        if not len(new):
            raise ManifestError(f"`exclude` {exclude}: leaves no video of {source}; correct one of them")
    reporter.log(
        f"{exclude} excludes {fewer[0]} of {len(listed[0])} training {what}, "
        f"{fewer[1]} of {len(listed[1])} validation {what}"
    )


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


def create_order(settings: TrainSettings, clips: TrainingClips | RecordingClips) -> EpochShuffle:
    """The order of the clips of an epoch."""
    if settings.skew.balanced and isinstance(clips, TrainingClips):
        return BalancedShuffle(clips.labels, seed=settings.seed)
    return EpochShuffle(len(clips), seed=settings.seed)
