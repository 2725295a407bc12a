"""CVAT's XML 1.1: tracks of "CVAT for video", and tags of "CVAT for images" of a task that is a video.

Frames are numbered from 0, as the file has them. A track is shown from a shape that is not outside until one that is; a
tag on frames that follow each other is a stretch. What is on one frame alone is a moment.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateshift.data.labelling.media import nearest, size_of
from gateshift.data.labelling.sheets import Answers, Mark, Sheet, check_known, read_xml, xml_text
from gateshift.data.lists.tables import read_number
from gateshift.errors import ManifestError


def read_cvat(path: Path) -> Sheet:
    """The tracks and tags of one task or job."""
    root = read_xml(path, "annotations", "CVAT's XML 1.1 (CVAT for video, or for images)")
    meta = root.find("meta")
    if meta is None or meta.find("project") is not None:
        raise ManifestError(f"{path}: not of one task; export each task or job by itself, as CVAT for video 1.1")
    known = [(each.findtext("name") or "").strip() for each in meta.iter("label")]
    task = meta.find("task")
    names = [meta.findtext(".//source"), None if task is None else task.findtext("name")]
    key = next((name for name in names if name), "")
    sheet = Sheet({key: tuple(filter(None, names))}, by_what="group")
    filtered = re.search(r"step=(\d+)", meta.findtext(".//frame_filter") or "")
    step = int(filtered[1]) if filtered else 1
    shapes = 0
    for track in root.iter("track"):
        label, where = track.get("label", ""), f"{path}, track {track.get('id')}"
        check_known(label, known, where)
        places = [shape for shape in track if "frame" in shape.attrib]
        seen = {_frame(shape, "frame", where): shape.get("outside") == "1" for shape in places}
        shapes += bool(seen)
        sheet.marks += (Mark(key, label, *run, where, unit="frames") for run in _shown(seen, step))
    tagged: dict[str, dict[int, bool]] = {}
    for image in root.iter("image"):
        for tag in image.iter("tag"):
            where = f"{path}, image {image.get('id')}"
            label = tag.get("label", "")
            check_known(label, known, where)
            tagged.setdefault(label, {})[_frame(image, "id", where)] = False
    for label, seen in tagged.items():
        gaps = {frame + step: True for frame in seen if frame + step not in seen}
        runs = _shown(gaps | seen, step)
        sheet.marks += (Mark(key, label, *run, f"{path}, tag {label!r}", unit="frames") for run in runs)
    sheet.leave_out(shapes, "the shapes of tracks")
    sheet.leave_out(len(list(root.iter("attribute"))) - len(list(meta.iter("attribute"))), "attributes")
    return sheet


def _frame(element: ElementTree.Element, name: str, where: str) -> int:
    return int(read_number(element.get(name), name, where))


def _shown(outside: Mapping[int, bool], step: int) -> Iterator[tuple[int, int | None]]:
    """First frame, and the one after the last, of each stretch in which something is not outside."""
    begun: int | None = None
    last = 0
    for frame in sorted(outside):
        if begun is not None and outside[frame]:
            yield begun, None if frame - begun <= step else frame
            begun = None
        elif begun is None and not outside[frame]:
            begun = frame
        last = frame
    if begun is not None:
        yield begun, None if last == begun else last + step


def cvat_text(answers: Answers) -> str:
    """CVAT for video 1.1 of one task: a track with a box around the whole picture for each mark."""
    ((name, own),) = answers.marks.items()
    clock_s, video = answers.clock(name), answers.paths[name]
    width, height = size_of(video)
    num_frames = len(clock_s) - 1
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    meta = ElementTree.SubElement(root, "meta")
    task = ElementTree.SubElement(meta, "task")
    facts = {"name": video.name, "size": num_frames, "mode": "interpolation", "overlap": 0, "start_frame": 0}
    for tag, value in {**facts, "stop_frame": num_frames - 1}.items():
        ElementTree.SubElement(task, tag).text = str(value)
    labels = ElementTree.SubElement(task, "labels")
    for label in sorted({mark.label for mark in own}):
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = label
    ElementTree.SubElement(meta, "source").text = video.name
    corners = {"xtl": "0.00", "ytl": "0.00", "xbr": f"{width:.2f}", "ybr": f"{height:.2f}"}
    for place, mark in enumerate(own):
        track = ElementTree.SubElement(root, "track", {"id": str(place), "label": mark.label, "source": "auto"})
        first = min(nearest(clock_s, mark.start), num_frames - 1)
        after = first + 1 if mark.end is None else max(nearest(clock_s, mark.end), first + 1)
        for frame, outside in {first: 0, after - 1: 0, after: 1}.items():
            if frame < num_frames:
                fields = {"frame": str(frame), "outside": str(outside), "occluded": "0", "keyframe": "1"}
                ElementTree.SubElement(track, "box", {**fields, **corners})
    return xml_text(root)
