"""What a model says of an uploaded video: decoded apart, scored here, one after the other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gateshift.data.clips.views import EvalProtocol
from gateshift.errors import VideoError
from gateshift.evaluation.protocol import choose_protocol
from gateshift.explanation.output import Explanation, explain_clip
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction.scoring import found_labels
from gateshift.prediction.timeline import Event, merge_windows
from gateshift.prediction.windows import Thresholds, Windows, stack_clips
from gateshift.web.settings import ServeSettings
from gateshift.web.uploads import Decoded, Wanted, decode_apart

BATCH_SIZE = 4  # windows of one forward pass


class BusyError(Exception):
    """More requests than may wait."""


@dataclass(frozen=True)
class UploadAnswer:
    """What a model says of a video.

    Attributes:
        top: The likeliest classes and their probabilities, likeliest first.
        labels: Of a model of several labels a video, the classes that are likelier than not; None of any other.
        num_frames: Of the video.
        duration_s: Of the video.
        timeline: What happens when, if asked for.
        explanation: What the model made of the clip, if asked for.
    """

    top: Sequence[tuple[str, float]]
    labels: Sequence[str] | None
    num_frames: int
    duration_s: float
    timeline: Sequence[Event] | None = None
    explanation: Explanation | None = None


class Scorer:
    """A model that many threads may ask.

    Args:
        model: In eval mode.
        settings: Checked.

    Raises:
        SettingsError: If the model does not say how many frames it takes, and the settings do not either.
    """

    def __init__(self, model: VideoClassifier, settings: ServeSettings) -> None:
        self.model = model
        self.settings = settings
        # The centre of one clip, of which there are gate maps; a demo's visitor does not wait for ten crops.
        self.protocol: EvalProtocol = choose_protocol(model.config, segments=settings.segments, clips=1, crops=1)
        self.thresholds = Thresholds()
        limits = settings.limits
        self._seats = threading.BoundedSemaphore(limits.decoders + limits.queue)
        self._decoders = threading.BoundedSemaphore(limits.decoders)
        self._network = threading.Lock()  # side by side they would only slow each other, and see each other's hooks

    def warm_up(self) -> None:
        """Start what decoding processes are made from, so that the first visitor need not wait for it."""
        with suppress(VideoError):
            decode_apart(self._wanted(Path(os.devnull), timeline=False))

    def answer(self, path: Path, *, top: int = 5, timeline: bool = False, explain: bool = False) -> UploadAnswer:
        """Say what happens in a video file.

        Args:
            path: A file, of whatever content.
            top: How many classes to name, at least 1.
            timeline: Whether to say what happens when.
            explain: Whether to look into the model.

        Raises:
            VideoError: If it cannot be read, or is beyond a limit.
            BusyError: If too many requests wait.
        """
        with self._seat():
            with self._decoders:
                decoded = decode_apart(self._wanted(path, timeline=timeline))
            with self._network:
                return self._score(decoded, top=top, explain=explain)

    @contextmanager
    def _seat(self) -> Iterator[None]:
        if not self._seats.acquire(blocking=False):
            raise BusyError(f"{self.settings.limits.queue} requests wait already, and no more may; come back later")
        try:
            yield
        finally:
            self._seats.release()

    def _wanted(self, path: Path, *, timeline: bool) -> Wanted:
        config, settings = self.model.config, self.settings
        return Wanted(
            path=path,
            protocol=self.protocol,
            size_px=config.size_px,
            resize_px=config.resize_px,
            square_pixels=config.square_pixels,
            timeline_s=(settings.window, settings.hop) if timeline else None,
            limits=settings.limits,
        )

    def _score(self, decoded: Decoded, *, top: int, explain: bool) -> UploadAnswer:
        places = {number: place for place, number in enumerate(decoded.numbers)}
        frames = torch.from_numpy(decoded.frames)
        probabilities = self._probabilities(frames, [[places[number] for number in decoded.clip]])[0]  # [K]
        segments = explanation = None
        if decoded.windows is not None:
            segments = self._segments(decoded, decoded.windows, frames, places)
        if explain:
            clip = frames[[places[number] for number in decoded.clip]]
            explanation = explain_clip(self.model, clip, decoded.clip)
        return UploadAnswer(
            self.model.config.likeliest(probabilities, top),
            found_labels(self.model.config, probabilities),
            len(decoded.times_s) - 1,
            decoded.times_s[-1],
            segments,
            explanation,
        )

    def _segments(self, decoded: Decoded, windows: Windows, frames: Tensor, places: dict[int, int]) -> Sequence[Event]:
        spans = windows.covering(len(decoded.times_s) - 1)
        clips = [[places[number] for number in windows.frames_of(span)] for span in spans]
        found = self._probabilities(frames, clips)
        classes = self.model.config.classes
        apart = self.model.config.multi_label
        return merge_windows(found, spans, decoded.times_s, classes, thresholds=self.thresholds, apart=apart)

    @torch.inference_mode()
    def _probabilities(self, frames: Tensor, clips: Sequence[Sequence[int]]) -> Tensor:
        """Of clips, given as places in the frames [n, 3, s, s]: [clips, K]."""
        device = next(self.model.parameters()).device
        limit_s = self.settings.limits.timeout
        end_s = time.monotonic() + limit_s
        found = []
        for start in range(0, len(clips), BATCH_SIZE):
            if time.monotonic() > end_s:
                raise VideoError(f"the video was not scored in {limit_s:g} s, the longest time; send a shorter one")
            batch = [[frames[place] for place in clip] for clip in clips[start : start + BATCH_SIZE]]
            found.append(self.model.config.probabilities(self.model(stack_clips(batch).to(device))).cpu())
        return torch.cat(found)
