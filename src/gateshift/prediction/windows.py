"""Windows that slide over a video, and what is made of their answers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from gateshift.data.clips.sampling import segment_indices
from gateshift.data.clips.views import crop_frame
from gateshift.data.video.protocol import Video
from gateshift.errors import SettingsError, check_whole

Item = TypeVar("Item")


@dataclass(frozen=True)
class Windows:
    """Windows of one size, one every so many frames, of each of which a clip is taken as of a video.

    Attributes:
        size: Frames of a window.
        hop: Frames from the start of a window to the start of the next one.
        num_segments: T, frames of a clip.
    """

    size: int
    hop: int
    num_segments: int

    def __post_init__(self) -> None:
        for name, value in (("window", self.size), ("hop", self.hop), ("segments", self.num_segments)):
            check_whole(name, value, least=1, advice="it counts frames, and must be at least 1; raise it")

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Which frames of a window are its clip."""
        return tuple(segment_indices(self.size, self.num_segments).tolist())

    def frames_of(self, window: range) -> list[int]:
        """The frames of a window's clip; one at an end of a video may be shorter than the others.

        >>> Windows(8, 4, 2).frames_of(range(4, 12))
        [6, 10]
        """
        if len(window) == self.size:
            return [window.start + offset for offset in self.offsets]
        return (segment_indices(len(window), self.num_segments) + window.start).tolist()

    def is_needed(self, number: int) -> bool:
        """Whether a frame is in the clip of any window."""
        return any(number >= offset and (number - offset) % self.hop == 0 for offset in self.offsets)

    def covering(self, num_frames: int) -> list[range]:
        """The windows of a whole video; the last one ends with it, and a shorter video is one window.

        >>> Windows(8, 4, 2).covering(13)
        [range(0, 8), range(4, 12), range(5, 13)]
        """
        windows = [range(start, start + self.size) for start in range(0, num_frames - self.size + 1, self.hop)]
        if not windows or windows[-1].stop < num_frames:
            windows.append(range(max(num_frames - self.size, 0), num_frames))
        return windows


def window_clips(video: Video, windows: Windows, *, size_px: int, resize_px: int | None) -> Iterator[list[Tensor]]:
    """The clip of each window, T frames uint8 [3, s, s]; a frame is kept until the last window that has it."""
    kept: dict[int, Tensor] = {}
    for window in windows.covering(video.num_frames):
        numbers = windows.frames_of(window)
        kept = {number: frame for number, frame in kept.items() if number >= window.start}
        for number in sorted(set(numbers) - set(kept)):
            kept[number] = crop_frame(video.read([number]), size_px=size_px, resize_px=resize_px)
        yield [kept[number] for number in numbers]


def in_batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """So many items at a time; the last ones may be fewer."""
    while batch := list(islice(items, size)):
        yield batch


def frames_in(name: str, duration_s: float, rate: float | None) -> int:
    """How many frames a duration is, at least 1.

    Args:
        name: What the duration is called.
        duration_s: In seconds, above 0.
        rate: Frames a second, if anything says.

    Raises:
        SettingsError: If the duration is out of range, or nothing says the rate.
    """
    check_positive(name, duration_s)
    return max(round(duration_s * known_rate(rate)), 1)


def known_rate(rate: float | None) -> float:
    """Frames a second of a source; SettingsError if nothing says."""
    if rate is None:
        raise SettingsError("the source does not say how many frames a second it gives; give `fps`, such as 25")
    return rate


def check_positive(name: str, value: float | None) -> None:
    """Raise SettingsError unless a number is above 0 and finite, or not given."""
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"`{name}` {value}; it must be above 0; correct it")


def stack_clips(clips: Sequence[Sequence[Tensor]]) -> Tensor:
    """Clips of frames [3, s, s] as a batch [B, T, 3, s, s], in channels-last memory.

    That is how the views of a test come: results are then the same to the bit.
    """
    frames = torch.stack([frame for clip in clips for frame in clip])
    return frames.contiguous(memory_format=torch.channels_last).unflatten(0, (len(clips), -1))


@dataclass(frozen=True)
class Thresholds:
    """When a class is said to happen.

    Attributes:
        enter: It begins when its probability reaches this; the likeliest class that does.
        leave: It goes on until its probability falls below this, or another class begins that is likelier.
    """

    enter: float = 0.5
    leave: float = 0.4

    def __post_init__(self) -> None:
        if not 0 <= self.leave <= self.enter <= 1:
            raise SettingsError(
                f"`enter` {self.enter}, `leave` {self.leave}; both are probabilities in 0..1, and leave must not be "
                "above enter; correct them"
            )

    def next_state(self, state: int | None, probabilities: Tensor) -> int | None:
        """Which class happens now.

        Args:
            state: Which class happened until now; None is nothing.
            probabilities: [K].

        Returns:
            A class number, or None for nothing.

        >>> Thresholds(0.6, 0.3).next_state(1, torch.tensor([0.55, 0.45]))
        1
        """
        best = int(probabilities.argmax())
        if float(probabilities[best]) >= self.enter:
            return best
        return state if state is not None and float(probabilities[state]) >= self.leave else None


class Peaks:
    """Frames at which a class is likelier than in the frames around: events, so many frames late.

    The same as E2E-Spot's suppression of all answers: a frame is one if none within ``reach`` is likelier.

    Args:
        reach: Frames to either side.
        enter: The least probability of an event.
    """

    def __init__(self, reach: int, enter: float) -> None:
        self.reach, self.enter = reach, enter
        self._before: list[Tensor] = []
        self._waiting: list[Tensor] = []

    def add(self, probabilities: Tensor | None) -> list[tuple[Tensor, int | None]]:
        """What is known now: of each frame its probabilities, and the likeliest class that has an event there.

        Args:
            probabilities: Of the next frame, [K]; None if there is none, and the last ones are to be told.

        >>> peaks = Peaks(1, 0.5)
        >>> [peaks.add(torch.tensor([p])) for p in (0.2, 0.9)][1][0][1], peaks.add(torch.tensor([0.6]))[0][1]
        (None, 0)
        """
        if probabilities is not None:
            self._waiting.append(probabilities)
        found = []
        while len(self._waiting) > (self.reach if probabilities is not None else 0):
            own = self._waiting[0]
            around = torch.stack([*self._before, *self._waiting]).amax(0)
            is_peak = (own >= around) & (own >= self.enter)
            found.append((own, int(torch.where(is_peak, own, -1.0).argmax()) if is_peak.any() else None))
            self._before.append(self._waiting.pop(0))
            del self._before[: max(len(self._before) - self.reach, 0)]
        return found


class Smoothing:
    """The mean of the last answers.

    Args:
        size: Of how many.
    """

    def __init__(self, size: int) -> None:
        check_whole("smooth", size, least=1, advice="it must be at least 1, which changes nothing; raise it")
        self._last: deque[Tensor] = deque(maxlen=size)

    def add(self, probabilities: Tensor) -> Tensor:
        """Take an answer [K]; returns the mean [K] of it and those before."""
        self._last.append(probabilities)
        return torch.stack(tuple(self._last)).mean(0)
