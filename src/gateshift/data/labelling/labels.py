"""Labels of labelling programs as spans and events of videos on this machine, checked."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from gateshift.data.clips.recordings import END_SLACK_S, Floats
from gateshift.data.events.events import Event, EventList, Span, VideoInfo
from gateshift.data.events.files import read_events
from gateshift.data.labelling.boris import read_boris
from gateshift.data.labelling.create_ml import read_create_ml
from gateshift.data.labelling.cvat import read_cvat
from gateshift.data.labelling.elan import read_elan
from gateshift.data.labelling.label_studio import read_label_studio
from gateshift.data.labelling.media import Media, clock_of, rate_of
from gateshift.data.labelling.programs import PROGRAMS, Program
from gateshift.data.labelling.sheets import Mark, Sheet
from gateshift.data.labelling.via import read_via
from gateshift.data.lists.tables import printable
from gateshift.errors import ManifestError, SettingsError

_ROUNDING_S = 0.0005
Files = str | PathLike[str] | Sequence[str | PathLike[str]]


@dataclass(frozen=True)
class Labels:
    """What people marked in some videos.

    Attributes:
        spans: Of each video by its path, in order of time; videos without any too.
        events: Of the same videos.
        notes: What the user should know, such as what was not kept, a line each.
        missing: Why each video that is not there was left out, by its name in its file.
    """

    spans: Mapping[str, list[Span]]
    events: EventList
    notes: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def read_labels(
    files: Files,
    program: Program,
    *,
    videos: str | PathLike[str] | None = None,
    only: Sequence[str] = (),
    fps: float | None = None,
    allow_missing: bool = False,
) -> Labels:
    """Read what people marked in a labelling program.

    Args:
        files: One file, or several: of BORIS a project (.boris) or a table of events (.csv, .tsv), of ELAN .eaf, of
            Label Studio its JSON, of CVAT its XML 1.1, of VIA 3 a project (.json), of Create ML .json or .csv; of
            SoccerNet and E2E-Spot what :func:`gateshift.read_events` takes.
        program: Which one.
        videos: The folder with the videos, at any depth; their paths in the files may be of another machine. By
            default they are where the files say, or beside these.
        only: The tiers (ELAN), subjects (BORIS), annotators (Label Studio) or attributes (VIA) to read; by default all.
        fps: The rate at which Label Studio counted frames, if not the video's own or the ``fps`` of its task; frames a
            second of folders of images, if the file does not say it.
        allow_missing: Leave videos out that are not there.

    Returns:
        Spans and events by the paths of the videos, in seconds on each video's clock, to the millisecond.

    Raises:
        ManifestError: If a file cannot be read, a label or a time in it cannot be, or a video is not there.
        VideoError: If a video cannot be read.
        SettingsError: If there is no such program, or none of its marks is ``only`` of these.
    """
    if program not in PROGRAMS:
        raise SettingsError(f"`program` {program!r}; choose one of {', '.join(PROGRAMS)}")
    given = [Path(files)] if isinstance(files, str | PathLike) else [Path(file) for file in files]
    reading = _Reading(None if videos is None else Path(videos), tuple(only), fps, allow_missing)
    if reading.folder is not None and not reading.folder.is_dir():
        raise SettingsError(f"`videos` {reading.folder}: no such folder; give the one with the videos")
    for path in given:
        if not path.exists():
            raise ManifestError(f"{path}: no such file; give one that {program} wrote")
        reading.add(path, _READERS[program](path))
    return reading.labels()


def _read_spotting(path: Path) -> Sheet:
    """Events of SoccerNet or E2E-Spot."""
    listed = read_events(path)
    sheet = Sheet({name: (name, name.removesuffix("/1")) for name in listed.videos})  # a game may be one video
    sheet.rates = {name: info.fps for name, info in listed.videos.items() if info.fps is not None}
    for event in listed.events:
        where = f"{path}, {event.video}"
        if event.time_s is not None:
            sheet.marks.append(Mark(event.video, event.label, event.time_s, None, where))
        elif event.frame is not None:
            sheet.marks.append(Mark(event.video, event.label, event.frame, None, where, unit="frames"))
    return sheet


_READERS: dict[Program, Callable[[Path], Sheet]] = {
    "boris": read_boris,
    "elan": read_elan,
    "label-studio": read_label_studio,
    "cvat": read_cvat,
    "via": read_via,
    "create-ml": read_create_ml,
    "soccernet": _read_spotting,
    "e2e-spot": _read_spotting,
}


class _Reading:
    """Sheets put together."""

    def __init__(self, folder: Path | None, only: tuple[str, ...], fps: float | None, allow_missing: bool) -> None:
        self.folder, self.only, self.fps, self.allow_missing = folder, only, fps, allow_missing
        self.spans: dict[str, list[Span]] = {}
        self.events: dict[str, list[Event]] = {}
        self.sources: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self.missing: dict[str, str] = {}
        self.clocks: dict[str, Floats] = {}
        self.media: Media | None = None

    def add(self, path: Path, sheet: Sheet) -> None:
        """Add what a file holds."""
        beside = path if path.is_dir() else path.parent
        if self.media is None or self.folder is None:
            self.media = Media(self.folder, beside)
        marks = self._chosen(path, sheet)
        paths = self._located(path, sheet, self.media)
        for video in paths.values():
            self.sources.setdefault(video, []).append(path.name)
            self.spans.setdefault(video, [])
            self.events.setdefault(video, [])
        for mark in marks:
            if mark.video in paths:
                self._place(mark, paths[mark.video], self.fps or sheet.rates.get(mark.video))
        if any(mark.unit == "ticks" and mark.video not in sheet.rates for mark in marks) and self.fps is None:
            sheet.notes.append("frames are counted at each video's own rate; if the project has another, give `fps`")
        self.notes += (note if note.startswith(path.name) else f"{path.name}: {note}" for note in sheet.notes)

    def _chosen(self, path: Path, sheet: Sheet) -> list[Mark]:
        """The marks that are wanted; says whose there are, and which have no label."""
        counts = Counter(mark.by for mark in sheet.marks)
        marks = [mark for mark in sheet.marks if mark.by in self.only] if self.only else sheet.marks
        whose = ", ".join(f"{by or 'none'} ({count})" for by, count in counts.items())
        if sheet.marks and not marks:
            raise SettingsError(f"`only` {' '.join(self.only)}: {path} has no such {sheet.by_what}; there are {whose}")
        if len(counts) > 1 and not self.only:
            self.notes.append(f"{path.name}: labels of each {sheet.by_what} are taken: {whose}; choose by `only`")
        blank = sum(not mark.label for mark in marks)
        sheet.leave_out(blank, "marks without a label")
        return [mark for mark in marks if mark.label]

    def _located(self, path: Path, sheet: Sheet, media: Media) -> dict[str, str]:
        found: dict[str, str] = {}
        missing: dict[str, str] = {}
        for name, names in sheet.videos.items():
            try:
                # One name for each video, from whichever folder it is reached.
                found[name] = os.path.abspath(media.find(names, str(path)))  # noqa: PTH100 - links stay as they are
            except ManifestError as error:
                missing[names[0] if names else name] = str(error)
        if missing and not self.allow_missing:
            more = f"; {len(missing)} of {len(sheet.videos)} videos are missing" if len(missing) > 1 else ""
            raise ManifestError(f"{next(iter(missing.values()))}, or leave it out with `allow_missing=True`{more}")
        self.missing |= missing
        self.notes += (f"left out: {reason}" for reason in missing.values())
        return found

    def _place(self, mark: Mark, video: str, rate: float | None) -> None:
        """Add a mark, in seconds, or say what is wrong with it."""
        if set("\n\r") & set(mark.label) or printable(mark.label) != mark.label:
            raise ManifestError(
                f"{mark.where}: {mark.label!r} has a letter that no list of classes can hold; correct it where it was "
                "labelled"
            )
        if video not in self.clocks:
            self.clocks[video] = clock_of(Path(video), video, rate)
        clock_s = self.clocks[video]
        end_s = math.inf if mark.end is None else mark.end
        if mark.end is not None and not math.isnan(end_s) and end_s <= mark.start:
            raise ManifestError(
                f"{mark.where}: {mark.label!r} ends at {end_s:g} {mark.unit} and starts at {mark.start:g}; correct it "
                "where it was labelled"
            )
        start_s = self._seconds(mark, mark.start, clock_s, rate)
        if mark.end is None:
            self.events[video].append(Event(video, mark.label, time_s=start_s, score=mark.score))
            return
        stop_s = round(float(clock_s[-1]), 3) if math.isinf(end_s) else self._seconds(mark, end_s, clock_s, rate)
        if stop_s <= start_s:
            raise ManifestError(
                f"{mark.where}: {mark.label!r} at {start_s} s lasts less than a millisecond; correct it"
            )
        self.spans[video].append(Span(start_s, stop_s, mark.label, mark.score))

    def _seconds(self, mark: Mark, count: float, clock_s: Floats, rate: float | None) -> float:
        if mark.unit == "frames":
            is_inside = 0 <= count < len(clock_s)
            time_s = float(clock_s[int(count)]) if is_inside else count / rate_of(clock_s)
        else:
            time_s = count if mark.unit == "seconds" else float(clock_s[0]) + count / (rate or rate_of(clock_s))
        if time_s < -_ROUNDING_S:
            raise ManifestError(
                f"{mark.where}: {mark.label!r} is at {time_s:.3f} s, before its video begins; correct the time, or the "
                "offset of the video"
            )
        if time_s > clock_s[-1] + END_SLACK_S:
            raise ManifestError(
                f"{mark.where}: {mark.label!r} is at {time_s:.3f} s, and its video ends at {clock_s[-1]:.3f} s; "
                "correct the time or the offset of the video, or give the video that it is of"
            )
        return round(max(time_s, 0.0), 3)

    def labels(self) -> Labels:
        """All of it."""
        spans = {name: sorted(own, key=lambda span: (span.start_s, span.end_s)) for name, own in self.spans.items()}
        events = [
            event
            for own in self.events.values()
            for event in sorted(own, key=lambda each: (each.time_s or 0, each.label))
        ]
        for name, sources in self.sources.items():
            if len(sources) > 1:
                self.notes.append(
                    f"{Path(name).name} is labelled {len(sources)} times ({', '.join(sources)}); all count"
                )
        self.notes += _overlaps(spans)
        videos = {name: VideoInfo() for name in spans}
        return Labels(spans, EventList(tuple(events), videos), tuple(dict.fromkeys(self.notes)), self.missing)


def _overlaps(spans: Mapping[str, Sequence[Span]]) -> Iterable[str]:
    """A line about spans that overlap, of which a frame can have one."""
    pairs = []
    for name, own in spans.items():
        last: Span | None = None
        for span in own:
            if last is not None and span.start_s < last.end_s:
                pairs.append((name, last, span))
            last = span if last is None or span.end_s > last.end_s else last
    if pairs:
        name, first, second = pairs[0]
        yield (
            f"{len(pairs)} spans overlap another, such as {first.label!r} ({first.start_s}-{first.end_s} s) and "
            f"{second.label!r} ({second.start_s}-{second.end_s} s) in {Path(name).name}; all are listed; a "
            "training takes the one that starts last"
        )
