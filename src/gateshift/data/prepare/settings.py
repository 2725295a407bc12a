"""The options of ``prepare``; the text under a field is its help.

Nothing heavy is imported here, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from tyro.conf import Positional, arg

from gateshift.data.labelling.programs import PROGRAMS, Program
from gateshift.errors import SettingsError, check_whole

PublishedName = Literal["something-v1", "something-v2", "jester", "diving48", "kinetics", "epic-kitchens-100", "folder"]
DatasetName = Literal[PublishedName, Program]
Kind = Literal["spans", "events"]
Edition = Literal["v1", "v2"]
Task = Literal["verb", "noun", "action"]


@dataclass(frozen=True)
class PrepareSettings:
    """Make training lists from a published data set as downloaded, from class folders, or from a labelling program.

    Reads the data set's own annotation files, checks that each listed video exists and has frames, and writes
    train.csv, val.csv, classes.txt and mirror_pairs.csv to DIR. If videos are missing or broken, they are named,
    nothing is written, and the exit code is 1.

    ROOT is the data set's folder. Files are expected in it under their official names:

    something-v1: something-something-v1-{labels,train,validation}.csv, 20bn-something-something-v1/ID/00001.jpg

    something-v2: [something-something-v2-]{labels,train,validation}.json, 20bn-something-something-v2/ID.webm

    jester: jester-v1-{labels,train,validation}.csv, 20bn-jester-v1/ID/00001.jpg

    diving48: Diving48_[V2_]{train,test}.json, Diving48_vocab.json, rgb/NAME.mp4

    kinetics: train.csv, val.csv or validate.csv, {train,val}/[CLASS/]ID_000001_000011.mp4 or ID.mp4

    epic-kitchens-100: EPIC_100_{train,validation,verb_classes,noun_classes}.csv, P01/videos/P01_01.MP4

    folder: train/CLASS/VIDEO and val/CLASS/VIDEO (Valid, validation, test ... also work), or CLASS/VIDEO, which is
    split by --val-share

    boris, elan, label-studio, cvat, via, create-ml, soccernet, e2e-spot: FILEs of that program, with spans or events in
    recordings, which are split by --val-share. The lists are for train --task segment (spans) or spot (events).
    """

    dataset: Annotated[Positional[DatasetName], arg(metavar="DATASET")]
    """something-v1, something-v2, jester, diving48, kinetics, epic-kitchens-100 or folder; or a labelling program:
    boris, elan, label-studio, cvat, via, create-ml, soccernet or e2e-spot."""
    root: Annotated[Positional[tuple[Path, ...]], arg(metavar="ROOT|FILE ...")]
    """Folder of the data set. Videos may also lie directly in it. Of a labelling program, its files."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Output folder."""
    annotations: Path | None = None
    """Folder of the annotation files. Default: ROOT."""
    edition: Edition | None = None
    """Edition of the diving48 labels, needed if both are present. v2 is the corrected one."""
    task: Task | None = None
    """Classes of epic-kitchens-100: verbs, nouns, or both together, such as "take plate". Required there."""
    val_share: float = 0.2
    """Validation share of each class, for a folder without train and val, or files of a labelling program. The split is
    the same in every run."""
    group_pattern: Annotated[str | None, arg(metavar="REGEX")] = None
    """Keep videos of one person or recording in one list. What this regular expression (or its parentheses) matches in
    CLASS/VIDEO is the video's group: P[0-9]+ finds P07 in wave/P07_3.mp4. For folder; where train and val exist, it
    checks them."""
    allow_missing: bool = False
    """Leave out missing and broken videos (of a labelling program, missing ones), and list them in missing.csv."""
    exclude: Annotated[Path | None, arg(metavar="FILE.csv")] = None
    """Leave out the videos in the column path of this table, such as the output of scan. Parts of videos stay."""
    extract_frames: bool = False
    """Write every frame as JPEG to DIR/frames/ID/00001.jpg, and list these folders. A stopped run resumes."""
    pack: Annotated[int | None, arg(metavar="PX")] = None
    """Pack the frames of each video into one file, DIR/packed/ID.zip, and list these files. The short side of a frame
    is at most PX pixels (256 suits most networks). Training reads them several times faster than videos. A stopped run
    resumes."""
    box: Annotated[str | None, arg(metavar="X0,Y0,X1,Y1")] = None
    """Region of the picture, of a fixed camera: shares of it, as 0.1,0.2,0.6,0.9, or pixels, as 120,80,520,460. Lists
    get it as their column box; with --pack or --extract-frames, it is cut out, at its full size."""
    keep_squashed: bool = False
    """With --pack or --extract-frames: store frames with non-square pixels as they are. By default they are resized to
    the shape that players show."""
    overwrite: bool = False
    """Replace the lists in DIR. Complete frame folders and packed files stay; delete DIR/frames or DIR/packed to write
    them again."""
    workers: int | None = None
    """Videos read at a time. Default: the number of CPU cores."""
    videos: Annotated[Path | None, arg(metavar="DIR")] = None
    """Of a labelling program: the folder with the videos, at any depth. Default: where the files say, or beside
    them."""
    kind: Kind | None = None
    """Of a labelling program: which to list, needed if both are there: spans, from a time to another, or events, at a
    time."""
    only: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = ()
    """Of a labelling program: take only these tiers (ELAN), subjects (BORIS), annotators (Label Studio) or attributes
    (VIA)."""
    fps: float | None = None
    """Rate at which Label Studio counted frames, if it is not the video's own."""

    @property
    def folder(self) -> Path:
        """Folder of a data set."""
        return self.root[0]

    @property
    def program(self) -> Program | None:
        """The labelling program; None for a data set."""
        return next((program for program in PROGRAMS if program == self.dataset), None)

    def check(self) -> None:
        """Raise SettingsError if a value is out of range, or options do not fit each other or the data set."""
        for name, value, choices in (
            ("dataset", self.dataset, (*get_args(PublishedName), *PROGRAMS)),
            ("kind", self.kind, (None, *get_args(Kind))),
            ("edition", self.edition, (None, *get_args(Edition))),
            ("task", self.task, (None, *get_args(Task))),
        ):
            if value not in choices:
                raise SettingsError(f"`{name}` {value!r}; choose one of {', '.join(filter(None, choices))}")
        for name, given, dataset in (
            ("edition", self.edition, "diving48"),
            ("task", self.task, "epic-kitchens-100"),
            ("group_pattern", self.group_pattern, "folder"),
        ):
            if given is not None and self.dataset != dataset:
                raise SettingsError(f"`{name}` {given} with {self.dataset}; it is only for {dataset}; leave it out")
        self._check_program()
        share: Any = self.val_share
        if not isinstance(share, int | float) or not 0 < share < 1:
            raise SettingsError(f"`val_share` {share!r}; it must be above 0 and below 1; try 0.2")
        if self.workers is not None:
            advice = "it must be at least 1; leave it out to use all cores"
            check_whole("workers", self.workers, least=1, advice=advice)
        if self.pack is not None and self.pack < 1:
            raise SettingsError(f"`pack` {self.pack}; a side has at least 1 pixel; try 256")
        if self.pack is not None and self.extract_frames:
            raise SettingsError(
                f"`pack={self.pack}` with `extract_frames=True`: both write the frames, to files and to folders; use "
                "one of them"
            )
        if self.keep_squashed and self.pack is None and not self.extract_frames:
            raise SettingsError(
                "`keep_squashed=True` without `pack` or `extract_frames`: they store frames; add one, or leave it out"
            )
        if (
            self.extract_frames
            and self.dataset == "folder"
            and self.out.resolve().is_relative_to(self.folder.resolve())
        ):
            raise SettingsError(
                f"`extract_frames=True` to {self.out}, which is in {self.folder}; choose a folder outside of it"
            )

    def _check_program(self) -> None:
        """Raise SettingsError for options of labelling programs with a data set, and the other way round."""
        if not self.root:
            raise SettingsError(
                "`root` names nothing; name the folder of a data set, or the files of a labelling program"
            )
        if self.program is None:
            names: tuple[str, ...] = ("videos", "kind", "only", "fps")
            of = "labelling programs"
            if len(self.root) != 1:
                raise SettingsError(f"{len(self.root)} folders of {self.dataset}; give one")
        else:
            names = ("annotations", "exclude", "extract_frames", "pack", "keep_squashed", "workers")
            of = "data sets"
        for name in names:
            value = getattr(self, name)
            if value not in (None, (), False):
                raise SettingsError(f"`{name}` with {self.dataset}; it is for {of}; leave it out")
        if self.fps is not None and not self.fps > 0:
            raise SettingsError(f"`fps` {self.fps:g}; it must be above 0; raise it")
