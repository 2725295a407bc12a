"""The options of `scan`; the text under a field is its help. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gateshift.data.check.quarantine import HARMLESS, Fault


@dataclass(frozen=True)
class ScanSettings:
    """Find videos that cannot be trained on, by decoding every one.

    Prints a table of the problems, and writes the videos to leave out to a CSV for train --exclude. The exit code is 1
    if there are any.
    """

    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="DATA ...")]
    """Lists (a CSV, a videofolder.txt, a JSON of events), folders with videos at any depth, or videos. Name TRAIN and
    VAL together to find what is in both."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("quarantine.csv")
    """The CSV to write: path, problem, detail."""
    keep: Annotated[tuple[Fault, ...], arg(metavar="PROBLEM ...")] = HARMLESS
    """Problems that are reported, but do not put a video into the CSV; by default those of videos that read well.
    listed-twice never does, as leaving the video out would take it from both lists."""
    root: Path | None = None
    """Where relative paths of the lists start; each list's own folder by default."""
    timeout: Annotated[float, arg(metavar="SECONDS")] = 300.0
    """How long decoding one video may take."""
    workers: int | None = None
    """Processes that decode. By default one less than there are cores, at most 8."""
    overwrite: bool = False
    """Replace the CSV if there is one."""
