"""Fixtures that write real videos, small enough to write in each test."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest
from coded_videos import CodedVideos
from live_sources import broadcast as broadcast
from live_sources import filmed as filmed
from live_sources import rtsp as rtsp
from live_sources import scene as scene
from live_sources import serve as serve
from PIL import Image

from gateshift.demo.reversal_clips import write_reversal_clips

# A shell's background job ignores Ctrl-C and hands that on to the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


class WriteVideo(Protocol):
    def __call__(
        self,
        path: Path,
        frames: np.ndarray,
        *,
        codec: str = "libx264",
        fps: int = 25,
        pix_fmt: str = "yuv420p",
        options: Mapping[str, str] | None = None,
        times: Sequence[int] | None = None,
        container_options: Mapping[str, str] | None = None,
    ) -> Path: ...


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's clips, small, one of each class to learn from and one to test: only to be read."""
    folder = tmp_path_factory.mktemp("data") / "clips"
    write_reversal_clips(folder, train_per_class=1, val_per_class=1, size_px=(48, 36))
    return folder


@pytest.fixture(scope="session")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A training of two epochs on these clips, 4 frames of 32 px (a TrainResult): only to be read."""
    from trainings import train_small

    return train_small(clips, tmp_path_factory.mktemp("runs") / "my run", segments=4, epochs=2)


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Trainings draw nothing, which takes small ones half of their time; the pictures have tests of their own."""
    from gateshift.training import loop

    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_batch", "write_training_page"):
            patch.setattr(loop, name, lambda *_: None)
        yield


@pytest.fixture(scope="session")
def write_video() -> WriteVideo:
    """Encode frames, uint8 [T, H, W, 3]; ``times``, in milliseconds, replaces the even spacing of ``fps``."""

    def write(
        path: Path,
        frames: np.ndarray,
        *,
        codec: str = "libx264",
        fps: int = 25,
        pix_fmt: str = "yuv420p",
        options: Mapping[str, str] | None = None,
        times: Sequence[int] | None = None,
        container_options: Mapping[str, str] | None = None,
    ) -> Path:
        with av.open(str(path), "w", options=dict(container_options or {})) as container:
            stream: Any = container.add_stream(codec, rate=fps, options=dict(options or {}))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pix_fmt
            stream.codec_context.thread_count = 1
            time_base = Fraction(1, fps) if times is None else Fraction(1, 1000)
            stream.codec_context.time_base = time_base
            for number, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts = number if times is None else times[number]
                frame.time_base = time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def coded(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> CodedVideos:
    """Short videos of many codecs and containers by name, only to be read; see ``coded_videos``."""
    return CodedVideos(tmp_path_factory.mktemp("coded"), write_video)


@pytest.fixture(scope="session")
def write_folder() -> Callable[..., Path]:
    """Write frames, uint8 [T, H, W, 3], as images of a folder; ``pattern`` names them by number."""

    def write(folder: Path, frames: np.ndarray, *, pattern: str = "img_{:05d}.png", first: int = 1) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(frames, first):
            Image.fromarray(pixels).save(folder / pattern.format(number))
        return folder

    return write


@pytest.fixture(scope="session")
def counting_frames() -> Callable[..., np.ndarray]:
    """Frames [n, H, W, 3] of flat grey that tell their number: see ``numbers_of``. At most 60 of them."""

    def frames(num_frames: int, height: int = 32, width: int = 48) -> np.ndarray:
        assert num_frames <= 60, "more would be too close to tell apart after lossy coding"
        levels = (10 + 4 * np.arange(num_frames)).astype(np.uint8)
        return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()

    return frames


@pytest.fixture(scope="session")
def put_video(
    tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo, counting_frames: Callable[..., np.ndarray]
) -> Callable[[Path, int], Path]:
    """Put a video of ``counting_frames``, 10 a second, at a path; encoded once for each suffix and length."""
    folder = tmp_path_factory.mktemp("videos")

    def put(path: Path, num_frames: int) -> Path:
        source = folder / f"{num_frames}{path.suffix}"
        if not source.exists():
            codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
            write_video(source, counting_frames(num_frames), codec=codec, fps=10)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)
        return path

    return put


@pytest.fixture(scope="session")
def numbers_of() -> Callable[..., list[int]]:
    """Say which of the ``counting_frames`` each of [n, 3, H, W] is."""

    def numbers(frames: Any) -> list[int]:
        levels = frames.float().mean(dim=(1, 2, 3))
        return [round((float(level) - 10) / 4) for level in levels]

    return numbers


@contextmanager
def open_browser(*switches: str) -> Iterator[Any]:
    """A real one, without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install '.[dev]'")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", *switches]
        )  # tests may run as root
        yield started
        started.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened
