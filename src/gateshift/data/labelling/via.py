"""Projects of VGG's image, audio and video annotator, version 3 (.json), with temporal segments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateshift.data.labelling.sheets import (
    MOMENTS,
    Answers,
    Mark,
    Sheet,
    check_known,
    lane_names,
    lanes,
    part,
    read_json,
    shown_end,
)
from gateshift.data.lists.tables import read_number
from gateshift.errors import ManifestError

_TEXT, _CHECKBOX, _SELECT, _VIDEO, _DELETED = 1, 2, 4, 4, 1  # VIA's own numbers
# What a project needs beside its labels; VIA itself fills in what has underscores.
_FACTS = {
    **{"pid": "__VIA_PROJECT_ID__", "rev": "__VIA_PROJECT_REV_ID__", "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__"},
    **{"pname": "answers of gateshift", "data_format_version": "3.1.1", "creator": "gateshift", "created": 0},
}
_CONFIG = {
    "file": {"loc_prefix": dict.fromkeys("1234", "")},
    "ui": {
        **{"file_content_align": "center", "file_metadata_editor_visible": True, "gtimeline_visible_row_count": "4"},
        **{"spatial_metadata_editor_visible": True, "temporal_segment_metadata_editor_visible": True},
        "spatial_region_label_attribute_id": "",
    },
}
_SEGMENTS = {"anchor_id": "FILE1_Z2_XY0", "type": _SELECT, "desc": "", "default_option_id": ""}


def read_via(path: Path) -> Sheet:
    """The segments of a project: a label for each attribute that has a value. Regions of pictures are left out."""
    project = read_json(path, dict, "a project of VIA 3")
    files, views, attributes, metadata = (
        part(project, name, dict, f"{path} (no project of VIA 3?)")
        for name in ("file", "view", "attribute", "metadata")
    )
    sheet = Sheet(by_what="attribute")
    for view, record in views.items():
        listed = part(record, "fid_list", list, f"{path}, view {view!r}")
        file = files.get(str(listed[0])) if listed else None
        if not isinstance(file, dict):
            raise ManifestError(f"{path}, view {view!r}: its file is not in the project; save the project again")
        sheet.videos[view] = tuple(str(file[name]) for name in ("fname", "src") if _is_name(file.get(name)))
    regions = blank = 0
    for name, record in metadata.items():
        where = f"{path}, metadata {name!r}"
        times = part(record, "z", list, where)
        if record.get("flg", 0) == _DELETED:
            continue
        if not times or record.get("xy"):
            regions += 1
            continue
        view = str(record.get("vid"))
        if view not in sheet.videos:
            raise ManifestError(f"{where}: its view {view!r} is not in the project; save it again")
        start, *ends = (read_number(each, "time", where) for each in times)
        values = part(record, "av", dict, where)
        blank += not values
        for by, label in _labels(values, attributes, where):
            stop = None if not ends or by.startswith(MOMENTS) else ends[-1]
            sheet.marks.append(Mark(view, label, start, stop, where, by))
    sheet.leave_out(regions, "regions of pictures, and what is said of whole files,")
    sheet.leave_out(blank, "segments without a value of any attribute")
    return sheet


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and not value.startswith(("data:", "blob:"))


def _labels(values: Mapping[str, Any], attributes: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    """The name of each attribute with each of its labels; options have numbers in the file."""
    for name, value in values.items():
        attribute = attributes.get(name)
        if not isinstance(attribute, dict):
            raise ManifestError(f"{where}: its attribute {name!r} is not in the project; save it again")
        options = part({"options": {}, **attribute}, "options", dict, where)
        given = str(value).split(",") if attribute.get("type") == _CHECKBOX else [str(value)]
        for each in given:
            if attribute.get("type") != _TEXT:  # a text may be any
                check_known(each, [*map(str, options.values()), *options], where)
            yield str(attribute.get("aname", name)), str(options.get(each, each)).strip()


def via_text(answers: Answers) -> str:
    """A project with all videos, and an attribute for each row of segments that do not overlap."""
    rows = {name: lanes(own) for name, own in answers.marks.items()}
    used = list(dict.fromkeys(lane for own in rows.values() for lane in lane_names(own)))
    labels = sorted({mark.label for own in answers.marks.values() for mark in own})
    metadata: dict[str, Any] = {}
    for view, own in enumerate(rows.values(), start=1):
        for lane, row in zip(lane_names(own), own, strict=True):
            for mark in row:
                times = [round(mark.start, 3), round(shown_end(mark), 3)]
                values = {str(used.index(lane) + 1): str(labels.index(mark.label))}
                metadata[f"{view}_{len(metadata)}"] = {"vid": str(view), "flg": 0, "z": times, "xy": [], "av": values}
    views = {str(view): name for view, name in enumerate(rows, start=1)}
    project = {
        "project": {**_FACTS, "vid_list": list(views)},
        "config": _CONFIG,
        "attribute": {
            str(place): {"aname": lane, **_SEGMENTS, "options": {str(k): label for k, label in enumerate(labels)}}
            for place, lane in enumerate(used, start=1)
        },
        "file": {
            view: {"fid": view, "fname": answers.paths[name].name, "type": _VIDEO, "loc": 1, "src": ""}
            for view, name in views.items()
        },
        "view": {view: {"fid_list": [view]} for view in views},
        "metadata": metadata,
    }
    return json.dumps(project, ensure_ascii=False) + "\n"
