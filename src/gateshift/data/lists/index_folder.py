"""Where the indices of long recordings are kept: beside their list, or for the processes of a run."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from functools import cache
from pathlib import Path

INDEX_FOLDER = "video_index"


def index_folder_of(source: Path) -> Path:
    """The folder of indices for a list: ``video_index`` beside it, as ``prepare`` leaves it, or else a temporary one.

    Args:
        source: The list, or a folder of class folders.
    """
    beside = source.parent / INDEX_FOLDER
    return beside if source.is_file() and beside.is_dir() else temporary_index_folder()


@cache
def temporary_index_folder() -> Path:
    """A folder for this process and those that it starts: made once something is kept there, removed at its end."""
    folder = Path(tempfile.gettempdir()) / f"gateshift-index-{secrets.token_hex(8)}"
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not one that was forked from it
        shutil.rmtree(folder, ignore_errors=True)
