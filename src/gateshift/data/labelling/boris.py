"""BORIS: its projects (.boris, JSON), and the tables of tabular and aggregated events that it exports (.csv, .tsv).

A state event is listed twice, when it starts and when it stops, and belongs to one subject with one set of modifiers.
Times are those of all videos of an observation one after the other, with its time offset added.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from gateshift.data.clips.recordings import Floats
from gateshift.data.labelling.media import rate_of
from gateshift.data.labelling.sheets import Answers, Mark, Sheet, check_known, lanes, part, read_json
from gateshift.data.lists.tables import open_text, read_number
from gateshift.errors import ManifestError

_DATE = "2000-01-01T00:00:00"  # of what is written: the same answers are the same file
_SUBJECT = "answer"  # and a number: who does what another does already
_KINDS = {"POINT": False, "START": True, "STOP": True, "STATE": True}  # whether each is a state


@dataclass(frozen=True, slots=True)
class _Event:
    time_s: float  # without the observation's offset
    subject: str
    code: str
    modifier: str
    is_state: bool
    where: str
    is_stop: bool | None = None  # of a state; None where starts and stops alternate, as in a project


def read_boris(path: Path) -> Sheet:
    """A project, or a table of events."""
    with path.open("rb") as file:
        is_project = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    return _read_project(path) if is_project else _read_table(path)


def _read_project(path: Path) -> Sheet:
    project = read_json(path, dict, "a project of BORIS")
    behaviors = part(project, "behaviors_conf", dict, str(path))
    states = {
        str(each.get("code")): str(each.get("type", "")).startswith("State")
        for each in behaviors.values()
        if isinstance(each, dict)
    }
    sheet = Sheet(by_what="subject")
    modified = commented = 0
    for name, observation in part(project, "observations", dict, str(path)).items():
        where = f"{path}, observation {name!r}"
        players = observation.get("file") if isinstance(observation, dict) else None
        players = players if isinstance(players, dict) else {}
        files = [str(file) for file in _listed(players, "1")]
        if not files:
            sheet.notes.append(f"observation {name!r} has no video; it is left out")
            continue
        if observation.get("media_creation_date_as_offset"):
            raise ManifestError(f"{where}: its times are dates; observe without the media creation date as offset")
        others = [str(file) for player in players if player != "1" for file in _listed(players, player)]
        if others:
            sheet.notes.append(f"observation {name!r}: labels are given to {files[0]}, and not to {', '.join(others)}")
        offset_s = read_number(observation.get("time offset") or 0, "time offset", where)
        events = []
        for place, row in enumerate(part(observation, "events", list, where), start=1):
            at = f"{where}, event {place}"
            if not isinstance(row, list) or len(row) < 3:
                raise ManifestError(f"{at}: {row!r}; it needs time, subject and code; save the project again")
            time_s, subject, code, modifier, comment = (*row, "", "")[:5]
            check_known(str(code), list(states), at)
            modified, commented = modified + (modifier not in ("", "None")), commented + bool(comment)
            at_s, is_state = read_number(time_s, "time", at) - offset_s, states.get(str(code), False)
            events.append(_Event(at_s, str(subject), str(code), str(modifier), is_state, at))
        lengths: dict[str, float] = {}
        if len(files) > 1:
            listed = part(part(observation, "media_info", dict, where), "length", dict, where)
            lengths = {file: read_number(listed.get(file), f"length of {file}", where) for file in files}
        _add(sheet, files, lengths, _stretches(events))
    sheet.leave_out(modified, "modifiers")
    sheet.leave_out(commented, "comments")
    return sheet


def _listed(players: Mapping[str, Any], player: str) -> list[Any]:
    files = players.get(player)
    return files if isinstance(files, list) else []


def _stretches(events: Iterable[_Event]) -> Iterator[tuple[_Event, float | None]]:
    """Each point, and each state from its start to its stop."""
    begun: dict[tuple[str, str, str], _Event] = {}
    for event in sorted(events, key=lambda each: (each.time_s, each.is_stop is False)):
        key = (event.subject, event.code, event.modifier)
        of = f" of {event.subject}" if event.subject else ""
        if not event.is_state:
            yield event, None
        elif key not in begun and event.is_stop:
            raise ManifestError(
                f"{event.where}: {event.code!r}{of} stops at {event.time_s:.3f} s and never starts; begin it"
            )
        elif key not in begun:
            begun[key] = event
        elif event.is_stop is False:
            raise ManifestError(
                f"{begun[key].where}: {event.code!r}{of} starts at {begun[key].time_s:.3f} s and again at "
                f"{event.time_s:.3f} s; end it before"
            )
        else:
            yield begun.pop(key), event.time_s
    for event in begun.values():
        of = f" of {event.subject}" if event.subject else ""
        raise ManifestError(f"{event.where}: {event.code!r}{of} starts at {event.time_s:.3f} s and never stops; end it")


def _add(
    sheet: Sheet,
    files: Sequence[str],
    lengths: Mapping[str, float],
    found: Iterable[tuple[_Event, float | None]],
) -> None:
    """Add marks to the videos of an observation, which follow each other; a state over the end of one is parted."""
    begins = [0.0]
    for file in files[:-1]:
        begins.append(begins[-1] + lengths[file])
    parts = list(zip(files, begins, [-math.inf, *begins[1:]], [*begins[1:], math.inf], strict=True))
    sheet.videos.update({file: (file,) for file in files})
    for event, end_s in found:
        for file, begin_s, low_s, high_s in parts:
            start_s, stop_s = max(event.time_s, low_s), None if end_s is None else min(end_s, high_s)
            is_here = low_s <= event.time_s < high_s
            if is_here or (stop_s is not None and start_s < stop_s):
                stop = None if stop_s is None else stop_s - begin_s
                sheet.marks.append(Mark(file, event.code, start_s - begin_s, stop, event.where, event.subject))


def _read_table(path: Path) -> Sheet:
    before, rows = _rows(path)
    sheet = Sheet(by_what="subject")
    events: dict[tuple[str, str], list[_Event]] = {}  # of each observation of each video
    modified = 0
    for where, row in rows:
        if not row.get("Behavior"):
            continue
        file = _video_of(row, where)
        sheet.videos.setdefault(file, (file,))
        offset_s = read_number(row.get("Time offset (s)") or before.get("Time offset (s)") or 0, "time offset", where)
        kind = row.get("Behavior type") or row.get("Status") or ""
        modifiers = [value for name, value in row.items() if name.startswith("Modifier")]
        modified += any(modifiers)
        if kind not in _KINDS:
            raise ManifestError(f"{where}: {kind!r} is none of {', '.join(_KINDS)}; export the events again")
        label, subject = row["Behavior"], row["Subject"]
        if "Start (s)" in row:
            start, stop = (read_number(row.get(name), name, where) - offset_s for name in ("Start (s)", "Stop (s)"))
            sheet.marks.append(Mark(file, label, start, stop if _KINDS[kind] else None, where, subject))
        else:
            time_s = read_number(row.get("Time"), "time", where) - offset_s
            event = _Event(time_s, subject, label, "|".join(modifiers), _KINDS[kind], where, kind == "STOP")
            events.setdefault((row.get("Observation id", ""), file), []).append(event)
    files = {file for _, file in events}
    if before and len(files) > 1:  # of one observation, as BORIS wrote them until version 7
        raise ManifestError(f"{path}: {len(files)} videos one after the other; give the project (.boris)")
    for (_, file), found in events.items():
        _add(sheet, [file], {}, _stretches(found))
    sheet.leave_out(modified, "modifiers")
    return sheet


def _rows(path: Path) -> tuple[dict[str, str], list[tuple[str, dict[str, str]]]]:
    """What stands before the line that names the columns, and each row below it with its place."""
    with open_text(path) as file:
        text = file.read()
    for delimiter in "\t,":
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        try:
            lines = [(reader.line_num, cells) for cells in reader]
        except csv.Error as error:
            raise ManifestError(f"{path}, line {reader.line_num}: {error}; export the events again") from None
        for head, (_, names) in enumerate(lines):
            if {"Behavior", "Subject"} <= {*names}:
                before = {cells[0]: cells[1] for _, cells in lines[:head] if len(cells) > 1}
                rows = [(f"{path}, line {n}", dict(zip(names, cells, strict=False))) for n, cells in lines[head + 1 :]]
                return before, rows
    raise ManifestError(f"{path}: no line names the columns Subject and Behavior; give a project or events of BORIS")


def _video_of(row: Mapping[str, str], where: str) -> str:
    """The video of an event: of several one after the other the project alone says where each begins."""
    source = row.get("Source", "").split("|")[0].removeprefix("player #1:")
    name = row.get("Media file name") or row.get("Media file path") or source
    if ";" in source or not name or name in ("NA", "Not found"):
        raise ManifestError(f"{where}: its video is {source or name!r}; give the project (.boris)")
    return name


def boris_text(answers: Answers) -> str:
    """A project with an observation for each video; how sure an answer is stands in its comment."""
    points = {mark.label: mark.end is None for own in answers.marks.values() for mark in own}
    observations: dict[str, Any] = {}
    for name, own in answers.marks.items():
        stem = answers.paths[name].stem
        free = next(each for each in chain([stem], (f"{stem} {k}" for k in count(2))) if each not in observations)
        observations[free] = _observation(own, str(answers.paths[name]), answers.clock(name))
    blank = dict.fromkeys(("key", "description", "category", "excluded", "coding map"), "")
    behaviors = {
        str(place): {**blank, "code": label, "type": f"{'Point' if points[label] else 'State'} event", "modifiers": {}}
        for place, label in enumerate(sorted(points))
    }
    rows = (row for each in observations.values() for row in each["events"])
    subjects = {
        str(place): {"key": "", "name": name, "description": ""}
        for place, name in enumerate(sorted({row[1] for row in rows} - {""}))
    }
    project = {
        "time_format": "hh:mm:ss",
        "project_date": _DATE,
        "project_name": "answers of gateshift",
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": subjects,
        "behaviors_conf": behaviors,
        "observations": observations,
        **{name: [] for name in ("behavioral_categories", "behaviors_coding_map")},
        **{name: {} for name in ("independent_variables", "coding_map", "converters")},
    }
    return json.dumps(project, indent=1, ensure_ascii=False) + "\n"


def _observation(own: Sequence[Mark], file: str, clock_s: Floats) -> dict[str, Any]:
    rows = []
    for label in dict.fromkeys(mark.label for mark in own):
        # A subject is in a state once at a time.
        for k, lane in enumerate(lanes([mark for mark in own if mark.label == label]), start=1):
            for mark in lane:
                subject = "" if k == 1 or mark.end is None else f"{_SUBJECT} {k}"
                comment = "" if mark.score is None else f"{mark.score:.3f}"
                times_s = (mark.start,) if mark.end is None else (mark.start, mark.end)
                rows += [[round(time_s, 3), subject, label, "", comment] for time_s in times_s]
    switches = ("visualize_spectrogram", "visualize_waveform", "close_behaviors_between_videos")
    return {
        "file": {str(player): [file] if player == 1 else [] for player in range(1, 9)},
        **{"type": "MEDIA", "date": _DATE, "description": "", "time offset": 0.0, "independent_variables": {}},
        **dict.fromkeys((*switches, "media_creation_date_as_offset"), False),
        "events": sorted(rows, key=lambda row: row[0]),
        "media_info": {
            "length": {file: round(float(clock_s[-1] - clock_s[0]), 3)},
            "fps": {file: round(rate_of(clock_s), 3)},
            **{"hasVideo": {file: True}, "hasAudio": {file: False}, "offset": {"1": 0.0}},
        },
    }
