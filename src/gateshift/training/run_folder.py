"""The folder of a training: its models, its log, and the state that it resumes from."""

from __future__ import annotations

import csv
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

from gateshift.data.clips.recordings import Recording
from gateshift.data.lists.manifest import Manifest
from gateshift.errors import FULL_DISK, SettingsError, explain_system_error, one_line
from gateshift.files import partial_path, write_text
from gateshift.model.classifier import VideoClassifier
from gateshift.model.io import save_model
from gateshift.recipes.options import FrameOptions, option_types, rename_old
from gateshift.training.settings import TrainSettings

PATHS = ("train", "root", "start", "weights", "recipe")
_OF_LISTS = ("train_videos", "recordings", "frames_seen")  # digests and long lists, which say nothing to anybody
LogRow = Mapping[str, float | int]


class RunFolder:
    """The files of one training. Each is written beside its final name and moved there when whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        self.state = path / "state"
        self.table = path / "log.csv"
        self.settings = path / "settings.json"
        self.recipe = path / "recipe.toml"
        self.probe = path / "probe.json"
        self.skipped = path / "skipped.csv"
        self.page = path / "training.html"
        self.curves = path / "curves.png"
        self.first_batch = path / "first_batch.png"
        self._may_begin_anew = False

    def choose_start(self, resume: bool | Literal["auto"]) -> bool:
        """Whether to resume the run in the folder, rather than to start one.

        Args:
            resume: What is wanted; "auto" resumes if there is a saved state, and starts if there is none.

        Raises:
            SettingsError: If there is nothing to resume, or the folder holds something else.
        """
        saved = bool(self._states())
        if saved and resume:
            self.read_log()  # a damaged log is an error now, not at the end of an epoch
            return True
        if resume is True:
            advice = "delete it and leave" if self.path.exists() else "it does not exist; correct `out`, or leave"
            raise SettingsError(f"`resume`: {self.path} holds no saved run; {advice} `resume` out")
        self._may_begin_anew = resume == "auto" and self._is_unsaved_run()
        if self.path.exists() and not self._may_begin_anew:
            raise self._exists()
        return False

    def _exists(self) -> SettingsError:
        return SettingsError(f"{self.path} exists; choose another folder, or resume a saved run with `resume=True`")

    def _is_unsaved_run(self) -> bool:
        """Whether it is empty, or of a training that was killed before its first save."""
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
        files += [self.first_batch, self.recipe, self.probe, self.probe.with_suffix(".png")]
        known = {path.name for file in files for path in (file, partial_path(file))} | {"tensorboard", "state.new"}
        known |= {"log.jsonl", "wandb"}  # a second log of older runs, and one that was asked for
        is_ours = isinstance(settings, dict) and "train_videos" in settings
        # The states of a finished run may have been deleted to save space.
        return is_ours and names <= known and len(self.read_log()) < min(2, settings.get("epochs", 0))

    def check_description(self, new: Mapping[str, Any]) -> Mapping[str, Any]:
        """The description of the run to resume, which must be the same but for what may change.

        The validation videos may be others, as they change no weight: without an unreadable one. There may be more
        epochs, if the schedule allows it. A file is the same by whatever path.

        Raises:
            SettingsError: If it was started with other settings, classes or training videos.
        """
        try:
            old = rename_old(json.loads(self.settings.read_text(encoding="utf-8")), warn=False)
        except (OSError, ValueError, AttributeError):
            raise SettingsError(f"`resume`: {self.settings} is missing or damaged; start a new run") from None
        if old.get("task", "clip") != "clip":
            old.setdefault("rate_jitter", 0.0)  # before it was an option
        for name in option_types(FrameOptions):  # of before there were such trainings
            old.setdefault(name, getattr(FrameOptions(), name))
        old.setdefault("accumulation", "release" if old.get("accumulate", 1) > 1 else "exact")  # before it was a choice
        old.setdefault("frames_seen", new.get("frames_seen"))  # before boxes and frames were compared
        names = (name for name in new if name not in ("val", "val_videos"))
        for name in sorted(names, key="segments".__eq__):  # last, as of recordings they follow from fps and context
            same = _is_same_file if name in PATHS else operator.le if name == "epochs" else operator.eq
            old_value: Any = old.get(name)
            if not same(old_value, new[name]):
                if name in _OF_LISTS:
                    raise SettingsError(
                        f"`resume`: {new['train']} has other videos, labels or boxes than when the run was begun; give "
                        "the list and `exclude` as they were, or start a new run"
                    )
                raise SettingsError(
                    f"`resume` with {name} {new[name]!r}, but the run has {old_value!r}; "
                    "give the same settings, or start a new run"
                )
        return old

    def describe(self, description: Mapping[str, Any]) -> None:
        """Write ``settings.json``."""
        write_text(self.settings, json.dumps(description, indent=2) + "\n")

    def create(self, description: Mapping[str, Any], recipe: str) -> None:
        """Make the folder with ``settings.json`` and ``recipe.toml``; what an unsaved run has left there is deleted.

        Raises:
            SettingsError: If another training has made it meanwhile.
        """
        if self._may_begin_anew and self._is_unsaved_run():
            shutil.rmtree(self.path)
        try:
            self.path.mkdir(parents=True)
        except FileExistsError:
            raise self._exists() from None
        write_text(self.recipe, recipe)
        self.describe(description)

    def save_models(self, model: VideoClassifier, *, best: bool) -> None:
        """Write ``last.safetensors``, and ``best.safetensors`` where it is the best so far."""
        with _writing(self.last):
            save_model(model, self.last)
            if best:
                save_model(model, self.best)

    def save_state(self, accelerator: Accelerator) -> None:
        """Save weights, optimizer, random states and progress; the previous state stays, as ``state.old``.

        Raises:
            SettingsError: If it cannot be written, as on a full disk. The previous state is kept.
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
        """Restore the last state, or the one before if the last is damaged.

        Returns:
            The folder of the state.

        Raises:
            SettingsError: If all are damaged.
        """
        # Several processes would have to agree on an older one.
        for state in self._states()[: 1 if accelerator.num_processes > 1 else None]:
            try:
                # Accelerate tolerates missing random states, and would unpickle code.
                for part in (f"random_states_{accelerator.process_index}.pkl", "custom_checkpoint_*.pkl"):
                    for file in sorted(state.glob(part)) or [state / part]:
                        load(file, map_location="cpu")  # refuses anything but plain data
                accelerator.load_state(str(state))
            except Exception:  # torch, safetensors and accelerate raise many kinds on damaged bytes
                continue
            return state
        raise SettingsError(f"`resume`: {self.state} is damaged; start a new run")

    def _states(self) -> list[Path]:
        """The saved states, newest first."""
        return [path for path in (self.state, self.path / "state.old") if path.is_dir()]

    def log(self, row: LogRow) -> None:
        """Add an epoch to ``log.csv``; an epoch that is run again replaces its row."""
        rows = [old for old in self.read_log() if old["epoch"] < row["epoch"]] + [dict(row)]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for each in rows for name in each)))
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.table, text.getvalue())

    def read_log(self) -> list[dict[str, Any]]:
        """The logged epochs.

        Raises:
            SettingsError: If the file was changed by something else.
        """
        if not self.table.is_file():
            return []
        try:
            with self.table.open(newline="", encoding="utf-8") as file:
                return [_parse_row(row) for row in csv.DictReader(file)]
        except (KeyError, TypeError, ValueError, csv.Error):
            raise SettingsError(
                f"{self.table}: not as the training wrote it; restore it, or move it away to resume without its epochs"
            ) from None

    def list_skipped(self, skipped: Mapping[str, str]) -> None:
        """Write the unreadable videos, and why, to ``skipped.csv``, which ``exclude`` accepts."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("path", "reason"), *skipped.items()])
        write_text(self.skipped, text.getvalue())


def describe(
    settings: TrainSettings,
    classes: Sequence[str],
    train_list: Manifest,
    val_list: Manifest,
    reversed_pairs: Sequence[Sequence[str]] = (),
    recordings: Sequence[Recording] = (),
) -> dict[str, Any]:
    """Everything that the final weights depend on, as flat JSON values: settings, classes and videos.

    Args:
        settings: Of the training; those that change no weight are left out.
        classes: In the order of the logits.
        train_list: Training videos.
        val_list: Validation videos.
        reversed_pairs: Pairs of classes whose clips are reversed.
        recordings: What ``train_list`` is of, those in which nothing happens too, as they are trained on as well.
    """
    flat = settings.options()
    for name in (
        "resume",
        "extend",
        "save_minutes",
        "workers",
        "out",
        "checkpointing",
        "exclude",
        "skip_bad",
        "minutes",
        "probe",
        "log_with",
    ):
        del flat[name]
    files = {name: Path(flat[name]) for name in PATHS if isinstance(flat[name], str) and Path(flat[name]).is_file()}
    described = {name: _plain(value) for name, value in {**flat, **files}.items()}
    lists: dict[str, Any] = {"train_videos": _digest(train_list), "val_videos": _digest(val_list)}
    pairs = [list(pair) for pair in train_list.mirror_pairs(classes)]
    reversals = [list(pair) for pair in reversed_pairs]
    if recordings:
        lists |= {"recordings": [each.name for each in recordings], "frames_seen": _digest_frames(recordings)}
    return {**described, "classes": list(classes), "mirrored_classes": pairs, "reversed_classes": reversals, **lists}


def _parse_row(cells: Mapping[str, str]) -> dict[str, Any]:
    """A row of the log, without the columns that only other epochs have."""
    row = {name: float(cell) if re.search("[.a-z]", cell) else int(cell) for name, cell in cells.items() if cell}
    return {"epoch": row["epoch"], **row}


def _digest(manifest: Manifest) -> str:
    lines = "\n".join(f"{entry.video_id}\t{entry.label}" for entry in manifest.entries)
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()  # file names may not be valid UTF-8


def _digest_frames(recordings: Sequence[Recording]) -> str:
    """What is seen of recordings, beside names, labels and times: boxes, frames of events, and the rate of images."""
    seen = [
        (each.box, each.fps if each.path.is_dir() else None, [event.frame for event in each.events])
        for each in recordings
    ]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def _is_same_file(old: str | None, new: str | None) -> bool:
    return old == new or (None not in (old, new) and os.path.realpath(str(old)) == os.path.realpath(str(new)))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())  # a run may be resumed from another folder
    return list(value) if isinstance(value, tuple) else value


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Raise SettingsError if something cannot be written, and why; a partly written folder is deleted."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # each writer has its own
        left_mb = shutil.disk_usage(path.parent).free / 1e6
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        number = _system_error(error)
        if number is not None and number not in FULL_DISK:
            reason = explain_system_error(OSError(number, os.strerror(number), str(path)))
            raise SettingsError(f"{reason}, then use `resume=True` to continue from the last save") from error
        raise SettingsError(
            f"{path}: cannot be written: {one_line(error)}; the disk has {left_mb:.1f} MB left; make "
            "room on it, then use `resume=True` to continue from the last save"
        ) from error


def _system_error(error: Exception) -> int | None:
    """The system's number of an error; None if unknown, as torch's on a full disk."""
    if isinstance(error, OSError):
        return error.errno
    number = re.search(r"os error (\d+)", str(error))  # safetensors
    return int(number[1]) if number else None


def _sync(folder: Path) -> None:
    """Flush everything in a folder to the disk, so that it survives a crash of the machine."""
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
