"""The folder that a training writes: models, logs, and what it needs to go on where it stopped."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from gateshift.data.manifest import Manifest
from gateshift.errors import SettingsError
from gateshift.model.bundle import save_model
from gateshift.model.classifier import VideoClassifier
from gateshift.run.train_settings import TrainSettings

Row = Mapping[str, float | int]


class Progress:
    """How far a training has come; saved and restored with the weights.

    Attributes:
        epoch: Epochs that are finished.
        best_top1: Highest validation accuracy so far, in 0..1; -1 before the first.
        skipped: Why videos could not be read and were left out, by their place in the list.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.best_top1 = -1.0
        self.skipped: dict[int, str] = {}

    def state_dict(self) -> dict[str, Any]:
        """For accelerate's state saving."""
        return {"epoch": self.epoch, "best_top1": self.best_top1, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """For accelerate's state saving."""
        self.epoch, self.best_top1 = int(state["epoch"]), float(state["best_top1"])
        self.skipped = dict(state["skipped"])


class RunFolder:
    """Files of one training. Each is written beside its final name and moved there when whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        self.state = path / "state"
        self.table = path / "log.csv"
        self.lines = path / "log.jsonl"
        self.settings = path / "settings.json"
        self.skipped = path / "skipped.csv"

    def check(self, *, resume: bool) -> None:
        """Raise SettingsError unless the folder is new, or holds a run to go on with."""
        if resume and not self._whole_state().is_dir():
            raise SettingsError(
                f"--resume: {self.path} holds no run that finished an epoch; delete it and leave --resume out"
            )
        if not resume and self.path.exists():
            raise SettingsError(
                f"{self.path} exists; choose another folder, or go on by --resume with a run that finished an epoch"
            )

    def check_description(self, new: Mapping[str, Any]) -> None:
        """Raise SettingsError if a run to go on with was started with other settings, classes or videos."""
        try:
            old = json.loads(self.settings.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise SettingsError(f"--resume: {self.settings} is missing or damaged; start a new run") from None
        changed = [name for name in new if old.get(name) != new[name]]
        if changed:
            name = changed[0]
            raise SettingsError(
                f"--resume with {name} {new[name]!r}, but the run has {old.get(name)!r}; "
                "give the same settings, or start a new run"
            )

    def create(self, description: Mapping[str, Any]) -> None:
        """Make the folder and note what is run in it."""
        self.path.mkdir(parents=True)
        write_text(self.settings, json.dumps(description, indent=2) + "\n")

    def save_models(self, model: VideoClassifier, *, best: bool) -> None:
        """Write ``last.safetensors``, and ``best.safetensors`` where it is the best so far."""
        save_model(model, self.last)
        if best:
            save_model(model, self.best)

    def save_state(self, accelerator: Accelerator) -> None:
        """Save weights, optimiser, random states and progress, in place of the epoch before."""
        fresh, old = self.path / "state.new", self.path / "state.old"
        if accelerator.is_main_process:
            shutil.rmtree(fresh, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(fresh))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            if self.state.is_dir():
                shutil.rmtree(old, ignore_errors=True)
                self.state.replace(old)
            fresh.replace(self.state)
            shutil.rmtree(old, ignore_errors=True)

    def load_state(self, accelerator: Accelerator) -> None:
        """Restore what :meth:`save_state` saved.

        Raises:
            SettingsError: If it is damaged.
        """
        try:
            accelerator.load_state(str(self._whole_state()))
        except Exception as error:  # torch, safetensors and accelerate raise many kinds on damaged bytes
            raise SettingsError(f"--resume: {self._whole_state()} is damaged; start a new run") from error

    def _whole_state(self) -> Path:
        """The saved state; the one before, where the run was stopped between two renames."""
        old = self.path / "state.old"
        return old if old.is_dir() and not self.state.is_dir() else self.state

    def log(self, row: Row) -> None:
        """Add an epoch to ``log.csv`` and ``log.jsonl``; one that is run again replaces what it said."""
        rows = []
        if self.lines.is_file():
            rows = [json.loads(line) for line in self.lines.read_text(encoding="utf-8").splitlines()]
        rows = [old for old in rows if old["epoch"] < row["epoch"]] + [dict(row)]
        write_text(self.lines, "".join(json.dumps(each) + "\n" for each in rows))
        partial = self.path / ".log.csv.partial"
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for each in rows for name in each)))
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self.table)

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
    for name in ("resume", "workers", "out", "checkpointing", "exclude", "skip_bad"):
        del flat[name]
    described = {name: _plain(value) for name, value in flat.items()}
    lists = {"train_videos": _digest(learned), "val_videos": _digest(validation)}
    pairs = [list(pair) for pair in learned.mirror_pairs(classes)]
    reversals = [list(pair) for pair in backwards]
    return {**described, "classes": list(classes), "mirrored_classes": pairs, "reversed_classes": reversals, **lists}


def _digest(manifest: Manifest) -> str:
    lines = "\n".join(f"{entry.video_id}\t{entry.label}" for entry in manifest.entries)
    return hashlib.sha256(lines.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears when it is whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
