"""A model's answer for an uploaded video."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from gateshift.data.events.events import Span
from gateshift.errors import GateShiftError, VideoError
from gateshift.evaluation.protocol import choose_protocol
from gateshift.explanation.output import Explanation, explain_clip
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction.scoring import found_labels
from gateshift.prediction.timeline import merge_windows
from gateshift.prediction.windows import Thresholds
from gateshift.web.decoding import Upload, decode
from gateshift.web.settings import ServeSettings

BATCH_SIZE = 4  # clips of one forward pass


class BusyError(GateShiftError):
    """More requests than may wait."""


class ClassProbability(BaseModel):
    """A class and its probability."""

    class_name: str = Field(serialization_alias="class")
    probability: float = Field(ge=0, le=1)


class Answer(BaseModel):
    """What a model says of a video."""

    top: list[ClassProbability] = Field(description="The likeliest classes, likeliest first.")
    labels: tuple[str, ...] | None = Field(description="Classes above 0.5 of a multi-label model; null of any other.")
    num_frames: int
    duration_s: float
    timeline: list[Span] | None = Field(description="What happens when; null unless asked for.")


class Scorer:
    """A model, in eval mode, that may be called from many threads.

    Raises:
        SettingsError: If neither the model nor the settings say how many frames a clip has.
    """

    def __init__(self, model: VideoClassifier, settings: ServeSettings) -> None:
        self.model, self.settings = model, settings
        # One center crop of one clip: the one that gate maps are drawn of.
        self.protocol = choose_protocol(model.config, segments=settings.segments, clips=1, crops=1)
        self._seats = threading.BoundedSemaphore(settings.decoders + settings.queue)
        self._decoders = threading.BoundedSemaphore(settings.decoders)
        self._network = threading.Lock()  # side by side, calls would slow each other and see each other's hooks
        with suppress(VideoError):  # starts what decoding processes are forked from
            self.answer(Path(os.devnull))

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
                decoded = decode(Upload(path, timeline, self.protocol, config, self.settings))
            clips = torch.from_numpy(decoded.clips)
            with self._network:
                found = self._probabilities(clips)
                explanation = explain_clip(self.model, clips[0], decoded.numbers) if explain else None
        finally:
            self._seats.release()
        times_s, events, apart = decoded.times_s, None, config.multi_label
        if timeline:
            rules = Thresholds()
            events = merge_windows(found[1:], decoded.windows, times_s, config.classes, thresholds=rules, apart=apart)
        answer = Answer(
            top=[ClassProbability(class_name=name, probability=p) for name, p in config.likeliest(found[0], top)],
            labels=found_labels(config, found[0]),
            num_frames=len(times_s) - 1,
            duration_s=times_s[-1],
            timeline=events,
        )
        return answer, explanation

    @torch.inference_mode()
    def _probabilities(self, clips: Tensor) -> Tensor:
        """Of clips uint8 [n, T, 3, s, s]: [n, K]."""
        device, found = next(self.model.parameters()).device, []
        end_s = time.monotonic() + self.settings.timeout
        for batch in clips.split(BATCH_SIZE):
            if time.monotonic() > end_s:
                raise VideoError(f"the video was not scored in {self.settings.timeout:g} s; send a shorter one")
            found.append(self.model.config.probabilities(self.model(batch.to(device))).cpu())
        return torch.cat(found)
