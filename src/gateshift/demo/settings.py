"""The options of ``demo``; the text under a field is its help.

Nothing heavy is imported here, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoSettings:
    """Show on this machine that gate-shift knows the order of events, in a few minutes.

    Draws a small data set of mp4 files whose classes are each other played backwards, trains a small network
    on them with gate-shift and without, tests both on unseen clips, and leaves demo.png and demo.json. With --spot
    it draws long videos, in which both networks find events to the frame, and leaves spot.png and spot.json.
    """

    out: Path = Path("demo")
    """Folder to write; it must not exist."""
    seed: int = 0
    """Another seed draws other clips and starts from other weights."""
    workers: int = 1
    """Processes that load videos beside the training."""
    spot: bool = False
    """Find events in long videos, in place of the actions of clips."""
