"""The folder of a job that may be stopped at any time: parts that are whole or not there, and in the end one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateshift.errors import SettingsError
from gateshift.files import atomic_write, write_text

BEGUN = "job.json"
FINISHED = "predictions.jsonl"
LEAST_PER_PART, MOST_PER_PART = 16, 256  # what a stopped job does again; files that there are not too many of


class JobFolder:
    """Records of videos, a line each, in files for consecutive videos of a list.

    Attributes:
        finished: The file of all records, in the order of the list. It is there once all parts are.
    """

    def __init__(self, folder: Path, videos: Sequence[str], about: Mapping[str, str]) -> None:
        """Begin a job in a new folder, or go on with the one in it.

        Args:
            folder: Is made if need be.
            videos: All of the job, in order.
            about: What else makes the job this one and no other, in words.

        Raises:
            SettingsError: If the folder holds another job, or something else.
        """
        self.finished = folder / FINISHED
        self._videos = videos
        self._per_part = min(max(len(videos) // 1000, LEAST_PER_PART), MOST_PER_PART)
        self._parts = folder / "parts"
        begin_job(folder, {**about, "videos in a part": str(self._per_part)})
        self._parts.mkdir(exist_ok=True)

    def videos_of(self, part: int) -> Sequence[str]:
        """The videos of a part, from 0."""
        return self._videos[part * self._per_part : (part + 1) * self._per_part]

    def missing(self) -> list[int]:
        """The parts that are not there yet."""
        if self.finished.exists():
            return []
        there = {path.name for path in self._parts.iterdir()}
        return [part for part in range(self._num_parts) if self._path(part).name not in there]

    def write(self, part: int, records: str) -> None:
        """Keep the records of a part, a line for each of its videos."""
        write_text(self._path(part), records)

    def finish(self) -> None:
        """Put all parts together, if that is still to be done. They must be there."""
        if self.finished.exists():
            return
        with atomic_write(self.finished) as partial, partial.open("wb") as file:
            for part in range(self._num_parts):
                file.write(self._path(part).read_bytes())

    @property
    def _num_parts(self) -> int:
        return -(-len(self._videos) // self._per_part)

    def _path(self, part: int) -> Path:
        return self._parts / f"{part:06d}.jsonl"


def begin_job(folder: Path, about: Mapping[str, str]) -> None:
    """Begin a job in a folder, which is made if need be, or go on with the one in it.

    Args:
        folder: Of the job; says in ``job.json`` what the job is.
        about: What makes the job this one and no other, in words.

    Raises:
        SettingsError: If the folder holds another job, or something else.
    """
    if folder.exists():
        _check_same(folder, about)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / BEGUN, json.dumps(about, indent=2) + "\n")


def _check_same(folder: Path, about: Mapping[str, str]) -> None:
    begun = folder / BEGUN
    if not begun.is_file():
        # What was stopped before it was begun has left hidden files at most.
        if not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir()):
            raise SettingsError(f"`out` {folder}: exists, and no job was begun in it; choose another folder")
        return
    try:
        # Jobs of 0.1 call ``top`` as the command line does.
        there = {name.removeprefix("--"): value for name, value in json.loads(begun.read_text("utf-8")).items()}
    except ValueError:
        raise SettingsError(f"{begun}: is not what a job was begun with; choose another folder for `out`") from None
    for name, value in about.items():
        if there.get(name) != value:
            raise SettingsError(
                f"`out` {folder}: was begun with another {name}, {there.get(name)} and not {value}; "
                "give the same again, or choose another folder"
            )
