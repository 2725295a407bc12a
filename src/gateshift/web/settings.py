"""What ``gateshift serve`` can be told. The text under a field is its ``--help``.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gateshift.data.regions import region_of
from gateshift.errors import SettingsError, check_whole


@dataclass(frozen=True)
class ServeSettings:
    """Show a model's predictions on a page in the browser, and answer programs over HTTP (POST /api/predict).

    The page takes an uploaded or recorded clip and shows its likeliest classes, a timeline, and the model's gate maps.
    Needs pip install 'gateshift[demo]'. Without --host only this machine can open it.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, or a released GSM, GSF or TSM checkpoint (.pth.tar)."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines in, for which a --token is advised."""
    port: int = 7860
    """Port to listen at; 0 for any free one."""
    token: str | None = None
    """Secret that clients must send: 16 or more letters, digits, - or _. The variable GATESHIFT_TOKEN hides it."""
    examples: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Videos that the page offers to try, up to 12."""
    classes: Path | None = None
    """Names for the class numbers of a released checkpoint, one a line: the release's category.txt."""
    segments: int | None = None
    """Frames per clip; by default as in training. Released checkpoints do not say: give it."""
    box: Annotated[str | None, arg(metavar="X0,Y0,X1,Y1")] = None
    """Region of the picture, of a fixed camera: shares of it, as 0.1,0.2,0.6,0.9, or pixels, as 120,80,520,460; 0,0,1,1
    for all of it. By default the model's own."""
    window: Annotated[float, arg(metavar="SECONDS")] = 2.0
    """Length of a window of the timeline."""
    hop: Annotated[float, arg(metavar="SECONDS")] = 0.5
    """Time from one window of the timeline to the next."""
    max_mb: Annotated[float, arg(metavar="MB")] = 50.0
    """Largest file, in millions of bytes."""
    max_duration: Annotated[float, arg(metavar="SECONDS")] = 60.0
    """Longest video."""
    max_side: Annotated[int, arg(metavar="PX")] = 4096
    """Longest side of a frame."""
    timeout: Annotated[float, arg(metavar="SECONDS")] = 30.0
    """Longest time for each of these: to send a file, to decode it, to score its windows."""
    decoder_mb: Annotated[int, arg(metavar="MB")] = 1024
    """Memory for decoding one video, in a process of its own (on Linux)."""
    decoders: int = 2
    """Videos decoded at the same time."""
    queue: int = 32
    """Requests that may wait; more are answered with 503."""

    @property
    def max_bytes(self) -> int:
        """Largest file, in bytes."""
        return round(self.max_mb * 1e6)

    def check(self) -> None:
        """Raise SettingsError if one is out of range."""
        region_of(self.box)
        for name in ("window", "hop", "max_mb", "max_duration", "timeout"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < math.inf:
                raise SettingsError(f"`{name}` {value!r}; it must be a number above 0; correct it")
        for name, least in {"max_side": 1, "decoder_mb": 1, "decoders": 1, "queue": 0}.items():
            check_whole(name, getattr(self, name), least=least, advice=f"it must be at least {least}; raise it")
        port = "a port is 1 to 65535, or 0 for any free one; correct it"
        check_whole("port", self.port, least=0, advice=port)
        if self.port > 65535:
            raise SettingsError(f"`port` {self.port}; {port}")
        for name in ("host", "token"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (name == "token" and value is None):
                raise SettingsError(f"`{name}` of type {type(value).__name__}; it must be a text; correct it")
        if self.token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,}", self.token):
            raise SettingsError(
                f"a `token` of {len(self.token)} characters; it must have at least 16, each a letter, a digit, - or _; "
                "choose another"
            )
        if self.examples is not None and not self.examples.is_dir():
            raise SettingsError(f"`examples` {self.examples}: no such folder; give a folder of videos")
