"""A data set that is nothing but folders: one for each class, split into train and val or not."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateshift.data.lists.label_checks import check_several
from gateshift.data.lists.splits import Split, folders_of
from gateshift.data.lists.tables import printable
from gateshift.data.prepare.group_split import find_groups, split_groups
from gateshift.data.prepare.listing import Item, Listing, Source
from gateshift.data.video.folders import FolderSearch, find_videos, folders_in
from gateshift.errors import ManifestError, SettingsError


def read_class_folders(source: Source) -> Listing:
    """List ``train/CLASS/VIDEO`` and ``val/CLASS/VIDEO``, or split ``CLASS/VIDEO`` by ``source.val_share``.

    Raises:
        ManifestError: If there are no class folders, one has no videos, val has a class that train lacks, or a video
            is of no group or a group in both lists where groups are told apart.
        SettingsError: If the share is not between 0 and 1, or the pattern of groups is no regular expression.
    """
    if not 0 < source.val_share < 1:
        raise SettingsError(f"--val-share {source.val_share}; it must be above 0 and below 1; try 0.2")
    names = folders_in(source.root)
    train_names, val_names = folders_of("train", names), folders_of("val", names)
    if train_names and val_names:
        return _presplit(source, train_names, val_names, sorted(set(names) - {*train_names, *val_names}))
    for name in (*train_names, *val_names):
        if all(video.parent.name != name for video in find_videos(source.root / name)):  # it is no class
            wanted = "val or validation or test" if name in train_names else "train"
            raise ManifestError(
                f"{source.root}: {name} is there, and {wanted} beside it is not; add it, or give "
                f"{source.root / name} to split its classes"
            )
    return _split(source)


def _presplit(source: Source, train_names: Sequence[str], val_names: Sequence[str], others: Sequence[str]) -> Listing:
    train, val = train_names[0], val_names[0]
    if len(train_names) > 1:
        raise ManifestError(f"{source.root}: {' and '.join(train_names)} are both there, and one is train; keep one")
    search = FolderSearch()
    learned = _videos(search, source, source.root / train)
    check_several(list(learned), source.root / train)
    validated = _videos(search, source, source.root / val)
    unknown = sorted(set(validated) - set(learned))
    if unknown:
        raise ManifestError(
            f"{source.root}: class {unknown[0]!r} is in {val} and not in {train}, which has {len(learned)} "
            "classes; add it there, or take it out"
        )
    lists: tuple[tuple[dict[str, list[Path]], Split], ...] = ((learned, "train"), (validated, "val"))
    items = [(path, label, split) for videos, split in lists for label in videos for path in videos[label]]
    if source.group_pattern is not None:
        _check_groups(source.root, items, source.group_pattern)
    notes = [f"val is made of {val}; {name} is not used" for name in val_names[1:]]
    skipped = None if source.skip is None else source.skip.resolve()
    notes += [
        f"lists are made of {train} and {val}; {name} is not used"
        for name in others
        if (source.root / name).resolve() != skipped
    ]
    notes += search.notes()
    return _listing(source.root, items, sorted(learned), notes)


def _split(source: Source) -> Listing:
    search = FolderSearch()
    videos = _videos(search, source, source.root)
    check_several(list(videos), source.root)
    notes = list(search.notes())
    if source.group_pattern is not None:
        return _split_groups(source, videos, source.group_pattern, notes)
    items: list[tuple[Path, str, Split]] = []
    for label, paths in videos.items():
        num_val = min(max(round(len(paths) * source.val_share), 1), len(paths) - 1)
        if not num_val:
            notes.append(f"class {label!r} has 1 video, which goes to train; val has none of it")
        # By a digest of its name, a video stays in its list wherever the folder lies and whatever it is joined by.
        chosen = set(sorted(paths, key=lambda path: _digest(path, source.root))[:num_val])
        items += [(path, label, "val" if path in chosen else "train") for path in paths]
    if all(split == "train" for _, _, split in items):
        raise ManifestError(f"{source.root}: no class has 2 videos, one to learn from and one for val; add some")
    return _listing(source.root, items, sorted(videos), notes)


def _split_groups(source: Source, videos: Mapping[str, Sequence[Path]], pattern: str, notes: Sequence[str]) -> Listing:
    paths = [(path, label) for label in videos for path in videos[label]]
    labels = [label for _, label in paths]
    groups = _groups(source.root, [path for path, _ in paths], pattern)
    in_val = split_groups(labels, groups, val_share=source.val_share)
    if not any(in_val):
        raise ManifestError(
            f"{source.root}: --group-pattern {pattern!r} finds no class with videos of 2 groups, one to learn from and "
            f"one for val ({groups[0]!r} is a group); add videos, or change it"
        )
    items: list[tuple[Path, str, Split]] = [
        (path, label, "val" if chosen else "train") for (path, label), chosen in zip(paths, in_val, strict=True)
    ]
    return _listing(source.root, items, sorted(videos), [*notes, *_group_notes(labels, groups, in_val)])


def _group_notes(labels: Sequence[str], groups: Sequence[str], in_val: Sequence[bool]) -> list[str]:
    """How the split came out: which groups are where, and what val has of each class."""
    validated = {group for group, chosen in zip(groups, in_val, strict=True) if chosen}
    learned = set(groups) - validated
    num_all = Counter(labels)
    num_val = Counter(label for label, chosen in zip(labels, in_val, strict=True) if chosen)
    shares = [num_val[label] / num_all[label] for label in num_val]
    notes = [
        f"groups: {len(learned)} in train, such as {min(learned)!r}, {len(validated)} in val, such as "
        f"{min(validated)!r}; val has {min(shares):.2f} to {max(shares):.2f} of the videos of each of its classes"
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


def _check_groups(root: Path, items: Sequence[tuple[Path, str, Split]], pattern: str) -> None:
    """Raise ManifestError if a folder that is split already has a group on both sides."""
    groups = _groups(root, [path for path, _, _ in items], pattern)
    first: dict[str, tuple[Path, Split]] = {}
    for group, (path, _, split) in zip(groups, items, strict=True):
        other, other_split = first.setdefault(group, (path, split))
        if other_split != split:
            raise ManifestError(
                f"{root}: group {group!r} is in both lists, with {other.relative_to(root)} and "
                f"{path.relative_to(root)}; move its videos to one side, or leave --group-pattern out"
            )


def _digest(path: Path, root: Path) -> bytes:
    return hashlib.sha256(path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")).digest()


def _videos(search: FolderSearch, source: Source, place: Path) -> dict[str, list[Path]]:
    """The videos of each class folder in a place, both sorted."""
    videos = search.classes(place, skip=source.skip)
    for label, found in videos.items():
        if not found:
            aside = "; ".join(search.notes())
            raise ManifestError(f"{place / label}: no video is in this class folder; add some, or delete it ({aside})")
    if not videos:
        raise ManifestError(
            f"{place}: no class folders are in it; expected train/CLASS/VIDEO and val/CLASS/VIDEO, or CLASS/VIDEO"
        )
    return videos


def _listing(
    root: Path, videos: Sequence[tuple[Path, str, Split]], classes: Sequence[str], notes: Sequence[str]
) -> Listing:
    plain = [path if path.is_dir() else path.with_suffix("") for path, _, _ in videos]
    times = Counter(plain)
    folders = {folder for path, _, _ in videos for folder in path.parents}  # a.mp4 beside a/b.mp4 keeps its suffix
    items = []
    for (path, label, split), short in zip(videos, plain, strict=True):
        name = (short if times[short] == 1 and short not in folders else path).relative_to(root).as_posix()
        if set("\n\r") & set(name) or printable(name) != name:
            raise ManifestError(f"{str(path)!r}: a list cannot hold this name; rename it, as text without line breaks")
        items.append(Item(name, label, split, (path.name,), (path.parent.relative_to(root).as_posix(),)))
    return Listing(tuple(classes), tuple(items), notes=tuple(notes))
