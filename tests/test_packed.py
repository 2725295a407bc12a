"""Packed frames: written by prepare, read like any video, and refused in one line when damaged."""

import csv
import io
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateshift.cli.main import main
from gateshift.data.clips.transforms import resize_short_side
from gateshift.data.prepare.frames import extract_frames
from gateshift.data.video.files import open_video
from gateshift.data.video.packed import PackedFiles
from gateshift.errors import VideoError
from gateshift.evaluation.scores import load_scores

SMALL = ["--backbone", "test_resnet", "--size", "32", "--segments", "2", "--batch-size", "2", "--epochs", "1"]
SMALL += ["--recipe", "papers", "--warmup-epochs", "0"]


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Frames [12, 96, 128, 3] of a smooth picture that moves."""
    y, x = np.mgrid[0:96, 0:128]
    frames = [np.stack([x + 5 * t, y + 60, (x + y) / 2 + 20], axis=-1) for t in range(12)]
    return np.clip(frames, 0, 255).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path, write_video: Callable, write_folder: Callable, scene: np.ndarray) -> Path:
    """Two classes of two videos, one of them a folder of frames."""
    for name in ("open/a", "open/b", "close/c"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "data" / f"{name}.mp4", scene)
    write_folder(tmp_path / "data" / "close" / "d", scene)
    return tmp_path / "data"


@pytest.fixture
def packed(tmp_path: Path, write_video: Callable, counting_frames: Callable) -> Path:
    """A packed file of 20 frames that tell their numbers."""
    video = write_video(tmp_path / "counting.mp4", counting_frames(20))
    target = tmp_path / "counting.zip"
    assert extract_frames(video, [(target, range(20))], Event(), PackedFiles(256)) == [True]
    return target


def prepare(*arguments: object) -> int:
    """The exit code of the command line."""
    try:
        main(["prepare", *map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def listed(out: Path) -> list[Path]:
    paths = []
    for name in ("train.csv", "val.csv"):
        with (out / name).open(newline="") as file:
            paths += [out / row["path"] for row in csv.DictReader(file)]
    return paths


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


# --- preparing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("px", "size"), [(48, (48, 64)), (96, (96, 128)), (500, (96, 128))])
def test_packed_frames_are_the_resized_frames_of_the_source_and_never_enlarged(
    px: int, size: tuple[int, int], root: Path, tmp_path: Path
) -> None:
    assert prepare("folder", root, "--out", tmp_path / "out", "--pack", px) == 0
    files = listed(tmp_path / "out")
    assert sorted(file.relative_to(tmp_path / "out" / "packed").as_posix() for file in files) == [
        "close/c.zip", "close/d.zip", "open/a.zip", "open/b.zip",
    ]  # fmt: skip
    for file in files:
        name = file.relative_to(tmp_path / "out" / "packed").with_suffix("")
        source = root / name if (root / name).is_dir() else (root / name).with_suffix(".mp4")
        with open_video(source) as video, open_video(file) as found:
            assert found.num_frames == video.num_frames == 12
            expected, frames = video.read(range(12)), found.read(range(12))
        assert frames.shape == (12, 3, *size)
        difference = frames.float() - resize_short_side(expected, min(px, 96)).float()
        assert difference.abs().mean() < 1.5
        assert difference.abs().max() < 30


def test_a_packed_file_is_a_zip_that_any_tool_opens(packed: Path) -> None:
    with zipfile.ZipFile(packed) as file:
        assert file.testzip() is None
        assert file.namelist() == [f"{number:05d}.jpg" for number in range(1, 21)]
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        with Image.open(file.open("00003.jpg")) as image, open_video(packed) as video:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            assert torch.equal(video.read([2])[0], pixels)


def test_any_frames_in_any_order_are_those_asked_for(packed: Path, numbers_of: Callable) -> None:
    with open_video(packed) as video:
        assert numbers_of(video.read([19, 0, 7, 7, 3])) == [19, 0, 7, 7, 3]
        assert numbers_of(video.read(range(20))) == list(range(20))
    with open_video(packed, num_frames=5) as video:
        assert video.num_frames == 5


def test_a_zip_by_another_program_is_read_in_natural_order_wherever_the_images_lie(
    tmp_path: Path, counting_frames: Callable, numbers_of: Callable
) -> None:
    frames = counting_frames(12)
    files = {f"v/img_{number}.jpg": jpeg(frames[number]) for number in (10, 2, 0, 11, *range(3, 10), 1)}
    files |= {"__MACOSX/v/._img_0.jpg": b"x", "v/notes.txt": b"x", "v/.hidden.jpg": b"x"}
    with open_video(write_zip(tmp_path / "a.zip", files)) as video:
        assert numbers_of(video.read(range(12))) == list(range(12))


@pytest.mark.slow
def test_whole_files_are_kept_and_others_are_packed_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert prepare("folder", root, "--out", out, "--pack", 48) == 0
    assert "files of packed frames: 4 written, 0 already there" in capsys.readouterr().out
    files = sorted(listed(out))
    data = [file.read_bytes() for file in files]
    files[0].write_bytes(data[0][:-30])
    files[1].write_bytes(b"")
    assert prepare("folder", root, "--out", out, "--pack", 48, "--overwrite") == 0
    assert "2 written, 2 already there" in capsys.readouterr().out
    assert [file.read_bytes() for file in files] == data
    assert prepare("folder", root, "--out", out, "--pack", 32, "--overwrite") == 0
    assert "4 written, 0 already there" in capsys.readouterr().out
    with open_video(files[0]) as video:
        assert video.read([0]).shape[-2:] == (32, 42)


@pytest.mark.slow
def test_packing_goes_on_after_it_was_killed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], write_video: Callable
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (75, 120, 160, 3), dtype=np.uint8)
    write_video(root / "open" / "slow.mp4", noise, options={"preset": "ultrafast"})
    for number in range(8):
        shutil.copy(root / "open" / "slow.mp4", root / "open" / f"slow{number}.mp4")
    out, words = tmp_path / "out", ["folder", str(root), "--pack", "100", "--workers", "2", "--out"]
    program = subprocess.Popen([sys.executable, "-m", "gateshift", "prepare", *words, str(out)])
    while len(list(out.glob("packed/open/s*.zip"))) < 2 and program.poll() is None:
        time.sleep(0.01)
    program.kill()
    assert program.wait() == -signal.SIGKILL
    assert not (out / "train.csv").exists()
    for path in out.glob("packed/*/[!.]*"):  # what has its name is whole
        with open_video(path) as video:
            video.read(range(video.num_frames))
    num_whole = len(list(out.glob("packed/*/[!.]*")))
    capsys.readouterr()
    assert prepare(*words, out) == 0
    assert not list(out.rglob(".*"))
    assert f"files of packed frames: {13 - num_whole} written, {num_whole} already there" in capsys.readouterr().out
    assert prepare(*words, tmp_path / "at once") == 0
    for path in listed(out):
        assert path.read_bytes() == (tmp_path / "at once" / path.relative_to(out)).read_bytes()


def test_a_video_that_breaks_off_leaves_no_file(tmp_path: Path, write_folder: Callable, scene: np.ndarray) -> None:
    folder = write_folder(tmp_path / "v", scene)
    (folder / "img_00007.png").write_bytes(b"damaged")
    (error,) = extract_frames(folder, [(tmp_path / "out" / "v.zip", range(12))], Event(), PackedFiles(48))
    assert isinstance(error, VideoError)
    assert "img_00007.png" in str(error)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pack", "48", "--extract-frames"], "both write the frames, to files and to folders"),
        (["--pack", "0"], "0; a side has at least 1 pixel"),
    ],
)
def test_options_that_exclude_each_other_are_refused_in_one_line(
    options: list[str], message: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare("folder", root, "--out", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_training_testing_and_prediction_take_packed_videos(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert prepare("folder", root, "--val-share", "0.5", "--out", out, "--pack", 48) == 0
    lists = [str(out / "train.csv"), str(out / "val.csv")]
    main(["train", *lists, "--out", str(tmp_path / "run"), "--workers", "0", *SMALL])
    model = str(tmp_path / "run" / "last.safetensors")
    for workers in ("0", "1"):
        scores = tmp_path / f"{workers}.npz"
        main(["test", model, str(out / "val.csv"), "--workers", workers, "--scores", str(scores)])
    first, second = (load_scores(tmp_path / f"{workers}.npz") for workers in ("0", "1"))
    assert np.array_equal(first.logits, second.logits)
    capsys.readouterr()
    main(["predict", model, str(listed(out)[0]), "--json"])
    assert '"error": null' in capsys.readouterr().out


# --- damaged and hostile files ---------------------------------------------------------------------------


def test_a_zip_that_is_none_or_holds_no_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(VideoError, match=r"a\.zip: is not a zip that can be read .*pack the video again"):
        open_video(tmp_path / "a.zip")
    with pytest.raises(VideoError, match=r"b\.zip: no image is in this zip; put the frames of one video in it"):
        open_video(write_zip(tmp_path / "b.zip", {"notes.txt": b"x"}))
    with pytest.raises(VideoError, match=r"c\.zip: there is no such file"):
        open_video(tmp_path / "c.zip")
    (tmp_path / "d.zip").touch()
    with pytest.raises(VideoError, match=r"d\.zip: is empty, with 0 bytes"):
        open_video(tmp_path / "d.zip")


def test_times_for_a_zip_are_an_error(packed: Path) -> None:
    with pytest.raises(VideoError, match="given for a zip of images, which has no clock"):
        open_video(packed, start_s=0.5)


def test_a_closed_zip_says_so(packed: Path) -> None:
    video = open_video(packed)
    video.close()
    video.close()
    with pytest.raises(VideoError, match=r"counting\.zip was closed"):
        video.read([0])


def test_a_damaged_frame_is_an_error_and_the_others_are_read(packed: Path, numbers_of: Callable) -> None:
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as file:
        at = file.getinfo("00005.jpg").header_offset
    data[at + 200] ^= 0xFF
    packed.write_bytes(data)
    with open_video(packed) as video:
        assert numbers_of(video.read([3, 5])) == [3, 5]
        with pytest.raises(VideoError, match=r"counting\.zip, frame 4: is damaged"):
            video.read([3, 4])


def test_frames_that_are_no_images_or_of_different_sizes_are_errors(tmp_path: Path, scene: np.ndarray) -> None:
    files = {"1.jpg": jpeg(scene[0]), "2.jpg": b"no image", "3.jpg": jpeg(scene[0][:50])}
    with open_video(write_zip(tmp_path / "a.zip", files)) as video:
        with pytest.raises(VideoError, match=r"a\.zip, frame 1: is not an image that can be read"):
            video.read([1])
        with pytest.raises(VideoError, match=r"a\.zip: frame 2 is 128 x 50 px, but others are 128 x 96"):
            video.read([0, 2])


def test_compressed_images_are_refused_so_that_no_zip_can_grow(tmp_path: Path, scene: np.ndarray) -> None:
    path = write_zip(tmp_path / "a.zip", {"1.jpg": jpeg(scene[0])}, zipfile.ZIP_DEFLATED)
    with open_video(path) as video, pytest.raises(VideoError, match="frame 0: is compressed or encrypted"):
        video.read([0])


def test_images_of_absurd_sizes_are_refused_before_they_are_decoded(tmp_path: Path, scene: np.ndarray) -> None:
    data = bytearray(jpeg(scene[0]))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">2H", 60_000, 60_000)
    with (
        open_video(write_zip(tmp_path / "a.zip", {"1.jpg": bytes(data)})) as video,
        pytest.raises(VideoError, match="decompression bomb"),
    ):
        video.read([0])


@pytest.mark.slow
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8), st.booleans())
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_whatever_is_wrong_with_a_file_is_a_video_error(place: int, wrong: bytes, cut: bool) -> None:
    data = bytearray(PACKED)
    place %= len(data)
    data[place : place + len(wrong)] = wrong
    if cut:
        del data[place + len(wrong) :]
    path = SCRATCH / "wrong.zip"
    path.write_bytes(data)
    try:
        with open_video(path) as video:
            for number in range(min(video.num_frames, 3)):
                assert video.read([number]).shape[1] == 3
    except VideoError as error:
        assert str(path) in str(error)


PACKED = b""
SCRATCH = Path()


@pytest.fixture(autouse=True, scope="module")
def _scratch(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> None:
    global PACKED, SCRATCH
    SCRATCH = tmp_path_factory.mktemp("wrong")
    PackedFiles(256).write(SCRATCH / "right.zip", [jpeg(frame) for frame in scene[:3]])
    PACKED = (SCRATCH / "right.zip").read_bytes()
