"""The labelling programs whose files are read and written. Nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal, get_args

Program = Literal["boris", "elan", "label-studio", "cvat", "via", "create-ml", "soccernet", "e2e-spot"]
PROGRAMS: tuple[Program, ...] = get_args(Program)
SUFFIXES: dict[Program, tuple[str, ...]] = {
    "boris": (".boris",),
    "elan": (".eaf",),
    "label-studio": (".json",),
    "cvat": (".xml",),
    "via": (".json",),
    "create-ml": (".json",),
    "soccernet": (".json",),
    "e2e-spot": (".json",),
}  # of what is written
