"""A decoded frame as pixels: its colors, upright, and square where a model was trained so."""

from __future__ import annotations

import csv
import io
import json
import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from video_corpus import encode

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.video.files import VideoFile, open_video


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("ten_bit.mkv", "libx264", "yuv444p10le"),
        ("ten_bit_420.mkv", "ffv1", "yuv420p10le"),
        ("full_chroma.mp4", "libx264", "yuv444p"),
        ("full_range.avi", "mjpeg", "yuvj420p"),
        ("transparent.mov", "qtrle", "argb"),
        ("sixteen_bit.mkv", "ffv1", "gbrp16le"),
        ("bottom_up.avi", "rawvideo", "bgr24"),
        ("planes.mkv", "ffv1", "yuv410p"),
        ("vp9.webm", "libvpx-vp9", "yuv420p"),
    ],
)
@pytest.mark.parametrize("size", [(32, 48), (33, 49)])
def test_colors_survive_every_pixel_format_and_odd_sizes(
    name: str, codec: str, pix_fmt: str, size: tuple[int, int], tmp_path: Path, write_video: Any
) -> None:
    colors = np.array([[200, 60, 30], [40, 180, 90], [70, 50, 220]], np.uint8)
    frames = np.broadcast_to(colors[:, None, None], (3, *size, 3)).copy()
    path = write_video(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt)
    with open_video(path) as video:
        read = video.read([0, 1, 2])
    assert read.shape == (3, 3, *size)
    torch.testing.assert_close(read.float(), torch.from_numpy(frames).permute(0, 3, 1, 2).float(), atol=6, rtol=0)


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16le", "gray10le"])
def test_gray_video_has_three_equal_channels(
    pix_fmt: str, tmp_path: Path, write_video: Any, counting_frames: Any, numbers_of: Any
) -> None:
    path = write_video(tmp_path / "a.mkv", counting_frames(5), codec="ffv1", pix_fmt=pix_fmt)
    with open_video(path) as video:
        frames = video.read(range(5))
    assert torch.equal(frames[:, :1].expand(-1, 3, -1, -1), frames)
    assert numbers_of(frames) == list(range(5))


def test_a_transparent_gif_becomes_rgb(tmp_path: Path) -> None:
    images = [Image.new("RGBA", (21, 13), (10 * i, 200, 30, 255)) for i in range(4)]
    images[0].putpixel((0, 0), (0, 0, 0, 0))
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=40, disposal=2)
    with open_video(tmp_path / "a.gif") as video:
        frames = video.read([0, 3])
    assert frames[0, :, 6, 6].tolist() == [0, 200, 30]
    assert frames[1, :, 6, 6].tolist() == [30, 200, 30]


@pytest.mark.parametrize(("matrix", "kr", "kb"), [("bt709", 0.2126, 0.0722), ("smpte170m", 0.299, 0.114)])
@pytest.mark.parametrize("is_full_range", [True, False])
def test_the_color_matrix_and_range_that_a_file_states_are_used(
    matrix: str, kr: float, kb: float, is_full_range: bool, tmp_path: Path
) -> None:
    y, cb, cr = 120, 90, 160
    state = f"colormatrix={matrix}:fullrange={'on' if is_full_range else 'off'}"
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"qp": "0", "x264-params": state})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv444p"
        planes = np.stack([np.full((32, 32), level, np.uint8) for level in (y, cb, cr)])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode(None))
    luma, blue, red = (
        (y / 255, (cb - 128) / 255, (cr - 128) / 255)
        if is_full_range
        else ((y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224)
    )
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    with open_video(tmp_path / "a.mp4") as video:
        assert video.read([0])[0, :, 16, 16].tolist() == pytest.approx([255 * r, 255 * g, 255 * b], abs=1.5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_that_are_photographs_with_exif_are_upright(orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(np.full((32, 48, 3), 60, np.uint8))
    image.paste((200, 200, 200), (0, 0, 24, 16))
    image.getexif()[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, exif=image.getexif())
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        packet = av.Packet(file.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 25)
        container.mux(packet)
    with open_video(tmp_path / "a.avi") as video:
        frame = video.read([0])[0].permute(1, 2, 0).numpy().astype(int)
    upright = np.asarray(ImageOps.exif_transpose(image))
    assert frame.shape == upright.shape
    assert np.abs(frame - upright).mean() < 3


def set_track_matrix(path: Path, a: int, b: int, c: int, d: int, x: int, y: int) -> None:
    """Write the track matrix of ISO 14496-12: a stored point (p, q) is shown at (ap + cq + x, bp + dq + y)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # version 0 of the box
    one = 1 << 16
    struct.pack_into(">9i", data, at, a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [
        (1, 0, 0, 1),
        (0, 1, -1, 0),
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ],
    ids=[
        "upright",
        "clockwise 90, as phones write portraits",
        "180",
        "clockwise 270",
        "mirrored, as front cameras write",
        "upside down and mirrored",
        "mirrored, then clockwise 270",
        "mirrored, then clockwise 90",
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_pixels_lie_where_the_track_matrix_puts_them(
    a: int, b: int, c: int, d: int, suffix: str, tmp_path: Path, write_video: Any
) -> None:
    height, width = 32, 48
    stored = np.zeros((3, height, width, 3), np.uint8)
    stored[:, :16, :24] = (230, 20, 20)  # red at the top left
    stored[:, :16, 24:] = (20, 230, 20)
    stored[:, 16:, :24] = (20, 20, 230)
    path = write_video(tmp_path / f"phone{suffix}", stored, pix_fmt="yuv444p", options={"crf": "1"})
    set_track_matrix(path, a, b, c, d, width * (a < 0) + height * (c < 0), width * (b < 0) + height * (d < 0))
    shown_width, shown_height = (height, width) if b else (width, height)
    with open_video(path) as video:
        frame = video.read([1])[0]
    assert frame.shape == (3, shown_height, shown_width)
    for q, p in [(8, 12), (8, 36), (24, 12), (24, 36)]:
        shown_x, shown_y = (a * p + c * q) % shown_width, (b * p + d * q) % shown_height
        assert frame[:, shown_y, shown_x].tolist() == pytest.approx(stored[1, q, p].tolist(), abs=6)


# --- square pixels --------------------------------------------------------------------------------

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
    "--workers 0 --mirror none --recipe papers"
)


@pytest.mark.slow
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
