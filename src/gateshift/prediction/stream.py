"""Classify a live stream: a model on frames that come one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gateshift.data.clips.views import crop_frame
from gateshift.data.regions import AnyRegion
from gateshift.data.video.pixels import cut_frame
from gateshift.errors import ModelError, SettingsError, check_whole
from gateshift.evaluation.fast_form import device_of
from gateshift.evaluation.protocol import choose_box, choose_protocol
from gateshift.model.classifier import ClipClassifier
from gateshift.model.streaming.network import ExactStream, FrameFeatures
from gateshift.prediction.scoring import AnyModel
from gateshift.prediction.windows import Peaks, Smoothing, Thresholds, Windows, stack_clips

Frames = NDArray[np.uint8] | Iterable[NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Answer:
    """What happens in a stretch of a stream: a window, or one frame of an exact stream.

    Attributes:
        start: Its first frame.
        end: The frame after its last one.
        probabilities: Of the classes [K], smoothed.
        label: The class that happens; None is nothing. Of a model of events, the one that happens at this very frame.
        start_s: When it begins, in seconds on the source's clock; None where nothing says.
        end_s: When it ends.
    """

    start: int
    end: int
    probabilities: Tensor
    label: str | None
    start_s: float | None = None
    end_s: float | None = None


class Stream:
    """A model on a video that comes frame by frame.

    In *windows*: a clip of the last ``window`` frames is classified every ``hop`` frames. *Exact*: every frame gets
    the answer that it has in the whole recording as one clip, ``delay`` frames later, in memory that does not grow.
    With a causal model an exact stream has no delay.

    A model that answers for each frame is streamed exactly. One of events (``task="spot"``) names a class at the frame
    of an event alone: where it is likeliest within ``suppress`` frames to either side, which come on top of the delay.

    Args:
        model: In eval mode.
        exact: Whether the stream is exact; ``window``, ``hop`` and ``segments`` then say nothing.
        window: Frames of a window.
        hop: Frames from one window to the next.
        segments: T, frames of a window's clip; by default as in training.
        smooth: Answers are the mean of this many, up to the last one.
        enter: A class begins when its probability reaches this.
        leave: It ends when its probability falls below this.
        suppress: See above.
        stride: Of a model that answers for each frame: it sees one of so many frames, those between have no answer.
        box: The region of the frames that the model sees, as for :func:`gateshift.predict`; by default the model's own.

    Attributes:
        delay: How many frames after a frame, or after the last one of a window, its answer comes.

    Raises:
        SettingsError: If a number is out of its range, or nothing says how many segments a clip has.
        ModelError: If an exact stream is wanted of a model that cannot give one.
    """

    def __init__(
        self,
        model: AnyModel,
        *,
        exact: bool = False,
        window: int = 64,
        hop: int = 16,
        segments: int | None = None,
        smooth: int = 1,
        enter: float = 0.5,
        leave: float = 0.4,
        suppress: int = 5,
        stride: int = 1,
        box: AnyRegion | None = None,
    ) -> None:
        if exact and not isinstance(model, ClipClassifier):
            raise ModelError("an exported file has no exact stream; give the .safetensors model that it was made of")
        if isinstance(model, ClipClassifier) and model.training:
            raise ModelError("the model is in training mode, where answers are random; call model.eval()")
        self._model = model
        self._box = choose_box(model.config, box)
        self._device = device_of(model)
        self._smoothing, self._thresholds = Smoothing(smooth), Thresholds(enter, leave)
        self._state: int | None = None
        self._next = 0  # number of the next frame
        self._is_finished = False
        self._unanswered: deque[int] = deque()  # numbers of frames that have come and have no answer of an exact stream
        self._exact = ExactStream(model) if exact and isinstance(model, ClipClassifier) else None
        check_whole("suppress", suppress, least=0, advice="it counts frames to either side; raise it")
        check_whole("stride", stride, least=1, advice="it counts frames, and must be at least 1; raise it")
        self._peaks: Peaks | None = None
        self._stride = stride if model.config.is_dense else 1
        if model.config.task == "spot":
            if model.config.displacement:
                raise ModelError(
                    "a model with displacement has no stream of events; find those of a file, or train none"
                )
            self._peaks = Peaks(suppress, enter)
        self.delay = self._stride * ((self._exact.delay if self._exact else 0) + (suppress if self._peaks else 0))
        if self._exact is None:
            num_segments = choose_protocol(model.config, segments=segments).num_segments
            self._windows = Windows(window, hop, num_segments)
            self._start = 0  # of the next window
            self._kept: dict[int, Tensor] = {}  # frames by number, [3, s, s], of windows to come

    @torch.inference_mode()
    def push(self, frames: Frames, *, number: int | None = None, newest: bool = False) -> list[Answer]:
        """Take the next frame, or several.

        Args:
            frames: uint8 RGB [H, W, 3], or several of them: [k, H, W, 3], or one after the other.
            number: Of the first of them, where frames were dropped before it. An exact stream closes the gap: to it the
                frames are those of a recording without the dropped ones; its answers have the frames' own numbers.
            newest: Of several windows that are due, classify the last one alone. Nothing to an exact stream.

        Returns:
            The answers that are due, in order.

        Raises:
            ModelError: If these are not such frames, or the stream was ended.
            SettingsError: If frames of that number have come already.
        """
        if number is not None and number < self._next:
            raise SettingsError(
                f"`number` {number} after frame {self._next - 1}; frames must come in order; number them so"
            )
        self._check_goes_on()
        single = not isinstance(frames, Iterable) or getattr(frames, "ndim", 4) == 3
        pixels: Iterable[NDArray[np.uint8]] = (frames,) if single else frames  # type: ignore[assignment]
        if self._exact is not None:
            first = self._next if number is None else number
            crops, numbers = [], []
            self._next = first
            for self._next, frame in enumerate(pixels, start=first + 1):
                if (self._next - 1) % self._stride == 0:
                    crops.append(self._crop(frame))
                    numbers.append(self._next - 1)
            self._unanswered += numbers  # now, as frames that came with a wrong one get no answer
            return self._frame_answers(self._exact.push(torch.stack(crops).to(self._device))) if crops else []
        first, is_gap = (self._next, False) if number is None else (number, number > self._next)
        due: list[range] = []
        for place, frame in enumerate(pixels, start=first):
            self._next = place + 1
            # Until there was a window, all of the video may become one. Behind a gap, a frame stands for others.
            is_first = place < self._windows.size or (is_gap and place == first)
            if is_first or self._windows.is_needed(place):
                self._kept[place] = self._crop(frame)
            while self._start + self._windows.size <= self._next:
                due.append(range(self._start, self._start + self._windows.size))
                self._start += self._windows.hop
        answers = [self._classify(window) for window in (due[-1:] if newest else due)]
        self._kept = {place: frame for place, frame in self._kept.items() if place >= self._start}
        return answers

    @torch.inference_mode()
    def finish(self) -> list[Answer]:
        """End the stream: the last ``delay`` frames, or all of them where they were fewer than a window.

        Raises:
            ModelError: If it was ended before.
        """
        self._check_goes_on()
        self._is_finished = True
        if self._exact is not None:
            last = self._frame_answers(self._exact.flush()) if self._exact.num_frames else []
            return last + (self._moments(None) if self._peaks else [])
        is_short = 0 < self._next < self._windows.size
        return [self._classify(range(self._next))] if is_short else []

    def _check_goes_on(self) -> None:
        if self._is_finished:
            raise ModelError("the stream was ended by finish(); make a new one for another recording")

    def _crop(self, frame: NDArray[np.uint8]) -> Tensor:
        """What the model sees of a frame, as in a test with one crop: [H, W, 3] -> [3, s, s]."""
        if not isinstance(frame, np.ndarray):
            raise ModelError(f"a frame of type {type(frame).__name__}; a stream takes uint8 RGB [H, W, 3]; convert it")
        if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape or frame.dtype != np.uint8:
            raise ModelError(
                f"a frame of shape {list(frame.shape)} and {frame.dtype}; a stream takes uint8 RGB [H, W, 3]; "
                "convert it"
            )
        config = self._model.config
        if self._box is not None:
            frame = cut_frame(frame, self._box)
        single = torch.from_numpy(frame).permute(2, 0, 1).unsqueeze(0)  # [1, 3, H, W]
        return crop_frame(single, size_px=config.size_px, resize_px=config.resize_px)

    def _classify(self, window: range) -> Answer:
        numbers = [self._nearest(number) for number in self._windows.frames_of(window)]
        clip = stack_clips([[self._kept[number] for number in numbers]])  # [1, T, 3, s, s]
        return self._answer(window, self._model(clip.to(self._device))[0])

    def _nearest(self, number: int) -> int:
        """The frame itself or, where it was dropped, the kept one that is nearest to it."""
        return number if number in self._kept else min(self._kept, key=lambda kept: abs(kept - number))

    def _frame_answers(self, found: FrameFeatures) -> list[Answer]:
        if self._peaks is not None:
            return [answer for row in found.logits for answer in self._moments(row)]
        numbers = [self._unanswered.popleft() for _ in range(len(found))]
        return [self._answer(range(i, i + 1), row) for i, row in zip(numbers, found.logits, strict=True)]

    def _moments(self, logits: Tensor | None) -> list[Answer]:
        """Whether an event is at each frame of which that is known, once the next frame is; None at the end."""
        assert self._peaks is not None
        answers = []
        for probabilities, index in self._peaks.add(None if logits is None else self._probabilities(logits)):
            number = self._unanswered.popleft()
            label = None if index is None else self._model.config.classes[index]
            answers.append(Answer(number, number + 1, probabilities, label))
        return answers

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Of the classes, [K]; that of nothing, which some models say too, is left out."""
        config = self._model.config
        return config.probabilities(logits).cpu()[int(config.is_dense) :]

    def _answer(self, place: range, logits: Tensor) -> Answer:
        probabilities = self._smoothing.add(self._probabilities(logits))
        self._state = self._thresholds.next_state(self._state, probabilities)
        label = None if self._state is None else self._model.config.classes[self._state]
        return Answer(place.start, place.stop, probabilities, label)
