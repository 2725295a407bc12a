"""A data set that is nothing but folders: one for each class, split into train and val or not."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateshift.data.lists.labels import check_several
from gateshift.data.lists.splits import Split, folders_of
from gateshift.data.lists.tables import printable
from gateshift.data.prepare.annotations import Item, Listing
from gateshift.data.prepare.group_split import find_groups, split_groups
from gateshift.data.prepare.settings import PrepareSettings
from gateshift.data.prepare.videos import excluded_paths
from gateshift.data.video.folders import FolderSearch, find_videos, folders_in
from gateshift.errors import ManifestError

Videos = Mapping[str, Sequence[Path]]  # of each class
Sorted = Sequence[tuple[Path, str, Split]]  # videos with their class and list


def read_class_folders(settings: PrepareSettings, _: Path) -> Listing:
    """List ``train/CLASS/VIDEO`` and ``val/CLASS/VIDEO``, or split ``CLASS/VIDEO`` by ``val_share``.

    Raises:
        ManifestError: If there are no class folders, one has no videos, val has a class that train lacks, or a video
            is of no group or a group in both lists where groups are told apart.
        SettingsError: If ``group_pattern`` is no regular expression.
    """
    root = settings.folder
    names = folders_in(root)
    train, val = folders_of("train", names), folders_of("val", names)
    if train and val:
        return _read_split(settings, train, val, sorted(set(names) - {*train, *val}))
    for name in (*train, *val):
        if all(video.parent.name != name for video in find_videos(root / name)):  # it is no class
            wanted = "val or validation or test" if name in train else "train"
            raise ManifestError(
                f"{root}: {name} is there, and {wanted} beside it is not; add it, or give {root / name} to split its "
                "classes"
            )
    return _split(settings)


def _read_split(settings: PrepareSettings, train: Sequence[str], val: Sequence[str], others: Sequence[str]) -> Listing:
    root = settings.folder
    if len(train) > 1:
        raise ManifestError(f"{root}: {' and '.join(train)} are both there, and one is train; keep one")
    search = FolderSearch()
    train_videos = _videos(search, settings, root / train[0])
    check_several(list(train_videos), root / train[0])
    val_videos = _videos(search, settings, root / val[0])
    unknown = sorted(set(val_videos) - set(train_videos))
    if unknown:
        raise ManifestError(
            f"{root}: class {unknown[0]!r} is in {val[0]} and not in {train[0]}, which has {len(train_videos)} "
            "classes; add it there, or take it out"
        )
    lists: tuple[tuple[Videos, Split], ...] = ((train_videos, "train"), (val_videos, "val"))
    videos = [(path, label, split) for by_class, split in lists for label in by_class for path in by_class[label]]
    if settings.group_pattern is not None:
        _check_groups(root, videos, settings.group_pattern)
    out = settings.out.resolve()
    notes = [
        *(f"val is made of {val[0]}; {name} is not used" for name in val[1:]),
        *(
            f"lists are made of {train[0]} and {val[0]}; {name} is not used"
            for name in others
            if (root / name).resolve() != out
        ),
        *search.notes(),
    ]
    return _listing(root, videos, sorted(train_videos), notes)


def _split(settings: PrepareSettings) -> Listing:
    root = settings.folder
    search = FolderSearch()
    by_class = _videos(search, settings, root)
    check_several(list(by_class), root)
    notes = list(search.notes())
    kept = by_class if settings.exclude is None else _without_excluded(by_class, settings.exclude, notes)
    if settings.group_pattern is None:
        videos = _split_each_class(root, kept, settings.val_share, notes)
    else:
        videos = _split_by_groups(root, kept, settings.val_share, settings.group_pattern, notes)
    split = {path for path, _, _ in videos}
    # Those that are excluded take no part in the split; whoever takes them out of the listing counts them.
    excluded: Sorted = [(path, label, "train") for label in by_class for path in by_class[label] if path not in split]
    return _listing(root, [*videos, *excluded], sorted(by_class), notes)


def _without_excluded(by_class: Videos, exclude: Path, notes: list[str]) -> Videos:
    """The videos that a table leaves, of the classes of which it leaves any; ManifestError if there are none."""
    names = excluded_paths(exclude)
    kept = {
        label: [path for path in paths if os.path.abspath(path) not in names]  # noqa: PTH100 - links stay as they are
        for label, paths in by_class.items()
    }
    notes += [
        f"class {label!r}: {exclude} excludes all of it, so no list has a video" for label in kept if not kept[label]
    ]
    if not any(kept.values()):
        raise ManifestError(f"`exclude` {exclude}: leaves no video of the data set; correct it")
    return {label: paths for label, paths in kept.items() if paths}


def _split_each_class(root: Path, by_class: Videos, val_share: float, notes: list[str]) -> Sorted:
    videos: list[tuple[Path, str, Split]] = []
    for label, paths in by_class.items():
        num_val = min(max(round(len(paths) * val_share), 1), len(paths) - 1)
        if not num_val:
            notes.append(f"class {label!r} has 1 video, which goes to train; val has none of it")
        # Sorted by a digest of its name, a video stays in its list when the folder moves or others join it.
        chosen = set(sorted(paths, key=lambda path: _digest(path, root))[:num_val])
        videos += [(path, label, "val" if path in chosen else "train") for path in paths]
    if all(split == "train" for _, _, split in videos):
        raise ManifestError(f"{root}: no class has 2 videos, one for train and one for val; add some")
    return videos


def _split_by_groups(root: Path, by_class: Videos, val_share: float, pattern: str, notes: list[str]) -> Sorted:
    paths = [(path, label) for label in by_class for path in by_class[label]]
    labels = [label for _, label in paths]
    groups = _groups(root, [path for path, _ in paths], pattern)
    in_val = split_groups(labels, groups, val_share=val_share)
    if not any(in_val):
        raise ManifestError(
            f"{root}: `group_pattern` {pattern!r} finds no class with videos of 2 groups, one for train and one for "
            f"val ({groups[0]!r} is a group); add videos, or change it"
        )
    notes += _group_notes(labels, groups, in_val)
    return [(path, label, "val" if chosen else "train") for (path, label), chosen in zip(paths, in_val, strict=True)]


def _group_notes(labels: Sequence[str], groups: Sequence[str], in_val: Sequence[bool]) -> list[str]:
    """Which groups are in which list, and how much of each class val has."""
    val_groups = {group for group, chosen in zip(groups, in_val, strict=True) if chosen}
    train_groups = set(groups) - val_groups
    num_all = Counter(labels)
    num_val = Counter(label for label, chosen in zip(labels, in_val, strict=True) if chosen)
    shares = [num_val[label] / num_all[label] for label in num_val]
    notes = [
        f"groups: {len(train_groups)} in train, such as {min(train_groups)!r}, {len(val_groups)} in val, such as "
        f"{min(val_groups)!r}; val has {min(shares):.2f} to {max(shares):.2f} of the videos of each of its classes"
    ]
    for label in sorted(num_all.keys() - num_val.keys()):
        num_groups = len({group for group, own in zip(groups, labels, strict=True) if own == label})
        notes.append(
            f"class {label!r}: all in train, as groups stay whole; val has none of its {num_all[label]} video(s) of "
            f"{num_groups} group(s)"
        )
    return notes


def _groups(root: Path, paths: Sequence[Path], pattern: str) -> list[str]:
    return find_groups([path.relative_to(root).as_posix() for path in paths], pattern)


def _check_groups(root: Path, videos: Sorted, pattern: str) -> None:
    """Raise ManifestError if a folder that is split already has a group in both lists."""
    groups = _groups(root, [path for path, _, _ in videos], pattern)
    first: dict[str, tuple[Path, Split]] = {}
    for group, (path, _, split) in zip(groups, videos, strict=True):
        other, other_split = first.setdefault(group, (path, split))
        if other_split != split:
            raise ManifestError(
                f"{root}: group {group!r} is in both lists, with {other.relative_to(root)} and "
                f"{path.relative_to(root)}; move its videos to one list, or leave `group_pattern` out"
            )


def _digest(path: Path, root: Path) -> bytes:
    return hashlib.sha256(path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")).digest()


def _videos(search: FolderSearch, settings: PrepareSettings, place: Path) -> Videos:
    """The videos of each class folder in a place, both sorted."""
    videos = search.classes(place, skip=settings.out)
    for label, found in videos.items():
        if not found:
            aside = "; ".join(search.notes())
            raise ManifestError(f"{place / label}: no video is in this class folder; add some, or delete it ({aside})")
    if not videos:
        raise ManifestError(
            f"{place}: no class folders are in it; expected train/CLASS/VIDEO and val/CLASS/VIDEO, or CLASS/VIDEO"
        )
    return videos


def _listing(root: Path, videos: Sorted, classes: Sequence[str], notes: Sequence[str]) -> Listing:
    plain = [path if path.is_dir() else path.with_suffix("") for path, _, _ in videos]
    times = Counter(plain)
    folders = {folder for path, _, _ in videos for folder in path.parents}  # a.mp4 beside a/b.mp4 keeps its suffix
    items = []
    for (path, label, split), short in zip(videos, plain, strict=True):
        name = (short if times[short] == 1 and short not in folders else path).relative_to(root).as_posix()
        if set("\n\r") & set(name) or printable(name) != name:
            raise ManifestError(
                f"{str(path)!r}: a list cannot hold this name; rename it to valid UTF-8 without line breaks"
            )
        items.append(Item(name, label, split, (path.name,), (path.parent.relative_to(root).as_posix(),)))
    return Listing(tuple(classes), tuple(items), notes=tuple(notes))
