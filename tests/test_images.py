"""One image as a frame: of every kind, damaged, and plain JPEGs as Pillow reads them."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gateshift.data.video.images as images
from gateshift.data.video.files import open_video
from gateshift.data.video.images import decode_image, plain_jpeg_size
from gateshift.errors import VideoError


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Frames [12, 96, 128, 3] of a smooth picture that moves."""
    y, x = np.mgrid[0:96, 0:128]
    frames = [np.stack([x + 5 * t, y + 60, (x + y) / 2 + 20], axis=-1) for t in range(12)]
    return np.clip(frames, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("keep", [0, 30, 0.5], ids=["empty", "header only", "half"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_unreadable_image_is_an_error_that_names_it(
    suffix: str, keep: float, tmp_path: Path, write_folder: Any
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    folder = write_folder(tmp_path / "v", noise, pattern="{}" + suffix)
    bad = folder / f"2{suffix}"
    os.truncate(bad, int(keep if keep != 0.5 else bad.stat().st_size / 2))
    with open_video(folder) as video:
        video.read([0, 2])
        with pytest.raises(VideoError, match=str(bad)):
            video.read([0, 1])


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16"])
def test_images_of_every_mode_become_rgb(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((5, 7), 255 * 257, np.uint16))
    else:
        image = Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode)
    image.save(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    with open_video(tmp_path) as video:
        assert torch.equal(video.read([0]), torch.full((1, 3, 5, 7), 255, dtype=torch.uint8))


def test_sixteen_bits_of_gray_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((5, 7), 100 * 256, np.uint16)).save(tmp_path / "a.png")
    with open_video(tmp_path) as video:
        assert video.read([0])[0, :, 0, 0].tolist() == [100, 100, 100]


def test_a_palette_with_transparent_colors_gives_no_warning(tmp_path: Path) -> None:
    image = Image.new("P", (7, 5), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=b"\x00\x80")
    with warnings.catch_warnings(), open_video(tmp_path) as video:
        warnings.simplefilter("error")
        assert video.read([0])[0, :, 0, 0].tolist() == [10, 20, 30]


def test_an_image_taken_with_a_turned_camera_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    with open_video(tmp_path) as video:
        assert video.read([0]).shape == (1, 3, 16, 8)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_several_pictures_in_one_file_are_an_error_and_not_their_first(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    pictures = [Image.new("RGB", (8, 6), (40 * level, 9, 9)) for level in range(3)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    with pytest.raises(VideoError, match=rf"a\.{suffix}: is an image file of 3 pictures, and no video; convert it"):
        open_video(path)
    with open_video(tmp_path) as video, pytest.raises(VideoError, match=rf"a\.{suffix}: .*3 pictures in one file"):
        video.read([0])


def test_a_photograph_with_a_smaller_copy_of_itself_is_one_frame(tmp_path: Path) -> None:
    Image.new("RGB", (16, 8), (90, 90, 90)).save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (8, 4))]
    )
    with open_video(tmp_path) as video:
        assert video.read([0])[0, :, 4, 8].tolist() == [90, 90, 90]


def by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where the fast decoder leaves an image to Pillow."""

    def refuse(*_: object) -> None:
        raise AssertionError("left to Pillow")

    monkeypatch.setattr(images, "_opened", refuse)


@pytest.mark.slow
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from([0, 1, 2]),
    optimize=st.booleans(),
    restart=st.sampled_from([0, 1, 5]),
    smooth=st.booleans(),
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_baseline_jpegs_are_decoded_to_pillows_pixels_bit_for_bit(
    height: int, width: int, quality: int, subsampling: int, optimize: bool, restart: int, smooth: bool
) -> None:
    pixels = np.random.default_rng(height * 71 + width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    if smooth:
        pixels = np.broadcast_to(np.linspace(0, 255, width, dtype=np.uint8)[:, None], (height, width, 3)).copy()
    data = jpeg(pixels, quality=quality, subsampling=subsampling, optimize=optimize, restart_marker_blocks=restart)
    assert plain_jpeg_size(data) == (height, width)
    assert np.array_equal(decode_image(data, "x"), by_pillow(data))


@pytest.mark.usefixtures("no_pillow")
def test_baseline_jpegs_are_not_left_to_pillow(scene: np.ndarray) -> None:
    into = np.empty(scene[0].shape, np.uint8)
    pixels = decode_image(jpeg(scene[0]), "x", into)
    assert pixels is into
    assert np.array_equal(decode_image(jpeg(scene[0]), "x", into[:50]), into)


@pytest.mark.parametrize("kind", ["grey", "cmyk", "progressive", "turned", "rgb", "png", "adobe"])
def test_other_images_are_left_to_pillow(kind: str, scene: np.ndarray) -> None:
    image, file = Image.fromarray(scene[0]), io.BytesIO()
    if kind == "grey":
        image.convert("L").save(file, "JPEG")
    elif kind == "cmyk":
        image.convert("CMYK").save(file, "JPEG")
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(file, "JPEG", exif=exif)
    elif kind == "adobe":
        data = jpeg(scene[0])
        file.write(data[:2] + b"\xff\xee\x00\x0eAdobe\x00d\x00\x00\x00\x00\x01" + data[2:])
    else:
        options = {"progressive": {"progressive": True}, "rgb": {"keep_rgb": True}}.get(kind, {})
        image.save(file, "PNG" if kind == "png" else "JPEG", **options)
    data = file.getvalue()
    assert plain_jpeg_size(data) is None
    pixels = decode_image(data, "x")
    if kind == "turned":
        assert np.array_equal(pixels, np.rot90(by_pillow(data), -1))
    else:
        assert np.array_equal(pixels, by_pillow(data))


@pytest.mark.slow
@given(st.integers(2, 5_000), st.binary(min_size=1, max_size=20), st.booleans())
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_a_damaged_jpeg_gives_what_pillow_gives(place: int, wrong: bytes, cut: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    data = bytearray(jpeg(pixels, quality=80))
    place %= len(data)
    data[place : place + len(wrong)] = wrong
    if cut:
        del data[place:]
    try:
        expected = by_pillow(bytes(data))
    except Exception:
        with pytest.raises(VideoError, match="x: is not an image"):
            decode_image(bytes(data), "x")
        return
    assert decode_image(bytes(data), "x").shape in (expected.shape, np.rot90(expected).shape)
