"""Classify a live stream of a camera, an address or a file, as it comes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from os import PathLike, fspath

from gateshift.data.regions import WHOLE, AnyRegion
from gateshift.data.video.files import VideoFile
from gateshift.data.video.live import FileFrames, LiveFrame, NewestFrames, is_live
from gateshift.errors import SettingsError, VideoError
from gateshift.evaluation.fast_form import fast_form
from gateshift.evaluation.protocol import choose_box
from gateshift.model.config import ModelConfig
from gateshift.prediction.predict import ready_model
from gateshift.prediction.scoring import AnyModel
from gateshift.prediction.stream import Answer, Stream
from gateshift.prediction.windows import check_positive, frames_in, known_rate

MAX_RATE_ERROR = 0.05  # of a stream, relative to what the model was trained on
EXACT_CAPACITY = 16  # frames of a live source that wait for an exact stream, and then go through it together
Clock = Callable[[int], float | None]  # seconds, by frame number


@dataclass
class StreamReport:
    """How a stream went, while it goes and afterwards.

    Attributes:
        frames: How many were looked at.
        answers: How many were given.
        dropped: Frames of the source for which there was no time.
        delay: How many frames after a frame its answer comes; 0 where a window is answered at its last frame.
        duration_s: From the first frame to the last answer.
        latency_s: From the coming of a frame to the answer that it was the last one of: their sum.
        max_latency_s: The longest.
    """

    frames: int = 0
    answers: int = 0
    dropped: int = 0
    delay: int = 0
    duration_s: float = 0.0
    latency_s: float = 0.0
    max_latency_s: float = 0.0

    def __str__(self) -> str:
        rate = self.frames / self.duration_s if self.duration_s else 0.0
        mean_ms = 1e3 * self.latency_s / self.answers if self.answers else 0.0
        return (
            f"{self.frames} frames in {self.duration_s:.1f} s ({rate:.1f} fps), {self.dropped} dropped; "
            f"{self.answers} answers, latency {mean_ms:.0f} ms, at most {1e3 * self.max_latency_s:.0f} ms"
            + (f"; answers come {self.delay} frames late" if self.delay else "")
        )


def stream_video(
    model: AnyModel | str | PathLike[str],
    source: str | PathLike[str],
    *,
    classes: str | PathLike[str] | None = None,
    segments: int | None = None,
    exact: bool = False,
    window: float = 2.0,
    hop: float = 0.5,
    smooth: int = 1,
    enter: float = 0.5,
    leave: float = 0.4,
    suppress: float = 0.2,
    fps: float | None = None,
    box: AnyRegion | None = None,
    report: StreamReport | None = None,
) -> Iterator[Answer]:
    """Classify a stream; see :class:`gateshift.Stream` for frames of your own.

    Args:
        model: In eval mode; or the path of any model.
        source: A camera (/dev/video0), an address that FFmpeg reads (rtsp://, http://), or a file. A file gives every
            frame. Of a camera or an address, frames that there is no time for are dropped and counted.
        classes: A file with names for the class numbers of a released checkpoint, one a line.
        segments: T, frames of a window that are classified; by default as in training. Nothing to an exact stream.
        exact: Answer every frame as in the whole recording as one clip, a fixed number of frames late; else classify
            windows.
        window: Length of a window, in seconds.
        hop: Time from one window to the next, in seconds.
        smooth: Each answer is the mean of this many, up to it.
        enter: A class begins when its probability reaches this, in 0..1.
        leave: It ends when its probability falls below this, in 0..1.
        suppress: Of a model of events: an event is likelier than all within so many seconds.
        fps: Frames a second of a source that does not say, such as a folder of images.
        box: As for :func:`gateshift.predict`.
        report: Is filled in while the stream goes.

    Yields:
        The answers, with their times where the source has a clock, until it ends. Closing the iterator ends it too.

    Raises:
        VideoError: If the source cannot be read, or read on, after the answers before.
        SettingsError: If a number is out of range, or nothing says the rate, where windows or events need it.
        ModelError: If the model cannot be loaded, is in training mode, or gives no exact stream.
    """
    check_positive("fps", fps)
    if not 0 <= suppress < math.inf:
        raise SettingsError(f"`suppress` {suppress}; it must be at least 0 seconds; correct it")
    report = StreamReport() if report is None else report
    model = fast_form(ready_model(model, classes=classes))
    address = fspath(source)
    opened: FileFrames | NewestFrames
    opened = (NewestFrames if is_live(address) else FileFrames)(
        address, square_pixels=model.config.square_pixels, box=choose_box(model.config, box)
    )
    with closing(opened):
        rate = fps or opened.rate
        stride, is_of_events = choose_stride(model.config, rate), model.config.task == "spot"
        num_window, num_hop = (
            (EXACT_CAPACITY, 1) if exact else (frames_in("window", window, rate), frames_in("hop", hop, rate))
        )
        stream = Stream(
            model,
            exact=exact,
            window=num_window,
            hop=num_hop,
            segments=segments,
            smooth=smooth,
            enter=enter,
            leave=leave,
            suppress=_reach(suppress, known_rate(rate) / stride) if is_of_events and suppress else 0,
            stride=stride,
            box=WHOLE,  # what the source gives is cut already
        )
        report.delay = stream.delay
        clock = _clock(opened, fps)
        if isinstance(opened, NewestFrames):
            opened.start(num_window)
        try:
            for answer in run_stream(stream, opened, report, newest=is_live(address)):
                yield replace(answer, start_s=clock(answer.start), end_s=clock(answer.end))
        finally:
            opened.close()
            report.dropped = opened.dropped


def choose_stride(config: ModelConfig, rate: float | None) -> int:
    """Of how many frames of a stream a model that answers for each frame sees one, to see it at its own rate.

    Raises:
        SettingsError: If there is no such number, or nothing says the stream's rate.
    """
    if config.fps is None:
        return 1
    rate = known_rate(rate)
    stride = max(round(rate / config.fps), 1)
    if abs(rate / config.fps / stride - 1) > MAX_RATE_ERROR:
        raise SettingsError(
            f"a stream of {rate:g} frames a second for a model that sees {config.fps:g}; give one of these, or of two "
            "or three times as many; a file of any rate is taken by `events`"
        )
    return stride


def _reach(suppress_s: float, rate: float) -> int:
    """How many frames to either side are within so many seconds, as suppression in a file has it.

    >>> _reach(0.2, 25.0), _reach(0.2, 24.0)
    (5, 4)
    """
    # A rate that was worked out of times in whole milliseconds is a little off: six frames at 29.995 are within 0.2 s.
    return math.floor(suppress_s * rate + 0.003)


def _clock(source: FileFrames | NewestFrames, fps: float | None) -> Clock:
    """When a frame begins, by its number: as a file says of each, or by the rate."""
    rate = fps or source.rate
    if fps is None and rate is not None and isinstance(source, FileFrames) and isinstance(source.video, VideoFile):
        with suppress(VideoError):  # a file may have no times
            return source.video.ends_s().__getitem__
    return lambda number: None if rate is None else number / rate


def run_stream(
    stream: Stream, source: Iterable[list[LiveFrame]], report: StreamReport, *, newest: bool
) -> Iterator[Answer]:
    """Push what a source gives through a stream.

    Args:
        stream: New.
        source: Gives frames in lists, those of a list following each other.
        report: Counts what is done; ``dropped`` is for the caller to fill in.
        newest: Of several windows that are due, classify the last one alone, so that the stream keeps up.

    Yields:
        The answers.
    """
    started: float | None = None
    for frames in source:
        started = frames[0].arrived_s if started is None else started
        answers = stream.push((frame.read() for frame in frames), number=frames[0].number, newest=newest)
        now = time.perf_counter()
        report.frames += len(frames)
        report.duration_s = now - started
        if answers:
            report.answers += len(answers)
            report.latency_s += (now - frames[-1].arrived_s) * len(answers)
            report.max_latency_s = max(report.max_latency_s, now - frames[-1].arrived_s)
        yield from answers
    last = stream.finish()
    report.answers += len(last)
    yield from last
