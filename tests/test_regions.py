"""Fixed regions: what is one, which pixels it is of a picture, and lists that have them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from video_corpus import encode, turn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.check.scan import scan
from gateshift.data.clips.dataset import Augmentation, TrainingClips, ViewDataset, open_entry
from gateshift.data.clips.recordings import read_recordings
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.entries import Entry
from gateshift.data.lists.manifest import Manifest, read_manifest
from gateshift.data.regions import MIN_SIDE_PX, cut_region, parse_region, region_text
from gateshift.data.video.files import open_video
from gateshift.data.video.packed import PackedFiles
from gateshift.errors import ManifestError, ModelError, SettingsError, VideoError
from gateshift.model.io import load_model

shares = st.floats(0, 1, allow_subnormal=False)
pixels = st.integers(0, 8000)
without_fuss = hypothesis_settings(max_examples=200, deadline=None, derandomize=True, database=None)


@pytest.mark.slow
@given(st.lists(shares, min_size=4, max_size=4) | st.lists(pixels, min_size=4, max_size=4), st.booleans())
@without_fuss
def test_four_numbers_are_a_region_or_a_line_that_says_why_not(numbers: list[float], as_text: bool) -> None:
    left, top, right, bottom = numbers
    is_large = max(numbers) <= 1 or min(right - left, bottom - top) >= MIN_SIDE_PX
    source: Any = ", ".join(map(str, numbers)) if as_text else numbers
    if left < right and top < bottom and is_large:
        region = parse_region(source)
        assert region == tuple(numbers)
        assert parse_region(region_text(region)) == region
    else:
        with pytest.raises(ValueError, match=r"ends before it begins|px, and a side has at least 4") as caught:
            parse_region(source)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@given(st.text(max_size=20) | st.lists(st.floats() | st.booleans() | st.none() | st.text(max_size=3), max_size=5))
@without_fuss
def test_anything_else_is_one_line(source: Any) -> None:
    try:
        region = parse_region(source)
    except ValueError as error:
        assert "\n" not in str(error).replace(repr(source), "")
    else:
        left, top, right, bottom = region
        assert 0 <= left < right and 0 <= top < bottom
        assert parse_region(region_text(region)) == region


@pytest.mark.slow
@given(st.integers(8, 4000), st.integers(8, 4000), st.lists(shares, min_size=4, max_size=4))
@without_fuss
def test_a_region_is_inside_of_every_picture(width: int, height: int, numbers: list[float]) -> None:
    (left, right), (top, bottom) = sorted(numbers[:2]), sorted(numbers[2:])
    if left == right or top == bottom:
        return
    try:
        rows, columns = cut_region((left, top, right, bottom), width, height)
    except ValueError as error:
        assert "px, and a side has at least 4" in str(error)
        assert min((right - left) * width, (bottom - top) * height) < MIN_SIDE_PX + 1
        return
    for edges, size, first, last in ((columns, width, left, right), (rows, height, top, bottom)):
        assert 0 <= edges.start < edges.stop <= size
        assert abs(edges.start - first * size) <= 0.5 + 1e-6 and abs(edges.stop - last * size) <= 0.5 + 1e-6


FAULTS = {
    "1,2,3": "is not four numbers",
    "left,0,10,10": "is not four numbers",
    "0,0,nan,1": "is not four numbers",
    "0,0,inf,9": "is not four numbers",
    "-1,0,40,30": "begins outside of the picture",
    "0.1,0.1,40,30": "mixes shares and pixels",
    "40,0,10,30": "ends before it begins",
    "0.5,0,0.5,1": "ends before it begins",
    "10,10,12,30": "is 2 x 20 px",
    "0,0,640,480": "reaches beyond the picture of 64 x 48 px",
    "0.5,0.5,0.51,0.6": "is 1 x 5 px",
}


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """[10, 48, 64, 3]: every region has colors of its own, which move."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (10, 6, 8, 3))
    return np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path], frames: np.ndarray) -> Path:
    return write_video(tmp_path_factory.mktemp("regions") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def decoded(clip: Path) -> torch.Tensor:
    with open_video(clip) as video:
        return video.read(range(video.num_frames))


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    gs.save_model(gs.create_model("test_resnet", classes=["a", "b"], num_segments=4, size_px=32), path)
    return path


def write_list(path: Path, *rows: tuple[object, ...], columns: tuple[str, ...] = ("path", "label", "box")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


BOXES = {
    "0.25,0.25,0.75,1": (slice(12, 48), slice(16, 48)),
    "10,5,40,45": (slice(5, 45), slice(10, 40)),
    "": (slice(None), slice(None)),
}


def test_a_list_cuts_each_video_to_its_box(tmp_path: Path, clip: Path, decoded: torch.Tensor) -> None:
    source = write_list(tmp_path / "list.csv", *((clip, "a", box) for box in BOXES))
    manifest = read_manifest(source)
    for entry, (rows, columns) in zip(manifest.entries, BOXES.values(), strict=True):
        with open_entry(entry) as video:
            assert torch.equal(video.read([3, 0, 3]), decoded[[3, 0, 3]][..., rows, columns])
    assert list(manifest.entries.video_ids()) == [f"{clip}#@0.25,0.25,0.75,1", f"{clip}#@10,5,40,45", str(clip)]
    manifest.check_unique()
    kept = manifest.without([f"{clip}#@10,5,40,45"])
    assert [entry.box for entry in kept.entries] == [(0.25, 0.25, 0.75, 1), None]
    assert [entry.box for entry in manifest.with_box((0, 0, 8, 8)).entries] == [
        (0.25, 0.25, 0.75, 1),
        (10, 5, 40, 45),
        (0, 0, 8, 8),
    ]


@pytest.mark.parametrize("kind", ["folder", "jpeg folder", "packed", "bytes"])
def test_images_and_copies_are_cut_too(
    kind: str, tmp_path: Path, clip: Path, frames: np.ndarray, write_folder: Callable[..., Path]
) -> None:
    pattern = "{:05d}.png" if kind == "folder" else "{:05d}.jpg"  # JPEGs are decoded into memory that waits for them
    source: Any = write_folder(tmp_path / "frames", frames, pattern=pattern)
    if kind == "packed":
        images = [image.read_bytes() for image in sorted(source.iterdir())]
        source = tmp_path / "frames.zip"
        PackedFiles(256).write(source, images)
    elif kind == "bytes":
        source = clip.read_bytes()
    with open_video(source) as video:
        whole = video.read([4, 1, 4, 9])
    for box, (rows, columns) in {**BOXES, "0,0,1,1": BOXES[""]}.items():
        with open_video(source, box=parse_region(box) if box else None) as video:
            assert torch.equal(video.read([4, 1, 4, 9]), whole[..., rows, columns])


def test_parts_keep_their_times(tmp_path: Path, clip: Path, decoded: torch.Tensor) -> None:
    columns = ("path", "label", "start", "end", "box")
    source = write_list(tmp_path / "list.csv", (clip, "a", 0.08, 0.2, "8,8,40,40"), columns=columns)
    (entry,) = read_manifest(source).entries
    assert entry == Entry(f"{clip}#0.08-0.2@8,8,40,40", clip, "a", 0.08, 0.2, box=(8, 8, 40, 40))
    with open_entry(entry) as video:
        assert torch.equal(video.read(range(3)), decoded[2:5, :, 8:40, 8:40])


def test_training_and_test_see_what_hand_cut_videos_show(
    tmp_path: Path, clip: Path, decoded: torch.Tensor, write_folder: Callable[..., Path]
) -> None:
    cut = decoded[..., 5:45, 10:40].permute(0, 2, 3, 1).numpy()
    by_hand = read_manifest(write_list(tmp_path / "hand.csv", (write_folder(tmp_path / "cut", cut), "a", "")))
    boxed = read_manifest(write_list(tmp_path / "box.csv", (clip, "a", "10,5,40,45")))
    plain = read_manifest(write_list(tmp_path / "plain.csv", (clip, "a", ""))).with_box((10, 5, 40, 45))

    def views(manifest: Manifest) -> torch.Tensor:
        found: torch.Tensor = ViewDataset(manifest, EvalProtocol(4, 2, 3), size_px=16, resize_px=20)[0]["views"]
        return found

    def training_clip(manifest: Manifest) -> torch.Tensor:
        augmentation = Augmentation(16, 4, torch.arange(1), torch.tensor([True]), color_jitter=0.3)
        found: torch.Tensor = TrainingClips(manifest, ["a"], augmentation, seed=0)[0]["clips"]
        return found

    for see in (views, training_clip):
        assert torch.equal(see(boxed), see(by_hand))
        assert torch.equal(see(plain), see(by_hand))


@pytest.mark.slow
@pytest.mark.parametrize(("box", "told"), FAULTS.items())
def test_a_wrong_box_of_a_list_is_one_line(tmp_path: Path, clip: Path, box: str, told: str) -> None:
    source = write_list(tmp_path / "list.csv", (clip, "a", box))
    if "reaches" not in told and "0.51" not in box:
        with pytest.raises(ManifestError, match=f"line 2: box .*{told}"):
            read_manifest(source)
        return
    (entry,) = read_manifest(source).entries
    with open_entry(entry) as video, pytest.raises(VideoError, match=f"clip.mp4: the box .*{told}"):
        video.read([0])
    (fault,) = scan(source, out=None, workers=1).problems
    assert fault.problem == "wrong-box" and told in fault.detail and fault.name == f"{clip}#@{box}"


@pytest.mark.parametrize("box", FAULTS)
def test_a_wrong_option_is_one_line_and_exit_code_2(
    clip: Path, model_file: Path, box: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(model_file), str(clip), f"--box={box}"])
    printed = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert len([line for line in printed if FAULTS[box] in line]) == 1 and len(printed) == 1


@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_boxes_count_in_the_picture_as_shown(tmp_path: Path, frames: np.ndarray, degrees: int) -> None:
    path = tmp_path / "clip.mp4"
    encode(path, frames[:3], pixel_aspect=Fraction(2, 1))  # 64 x 48 px, shown at 128 x 48
    if degrees:
        path.write_bytes(turn(degrees, path.read_bytes()))
    with open_video(path, square_pixels=True) as video, open_video(path) as squashed:
        shown, stored = video.read([2, 0]), squashed.read([2, 0])
    is_upright = degrees != 90
    assert shown.shape[-2:] == ((48, 128) if is_upright else (128, 48))
    assert stored.shape[-2:] == ((48, 64) if is_upright else (64, 48))
    box = (16, 8, 80, 40) if is_upright else (8, 16, 40, 80)
    with open_video(path, square_pixels=True, box=box) as video:
        assert torch.equal(video.read([2, 0]), shown[..., box[1] : box[3], box[0] : box[2]])
    with open_video(path, box=box) as video:
        assert torch.equal(video.read([2, 0]), stored[..., 8:40, 8:40])
    with open_video(path, box=(0.5, 0, 1, 0.5)) as video:
        height, width = stored.shape[-2:]
        assert torch.equal(video.read([2, 0]), stored[..., : height // 2, width // 2 :])
    with (
        open_video(path, box=(0, 0, 129, 40)) as video,
        pytest.raises(VideoError, match="picture of (128 x 48|48 x 128)"),
    ):
        video.read([0])


def test_lists_of_events_and_spans_have_boxes(tmp_path: Path, clip: Path, decoded: torch.Tensor) -> None:
    events = write_list(
        tmp_path / "events.csv",
        (clip, 0.1, "goal", "8,8,40,40"),
        (clip, 0.2, "foul", "8,8,40,40"),
        columns=("path", "time_s", "label", "box"),
    )
    spans = write_list(
        tmp_path / "spans.csv", (clip, "play", 0.1, 0.3, "0.5,0,1,1"), columns=("path", "label", "start", "end", "box")
    )
    for source, task, rows, columns in (
        (events, "spot", slice(8, 40), slice(8, 40)),
        (spans, "segment", slice(None), slice(32, 64)),
    ):
        (recording,) = read_recordings(source, task, box=(0, 0, 9, 9))
        video, _ = recording.open()
        with video:
            assert torch.equal(video.read([1, 4]), decoded[[1, 4]][..., rows, columns])
    plain = write_list(tmp_path / "plain.csv", (clip, 0.1, "goal"), columns=("path", "time_s", "label"))
    (recording,) = read_recordings(plain, "spot", box=(0, 0, 9, 9))
    assert recording.box == (0, 0, 9, 9)
    write_list(
        events, (clip, 0.1, "goal", "8,8,40,40"), (clip, 0.2, "foul", ""), columns=("path", "time_s", "label", "box")
    )
    with pytest.raises(ManifestError, match="line 3: another box of .*clip.mp4 than before"):
        read_recordings(events, "spot")


@pytest.mark.slow
def test_a_model_keeps_its_box(tmp_path: Path, model_file: Path) -> None:
    for box in ((0.25, 0.0, 1.0, 0.5), (10, 5, 40, 45)):
        model = gs.create_model("test_resnet", classes=["a", "b"], num_segments=4, size_px=32, box=box)
        gs.save_model(model, tmp_path / "boxed.safetensors")
        assert load_model(tmp_path / "boxed.safetensors").config.box == box
    assert load_model(model_file).config.box is None
    assert "box" not in load_model(model_file).config.to_json()  # as files of before
    for wrong in ((0, 0, 1), (5, 0, 1, 1), (0.5, 0, 20, 20), (0.0, float("nan"), 1, 1), ("0", 0, 1, 1)):
        with pytest.raises(ModelError, match="`box` .*; it must be four shares up to 1 or whole pixels"):
            gs.create_model("test_resnet", classes=["a", "b"], box=wrong)  # type: ignore[arg-type]


def test_training_options_are_checked_before_anything(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="`box` '3,0,1,1' ends before it begins"):
        gs.train(tmp_path / "train.csv", tmp_path / "val.csv", out=tmp_path / "run", recipe="papers", box="3,0,1,1")
