"""Small trees in the data sets' own formats, and what the tests of ``prepare`` read of the lists."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from gateshift.cli.main import main
from gateshift.data.prepare.annotations import Listing
from gateshift.data.prepare.formats import read_annotations
from gateshift.data.prepare.settings import PrepareSettings

LABELS = Path(__file__).parent / "label_maps"
NAMES = [line.strip() for line in (LABELS / "sthv2.txt").read_text().splitlines()]
V1 = "something-something-v1"
ANNOTATIONS = {
    "something-v1": [f"{V1}-{part}.csv" for part in ("labels", "train", "validation")],
    "something-v2": ["labels.json", "train.json", "validation.json"],
    "jester": [f"jester-v1-{part}.csv" for part in ("labels", "train", "validation")],
    "diving48": ["Diving48_vocab.json", "Diving48_V2_train.json", "Diving48_V2_test.json"],
    "kinetics": ["train.csv", "val.csv"],
    "epic-kitchens-100": [f"EPIC_100_{part}.csv" for part in ("train", "validation", "verb_classes", "noun_classes")],
}

PutVideo = Callable[[Path, int], Path]


def no_video(path: Path, _num_frames: int) -> Path:
    """Put no video there, for tests of annotations alone."""
    return path


def run(*arguments: object) -> int:
    """The exit code of ``gateshift prepare``."""
    try:
        main(["prepare", *map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def listing(dataset: str, root: Path, **options: object) -> Listing:
    """The annotations of a data set, of which no video is looked for."""
    if dataset == "epic-kitchens-100":
        options.setdefault("task", "verb")
    return read_annotations(PrepareSettings(dataset, (root,), root / "lists", **options))  # type: ignore[arg-type]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def class_names(out: Path) -> list[str]:
    return (out / "classes.txt").read_text(encoding="utf-8").splitlines()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def split_of(out: Path) -> dict[str, str]:
    """The list of each video, by its class folder and name."""
    return {
        "/".join(Path(row["path"]).parts[-2:]): name for name in ("train", "val") for row in rows(out / f"{name}.csv")
    }


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new).encode())


def lay(dataset: str, root: Path, put_video: PutVideo) -> Path:
    """A whole tree of a data set."""
    if dataset == "something-v1":
        return lay_something_v1(root)
    if dataset == "jester":
        return lay_something_v1(root, "jester-v1", "jester.txt")
    if dataset == "folder":
        lay_folder(root / "train", put_video, wave=2, zoom=1)
        lay_folder(root / "val", put_video, wave=1)
        return root
    return {
        "something-v2": lay_something_v2,
        "diving48": lay_diving48,
        "kinetics": lay_kinetics,
        "epic-kitchens-100": lay_epic,
    }[dataset](root, put_video)


def lay_something_v1(root: Path, name: str = V1, label_map: str = "sthv1.txt") -> Path:
    """Four frame folders of 3 to 6 frames."""
    names = (LABELS / label_map).read_text().splitlines()
    (root / f"{name}-labels.csv").write_text("".join(f"{line}\n" for line in names))
    (root / f"{name}-train.csv").write_text(f"100218;{names[0]}\n24413;{names[1]}\n")
    (root / f"{name}-validation.csv").write_text(f"74225;{names[2]}\n9;{names[0]}\n")
    for number, video in enumerate(("100218", "24413", "74225", "9"), start=3):
        folder = root / f"20bn-{name}" / video
        folder.mkdir(parents=True)
        for frame in range(1, number + 1):
            Image.new("RGB", (48, 36), (frame, 0, 0)).save(folder / f"{frame:05d}.jpg")
    return root


def lay_something_v2(root: Path, put_video: PutVideo, prefix: str = "") -> Path:
    """Four videos of 3 to 6 frames."""
    numbers = list(enumerate(NAMES))
    random.Random(0).shuffle(numbers)
    (root / f"{prefix}labels.json").write_text(json.dumps({name: str(number) for number, name in numbers}))
    train = [("78687", "Holding [something] next to [something]"), ("42326", "Spreading [something] onto [something]")]
    val = [("74225", "Spinning [something] that quickly stops spinning")]
    val += [("36585", "[Something] falling like a feather or paper")]
    for part, entries in (("train", train), ("validation", val)):
        records = [{"id": id_, "label": "x", "template": text, "placeholders": ["y"]} for id_, text in entries]
        (root / f"{prefix}{part}.json").write_text(json.dumps(records))
    for number, (video, _) in enumerate(train + val, start=3):
        put_video(root / "20bn-something-something-v2" / f"{video}.webm", number)
    return root


def lay_diving48(root: Path, put_video: PutVideo, edition: str = "V2_") -> Path:
    dives = [line.strip().split("+") for line in (LABELS / "diving48.txt").read_text().splitlines()]
    (root / "Diving48_vocab.json").write_text(json.dumps(dives))
    for part, dives_of in (("train", (0, 3)), ("test", (47,))):
        names = [f"-mmq0PT-u8k_{number:05d}_{part}" for number in range(len(dives_of))]
        records = [
            {"vid_name": name, "label": label, "start_frame": 0, "end_frame": 48}
            for name, label in zip(names, dives_of, strict=True)
        ]
        (root / f"Diving48_{edition}{part}.json").write_text(json.dumps(records))
        for name in names:
            put_video(root / "rgb" / f"{name}.mp4", 4)
    return root


def lay_kinetics(root: Path, put_video: PutVideo) -> Path:
    """Five videos of 3 to 7 frames, each where another downloader puts it."""
    header = "label,youtube_id,time_start,time_end,split\n"
    (root / "train.csv").write_text(
        header + "air drumming,-0abcdefghi,1,11,train\n"
        '"cooking, on campfire",B_cdefghijk,20,30,train\nair drumming,Ccdefghijkl,0,10,train\n'
    )
    (root / "val.csv").write_text(header + "air drumming,Ddefghijklm,3,13,val\nair drumming,Eefghijklmn,3,13,val\n")
    put_video(root / "train" / "air drumming" / "-0abcdefghi_000001_000011.mp4", 3)
    put_video(root / "train" / "B_cdefghijk_000020_000030.mp4", 4)
    put_video(root / "train" / "air_drumming" / "Ccdefghijkl.mp4", 5)
    put_video(root / "val" / "Ddefghijklm.mp4", 6)
    put_video(root / "Eefghijklmn_000003_000013.mp4", 7)
    return root


EPIC_HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
)


def epic_row(id_: str, start: str, stop: str, verb: int, noun: int) -> str:
    person, number, _ = id_.split("_")
    times = f"00:00:00.10,00:00:{start},00:00:{stop},1,9"
    return f"{id_},{person},{person}_{number},{times},take it,grab,{verb},cup,{noun},\"['cup', 'tap']\",\"[1, 0]\"\n"


def lay_epic(root: Path, put_video: PutVideo) -> Path:
    """Two untrimmed videos, of 5 and 2 seconds at 10 frames a second."""
    (root / "EPIC_100_verb_classes.csv").write_text(
        "id,key,instances,category\n0,take,\"['a', 'b']\",x\n1,put,['c'],y\n"
    )
    (root / "EPIC_100_noun_classes.csv").write_text("id,key,instances,category\n0,tap,[],x\n1,cup,[],y\n2,jug,[],y\n")
    train = epic_row("P01_01_0", "00.00", "01.89", 0, 1) + epic_row("P01_01_1", "01.56", "02.45", 1, 0)
    train += epic_row("P02_03_0", "01.00", "02.00", 0, 1)
    val = epic_row("P02_03_10", "00.50", "07.00", 0, 1) + epic_row("P02_03_2", "00.50", "01.00", 0, 0)
    (root / "EPIC_100_train.csv").write_text(EPIC_HEADER + train)
    (root / "EPIC_100_validation.csv").write_text(EPIC_HEADER + val)
    put_video(root / "P01" / "videos" / "P01_01.MP4", 50)
    put_video(root / "P02" / "P02_03.MP4", 20)
    return root


def lay_folder(root: Path, put_video: PutVideo, **sizes: int) -> Path:
    """Class folders, each with so many videos of 3 to 5 frames."""
    for label, number in sizes.items():
        for video in range(number):
            put_video(root / label / f"{video}.mp4", 3 + video % 3)
    return root
