"""Answers of a network as files of labelling programs, so that a person corrects them instead of labelling anew."""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from gateshift.data.clips.recordings import END_SLACK_S, Floats
from gateshift.data.events.events import EventList, Span
from gateshift.data.events.files import Events, read_events, write_events
from gateshift.data.labelling.boris import boris_text
from gateshift.data.labelling.create_ml import create_ml_text
from gateshift.data.labelling.cvat import cvat_text
from gateshift.data.labelling.elan import elan_text
from gateshift.data.labelling.label_studio import label_studio_text
from gateshift.data.labelling.media import Media, clock_of
from gateshift.data.labelling.programs import PROGRAMS, SUFFIXES, Program
from gateshift.data.labelling.sheets import Answers, Mark
from gateshift.data.labelling.via import via_text
from gateshift.errors import GateShiftWarning, SettingsError
from gateshift.files import check_writable, write_text

Found = Mapping[str, Sequence[Span]] | Events
_ONE_VIDEO = ("elan", "cvat")
_KEEP_SCORES = ("boris", "label-studio")
_COUNT_FRAMES = ("label-studio", "cvat")
_BARE_NAMES = ("label-studio", "via", "create-ml")  # whose files name videos without their folders


def write_labels(
    found: Found,
    path: str | PathLike[str],
    program: Program,
    *,
    videos: str | PathLike[str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write spans or events as a file of a labelling program.

    What the program cannot hold is told as a :class:`GateShiftWarning`.

    Args:
        found: Spans of each video by its path, as :func:`gateshift.read_spans` and :func:`read_labels` give them; or
            events, as :func:`gateshift.read_events` takes and gives them.
        path: The file; its suffix is the program's: .boris, .eaf, .json, or .xml of CVAT. ELAN and CVAT have one video
            in a file.
        program: Which one. Create ML has no events, and SoccerNet and E2E-Spot no spans.
        videos: The folder with the videos, for names that are not paths from here.
        overwrite: Replace the file if it is there.

    Raises:
        SettingsError: If the file cannot be written there, or the program cannot hold this.
        ManifestError: If a video is not there.
        VideoError: If a video cannot be read whose frames the program counts.
    """
    path = Path(path)
    check_program(program, path, overwrite=overwrite)
    if program in ("soccernet", "e2e-spot"):
        if isinstance(found, Mapping):
            raise SettingsError(f"`program` {program} holds events, and no spans; choose another program")
        write_events(found, path, form="soccernet" if program == "soccernet" else "e2e-spot", overwrite=overwrite)
        return
    media, clocks = Media(None if videos is None else Path(videos), Path()), dict[str, Floats]()
    listed = found if isinstance(found, Mapping) else read_events(found)
    names = listed if isinstance(listed, Mapping) else listed.videos
    paths = {name: media.find([name], f"`path` {path}").absolute() for name in names}
    rates = {} if isinstance(listed, Mapping) else {name: info.fps for name, info in listed.videos.items()}

    def clock(name: str) -> Floats:
        if name not in clocks:
            clocks[name] = clock_of(paths[name], name, rates.get(name))
        return clocks[name]

    marks = _marks_of_spans(listed) if isinstance(listed, Mapping) else _marks_of_events(listed, clock)
    if program in _COUNT_FRAMES:
        _check_ends(marks, clock)
    _check(marks, program)
    _check_names(paths, program)
    text = _WRITERS[program](Answers(marks, paths, clock, path))
    write_text(path, text, errors="backslashreplace")


_WRITERS: dict[Program, Callable[[Answers], str]] = {
    "boris": boris_text,
    "elan": elan_text,
    "label-studio": label_studio_text,
    "cvat": cvat_text,
    "via": via_text,
    "create-ml": create_ml_text,
}


def _marks_of_spans(found: Mapping[str, Sequence[Span]]) -> dict[str, list[Mark]]:
    return {
        name: [Mark(name, span.label, span.start_s, span.end_s, score=span.score) for span in own]
        for name, own in found.items()
    }


def _marks_of_events(found: EventList, clock: Callable[[str], Floats]) -> dict[str, list[Mark]]:
    marks: dict[str, list[Mark]] = {name: [] for name in found.videos}
    for event in found.events:
        time_s = event.time_s
        if time_s is None:
            assert event.frame is not None
            clock_s = clock(event.video)
            if event.frame >= len(clock_s) - 1:
                raise SettingsError(
                    f"{event.label!r} at frame {event.frame} of {event.video}, which has {len(clock_s) - 1}; correct it"
                )
            time_s = float(clock_s[event.frame])
        marks[event.video].append(Mark(event.video, event.label, time_s, None, score=event.score))
    return marks


def _check(marks: Mapping[str, Sequence[Mark]], program: Program) -> None:
    """Raise SettingsError for what a program cannot hold, and warn of what is lost."""
    every = [mark for own in marks.values() for mark in own]
    if program in _ONE_VIDEO and len(marks) != 1:
        raise SettingsError(f"{len(marks)} videos; a file of `program` {program} is of one; write a file for each")
    if program == "create-ml" and any(mark.end is None for mark in every):
        raise SettingsError("`program` create-ml holds spans, and no events; choose another program")
    for mark in every:
        if any(unicodedata.category(letter)[0] == "C" for letter in mark.label):
            raise SettingsError(f"label {mark.label!r} has a letter that no program shows; rename the class")
        if not mark.start >= 0:
            raise SettingsError(f"{mark.label!r} at {mark.start} s; times are seconds from 0; correct it")
        if mark.end is not None and round(mark.end - mark.start, 6) < 0.001:
            raise SettingsError(f"{mark.label!r} at {mark.start} s lasts less than a millisecond; leave it out")
    if program not in _KEEP_SCORES and any(mark.score is not None for mark in every):
        warnings.warn(f"{program} has no place for scores; they are not written", GateShiftWarning, stacklevel=3)
    if program in _COUNT_FRAMES and every:
        warnings.warn(f"{program} counts frames: times are those of the nearest ones", GateShiftWarning, stacklevel=3)


def _check_ends(marks: Mapping[str, Sequence[Mark]], clock: Callable[[str], Floats]) -> None:
    """Raise SettingsError for a mark beyond the end of its video, where no frame is."""
    for mark in (mark for own in marks.values() for mark in own):
        last_s = clock(mark.video)[-1]
        if mark.start > last_s + END_SLACK_S:
            raise SettingsError(
                f"{mark.label!r} at {mark.start} s of {mark.video}, which ends at {last_s:.3f} s; correct the time, or "
                "give the video that it is of"
            )


def _check_names(paths: Mapping[str, Path], program: Program) -> None:
    """Raise SettingsError if two videos would have one name in the file, so that nobody could tell them apart."""
    times = Counter(path.name for path in paths.values())
    if program in _BARE_NAMES and times and max(times.values()) > 1:
        name, count = times.most_common(1)[0]
        raise SettingsError(
            f"{count} videos are called {name}, and a file of `program` {program} has the names of videos alone, and "
            "not their folders; write a file for each"
        )


def check_program(program: Program, path: Path, *, overwrite: bool, argument: str = "path") -> None:
    """Raise SettingsError unless a file of this program can be written, before any work is done."""
    if program not in PROGRAMS:
        raise SettingsError(f"`program` {program!r}; choose one of {', '.join(PROGRAMS)}")
    check_writable(argument, path, overwrite=overwrite, suffixes=SUFFIXES[program])
