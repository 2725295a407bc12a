"""ELAN's annotation documents (.eaf, XML of EAF 2.7 to 3.0).

Read here and not with pympi-ling (1.71), which cannot follow annotations that refer to a time-aligned child tier, and
raises a bare KeyError for documents that name no schema.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from gateshift.data.choices import VIDEO_SUFFIXES
from gateshift.data.labelling.media import plain_path
from gateshift.data.labelling.sheets import (
    MOMENTS,
    Answers,
    Mark,
    Sheet,
    check_known,
    lane_names,
    lanes,
    read_xml,
    shown_end,
    xml_text,
)
from gateshift.data.lists.tables import read_number
from gateshift.errors import ManifestError

_SCHEMA = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"


def read_elan(path: Path) -> Sheet:
    """The annotations of all tiers; those of a tier whose name begins with "moments" are moments."""
    root = read_xml(path, "ANNOTATION_DOCUMENT", "an annotation document of ELAN (.eaf)")
    sheet = Sheet(by_what="tier")
    key, offset_ms = _media(root, path, sheet)
    slots = {
        slot.get("TIME_SLOT_ID"): read_number(slot.get("TIME_VALUE"), "TIME_VALUE", str(path))
        for slot in root.iter("TIME_SLOT")
        if slot.get("TIME_VALUE") is not None
    }
    known = _vocabularies(root)
    aligned = {each.get("ANNOTATION_ID"): each for each in root.iter("ALIGNABLE_ANNOTATION")}
    refers = {each.get("ANNOTATION_ID"): each.get("ANNOTATION_REF") for each in root.iter("REF_ANNOTATION")}
    without = 0
    for tier in root.iter("TIER"):
        by = tier.get("TIER_ID", "")
        for annotation in (*tier.iter("ALIGNABLE_ANNOTATION"), *tier.iter("REF_ANNOTATION")):
            name = annotation.get("ANNOTATION_ID")
            where = f"{path}, tier {by!r}, annotation {name}"
            label = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
            check_known(label, known.get(tier.get("LINGUISTIC_TYPE_REF", ""), []), where)
            passed: set[str | None] = set()
            while name in refers and name not in passed:  # to the annotation that has times
                passed.add(name)
                name = refers[name]
            timed = aligned.get(name)
            times = [] if timed is None else [slots.get(timed.get(f"TIME_SLOT_REF{end}")) for end in (1, 2)]
            start, end = times or (None, None)
            if start is None or end is None:
                without += 1
                continue
            stop = None if by.startswith(MOMENTS) else (end + offset_ms) / 1000
            sheet.marks.append(Mark(key, label, (start + offset_ms) / 1000, stop, where, by))
    sheet.leave_out(without, "annotations without times of their own")
    return sheet


def _media(root: ElementTree.Element, path: Path, sheet: Sheet) -> tuple[str, float]:
    """The video, and how far into it the document's time 0 is, in milliseconds."""
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise ManifestError(f"{path}: its times are {units}; save it with milliseconds")
    linked = list(root.iter("MEDIA_DESCRIPTOR"))
    names = [[each.get(name, "") for name in ("RELATIVE_MEDIA_URL", "MEDIA_URL")] for each in linked]
    films = [
        place
        for place, each in enumerate(linked)
        if any(names[place])
        and (
            each.get("MIME_TYPE", "").startswith("video")
            or any(Path(plain_path(name)).suffix.lower() in VIDEO_SUFFIXES for name in names[place])
        )
    ]
    if not films:
        raise ManifestError(f"{path}: no video is linked; link it in ELAN (Edit, Linked Files)")
    chosen = tuple(filter(None, names[films[0]]))
    if len(films) > 1:
        others = ", ".join(Path(plain_path(names[place][1] or names[place][0])).name for place in films[1:])
        sheet.notes.append(f"{path.name}: labels are given to {Path(plain_path(chosen[-1])).name}, and not to {others}")
    sheet.videos[chosen[-1]] = chosen
    return chosen[-1], read_number(linked[films[0]].get("TIME_ORIGIN", 0), "TIME_ORIGIN", str(path))


def _vocabularies(root: ElementTree.Element) -> dict[str, list[str]]:
    """The labels that each type of tier takes, of those types that name them."""
    values = {
        each.get("CV_ID", ""): [
            (entry.text or "").strip() for tag in ("CV_ENTRY", "CVE_VALUE") for entry in each.iter(tag)
        ]
        for each in root.iter("CONTROLLED_VOCABULARY")
    }
    return {
        each.get("LINGUISTIC_TYPE_ID", ""): values.get(each.get("CONTROLLED_VOCABULARY_REF", ""), [])
        for each in root.iter("LINGUISTIC_TYPE")
    }


def elan_text(answers: Answers) -> str:
    """A document of one video, with as few tiers as there can be: ELAN takes no overlaps in one."""
    ((name, own),) = answers.marks.items()
    video = answers.paths[name]
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "gateshift",
            "DATE": "2000-01-01T00:00:00+00:00",
            "FORMAT": "2.8",
            "VERSION": "2.8",
            _SCHEMA: "http://www.mpi.nl/tools/elan/EAFv2.8.xsd",
        },
    )
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    relative = os.path.relpath(video, answers.out.absolute().parent)
    ElementTree.SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        {
            "MEDIA_URL": video.as_uri(),
            "MIME_TYPE": "video/mp4" if video.suffix.lower() in (".mp4", ".m4v") else "video/*",
            "RELATIVE_MEDIA_URL": f"./{Path(relative).as_posix()}",
        },
    )
    order = ElementTree.SubElement(root, "TIME_ORDER")
    rows = lanes(own)
    ordered = [mark for row in rows for mark in row]
    ends = sorted((round(time_s * 1000), k, end) for k, mark in enumerate(ordered) for end, time_s in _ends(mark))
    slots = {(k, end): f"ts{place}" for place, (_, k, end) in enumerate(ends, start=1)}
    for place, (time_ms, _, _) in enumerate(ends, start=1):
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{place}", "TIME_VALUE": str(time_ms)})
    tiers = {
        tier: ElementTree.SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": "default-lt", "TIER_ID": tier})
        for tier in lane_names(rows) or ["spans"]
    }
    tier_of = [tier for tier, row in zip(tiers.values(), rows, strict=False) for _ in row]
    for k, (mark, tier) in enumerate(zip(ordered, tier_of, strict=True)):
        fields = {"ANNOTATION_ID": f"a{k + 1}", "TIME_SLOT_REF1": slots[k, 1], "TIME_SLOT_REF2": slots[k, 2]}
        annotation = ElementTree.SubElement(ElementTree.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", fields)
        ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = mark.label
    ElementTree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "default-lt", "TIME_ALIGNABLE": "true"},
    )
    return xml_text(root)


def _ends(mark: Mark) -> tuple[tuple[int, float], tuple[int, float]]:
    return (1, mark.start), (2, shown_end(mark))
