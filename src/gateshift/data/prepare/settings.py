"""The options of ``prepare``; the text under a field is its help.

Nothing heavy is imported here, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gateshift.data.prepare.listing import DatasetName, Edition, Task


@dataclass(frozen=True)
class PrepareSettings:
    """Make lists for training from a published data set as it was downloaded, or from class folders.

    Reads the data set's own annotation files, checks that each listed video is there and has frames, and writes
    train.csv, val.csv, classes.txt and mirror_pairs.csv to DIR. If videos are missing or broken, they are named,
    nothing is written, and the exit code is 1.

    ROOT is the data set's folder. In it are expected, under the official names:

    something-v1: something-something-v1-{labels,train,validation}.csv, 20bn-something-something-v1/ID/00001.jpg

    something-v2: [something-something-v2-]{labels,train,validation}.json, 20bn-something-something-v2/ID.webm

    jester: jester-v1-{labels,train,validation}.csv, 20bn-jester-v1/ID/00001.jpg

    diving48: Diving48_[V2_]{train,test}.json, Diving48_vocab.json, rgb/NAME.mp4

    kinetics: train.csv, val.csv or validate.csv, {train,val}/[CLASS/]ID_000001_000011.mp4 or ID.mp4

    epic-kitchens-100: EPIC_100_{train,validation,verb_classes,noun_classes}.csv, P01/videos/P01_01.MP4

    folder: train/CLASS/VIDEO and val/CLASS/VIDEO (Valid, validation, test ... will do), or CLASS/VIDEO, which is then
    split by --val-share
    """

    dataset: Annotated[Positional[DatasetName], arg(metavar="DATASET")]
    """something-v1, something-v2, jester, diving48, kinetics, epic-kitchens-100 or folder."""
    root: Annotated[Positional[Path], arg(metavar="ROOT")]
    """Folder of the data set; videos can also lie directly in it."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder to write."""
    annotations: Path | None = None
    """Folder of the annotation files; ROOT by default."""
    edition: Edition | None = None
    """Labels of diving48: needed if both editions are there. v2 is the corrected one."""
    task: Task | None = None
    """What a class of epic-kitchens-100 is: its verb, its noun, or both, such as "take plate". Needed there."""
    val_share: float = 0.2
    """Share of each class that goes to val, for a folder that is not split. The same in each run."""
    group_pattern: Annotated[str | None, arg(metavar="REGEX")] = None
    """Keep videos of one person or recording on one side: what this regular expression, or its parentheses, matches in
    CLASS/VIDEO is the video's group, as P[0-9]+ finds P07 in wave/P07_3.mp4. For folder; where that is split, it
    checks the split."""
    allow_missing: bool = False
    """Leave out videos that are missing or broken, and list them in missing.csv."""
    exclude: Annotated[Path | None, arg(metavar="FILE.csv")] = None
    """Leave out the videos in its column path, as scan writes it; parts of videos stay."""
    extract_frames: bool = False
    """Write every frame as JPEG to DIR/frames/ID/00001.jpg, and list these folders. A run that was stopped
    goes on where it was."""
    pack: Annotated[int | None, arg(metavar="PX")] = None
    """Write the frames of each video, their short side at most PX pixels (256 suits most networks), to one file,
    DIR/packed/ID.zip, and list these: several times faster to train from than videos. A run that was stopped goes
    on where it was."""
    keep_squashed: bool = False
    """With --pack or --extract-frames: write frames whose pixels are not square as they are stored. Otherwise they are
    resized, so that they look as players show them."""
    overwrite: bool = False
    """Replace the lists in DIR. Whole folders and files of frames stay; delete DIR/frames or DIR/packed to write
    them anew."""
    workers: int | None = None
    """Videos that are read at a time; by default as many as there are cores."""
