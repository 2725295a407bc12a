"""What ``gateshift scan`` can be told. The text under a field is its ``--help``.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gateshift.data.check.quarantine import HARMLESS, Fault


@dataclass(frozen=True)
class ScanSettings:
    """Decode every video, and say which cannot be learned from.

    Prints a table of what is wrong, and writes the videos that are better left out to a CSV for train --exclude. The
    exit code is then 1.
    """

    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="DATA ...")]
    """Lists (a CSV, a videofolder.txt), folders with videos at any depth, or videos. Name TRAIN and VAL together to
    find what is in both."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("quarantine.csv")
    """The CSV to write: path, problem, detail."""
    keep: Annotated[tuple[Fault, ...], arg(metavar="PROBLEM ...")] = HARMLESS
    """Problems that are told, but do not put a video into the CSV: these read well, and may be meant. listed-twice
    never does, as leaving the video out would take it from both lists."""
    root: Path | None = None
    """Where relative paths of the lists start; each list's own folder by default."""
    timeout: Annotated[float, arg(metavar="SECONDS")] = 300.0
    """How long decoding one video may take."""
    workers: int | None = None
    """Processes that decode. By default one less than there are cores, at most 8."""
    overwrite: bool = False
    """Replace the CSV if there is one."""
