"""The programs of benchmarks/spotting."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
import torch

import gateshift as gs
from gateshift.demo.spot_scenes import draw_spot_video
from gateshift.demo.spot_videos import encode

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent.parent / "benchmarks" / "spotting"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"spotting_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decoded(path: Path) -> tuple[np.ndarray, list[float]]:
    with av.open(str(path)) as container:
        frames = [(frame.to_ndarray(format="rgb24"), float(frame.time or 0)) for frame in container.decode(video=0)]
    return np.stack([pixels for pixels, _ in frames]), [time_s for _, time_s in frames]


def test_a_recording_is_repeated_and_cut_packet_by_packet(tmp_path: Path) -> None:
    drawn, program = draw_spot_video(0, duration_s=12, size_px=(64, 48)), load("long_recording")
    source, long, piece = (tmp_path / f"{name}.mp4" for name in ("source", "long", "piece"))
    encode(source, drawn, [number / 25 for number in range(300)], rate=25)
    program.repeat(source, long, times=3)
    once, (thrice, times_s) = decoded(source)[0], decoded(long)
    assert np.array_equal(thrice, np.concatenate([once] * 3))
    assert times_s == pytest.approx(np.arange(900) / 25, abs=1e-3)
    first = program.cut(long, piece, 12.0, 24.0)
    frames, times_s = decoded(piece)
    assert first == 300
    assert np.array_equal(frames, once)
    assert times_s[0] == pytest.approx(0, abs=1e-3)


def test_events_of_a_long_recording_are_those_of_its_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"task": "spot", "head": "none", "fps": 25.0, "size_px": 32, "num_segments": 32}
    gs.save_model(gs.create_model("test_resnet", classes=["a", "b"], **options).eval(), tmp_path / "model.safetensors")
    words = ["--out", str(tmp_path), "--source", "30", "--minutes", "1", "2", "--threshold", "0.334"]
    program = load("long_recording")  # which runs itself for each recording and each piece
    monkeypatch.setattr(program, "PIECES", 3)  # one at each end, and one with a neighbor on both sides
    monkeypatch.setattr(sys, "argv", ["long_recording.py", str(tmp_path / "model.safetensors"), *words])
    program.main()
    with (tmp_path / "long_recording.csv").open(newline="") as file:
        one, two, pieces = csv.DictReader(file)
    assert int(two["events"]) > 1.5 * int(one["events"]) > 0
    assert (pieces["events"], pieces["same_events"], pieces["only_one_has"]) == (two["events"], two["events"], "0")
    assert float(pieces["largest_difference_of_scores"]) < 1e-5
