"""Frames are shown with square pixels where a model was trained so; models from before see them as they are stored."""

from __future__ import annotations

import csv
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from video_corpus import encode

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.video.files import VideoFile, open_video

ASPECT = Fraction(16, 11)  # of a wide DVD in PAL


def disc(height: int, width: int, aspect: float = 1.0) -> np.ndarray:
    """A light disc as it is stored where pixels are so wide: frames [8, H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) * aspect) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2
    return np.where(inside, 220, 30).astype(np.uint8)[None, :, :, None].repeat(8, 0).repeat(3, 3)


@pytest.fixture
def squashed(tmp_path: Path) -> Path:
    encode(tmp_path / "a.mkv", disc(96, 88, float(ASPECT)), pixel_aspect=ASPECT)
    return tmp_path / "a.mkv"


def extent(frame: torch.Tensor) -> tuple[int, int]:
    """Height and width of what is light in a frame [3, H, W]."""
    light = frame[0] > 125
    return int(light.any(1).sum()), int(light.any(0).sum())


@pytest.mark.parametrize(("aspect", "shown"), [(ASPECT, (96, 128)), (Fraction(3, 4), (128, 88))])
def test_the_short_side_of_pixels_grows(aspect: Fraction, shown: tuple[int, int], tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", disc(96, 88, float(aspect)), pixel_aspect=aspect)
    with open_video(tmp_path / "a.mp4", square_pixels=True) as video:
        frame = video.read([3])[0]
    assert frame.shape == (3, *shown)
    height, width = extent(frame)
    assert height == pytest.approx(width, abs=2)


def test_frames_are_as_stored_where_nothing_else_is_asked_for(squashed: Path) -> None:
    with VideoFile(squashed) as video:
        assert video.read([0]).shape == (1, 3, 96, 88)
        assert video.pixel_aspect == ASPECT
        height, width = extent(video.read([0])[0])
    assert height == pytest.approx(width * float(ASPECT), abs=2)


@pytest.fixture
def lists(squashed: Path) -> Path:
    folder = squashed.parent
    encode(folder / "b.mkv", 255 - disc(96, 88, float(ASPECT)), pixel_aspect=ASPECT)
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), ("a.mkv", "light"), ("b.mkv", "dark")])
    return folder


LEARN = (
    "--temporal none --backbone test_resnet --segments 2 --size 32 --epochs 1 --warmup-epochs 0 --batch-size 2 "
    "--workers 0 --mirror none"
)


@pytest.mark.parametrize("options", [[], ["--keep-squashed"]])
def test_a_model_says_which_it_was_trained_with_and_is_fed_so(
    options: list[str], lists: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lists)
    main(["train", "list.csv", "list.csv", "--out", "run", *LEARN.split(), *options])
    model = gs.load_model("run/best.safetensors")
    assert model.config.square_pixels == (not options)
    capsys.readouterr()
    main(["predict", "run/best.safetensors", "a.mkv", "--json"])
    told = {each["class"]: each["probability"] for each in json.loads(capsys.readouterr().out)["top"]}
    with open_video("a.mkv", square_pixels=not options) as video:
        frames = video.read([2, 6])
    resized = torch.nn.functional.interpolate(
        frames.float(), scale_factor=36 / min(frames.shape[-2:]), mode="bilinear", antialias=True
    )
    down, right = (round((side - 32) / 2) for side in resized.shape[-2:])
    with torch.inference_mode():
        logits = model(resized[None, :, :, down : down + 32, right : right + 32].round().clamp(0, 255).byte())
    wanted = dict(zip(model.config.classes, logits.softmax(-1)[0].tolist(), strict=True))
    assert all(math.isclose(told[name], wanted[name], abs_tol=0.02) for name in wanted)


@pytest.mark.parametrize(("options", "size"), [([], (128, 96)), (["--keep-squashed"], (88, 96))])
def test_extracted_frames_have_square_pixels_as_images_do_not_say_what_theirs_are(
    options: list[str], size: tuple[int, int], squashed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(squashed.parent)
    for split in ("train", "val"):
        for name in ("open", "close"):
            Path("data", split, name).mkdir(parents=True)
            Path("data", split, name, f"{split}_{name}.mkv").write_bytes(squashed.read_bytes())
    main(["prepare", "folder", "data", "--out", "lists", "--extract-frames", *options])
    images = sorted(Path("lists/frames").rglob("*.jpg"))
    assert len(images) == 32
    for path in images:
        with Image.open(path) as image:
            assert image.size == size
