"""The folder that a training writes: models, logs, and what it needs to go on where it stopped."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import operator
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator
from accelerate.utils import load
from safetensors import SafetensorError

from gateshift.data.lists.manifest import Manifest
from gateshift.errors import FULL_DISK, SettingsError, explain_system_error
from gateshift.files import partial_path, write_text
from gateshift.model.classifier import VideoClassifier
from gateshift.model.io import save_model
from gateshift.training.settings import TrainSettings

PATHS = ("train", "root", "start", "weights", "recipe")
LogRow = Mapping[str, float | int]


class RunFolder:
    """Files of one training. Each is written beside its final name and moved there when whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        self.state = path / "state"
        self.table = path / "log.csv"
        self.settings = path / "settings.json"
        self.skipped = path / "skipped.csv"
        self.page = path / "training.html"
        self.curves = path / "curves.png"
        self.first_batch = path / "first_batch.png"
        self._may_begin_anew = False

    def choose_start(self, resume: bool | Literal["auto"]) -> bool:
        """Whether to go on with the run in the folder, rather than to begin one.

        Args:
            resume: What is wanted; "auto" is to go on if there is a saved state, and to begin if there is none.

        Raises:
            SettingsError: If there is nothing to go on with, or the folder holds something else.
        """
        saved = bool(self._states())
        if saved and resume:
            self.read_log()  # a log that is none is told of now, and not at the end of an epoch
            return True
        if resume is True:
            raise SettingsError(f"--resume: {self.path} holds no saved run; delete it and leave --resume out")
        self._may_begin_anew = resume == "auto" and self._is_unsaved_run()
        if self.path.exists() and not self._may_begin_anew:
            raise self._exists()
        return False

    def _exists(self) -> SettingsError:
        return SettingsError(f"{self.path} exists; choose another folder, or go on with a saved run by --resume")

    def _is_unsaved_run(self) -> bool:
        """Whether it is empty, or of a training that was killed before the first save, at the end of an epoch."""
        if not self.path.is_dir():
            return False
        names = {path.name for path in self.path.iterdir()}
        if not names:
            return True
        try:
            settings = json.loads(self.settings.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        files = [self.best, self.last, self.table, self.settings, self.skipped, self.page, self.curves]
        files += [self.first_batch]
        known = {path.name for file in files for path in (file, partial_path(file))} | {"tensorboard", "state.new"}
        known.add("log.jsonl")  # a second log, which runs had before
        is_ours = isinstance(settings, dict) and "train_videos" in settings
        # A run that is finished may have been rid of its states.
        return is_ours and names <= known and len(self.read_log()) < min(2, settings.get("epochs", 0))

    def check_description(self, new: Mapping[str, Any]) -> Mapping[str, Any]:
        """The description of a run to go on with, which must be the same but for what it may change.

        It may go on with other videos to validate on, which change no weight: without one that turned out to be bad. It
        may have more epochs, if its schedule allows it. Files are the same by whatever path.

        Raises:
            SettingsError: If it was started with other settings, classes or videos to learn from.
        """
        try:
            old = json.loads(self.settings.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise SettingsError(f"--resume: {self.settings} is missing or damaged; start a new run") from None
        old.setdefault("accumulation", "release" if old.get("accumulate", 1) > 1 else "exact")  # all that there was
        for name in (name for name in new if name not in ("val", "val_videos")):
            same = _is_same_file if name in PATHS else operator.le if name == "epochs" else operator.eq
            if not same(old.get(name), new[name]):
                raise SettingsError(
                    f"--resume with {name} {new[name]!r}, but the run has {old.get(name)!r}; "
                    "give the same settings, or start a new run"
                )
        return old

    def describe(self, description: Mapping[str, Any]) -> None:
        """Note what is run in the folder."""
        write_text(self.settings, json.dumps(description, indent=2) + "\n")

    def create(self, description: Mapping[str, Any]) -> None:
        """Make the folder and note what is run in it. What a run that saved nothing left there is deleted.

        Raises:
            SettingsError: If another training has made it meanwhile.
        """
        if self._may_begin_anew and self._is_unsaved_run():
            shutil.rmtree(self.path)
        try:
            self.path.mkdir(parents=True)
        except FileExistsError:
            raise self._exists() from None
        self.describe(description)

    def save_models(self, model: VideoClassifier, *, best: bool) -> None:
        """Write ``last.safetensors``, and ``best.safetensors`` where it is the best so far."""
        with _writing(self.last):
            save_model(model, self.last)
            if best:
                save_model(model, self.best)

    def save_state(self, accelerator: Accelerator) -> None:
        """Save weights, optimiser, random states and progress. The state before stays beside it, as ``state.old``.

        Raises:
            SettingsError: If it cannot be written, for want of space most often. What was saved before is still there.
        """
        fresh, old = self.path / "state.new", self.path / "state.old"
        if accelerator.is_main_process:
            shutil.rmtree(fresh, ignore_errors=True)
        accelerator.wait_for_everyone()
        with _writing(fresh):
            accelerator.save_state(str(fresh))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            with _writing(fresh):
                _sync(fresh)
            if self.state.is_dir():
                shutil.rmtree(old, ignore_errors=True)
                self.state.replace(old)
            fresh.replace(self.state)
            _sync_folder(self.path)

    def load_state(self, accelerator: Accelerator) -> Path:
        """Restore what :meth:`save_state` saved last, or before that, if the last is damaged.

        Returns:
            The folder it was restored from.

        Raises:
            SettingsError: If all are damaged.
        """
        # Several processes would have to agree on an older one.
        for state in self._states()[: 1 if accelerator.num_processes > 1 else None]:
            try:
                # Accelerate goes on without random states, and runs the code in what was registered with it.
                for part in (f"random_states_{accelerator.process_index}.pkl", "custom_checkpoint_*.pkl"):
                    for file in sorted(state.glob(part)) or [state / part]:
                        load(file, map_location="cpu")  # refuses what is no plain data
                accelerator.load_state(str(state))
            except Exception:  # torch, safetensors and accelerate raise many kinds on damaged bytes
                continue
            return state
        raise SettingsError(f"--resume: {self.state} is damaged; start a new run")

    def _states(self) -> list[Path]:
        """The saved states, newest first."""
        return [path for path in (self.state, self.path / "state.old") if path.is_dir()]

    def log(self, row: LogRow) -> None:
        """Add an epoch to ``log.csv``; one that is run again replaces what it said."""
        rows = [old for old in self.read_log() if old["epoch"] < row["epoch"]] + [dict(row)]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for each in rows for name in each)))
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.table, text.getvalue())

    def read_log(self) -> list[dict[str, Any]]:
        """The epochs so far, each as it was logged.

        Raises:
            SettingsError: If somebody has made something else of the file.
        """
        if not self.table.is_file():
            return []
        try:
            with self.table.open(newline="", encoding="utf-8") as file:
                return [_parse_row(row) for row in csv.DictReader(file)]
        except (KeyError, TypeError, ValueError, csv.Error):
            raise SettingsError(
                f"{self.table}: not as the training wrote it; restore it, or move it away, and go on without its epochs"
            ) from None

    def list_skipped(self, skipped: Mapping[str, str]) -> None:
        """Write the videos that could not be read, and why, to ``skipped.csv``, which ``--exclude`` takes."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("path", "reason"), *skipped.items()])
        write_text(self.skipped, text.getvalue())


def describe(
    settings: TrainSettings,
    classes: Sequence[str],
    learned: Manifest,
    validation: Manifest,
    backwards: Sequence[Sequence[str]] = (),
) -> dict[str, Any]:
    """What decides the weights that a run ends with, as flat JSON values: settings, classes and videos.

    Args:
        settings: Of the training; those that change no weight are left out.
        classes: In the order of the logits.
        learned: The videos to learn from.
        validation: The videos to validate on.
        backwards: Pairs of classes whose clips are played backwards.
    """
    flat: dict[str, Any] = {}
    for name, value in dataclasses.asdict(settings).items():
        flat.update(value if isinstance(value, dict) else {name: value})
    for name in ("resume", "extend", "save_minutes", "workers", "out", "checkpointing", "exclude", "skip_bad"):
        del flat[name]
    files = {name: Path(flat[name]) for name in PATHS if isinstance(flat[name], str) and Path(flat[name]).is_file()}
    described = {name: _plain(value) for name, value in {**flat, **files}.items()}
    lists = {"train_videos": _digest(learned), "val_videos": _digest(validation)}
    pairs = [list(pair) for pair in learned.mirror_pairs(classes)]
    reversals = [list(pair) for pair in backwards]
    return {**described, "classes": list(classes), "mirrored_classes": pairs, "reversed_classes": reversals, **lists}


def _parse_row(cells: Mapping[str, str]) -> dict[str, Any]:
    """A row of the log, without the columns that only other epochs have."""
    row = {name: float(cell) if re.search("[.a-z]", cell) else int(cell) for name, cell in cells.items() if cell}
    return {"epoch": row["epoch"], **row}


def _digest(manifest: Manifest) -> str:
    lines = "\n".join(f"{entry.video_id}\t{entry.label}" for entry in manifest.entries)
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()  # names of files may hold what is no text


def _is_same_file(old: str | None, new: str | None) -> bool:
    return old == new or (None not in (old, new) and os.path.realpath(str(old)) == os.path.realpath(str(new)))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())  # a run may go on from another folder
    return list(value) if isinstance(value, tuple) else value


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Raise SettingsError if something cannot be written, and why; the part of a folder that was is deleted."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # each writer has its own
        left_mb = shutil.disk_usage(path.parent).free / 1e6
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        number = _system_error(error)
        if number is not None and number not in FULL_DISK:
            reason = explain_system_error(OSError(number, os.strerror(number), str(path)))
            raise SettingsError(f"{reason}, and go on with --resume from what was saved before") from error
        raise SettingsError(
            f"{path}: cannot be written: {' '.join(str(error).split())}; the disk has {left_mb:.1f} MB left; make "
            "room on it, and go on with --resume from what was saved before"
        ) from error


def _system_error(error: Exception) -> int | None:
    """The system's number of an error; None if it does not say, as torch where the disk is full."""
    if isinstance(error, OSError):
        return error.errno
    said = re.search(r"os error (\d+)", str(error))  # safetensors
    return int(said[1]) if said else None


def _sync(folder: Path) -> None:
    """Have everything in a folder on the disk, not in a memory that a machine that goes down forgets."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # others cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
