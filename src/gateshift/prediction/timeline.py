"""What happens when in a long recording: windows scored in one pass over the file, merged into segments."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from gateshift.data.clips.views import crop_frame
from gateshift.data.video.files import Video, VideoFile, open_video
from gateshift.errors import SettingsError, VideoError
from gateshift.exporting.loading import ExportedModel
from gateshift.files import write_text
from gateshift.model.classifier import ClipClassifier
from gateshift.prediction.windows import Thresholds, Windows, stack_clips

TIMELINE_SUFFIXES = (".json", ".csv", ".srt", ".vtt")


@dataclass(frozen=True)
class Event:
    """A stretch of a recording in which one class happens.

    Attributes:
        start_s: When it begins, in seconds on the recording's clock.
        end_s: When it ends.
        label: The class.
        score: Mean probability of the class in it.
    """

    start_s: float
    end_s: float
    label: str
    score: float


def open_recording(path: Path | str, *, square_pixels: bool = False) -> VideoFile:
    """Open a video file, or one at an address, for a timeline.

    Raises:
        VideoError: If it cannot be opened, or has no clock, as images have none.
    """
    video = open_video(path, square_pixels=square_pixels)
    if not isinstance(video, VideoFile):
        video.close()
        raise VideoError(f"{path}: images have no clock, which a timeline needs; give the video that they came from")
    return video


@torch.inference_mode()
def score_windows(
    model: ClipClassifier | ExportedModel,
    video: Video,
    windows: Windows,
    *,
    batch_size: int = 4,
    on_window: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Classify the windows that cover a video; each frame is decoded once, and few are in memory at a time.

    Args:
        model: In eval mode.
        video: Open.
        windows: Their size and hop.
        batch_size: Windows of one forward pass.
        on_window: Called with the number of windows of each finished pass.

    Returns:
        Probabilities [windows, K], of ``windows.covering(video.num_frames)``.

    Raises:
        VideoError: If a frame cannot be decoded.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    found = []
    clips = _clips(video, windows, size_px=model.config.size_px, resize_px=model.config.resize_px)
    for batch in _batches(clips, batch_size):
        found.append(model.config.probabilities(model(stack_clips(batch).to(device))).cpu())
        on_window(len(batch))
    return torch.cat(found)


def _clips(video: Video, windows: Windows, *, size_px: int, resize_px: int | None) -> Iterator[list[Tensor]]:
    """The clip of each window, T frames uint8 [3, s, s]; a frame is kept until the last window that has it."""
    kept: dict[int, Tensor] = {}
    for window in windows.covering(video.num_frames):
        numbers = windows.frames_of(window)
        kept = {number: frame for number, frame in kept.items() if number >= window.start}
        for number in sorted(set(numbers) - set(kept)):
            kept[number] = crop_frame(video.read([number]), size_px=size_px, resize_px=resize_px)
        yield [kept[number] for number in numbers]


def _batches(clips: Iterable[list[Tensor]], size: int) -> Iterator[list[list[Tensor]]]:
    batch: list[list[Tensor]] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def find_events(
    probabilities: Tensor,
    windows: Sequence[range],
    times_s: Sequence[float],
    classes: Sequence[str],
    *,
    thresholds: Thresholds,
    smooth: int = 1,
    apart: bool = False,
) -> list[Event]:
    """Merge the answers of windows into segments; where nothing happens there is none.

    A window speaks for the time that is nearer to its middle than to that of the others.

    Args:
        probabilities: [windows, K].
        windows: Frames of each window, in order.
        times_s: When each frame of the video is shown, and when the last one ends.
        classes: Class names.
        thresholds: When a class begins and ends.
        smooth: Each answer is replaced by the mean of this many around it; odd, so that nothing is moved in time.
        apart: Whether each class begins and ends for itself, so that segments of several can overlap.

    Returns:
        Segments by their start.

    Raises:
        SettingsError: If ``smooth`` is even, or below 1.
    """
    smoothed = smooth_over_time(probabilities, smooth)
    middles = [(window.start + window.stop) / 2 for window in windows]
    # Halves always upwards: rounded to even, a border would fall on the one before it where windows are a frame apart.
    borders = [0, *(math.floor((a + b) / 2 + 0.5) for a, b in pairwise(middles)), windows[-1].stop]
    if not apart:
        runs = _runs(smoothed, thresholds)
    else:
        begun = (smoothed.amax(0) >= thresholds.enter).nonzero().flatten().tolist()  # few of many classes ever begin
        runs = [(k, numbers) for k in begun for _, numbers in _runs(smoothed[:, k : k + 1], thresholds)]
    return [
        Event(
            start_s=times_s[borders[numbers[0]]],
            end_s=times_s[borders[numbers[-1] + 1]],
            label=classes[index],
            score=float(smoothed[numbers, index].mean()),
        )
        for index, numbers in sorted(runs, key=lambda run: run[1][0])
    ]


def _runs(probabilities: Tensor, thresholds: Thresholds) -> list[tuple[int, list[int]]]:
    """What happens in windows with probabilities [windows, K]: a class, and its windows, which follow each other."""
    runs: list[tuple[int, list[int]]] = []
    state: int | None = None
    for number, answer in enumerate(probabilities):
        before, state = state, thresholds.next_state(state, answer)
        if state is not None and state == before:
            runs[-1][1].append(number)
        elif state is not None:
            runs.append((state, [number]))
    return runs


def smooth_over_time(probabilities: Tensor, size: int) -> Tensor:
    """Mean of each answer and those around it, fewer at the ends: [n, K] -> [n, K].

    >>> smooth_over_time(torch.tensor([[0.0], [3.0], [0.0]]), 3).flatten().tolist()
    [1.5, 1.0, 1.5]
    """
    if size < 1 or size % 2 == 0:
        raise SettingsError(f"smoothing over {size} windows; a timeline takes an odd number; try --smooth 3")
    reach = size // 2
    around = (probabilities[max(i - reach, 0) : i + reach + 1] for i in range(len(probabilities)))
    return torch.stack([part.mean(0) for part in around])


def write_timeline(segments: Sequence[Event], path: Path, *, video: Path | str) -> None:
    """Write segments as .json, .csv, .srt or .vtt; the file appears when it is whole.

    Args:
        segments: In order of time.
        path: Its suffix says the format.
        video: What they are of, told in the JSON.
    """
    write_text(path, _FORMATS[path.suffix](segments, video), errors="backslashreplace")


def _json_text(segments: Sequence[Event], video: Path | str) -> str:
    record = {"video": str(video), "segments": [asdict(segment) for segment in segments]}
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _csv_text(segments: Sequence[Event], _: Path | str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("start_s", "end_s", "label", "score"))
    writer.writerows((f"{s.start_s:.3f}", f"{s.end_s:.3f}", s.label, f"{s.score:.4f}") for s in segments)
    return text.getvalue()


def _srt_text(segments: Sequence[Event], _: Path | str) -> str:
    cues = (
        f"{number}\n{_clock(s.start_s, ',')} --> {_clock(s.end_s, ',')}\n{s.label} ({s.score:.2f})\n"
        for number, s in enumerate(segments, start=1)
    )
    return "\n".join(cues)


def _vtt_text(segments: Sequence[Event], _: Path | str) -> str:
    cues = (
        f"{_clock(s.start_s, '.')} --> {_clock(s.end_s, '.')}\n{_escaped(s.label)} ({s.score:.2f})\n" for s in segments
    )
    return "\n".join(("WEBVTT\n", *cues))


def _escaped(text: str) -> str:
    """A name as the text of a cue, in which these letters begin tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(time_s: float, point: str) -> str:
    """Hours, minutes, seconds and thousandths.

    >>> _clock(3725.5, ",")
    '01:02:05,500'
    """
    seconds, thousandths = divmod(round(time_s * 1000), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{thousandths:03}"


_FORMATS: dict[str, Callable[[Sequence[Event], Path | str], str]] = {
    ".json": _json_text,
    ".csv": _csv_text,
    ".srt": _srt_text,
    ".vtt": _vtt_text,
}
