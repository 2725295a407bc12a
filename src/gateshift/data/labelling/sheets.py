"""What every labelling program's file is read into and written from: videos, and marks on them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from gateshift.data.clips.recordings import Floats
from gateshift.data.lists.labels import first_of
from gateshift.data.lists.tables import parse_json, read_text
from gateshift.errors import ManifestError

MOMENTS = "moments"  # how the name of a tier or an attribute begins whose stretches are events at their starts
MOMENT_S = 0.2  # how long such a stretch is written, so that a person can see and move it

_Shape = TypeVar("_Shape", bound="dict[str, Any] | list[Any]")


@dataclass(frozen=True, slots=True)
class Mark:
    """A label on a video: a stretch, or a moment.

    Attributes:
        video: The video, by its key in the sheet.
        label: The class.
        start: When it begins; in frames, the first one, counted from 0.
        end: When it ends, in frames the first one after it; None for a moment, infinite for the video's end.
        where: The place in the file, for errors.
        by: The tier, subject, annotator or attribute that it belongs to.
        unit: What ``start`` and ``end`` count: seconds; frames of the file, one by one; or ticks of a steady clock.
        score: Of an answer, how sure it is.
    """

    video: str
    label: str
    start: float
    end: float | None
    where: str = ""
    by: str = ""
    unit: Literal["seconds", "frames", "ticks"] = "seconds"
    score: float | None = None


@dataclass
class Sheet:
    """What one file holds.

    Attributes:
        videos: The names that each video may have, the likeliest first, by its key; those without marks too.
        marks: In the order of the file.
        by_what: What ``Mark.by`` is in this program, such as "tier".
        rates: Ticks a second of the videos for which the file says it.
        notes: What was not kept, a line each.
    """

    videos: dict[str, tuple[str, ...]] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    by_what: str = ""
    rates: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, count: int, what: str) -> None:
        """Note that so many of something were not kept, if there are any."""
        if count:
            self.notes.append(f"{what} ({count}) are not kept")


@dataclass(frozen=True)
class Answers:
    """What is written: times are in seconds.

    Attributes:
        marks: Of each video by its name.
        paths: Where each video is, absolute.
        clock: Of a video by its name, when each frame is shown, and when the last one ends, in seconds [n + 1].
        out: The file that is written.
    """

    marks: Mapping[str, Sequence[Mark]]
    paths: Mapping[str, Path]
    clock: Callable[[str], Floats]
    out: Path


def read_json(path: Path, shape: type[_Shape], wanted: str) -> _Shape:
    """A JSON file of one shape.

    Raises:
        ManifestError: If it is something else than ``wanted``.
    """
    found = parse_json(read_text(path), path, "export it again")
    if not isinstance(found, shape):
        raise ManifestError(f"{path}: a JSON {type(found).__name__}; give {wanted}")
    return found


def read_xml(path: Path, root: str, wanted: str) -> ElementTree.Element:
    """The root of an XML file. Nothing outside of the file is read, and expat refuses entities that grow without end.

    Raises:
        ManifestError: If it is something else than ``wanted``.
    """
    try:
        found = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeError, LookupError, ValueError) as error:
        raise ManifestError(f"{path}: broken XML ({error}); export it again") from None
    if found.tag != root:
        raise ManifestError(f"{path}: XML of <{found.tag}>; give {wanted}")
    return found


def xml_text(root: ElementTree.Element) -> str:
    """An XML file's text, indented."""
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def part(record: Any, name: str, shape: type[_Shape], where: str) -> _Shape:
    """A field of a JSON object, which must be there and have one shape.

    Raises:
        ManifestError: If it is not.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, shape):
        kind = "an object" if shape is dict else "a list"
        raise ManifestError(f"{where}: {name!r} is {str(value)[:40]!r}, and must be {kind}; export it again")
    return value


def objects(record: Any, name: str, where: str) -> list[dict[str, Any]]:
    """A field of a JSON object that must be a list of objects.

    Raises:
        ManifestError: If it is not.
    """
    found = part(record, name, list, where)
    for each in found:
        if not isinstance(each, dict):
            raise ManifestError(f"{where}: {name!r} holds {str(each)[:40]!r}, and must hold objects; export it again")
    return found


def check_known(label: str, known: Sequence[str], where: str) -> None:
    """Raise ManifestError unless a label is one that its own file defines, where it defines any."""
    if known and label and label not in known:
        raise ManifestError(
            f"{where}: {label!r} is none of the file's own {len(known)} labels ({first_of(known)}); correct it"
        )


def shown_end(mark: Mark) -> float:
    """When a mark ends as it is written: moments get a length, so that a person can see and move them."""
    return mark.start + MOMENT_S if mark.end is None else mark.end


def lanes(marks: Sequence[Mark]) -> list[list[Mark]]:
    """Marks in rows in which none overlap, by their start; moments are in rows of their own.

    >>> [len(lane) for lane in lanes([Mark("v", "a", 0, 2), Mark("v", "b", 1, 3), Mark("v", "c", 2, 4)])]
    [2, 1]
    """
    found: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda each: each.start):
        free = (
            lane for lane in found if (lane[0].end is None) == (mark.end is None) and shown_end(lane[-1]) <= mark.start
        )
        lane = next(free, None)
        if lane is None:
            found.append([mark])
        else:
            lane.append(mark)
    return found


def lane_names(rows: Sequence[Sequence[Mark]]) -> list[str]:
    """A name for each row: spans, spans 2, moments ...

    >>> lane_names([[Mark("v", "a", 0, 2)], [Mark("v", "b", 1, None)], [Mark("v", "b", 1, 2)]])
    ['spans', 'moments', 'spans 2']
    """
    counts: dict[str, int] = {}
    names = []
    for row in rows:
        kind = MOMENTS if row[0].end is None else "spans"
        counts[kind] = counts.get(kind, 0) + 1
        names.append(kind if counts[kind] == 1 else f"{kind} {counts[kind]}")
    return names
