"""Label Studio's JSON: exports of tasks with annotations, and tasks with predictions to import.

Timelines count frames from 1, both ends included, by a steady clock of as many a second as the project's ``frameRate``
says, whatever the video has; regions of sound are in seconds. Where a task says ``fps`` in its data, it counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateshift.data.choices import VIDEO_SUFFIXES
from gateshift.data.labelling.media import plain_path, rate_of
from gateshift.data.labelling.sheets import Answers, Mark, Sheet, objects, part, read_json
from gateshift.data.lists.tables import read_number
from gateshift.errors import ManifestError

FROM_NAME, TO_NAME = "timelineLabels", "video"  # of the tags in Label Studio's own template
Stretch = tuple[float, float | None]  # the second is None of a moment
_UPLOAD = 9  # letters that are put before the name of an uploaded file: 8 and a dash


def read_label_studio(path: Path) -> Sheet:
    """The timelines, tracked boxes and regions of sound of all tasks."""
    sheet = Sheet(by_what="annotator")
    timeless = cancelled = boxes = 0
    for place, task in enumerate(read_json(path, list, "a JSON export of Label Studio"), start=1):
        where = f"{path}, task {task.get('id', place)!r}" if isinstance(task, dict) else f"{path}, task {place}"
        key = _add_video(sheet, task, where)
        if "annotations" not in task and "predictions" not in task:
            raise ManifestError(f"{where}: no annotations; export as JSON, not as JSON-MIN")
        kind = "annotations" if "annotations" in task else "predictions"
        for annotation in objects(task, kind, where):
            if annotation.get("was_cancelled"):
                cancelled += 1
                continue
            by = _annotator(annotation)
            for region in objects(annotation, "result", where):
                at = f"{where}, region {region.get('id', '')!r}"
                found = list(_marks(region, key, by, at, sheet))
                boxes += "sequence" in _value(region)
                timeless += not found
                sheet.marks += found
    sheet.leave_out(timeless, "results without times")
    sheet.leave_out(cancelled, "cancelled annotations")
    sheet.leave_out(boxes, "the boxes of tracks")
    return sheet


def _add_video(sheet: Sheet, task: Any, where: str) -> str:
    data = part(task, "data", dict, where)
    ordered = sorted(data.items(), key=lambda item: item[0] != "video")
    texts = [value for _, value in ordered if isinstance(value, str)]
    films = [text for text in texts if Path(plain_path(text)).suffix.lower() in VIDEO_SUFFIXES]
    if not films:
        raise ManifestError(f"{where}: none of its data ({', '.join(data)}) is a video; export a project of videos")
    key = films[0]
    uploaded = plain_path(key).rpartition("/")[2]
    names = (key, uploaded[_UPLOAD:]) if uploaded[_UPLOAD - 1 : _UPLOAD] == "-" else (key,)
    sheet.videos[key] = names
    if "fps" in data:
        sheet.rates[key] = read_number(data["fps"], "fps", where)
        if sheet.rates[key] <= 0:
            raise ManifestError(f"{where}: fps {data['fps']!r}; it must be above 0; correct it")
    return key


def _annotator(annotation: Mapping[str, Any]) -> str:
    by = annotation.get("completed_by", annotation.get("model_version", ""))
    return str(by.get("email", by.get("id")) if isinstance(by, dict) else by)


def _marks(region: Mapping[str, Any], key: str, by: str, where: str, sheet: Sheet) -> Iterator[Mark]:
    """The marks of a region: one for each range and label."""
    value = _value(region)
    labels = next((value[name] for name in value if name.endswith("labels")), None)
    labels = labels if isinstance(labels, list) and labels else [""]
    score = region.get("score")
    score = score if isinstance(score, int | float) else None
    ranges: list[Stretch] = []
    unit: Any = "ticks"
    if "ranges" in value:
        for each in objects(value, "ranges", where):
            first, last = (read_number(each.get(name), name, where) for name in ("start", "end"))
            ranges.append((first - 1, None if first == last else last))
    elif "sequence" in value:
        ranges = _shown(objects(value, "sequence", where), value, where)
        frames, duration_s = (read_number(value.get(name, 0), name, where) for name in ("framesCount", "duration"))
        if frames > 0 and duration_s > 0:
            sheet.rates.setdefault(key, frames / duration_s)
    elif isinstance(value.get("start"), int | float) and "paragraphlabels" not in value:  # which count lines
        start_s, end_s = (read_number(value.get(name), name, where) for name in ("start", "end"))
        ranges, unit = [(start_s, end_s)], "seconds"
    for start, end in ranges:
        for label in labels:
            yield Mark(key, str(label).strip(), start, end, where, by, unit, score)


def _value(region: Mapping[str, Any]) -> dict[str, Any]:
    value = region.get("value")  # relations have none
    return value if isinstance(value, dict) else {}


def _shown(sequence: Sequence[Mapping[str, Any]], value: Mapping[str, Any], where: str) -> list[Stretch]:
    """From when to when a tracked box is shown; a keyframe that is not enabled is the last that shows it."""
    found: list[Stretch] = []
    begun: float | None = None
    for each in sorted(sequence, key=lambda one: read_number(one.get("frame"), "frame", where)):
        frame = read_number(each["frame"], "frame", where)
        begun = frame - 1 if begun is None else begun
        if not each.get("enabled", True):
            found.append((begun, None if frame - 1 == begun else frame))
            begun = None
    if begun is not None:
        found.append((begun, read_number(value.get("framesCount"), "framesCount", where)))
    return found


def label_studio_text(answers: Answers) -> str:
    """Tasks with predictions, to import into a project whose tags have the names of Label Studio's own template."""
    tasks = []
    for name, own in answers.marks.items():
        clock_s = answers.clock(name)
        rate = rate_of(clock_s)
        result = []
        for place, mark in enumerate(own):
            first = round((mark.start - clock_s[0]) * rate) + 1
            last = first if mark.end is None else max(round((mark.end - clock_s[0]) * rate), first)
            region: dict[str, Any] = {
                "id": f"r{place}",
                "type": "timelinelabels",
                "from_name": FROM_NAME,
                "to_name": TO_NAME,
                "value": {"ranges": [{"start": first, "end": last}], "timelinelabels": [mark.label]},
            }
            result.append(region if mark.score is None else {**region, "score": mark.score})
        data = {"video": answers.paths[name].name, "fps": round(rate, 6)}
        tasks.append({"data": data, "predictions": [{"model_version": "gateshift", "result": result}]})
    return json.dumps(tasks, indent=1, ensure_ascii=False) + "\n"
