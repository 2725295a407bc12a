"""Networks that see whole frames, made square, and not squares cut out of them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.transforms import multi_scale_boxes
from gateshift.data.clips.views import EvalProtocol

pytestmark = pytest.mark.usefixtures("no_pictures")

HEIGHT, WIDTH, PATCH = 32, 128, 16
LEARN = "--temporal none --backbone test_resnet --segments 2 --size 32 --dropout 0 --mirror none --workers 0"
LEARN += " --recipe papers"
OPTIM = "--optimizer adamw --lr 0.01 --warmup-epochs 1 --schedule one-cycle --batch-size 4 --smallest-crop 1"


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """Wide videos of two classes: a light at the left end of the picture, or at the right end."""
    folder = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        rows = []
        for number in range(count):
            for label, place in (("port", slice(None, PATCH)), ("starboard", slice(-PATCH, None))):
                frames = rng.integers(0, 60, (4, HEIGHT, WIDTH, 3), np.uint8)
                frames[:, :, place] += 180
                rows.append((write_video(folder / f"{split}_{label}_{number}.mp4", frames).name, label))
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *rows])
    return folder


@pytest.fixture(scope="module")
def run(lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    words = f"train {lists / 'train.csv'} {lists / 'val.csv'} --out {out} {LEARN} {OPTIM} --epochs 6 --whole-frame"
    main(words.split())
    return out


@pytest.mark.slow
def test_what_shows_at_the_edges_alone_is_learned(run: Path) -> None:
    with (run / "log.csv").open(newline="") as file:
        assert float(list(csv.DictReader(file))[-1]["val_top1"]) == 1
    assert gs.load_model(run / "last.safetensors").config.resize_px is None


@pytest.mark.slow
def test_predictions_of_videos_and_of_windows_see_whole_frames(
    run: Path, lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(run / "last.safetensors")
    for label in ("port", "starboard"):
        capsys.readouterr()
        main(["predict", model, str(lists / f"val_{label}_0.mp4"), "--json"])
        assert json.loads(capsys.readouterr().out)["top"][0]["class"] == label
        timeline = tmp_path / f"{label}.json"
        main(["predict", model, str(lists / f"val_{label}_0.mp4"), "--timeline", str(timeline)])
        assert {segment["label"] for segment in json.loads(timeline.read_text())["segments"]} == {label}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["test", "predict"])
def test_several_crops_of_whole_frames_are_refused(
    verb: str, run: Path, lists: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = lists / ("val.csv" if verb == "test" else "val_port_0.mp4")
    with pytest.raises(SystemExit) as stop:
        main([verb, str(run / "last.safetensors"), str(source), "--crops", "3"])
    assert stop.value.code == 2
    assert "crops 3; this model sees whole frames" in capsys.readouterr().err


def test_the_view_is_the_whole_frame_made_square() -> None:
    halves = torch.zeros(2, 3, 20, 60, dtype=torch.uint8)
    halves[..., 30:] = 200
    view = EvalProtocol(2).crops(halves, size_px=16, resize_px=None)
    assert view.shape == (1, 2, 3, 16, 16)
    assert view[..., :7].eq(0).all()
    assert view[..., 9:].eq(200).all()


@given(height=st.integers(8, 200), width=st.integers(8, 200), smallest=st.floats(0.66, 1))
def test_random_boxes_are_shares_of_both_sides(height: int, width: int, smallest: float) -> None:
    boxes = multi_scale_boxes(height, width, size_px=1000, min_crop_scale=smallest, whole_frame=True)
    assert all(box.width >= int(smallest * width) and box.height >= int(smallest * height) for box in boxes)
    assert max(box.width for box in boxes) == width
    assert max(box.height for box in boxes) == height
