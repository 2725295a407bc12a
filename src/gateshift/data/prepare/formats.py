"""The published data sets' own annotation files, read as listings. Opens no video.

A new data set is a function here and a row in ``FORMATS``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from gateshift.data.lists.splits import Split, folders_of
from gateshift.data.prepare.annotations import (
    Item,
    Listing,
    check_classes,
    collect,
    find_file,
    missing_file,
    read_json,
    read_lines,
    read_records,
    read_rows,
)
from gateshift.data.prepare.class_folders import read_class_folders
from gateshift.data.prepare.settings import DatasetName, Edition, PrepareSettings
from gateshift.data.video.folders import folders_in
from gateshift.errors import ManifestError, SettingsError

Rows = Iterator[tuple[str, Item]]


def read_annotations(settings: PrepareSettings) -> Listing:
    """Read which videos a data set lists, and their classes.

    Raises:
        ManifestError: If a folder or an annotation file is missing or faulty.
        SettingsError: If ``task`` is missing, or ``group_pattern`` is no regular expression.
    """
    folder = settings.folder if settings.annotations is None else settings.annotations
    for place in (settings.folder, folder):
        if not place.is_dir():
            raise ManifestError(f"{place}: no such folder; give the folder of the data set")
    return FORMATS[settings.dataset](settings, folder)


def _twentybn_csv(name: str, _: PrepareSettings, folder: Path) -> Listing:
    """Lists of ``id;class name``. Published models number the sorted names, whatever the order of the label file."""
    files = [find_file(folder, [f"{name}-{part}.csv"]) for part in ("labels", "train", "validation")]
    classes = check_classes(files[0], sorted(text for _, text in read_lines(files[0])))

    def rows(path: Path, split: Split) -> Rows:
        for where, line in read_lines(path):
            video, separator, label = (part.strip() for part in line.partition(";"))
            if not separator:
                raise ManifestError(f"{where}: {line!r}; a line is 'id;class name'; correct it")
            yield where, Item(video, label, split, (video,), (f"20bn-{name}", ""))

    return collect(itertools.chain(rows(files[1], "train"), rows(files[2], "val")), classes, files)


def _something_v2(_: PrepareSettings, folder: Path) -> Listing:
    name = "something-something-v2"
    labels, *lists = (
        find_file(folder, [f"{part}.json", f"{name}-{part}.json"]) for part in ("labels", "train", "validation")
    )
    classes = check_classes(labels, _numbered(labels, read_json(labels, dict)))

    def rows(path: Path, split: Split) -> Rows:
        for where, record in read_records(path, ("id", "template")):
            video, label = record["id"], record["template"].replace("[", "").replace("]", "")
            yield where, Item(video, label, split, (f"{video}.webm",), (f"20bn-{name}", ""))

    return collect(itertools.chain(rows(lists[0], "train"), rows(lists[1], "val")), classes, (labels, *lists))


def _numbered(path: Path, numbers: dict[str, object]) -> list[str]:
    """Names in the order of the numbers that they have in a label file."""
    by_number = {str(number): name.strip() for name, number in numbers.items()}
    missing = [str(number) for number in range(len(numbers)) if str(number) not in by_number]
    if missing:
        raise ManifestError(
            f"{path}: {len(numbers)} classes, but none has number {missing[0]}; number them from 0, each with its own"
        )
    return [by_number[str(number)] for number in range(len(numbers))]


def _diving48(settings: PrepareSettings, folder: Path) -> Listing:
    prefix = _diving_prefix(folder, settings.edition)
    vocabulary, *lists = (
        find_file(folder, [name]) for name in ("Diving48_vocab.json", f"{prefix}_train.json", f"{prefix}_test.json")
    )
    dives = read_json(vocabulary, list)
    for number, dive in enumerate(dives):
        if not (isinstance(dive, list) and dive and all(isinstance(word, str) for word in dive)):
            raise ManifestError(f"{vocabulary}: class {number} is {dive!r}, not a list of words; download it again")
    classes = check_classes(vocabulary, ["+".join(word.strip() for word in dive) for dive in dives])
    numbers = {str(number): name for number, name in enumerate(classes)}

    def rows(path: Path, split: Split) -> Rows:
        for where, record in read_records(path, ("vid_name", "label")):
            video, number = record["vid_name"], record["label"]
            yield where, Item(video, numbers.get(number, number), split, (f"{video}.mp4",), ("rgb", ""))

    return collect(itertools.chain(rows(lists[0], "train"), rows(lists[1], "val")), classes, (vocabulary, *lists))


def _diving_prefix(folder: Path, edition: Edition | None) -> str:
    prefixes: dict[Edition, str] = {"v1": "Diving48", "v2": "Diving48_V2"}
    if edition is not None:
        return prefixes[edition]
    there = [prefix for prefix in prefixes.values() if (folder / f"{prefix}_train.json").is_file()]
    if len(there) > 1:
        raise ManifestError(
            f"{folder}: both editions of Diving48 are there, whose labels differ; set `edition` to v1 or "
            "v2 (v2 is the corrected one)"
        )
    if not there:
        raise missing_file(folder, [f"{prefix}_train.json" for prefix in prefixes.values()])
    return there[0]


def _kinetics(settings: PrepareSettings, folder: Path) -> Listing:
    """The classes are those of the training list, sorted."""
    train = find_file(folder, ["train.csv"], pattern="*train.csv")
    val = find_file(folder, ["val.csv", "validate.csv"], pattern="*val*.csv")
    folders = folders_in(settings.folder)
    tops: dict[Split, tuple[str, ...]] = {
        split: tuple(dict.fromkeys((split, *folders_of(split, folders)))) for split in ("train", "val")
    }
    training = list(_kinetics_rows(train, "train", tops["train"]))
    classes = sorted({item.label for _, item in training})
    return collect(itertools.chain(training, _kinetics_rows(val, "val", tops["val"])), classes, (train, val))


def _kinetics_rows(path: Path, split: Split, tops: Sequence[str]) -> Rows:
    """The videos of a list, which lie in one of the folders ``tops``, below it, or beside it."""
    folders: dict[str, tuple[str, ...]] = {}  # one for all videos of a class
    for where, row in read_rows(path, ("label", "youtube_id", "time_start", "time_end")):
        video, label = row["youtube_id"], row["label"]
        if not label:
            raise ManifestError(f"{where}: no label; give the labeled lists, train and val, not test")
        if label not in folders:
            spellings = dict.fromkeys((label, label.replace(" ", "_")))
            below = [f"{top}/{name}" for top in tops for name in spellings]
            folders[label] = (*below, *tops, "", *spellings)
        try:
            start_s, end_s = (int(float(row[column])) for column in ("time_start", "time_end"))
        except (ValueError, OverflowError):
            times = f"{row['time_start']!r} to {row['time_end']!r}"
            raise ManifestError(f"{where}: times {times}; both are seconds; correct them") from None
        name = f"{video}_{start_s:06d}_{end_s:06d}"
        yield where, Item(name, label, split, (f"{name}.mp4", f"{video}.mp4"), folders[label])


def _epic_kitchens(settings: PrepareSettings, folder: Path) -> Listing:
    task = settings.task
    if task is None:
        raise SettingsError("epic-kitchens-100 has three kinds of classes; set `task` to verb, noun or action")
    train, val, verb_file, noun_file = files = [
        find_file(folder, [f"EPIC_100_{part}.csv"]) for part in ("train", "validation", "verb_classes", "noun_classes")
    ]
    verbs, nouns = _epic_classes(verb_file), _epic_classes(noun_file)
    rows: list[tuple[str, Item]] = []
    actions: dict[tuple[int, int], str] = {}
    lists: dict[Split, Path] = {"train": train, "val": val}
    for split, path in lists.items():
        for where, row in read_rows(path, _EPIC_COLUMNS):
            verb, verb_name = _epic_class(where, row, "verb", verbs)
            noun, noun_name = _epic_class(where, row, "noun", nouns)
            action = actions.setdefault((verb, noun), f"{verb_name} {noun_name}")
            label = {"verb": verb_name, "noun": noun_name, "action": action}[task]
            rows.append((where, _epic_item(where, row, label, split)))
    names = {
        "verb": [verbs[number] for number in sorted(verbs)],
        "noun": [nouns[number] for number in sorted(nouns)],
        "action": [actions[pair] for pair in sorted(actions)],
    }[task]
    return collect(rows, check_classes(verb_file if task == "verb" else noun_file, names), files)


_EPIC_COLUMNS = (
    "narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class",
)  # fmt: skip


def _epic_classes(path: Path) -> dict[int, str]:
    names = {}
    for where, row in read_rows(path, ("id", "key")):
        if not row["id"].isdecimal() or int(row["id"]) in names:
            raise ManifestError(f"{where}: id {row['id']!r}; each class has a number of its own; correct it")
        names[int(row["id"])] = row["key"]
    return names


def _epic_class(where: str, row: dict[str, str], part: str, names: dict[int, str]) -> tuple[int, str]:
    number = row[f"{part}_class"]
    if not number.isdecimal() or int(number) not in names:
        raise ManifestError(
            f"{where}: {part}_class {number!r} of {row['narration_id']} is none of the {len(names)} classes of "
            f"EPIC_100_{part}_classes.csv; correct it, or take files of the same release"
        )
    return int(number), names[int(number)]


def _epic_item(where: str, row: dict[str, str], label: str, split: Split) -> Item:
    video, person = row["video_id"], row["participant_id"]
    texts = (row["start_timestamp"], row["stop_timestamp"])
    try:
        start_s, end_s = map(_clock_s, texts)
    except ValueError:
        start_s = end_s = 0.0
    if not 0 <= start_s < end_s:
        raise ManifestError(f"{where}: from {texts[0]!r} to {texts[1]!r}; give HH:MM:SS.ss, the start before the stop")
    folders = (f"{person}/videos", person, "videos", f"EPIC-KITCHENS/{person}/videos", "")
    return Item(row["narration_id"], label, split, (f"{video}.MP4",), folders, start_s, end_s)


def _clock_s(text: str) -> float:
    """Seconds of a time of day.

    >>> _clock_s("01:00:49.15")
    3649.15
    """
    hours, minutes, seconds = text.split(":")
    return round(int(hours) * 3600 + int(minutes) * 60 + float(seconds), 6)


FORMATS: dict[DatasetName, Callable[[PrepareSettings, Path], Listing]] = {
    "something-v1": partial(_twentybn_csv, "something-something-v1"),
    "something-v2": _something_v2,
    "jester": partial(_twentybn_csv, "jester-v1"),
    "diving48": _diving48,
    "kinetics": _kinetics,
    "epic-kitchens-100": _epic_kitchens,
    "folder": read_class_folders,
}
