"""Curves of a training in other programs, read back from their own files."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from trainings import logged, train_small

from gateshift.errors import SettingsError

CURVES = ("loss", "accuracy", "lr", "val_top1", "best")


@pytest.fixture
def two_epochs(clips: Path, tmp_path: Path, no_pictures: None) -> Iterator[Any]:  # noqa: ARG001
    yield lambda **options: train_small(clips, tmp_path / "my run", **{"epochs": 2, "segments": 4, **options})


def records(log: bytes) -> Iterator[bytes]:
    """The records of a log as LevelDB writes it, which is how W&B keeps a run, behind a head of its own."""
    assert log.startswith(b":W&B")
    place, whole = 7, b""
    while place + 7 <= len(log):
        if 32768 - place % 32768 < 7:  # a block ends with zeros where no head of a part fits
            place += 32768 - place % 32768
            continue
        size, kind = struct.unpack_from("<HB", log, place + 4)  # behind a checksum
        whole += log[place + 7 : place + 7 + size]
        place += 7 + size
        if place > len(log):  # it is still being written
            return
        if kind in (1, 4):  # all of a record, or its end
            yield whole
            whole = b""


def wandb_rows(folder: Path) -> list[dict[str, float]]:
    """The history in an offline folder of W&B."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    rows, end_s, has_ended = [], time.monotonic() + 60, False
    while not has_ended and time.monotonic() < end_s:  # a process of its own writes it, and may be behind
        time.sleep(0.1)
        found = [Record.FromString(data) for data in records(path.read_bytes())]
        has_ended = any(record.HasField("exit") for record in found)
    for record in found:
        if record.HasField("history"):
            items = {item.key or ".".join(item.nested_key): float(item.value_json) for item in record.history.item}
            rows.append(items)
    return rows


@pytest.mark.slow
def test_an_offline_folder_of_wandb_has_the_curves(
    two_epochs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="W&B is not installed; pip install '.[loggers]'")
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    folder = two_epochs(log_with="wandb").folder
    rows, expected = wandb_rows(folder), logged(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    for row, other in zip(rows, expected, strict=True):
        assert {name: row[name] for name in CURVES} == pytest.approx({name: other[name] for name in CURVES})
    assert not (tmp_path / "wandb").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what its store is made of
def test_a_local_store_of_mlflow_has_the_curves_those_of_a_resumed_run_too(
    two_epochs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed; pip install '.[loggers]'")
    from mlflow.tracking import MlflowClient

    store = f"sqlite:///{tmp_path}/store.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    two_epochs(epochs=1)
    folder = two_epochs(log_with="mlflow", resume=True).folder
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("gateshift")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("my run", "FINISHED")
    assert run.data.params["backbone"] == "test_resnet" and run.data.params["epochs"] == "2"
    for name in CURVES:
        found = client.get_metric_history(run.info.run_id, name)
        assert [each.step for each in found] == [1, 2]
        assert [each.value for each in found] == pytest.approx([row[name] for row in logged(folder)])


@pytest.mark.slow
def test_the_database_of_trackio_has_the_curves(clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed; pip install '.[loggers]'")
    words = f"train {clips}/train.csv {clips}/val.csv --out run --recipe papers --backbone test_resnet --size 32"
    words += " --segments 2 --epochs 2 --warmup-epochs 0 --batch-size 4 --workers 0 --log-with trackio"
    # A process of its own, as trackio reads where its files go when it is imported.
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "store"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "gateshift", *words.split()]
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=300)
    with closing(sqlite3.connect(tmp_path / "store" / "gateshift.db")) as store:
        found = store.execute("SELECT step, metrics FROM metrics ORDER BY step").fetchall()
    assert [step for step, _ in found] == [1, 2]
    for (_, metrics), other in zip(found, logged(tmp_path / "run"), strict=True):
        assert {name: json.loads(metrics)[name] for name in CURVES} == {name: other[name] for name in CURVES}


def test_a_program_that_is_not_installed_is_told_in_one_line_before_anything_is_done(
    two_epochs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(
        SettingsError, match=r"^`log_with=trackio`: trackio is not installed; pip install 'gateshift\[l"
    ):
        two_epochs(log_with="trackio")
    assert not (tmp_path / "my run").exists()
