"""Files of events in the field's formats, told apart by what they hold, and written back with the same content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from gateshift.data.events.event_tables import event_table, read_event_table
from gateshift.data.events.events import Event, EventList, Span, VideoInfo, number_if_any, read_event
from gateshift.data.events.soccernet import KEYS, game_document, read_game
from gateshift.data.events.subtitles import SUBTITLE_SUFFIXES, subtitles
from gateshift.data.lists.tables import parse_json, read_text
from gateshift.errors import ManifestError, SettingsError
from gateshift.files import check_writable, write_text

Events = str | PathLike[str] | EventList | Iterable[Event | Mapping[str, Any]]
EVENT_SUFFIXES = (".csv", ".json", *SUBTITLE_SUFFIXES)
CUE_S = 1.0  # for how long a subtitle shows an event
_SOCCERNET_FILES = ("Labels-v2.json", "Labels-ball.json", "Labels.json", "results_spotting.json")


def read_events(source: Events) -> EventList:
    """The events of a file, whichever of the formats it has.

    Args:
        source: A CSV ``path,time_s,label`` or ``path,frame,label``, which may have ``score`` and other columns;
            E2E-Spot's ``SPLIT.json``; SoccerNet's ``Labels-*.json`` or ``results_spotting.json``, or a folder of its
            games. Also events, or dicts with ``video``, ``frame`` or ``time_s``, ``label`` and perhaps ``score``.

    Returns:
        The events, with all other fields of their file.

    Raises:
        ManifestError: If it has none of these formats, or something in it is not as it should be.
    """
    if isinstance(source, EventList):
        return source
    if not isinstance(source, str | PathLike):
        return EventList.of(source)
    path = Path(source)
    if path.is_dir():
        found = _read_games(path)
    elif not path.is_file():
        raise ManifestError(f"{path}: no such file of events; give a CSV path,time_s,label, or a JSON of events")
    else:
        found = _read_json(path) if _is_json(path) else read_event_table(path)
    return replace(found, source=path)


def _is_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{")


def _read_json(path: Path, *, game: str | None = None) -> EventList:
    found = parse_json(read_text(path), path, "make or download it again")
    if isinstance(found, list):
        return _read_spot(found, path)
    if KEYS & found.keys():
        return read_game(found, str(path), game=game)
    raise ManifestError(
        f"{path}: a JSON object of {', '.join(list(found)[:4]) or 'nothing'}; give E2E-Spot's list of videos, or "
        "SoccerNet's annotations or predictions"
    )


def _read_spot(records: list[Any], path: Path) -> EventList:
    """E2E-Spot's list of videos; a rate of -1 means that it is not known."""
    events: list[Event] = []
    videos: dict[str, VideoInfo] = {}
    for number, record in enumerate(records, start=1):
        where = f"{path}, video {number}"
        if not isinstance(record, dict) or not {"video", "events"} <= record.keys():
            raise ManifestError(f"{where}: {str(record)[:80]}; each needs video and events; give E2E-Spot's SPLIT.json")
        name, own = str(record["video"]), record["events"]
        if name in videos:
            raise ManifestError(f"{where}: {name} is listed twice; list each video once")
        if not isinstance(own, list) or record.get("num_events", len(own)) != len(own):
            count = len(own) if isinstance(own, list) else "no list of"
            raise ManifestError(f"{where}: {name} has {count} events, and num_events says another number; correct it")
        fps, frames = (_positive(record.get(field), field, where) for field in ("fps", "num_frames"))
        num_frames = None if frames is None else int(frames)
        videos[name] = VideoInfo(fps, num_frames, {field: record[field] for field in record if field != "events"})
        for place, each in enumerate(own, start=1):
            at = f"{where}, event {place}"
            if not isinstance(each, dict):
                raise ManifestError(f"{at}: {each!r}; it needs frame and label; correct it")
            event = read_event(name, each, at)
            if num_frames is not None and event.frame is not None and num_frames <= event.frame:
                raise ManifestError(f"{at}: frame {event.frame} of {name}, which has {num_frames}; correct it")
            events.append(event)
    return EventList(tuple(events), videos, "e2e-spot")


def _positive(value: Any, name: str, where: str) -> float | None:
    """A number above 0, or the text of one; None for others, which mean that it is not known."""
    number = number_if_any(value, name, where)
    if number is None or number <= 0:
        return None
    return value if isinstance(value, int | float) else number


def _read_games(folder: Path) -> EventList:
    """All games of a folder of SoccerNet, each called as its own folder."""
    games: dict[str, Path] = {}
    for name in _SOCCERNET_FILES:
        for path in sorted(folder.rglob(name)):
            game = path.parent.relative_to(folder).as_posix()
            if game in games:
                raise ManifestError(
                    f"{path.parent}: {path.name} and {games[game].name} are both there; keep one of them"
                )
            games[game] = path
    if not games:
        raise ManifestError(f"{folder}: no {' or '.join(_SOCCERNET_FILES)} in it; give a file of events")
    found = [_read_json(path, game=game.removeprefix(".")) for game, path in sorted(games.items())]
    videos = {name: info for each in found for name, info in each.videos.items()}
    return EventList(tuple(event for each in found for event in each.events), videos, "soccernet")


def write_events(
    events: Events,
    path: str | PathLike[str],
    *,
    form: Literal["e2e-spot", "soccernet"] | None = None,
    overwrite: bool = False,
) -> None:
    """Write events as .csv, .json, or subtitles (.srt, .vtt); what was read comes back with the same content.

    Args:
        events: As :func:`read_events` takes and gives them.
        path: The file. Subtitles are of one video, and show each event for a second.
        form: Whose JSON: "e2e-spot" or "soccernet". By default the one that they were read from, else E2E-Spot's.
        overwrite: Replace the file if it is there.

    Raises:
        SettingsError: If the file cannot be written there, or events do not fit the format.
        ManifestError: As :func:`read_events`.
    """
    path, listed = Path(path), read_events(events)
    check_writable("path", path, overwrite=overwrite, suffixes=EVENT_SUFFIXES)
    if path.suffix == ".csv":
        text = event_table(listed)
    elif path.suffix == ".json":
        is_game = (form or listed.form) == "soccernet"
        document = game_document(listed) if is_game else _spot_document(listed)
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    else:
        text = subtitles(_cues(listed), path.suffix)
    write_text(path, text, errors="surrogateescape" if path.suffix == ".csv" else "backslashreplace")


def _cues(listed: EventList) -> list[Span]:
    """The events of one video in order of time, each for a second."""
    if len(listed.videos) > 1:
        raise SettingsError(f"events of {len(listed.videos)} videos; subtitles are of one; write a file for each")
    times = [(event.time_s, event) for event in listed.events if event.time_s is not None]
    if len(times) < len(listed):
        raise SettingsError("events without a time; subtitles need `time_s`; give it")
    return [
        Span(time_s, time_s + CUE_S, event.label, event.score) for time_s, event in sorted(times, key=itemgetter(0))
    ]


def _spot_document(listed: EventList) -> list[dict[str, Any]]:
    """E2E-Spot's list of videos; answers have scores, and times where these are known."""
    found = []
    for name, own in listed.by_video().items():
        info = listed.videos[name]
        kept = info.extra if listed.form == "e2e-spot" else {"num_events": 0}
        facts = {
            "num_frames": info.num_frames,
            "fps": info.fps,
            "num_events": len(own) if "num_events" in kept else None,
        }
        facts = {field: value for field, value in facts.items() if value is not None}
        found.append({"video": name, **kept, **facts, "events": [{**each.extra, **_fields(each)} for each in own]})
    return found


def _fields(event: Event) -> dict[str, Any]:
    values = {"frame": event.frame, "time_s": event.time_s, "label": event.label, "score": event.score}
    return {name: value for name, value in values.items() if value is not None}
