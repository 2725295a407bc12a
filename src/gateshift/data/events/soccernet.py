"""SoccerNet's files: the labels of a game, ``Labels-v2.json`` and ``Labels-ball.json``, and ``results_spotting.json``.

A file is of one game, whose videos are its halves. They are named GAME/1 and GAME/2 here, GAME as ``UrlLocal`` has it,
and 1 and 2 alone where it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateshift.data.events.events import Event, EventList, VideoInfo, read_event
from gateshift.errors import ManifestError, SettingsError

KEYS = {"annotations", "predictions"}


def read_game(document: Mapping[str, Any], where: str, *, game: str | None = None) -> EventList:
    """The events of a game.

    Args:
        document: What the file holds.
        where: The file, for errors.
        game: What the game is called, if not as ``UrlLocal`` says.

    Raises:
        ManifestError: If an event lacks its position or label.
    """
    key = "predictions" if "predictions" in document else "annotations"
    if not isinstance(document[key], list):
        raise ManifestError(f"{where}: {key!r} is no list of events; give SoccerNet's own file")
    game = str(document.get("UrlLocal") or "") if game is None else game
    events = [_read(each, f"{where}, event {n}", game.strip("/")) for n, each in enumerate(document[key], start=1)]
    extra = {"key": key, **{name: value for name, value in document.items() if name not in KEYS}}
    return EventList(tuple(events), {event.video: VideoInfo() for event in events}, "soccernet", extra)


def _read(fields: Any, where: str, game: str) -> Event:
    if not isinstance(fields, dict) or "position" not in fields:
        raise ManifestError(f"{where}: {fields!r}; it needs label and position, in milliseconds; correct it")
    half = str(fields.get("half") or str(fields.get("gameTime") or "1").partition("-")[0]).strip()
    number = {"label": fields.get("label"), "time_s": fields["position"], "score": fields.get("confidence")}
    event = read_event(f"{game}/{half}".lstrip("/"), number, where, extra=fields)
    assert event.time_s is not None
    return Event(event.video, event.label, None, event.time_s / 1000, event.score, fields)


def game_document(listed: EventList) -> dict[str, Any]:
    """The events of a game as SoccerNet writes them: answers if they have scores, else labels.

    Raises:
        SettingsError: If they are of several games, or an event has no time.
    """
    places = {name: _game_and_half(name, alone=len(listed.videos) == 1) for name in listed.videos}
    games = {game for game, _ in places.values()}
    if len(games) > 1:
        raise SettingsError(
            f"videos of {len(games)} games, such as {' and '.join(sorted(games)[:2])}; a SoccerNet file is of one; "
            "name its halves GAME/1 and GAME/2, and write a file for each game"
        )
    scored = any(event.score is not None for event in listed.events)
    extra = dict(listed.extra) if listed.form == "soccernet" else {}
    key = extra.pop("key", "predictions" if scored else "annotations")
    if listed.form != "soccernet" and any(games):
        extra["UrlLocal"] = f"{games.pop()}/"
    return {**extra, key: [_written(event, places[event.video][1], key) for event in listed.events]}


def _game_and_half(name: str, *, alone: bool) -> tuple[str, str]:
    game, _, half = name.rpartition("/")
    if half in ("1", "2"):
        return game, half
    return (name, "1") if alone else (name, "")


def _written(event: Event, half: str, key: str) -> dict[str, Any]:
    if event.time_s is None:
        raise SettingsError(f"{event.label!r} of {event.video} at frame {event.frame}; SoccerNet wants times: give it")
    milliseconds = round(event.time_s * 1000)
    minutes, seconds = divmod(milliseconds // 1000, 60)
    new: dict[str, Any] = {"gameTime": f"{half} - {minutes:02}:{seconds:02}"}
    if key == "predictions":
        new["half"] = half
    written = {**new, **event.extra, "label": event.label}
    if "position" not in written or float(written["position"]) / 1000 != event.time_s:
        written["position"] = str(milliseconds)
    if event.score is not None and ("confidence" not in written or float(written["confidence"]) != event.score):
        written["confidence"] = str(event.score)
    return written
