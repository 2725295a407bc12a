"""A data set of long drawn videos with events at exact frames, and the same videos at other frame rates."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from gateshift.data.events.event_tables import read_event_table
from gateshift.data.events.events import Event, EventList, VideoInfo
from gateshift.data.events.files import write_events
from gateshift.data.video.files import VideoFile
from gateshift.demo.reversal_clips import check_at_least, check_size
from gateshift.demo.spot_scenes import SPOT_CLASSES, SPOT_PAIRS, draw_spot_video
from gateshift.errors import SettingsError
from gateshift.files import atomic_write, csv_text, write_text

SPLITS = ("train", "val", "test")
TICKS_PER_S = 90_000  # of the clock of a video that is encoded here


def write_spot_videos(
    folder: str | PathLike[str],
    *,
    train: int = 12,
    val: int = 4,
    test: int = 4,
    duration_s: float = 30.0,
    fps: float = 25.0,
    size_px: tuple[int, int] = (128, 96),
    classes: Sequence[str] = SPOT_CLASSES,
    seed: int = 0,
) -> None:
    """Write encoded videos of eight kinds of events, six of them in pairs that are each other backwards.

    They lie in ``train/``, ``val/`` and ``test/`` as 0000.mp4 and so on. Beside these folders ``train.csv``,
    ``val.csv`` and ``test.csv`` have the columns ``path,frame,time_s,label``, ``classes.txt`` has a class a line, and
    ``reversal_pairs.csv`` says which class each is backwards.

    Args:
        folder: Where to write; it must not exist.
        train: Videos to learn from; of any split may be none.
        val: Videos to choose a model by.
        test: Videos to test it on.
        duration_s: Length of each, in seconds, at least 4.
        fps: Frames a second, at least 5.
        size_px: Width and height, both even and at least 32.
        classes: What may happen in them; the two of a pair, and both of the ball, go together.
        seed: At least 0. The same seed draws the same videos; asking for more leaves the others as they are.

    Raises:
        SettingsError: If an argument is outside its range, or the folder exists.
    """
    folder = Path(folder)
    check_at_least(0, train=train, val=val, test=test, seed=seed)
    check_at_least(4, duration_s=duration_s)
    check_at_least(5, fps=fps)
    check_size(size_px)
    if not classes or not {*classes} <= {*SPOT_CLASSES}:
        raise SettingsError(f"`classes` {tuple(classes)}; give at least one of {', '.join(SPOT_CLASSES)}")
    if folder.exists():
        raise SettingsError(f"`folder` {folder} exists; choose another folder, or delete it")
    with atomic_write(folder) as partial:
        for number, (split, count) in enumerate(zip(SPLITS, (train, val, test), strict=True)):
            (partial / split).mkdir(parents=True)
            listed = EventList((), {})
            for place in range(count):
                name = f"{split}/{place:04d}.mp4"
                own_seed = int(np.random.SeedSequence(seed, spawn_key=(number, place)).generate_state(1)[0])
                video = draw_spot_video(own_seed, duration_s=duration_s, fps=fps, size_px=size_px, classes=classes)
                encode(partial / name, video, [i / fps for i in range(video.num_frames)], rate=fps)
                events = tuple(Event(name, label, frame, frame / fps) for frame, label in video.events)
                listed = EventList((*listed.events, *events), {**listed.videos, name: VideoInfo()})
            write_events(listed, partial / f"{split}.csv")
        write_text(partial / "classes.txt", "".join(f"{name}\n" for name in SPOT_CLASSES if name in classes))
        rows = [*SPOT_PAIRS, *((name, name) for name in SPOT_CLASSES[2 * len(SPOT_PAIRS) :])]
        rows = [row for row in rows if row[0] in classes]
        write_text(partial / "reversal_pairs.csv", csv_text([("class", "reversed"), *rows]))


def encode(
    path: Path, frames: Iterable[NDArray[np.uint8]], times_s: Iterable[float], *, rate: float, quality: int = 20
) -> None:
    """Encode a video as recordings are: few key frames, frames predicted from later ones too (B-frames).

    Args:
        path: The .mp4 file.
        frames: uint8 [H, W, 3] of one size.
        times_s: When each is shown, rising.
        rate: About how many there are a second.
        quality: Of libx264 (CRF): lower is better.
    """
    codec, options = "mpeg4", {"qmin": "3", "qmax": "6"}
    if "libx264" in av.codecs_available:
        codec, options = "libx264", {"crf": str(quality), "preset": "veryfast"}
    with atomic_write(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream: Any = None
        for pixels, time_s in zip(frames, times_s, strict=True):
            if stream is None:
                stream = container.add_stream(
                    codec, rate=Fraction(rate).limit_denominator(1001), options={"bf": "2", "threads": "1", **options}
                )
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
                stream.codec_context.gop_size = 250
                stream.codec_context.time_base = stream.time_base = Fraction(1, TICKS_PER_S)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time_s * TICKS_PER_S), Fraction(1, TICKS_PER_S)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))


def write_at_rate(
    table: str | PathLike[str], folder: str | PathLike[str], *, fps: float | None = None, seed: int = 0
) -> Path:
    """Write the videos of a list of events at another frame rate, with the events at the same seconds.

    At each new time the frame is shown that the source shows then, as some programs that convert frame rates do;
    others round to the nearest frame.

    Args:
        table: A CSV ``path,time_s,label``; paths start at its folder.
        folder: Where to write videos of the same names and a list; it must not exist.
        fps: Frames a second; None for a variable rate, of which each frame lasts 20 to 80 ms.
        seed: Of the variable rate.

    Returns:
        The list: a CSV ``path,time_s,label``.

    Raises:
        ManifestError: If the list cannot be read.
        VideoError: If a video cannot be read.
        SettingsError: If the folder exists.
    """
    table, folder = Path(table), Path(folder)
    listed = read_event_table(table)
    if folder.exists():
        raise SettingsError(f"`folder` {folder} exists; choose another folder, or delete it")
    with atomic_write(folder) as partial:
        for place, name in enumerate(listed.videos):
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            with VideoFile(table.parent / name) as video:
                ends_s = np.array(video.ends_s())
                times_s = _times(ends_s[-1], fps, np.random.default_rng((seed, place)))
                shown = np.searchsorted(ends_s[:-1], times_s + 1e-6, side="right") - 1
                encode(partial / name, _read(video, shown.tolist()), times_s.tolist(), rate=fps or 25.0, quality=16)
        events = tuple(Event(each.video, each.label, time_s=each.time_s) for each in listed.events)
        write_events(EventList(events, listed.videos), partial / table.name)
    return folder / table.name


def _read(video: VideoFile, numbers: Iterable[int]) -> Iterator[NDArray[np.uint8]]:
    """Frames [H, W, 3] by rising numbers; one that is shown again is not decoded again."""
    for number, again in groupby(numbers):
        pixels = video.read([number])[0].permute(1, 2, 0).numpy()
        yield from (pixels for _ in again)


def _times(end_s: float, fps: float | None, rng: np.random.Generator) -> NDArray[np.float64]:
    """When the frames of a video are shown that ends at a time."""
    if fps is not None:
        return np.arange(int(end_s * fps + 1e-6)) / fps
    steps_s = rng.uniform(0.02, 0.08, int(end_s / 0.02))
    times_s = np.concatenate([[0.0], np.cumsum(steps_s)])
    return times_s[times_s < end_s]
