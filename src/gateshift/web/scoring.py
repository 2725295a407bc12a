"""A model's answer for an uploaded video."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from gateshift.data.events.events import Span
from gateshift.errors import GateShiftError, VideoError
from gateshift.evaluation.fast_form import fast_form
from gateshift.evaluation.protocol import choose_box, choose_protocol
from gateshift.explanation.output import Explanation, explain_clip
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction.frames import score_crops
from gateshift.prediction.scoring import found_labels
from gateshift.prediction.spotting import SUPPRESS_S, Seen, find_moments, find_spans
from gateshift.prediction.timeline import merge_windows
from gateshift.prediction.windows import Thresholds
from gateshift.web.decoding import Upload, decode
from gateshift.web.settings import ServeSettings

BATCH_SIZE = 4  # clips of one forward pass
SHOWN_FROM = 0.5  # score of an event


class BusyError(GateShiftError):
    """More requests than may wait."""


class ClassProbability(BaseModel):
    """A class and its probability."""

    class_name: str = Field(serialization_alias="class")
    probability: float = Field(ge=0, le=1)


class FoundEvent(BaseModel):
    """Something that happens at one frame."""

    time_s: float
    frame: int
    label: str
    score: float = Field(ge=0, le=1)


class Answer(BaseModel):
    """What a model says of a video."""

    top: list[ClassProbability] = Field(
        description="The likeliest classes, likeliest first; of an answer for each frame, the highest of all frames."
    )
    labels: tuple[str, ...] | None = Field(description="Classes above 0.5 of a multi-label model; null of any other.")
    num_frames: int
    duration_s: float
    timeline: list[Span] | None = Field(description="What happens when; null unless asked for, and of events.")
    events: list[FoundEvent] | None = Field(
        None, description="Events from 0.5 on, of a model that finds such; or null."
    )


class Scorer:
    """A model, in eval mode, that may be called from many threads.

    Raises:
        SettingsError: If neither the model nor the settings say how many frames a clip has.
    """

    def __init__(self, model: VideoClassifier, settings: ServeSettings) -> None:
        self.model, self.settings = model, settings
        self._fast = fast_form(model)
        self._box = choose_box(model.config, settings.box)
        # One center crop of one clip: the one that gate maps are drawn of.
        self.protocol = (
            None
            if model.config.is_dense
            else choose_protocol(model.config, segments=settings.segments, clips=1, crops=1)
        )
        self._seats = threading.BoundedSemaphore(settings.decoders + settings.queue)
        self._decoders = threading.BoundedSemaphore(settings.decoders)
        self._network = threading.Lock()  # side by side, calls would slow each other and see each other's hooks
        with suppress(VideoError):  # starts what decoding processes are forked from
            self.answer(Path(os.devnull))

    @property
    def how(self) -> str:
        """How videos are seen."""
        rate = f"at {self.model.config.fps:g} a second" if self.model.config.fps else "of the file"
        return f"an answer for each frame {rate}" if self.protocol is None else str(self.protocol)

    def answer(
        self, path: Path, *, top: int = 5, timeline: bool = False, explain: bool = False
    ) -> tuple[Answer, Explanation | None]:
        """Classify a video file, whatever its content; ``top`` is how many classes to name, at least 1.

        Raises:
            VideoError: If it cannot be read, or is beyond a limit.
            BusyError: If too many requests wait.
        """
        if not self._seats.acquire(blocking=False):
            raise BusyError(f"{self.settings.queue} requests wait already, the most that may; try again later")
        config = self.model.config
        try:
            with self._decoders:
                decoded = decode(Upload(path, timeline, self.protocol, config, self.settings, self._box))
            clips = torch.from_numpy(decoded.clips)
            with self._network:
                if decoded.seen is not None:
                    return self._answer_frames(clips[0], decoded.seen, decoded.times_s, top, timeline=timeline), None
                found = self._probabilities(clips)
                explanation = explain_clip(self.model, clips[0], decoded.numbers) if explain else None
        finally:
            self._seats.release()
        times_s, events, apart = decoded.times_s, None, config.multi_label
        if timeline:
            rules = Thresholds()
            events = merge_windows(found[1:], decoded.windows, times_s, config.classes, thresholds=rules, apart=apart)
        return self._answer(found[0], top, times_s, events), explanation

    def _answer(
        self,
        probabilities: Tensor,
        top: int,
        times_s: Sequence[float],
        timeline: list[Span] | None,
        events: list[FoundEvent] | None = None,
    ) -> Answer:
        likeliest = self.model.config.likeliest(probabilities, top)
        return Answer(
            top=[ClassProbability(class_name=name, probability=probability) for name, probability in likeliest],
            labels=found_labels(self.model.config, probabilities),
            num_frames=len(times_s) - 1,
            duration_s=times_s[-1],
            timeline=timeline,
            events=events,
        )

    def _answer_frames(
        self, crops: Tensor, seen: Seen, times_s: Sequence[float], top: int, *, timeline: bool
    ) -> Answer:
        """Of a model that answers for each frame, of crops uint8 [n, 3, s, s]."""
        config, end_s = self.model.config, time.monotonic() + self.settings.timeout
        rows = []
        for answers in score_crops(self._fast, iter(crops), len(crops)):
            rows.append(answers)
            self._check_time(end_s)
        highest = torch.cat(rows)[:, 1 : len(config.classes) + 1].amax(0)
        events, spans = None, None
        if config.task == "spot":
            moments = find_moments(rows, config)
            found = moments.events("upload", seen, suppress_s=SUPPRESS_S, threshold=SHOWN_FROM)
            events = [FoundEvent.model_validate(each, from_attributes=True) for each in found]
        elif timeline:
            spans = find_spans(rows, config, seen)
        return self._answer(highest, top, times_s, spans, events)

    def _check_time(self, end_s: float) -> None:
        """Raise VideoError if it is later than this."""
        if time.monotonic() > end_s:
            raise VideoError(f"the video was not scored in {self.settings.timeout:g} s; send a shorter one")

    @torch.inference_mode()
    def _probabilities(self, clips: Tensor) -> Tensor:
        """Of clips uint8 [n, T, 3, s, s]: [n, K]."""
        device, found = next(self.model.parameters()).device, []
        end_s = time.monotonic() + self.settings.timeout
        for batch in clips.split(BATCH_SIZE):
            self._check_time(end_s)
            found.append(self.model.config.probabilities(self._fast(batch.to(device))).cpu())
        return torch.cat(found)
