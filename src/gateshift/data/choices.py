"""Choices and ends of ranges, for settings and for the code that they set; nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

Mirroring = Literal["all", "pairs", "none"]
ShortVideos = Literal["spread", "first-frame"]
CROP_SCALES = (1.0, 0.875, 0.75, 0.66)  # sides of random crops, as shares of a frame's short side
MAX_MAGNITUDE = 30  # of the random operations of RandAugment

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".insv", ".lrv", ".m2ts", ".m4v",
    ".mkv", ".mod", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on
