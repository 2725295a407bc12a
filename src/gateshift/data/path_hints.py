"""Why a file may not be where a path says: how else its name is spelled, or ends, on the disk or in the list."""

from __future__ import annotations

import os
import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

_LABEL_STUDIO = "?d="  # in the addresses of local files that Label Studio exports


def hint_for(path: Path) -> str:
    """What to do about a path at which there is no file; empty if there is nothing odd about it."""
    text = str(path)
    if _LABEL_STUDIO in text:
        own = unquote(text.partition(_LABEL_STUDIO)[2])
        return f"this is an address of Label Studio; write {own} instead, the path after {_LABEL_STUDIO}"
    spelled = text
    reasons = []
    if "\\" in text and os.sep != "\\":
        spelled = text.replace("\\", "/")
        reasons.append(r"folders of Windows, with \; write / between folders")
    if re.search("%[0-9A-Fa-f]{2}", spelled):
        spelled = unquote(spelled)
        reasons.append("characters as in an address, with %; write them as they are")
    there = _find(Path(spelled))
    if there is not None and str(there) != spelled:
        reasons.append(_difference(str(there), spelled))
    if not reasons:
        other = _with_another_suffix(path)
        return f"{other} is there; write names with their suffix, or the one that they have now" if other else ""
    found = f": {there} is there" if there is not None else ""
    return f"the path has {' and '.join(reasons)}{found}"


def _with_another_suffix(path: Path) -> Path | None:
    """A file of the same name but for its suffix, as where videos were converted, or a list leaves suffixes out."""
    try:
        names = _names_by_stem(path.parent)
    except OSError:
        return None
    name = names.get(path.name) or names.get(path.stem)
    return path.parent / name if name and name != path.name else None  # it may be a link that leads nowhere


def _difference(there: str, spelled: str) -> str:
    if _form(there) == _form(spelled):
        return "another Unicode form (NFC or NFD, as of macOS); write names as they are on the disk"
    if _form(there).casefold() == _form(spelled).casefold():
        return "other capitals; write names as they are on the disk"
    return "another kind of space; write names as they are on the disk"


def _find(path: Path) -> Path | None:
    """The file whose path looks the same; None if there is none, or something on the way may not be read."""
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        if not os.path.lexists(found / part):
            try:
                own = _names_by_look(found).get(_look(part))
            except OSError:
                return None
            if own is None:
                return None
            part = own
        found /= part
    return found


@lru_cache(maxsize=4)  # of many files that are missing, most are in one folder
def _names_by_look(folder: Path) -> dict[str, str]:
    return {_look(name): name for name in os.listdir(folder)}  # noqa: PTH208 - is faster


@lru_cache(maxsize=4)
def _names_by_stem(folder: Path) -> dict[str, str]:
    names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - is faster
    return {os.path.splitext(name)[0]: name for name in names}  # noqa: PTH122 - is faster


def _look(name: str) -> str:
    return " ".join(_form(name).casefold().split())


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name)
