"""Clips of long recordings, each frame with its target: what a network with an answer for each frame learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gateshift.data.clips.dataset import Augmentation, Sample
from gateshift.data.clips.frame_rates import converted_frames, nearest_frames, sampled_frames
from gateshift.data.clips.recordings import Floats, Mark, Recording
from gateshift.data.clips.seeds import spread_seed
from gateshift.data.clips.transforms import resize_short_side
from gateshift.data.video.files import Video
from gateshift.errors import VideoError

READ_AT_ONCE = 8  # frames of a clip in full size: all of them would take more memory than the network


@dataclass(frozen=True)
class Labeling:
    """How what happens becomes a target for each frame.

    Attributes:
        num_classes: K.
        fps: Rate of the network.
        width: Frames to either side of an event that are labelled as it is.
        displacement: Frames to either side that are trained to say how far it is; they are labelled as it is too.
    """

    num_classes: int
    fps: float
    width: int = 0
    displacement: int = 0

    def targets(self, marks: Sequence[Mark], times_s: Floats) -> Tensor:
        """Soft targets [T, K + 1], of nothing first; with displacement one number more: how many frames later it is.

        Of several events a frame is of the nearest, to equal parts of equally near ones.

        Args:
            marks: What happens; of spans none overlap.
            times_s: Of the frames, 1 / fps apart: [T].
        """
        targets = np.zeros((len(times_s), self.num_classes + 1 + (self.displacement > 0)), np.float32)
        nearest = np.full(len(times_s), np.inf)
        for mark in marks:
            if mark.start_s < mark.end_s:
                targets[(times_s >= mark.start_s - 1e-9) & (times_s < mark.end_s - 1e-9), mark.label] = 1
                continue
            steps = np.round((mark.start_s - times_s[0]) * self.fps) - np.arange(
                len(times_s)
            )  # frames until it happens
            away = np.where(abs(steps) <= max(self.width, self.displacement), abs(steps), np.inf)
            targets[away < nearest] = 0
            is_near = (away <= nearest) & (away < np.inf)
            targets[is_near, mark.label] += 1
            if self.displacement:
                targets[is_near, -1] = steps[is_near]
            nearest = np.minimum(nearest, away)
        classes = targets[:, : self.num_classes + 1]
        classes[:, 0] = classes.sum(1) == 0
        classes /= classes.sum(1, keepdims=True)
        return torch.from_numpy(targets)


@dataclass(frozen=True)
class Place:
    """Where clips of one recording can be: from when to when it is, and what happens in it."""

    start_s: float
    end_s: float
    marks: Sequence[Mark]


class RecordingClips(Dataset[Sample]):
    """Clips of a fixed length, cut out of long recordings at random places.

    Random numbers depend only on the seed, the epoch and the index, as those of
    :class:`gateshift.data.clips.dataset.TrainingClips`. A sample is ``clips`` uint8 [T, 3, size, size] with ``labels``
    [T, A] and ``indices``, the number of the recording; or ``failure``, one line, with ``indices``: a frame that cannot
    be read leaves the clip out, and never moves labels. Frames beyond the ends of a short recording have targets of
    zeros, which count nothing.

    Args:
        recordings: They are opened once, to see how long they are.
        classes: K names.
        augmentation: Of a clip; its maps are of A columns.
        labeling: What the targets are.
        length: Clips of an epoch; by default as many as show each moment once, in the mean.
        background: Share of clips, in 0..1, that are drawn anywhere; the others show something that happens.
        balanced: Whether these are drawn by class, and not by what happens most.
        rate_jitter: Share of clips, in 0..1, that are read as of a recording of a lower or irregular frame rate.
        seed: Of the random numbers.
        on_failure: Told of a recording that cannot be read, by number and reason; it is left out. By default an error.

    Raises:
        VideoError: If a recording cannot be read, or is not as its labels say.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        classes: Sequence[str],
        augmentation: Augmentation,
        labeling: Labeling,
        *,
        length: int | None = None,
        background: float = 0.5,
        balanced: bool = False,
        rate_jitter: float = 0.0,
        seed: int = 0,
        on_failure: Callable[[int, VideoError], None] | None = None,
    ) -> None:
        self.recordings, self.augmentation, self.labeling, self.seed = recordings, augmentation, labeling, seed
        self.epoch, self.background, self.balanced, self.rate_jitter = 0, background, balanced, rate_jitter
        self.duration_s = augmentation.num_segments / labeling.fps
        numbers = {name: number for number, name in enumerate(classes, start=1)}
        self.places: dict[int, Place] = {}
        for number, recording in enumerate(recordings):
            try:
                video, times_s = recording.open()
                with video:
                    self.places[number] = Place(times_s[0], times_s[-1], recording.marks(times_s, numbers))
            except VideoError as error:
                if on_failure is None:
                    raise
                on_failure(number, error)
        if not self.places:
            raise VideoError(f"none of the {len(recordings)} recordings can be read; correct the list")
        self._marks = [(number, mark) for number, place in self.places.items() for mark in place.marks]
        total_s = sum(self._room_s(place) for place in self.places.values())
        self._length = length or max(round(total_s / self.duration_s), 1)

    def __len__(self) -> int:
        return self._length

    def name_of(self, number: int) -> str:
        """What the list calls a recording."""
        return self.recordings[number].name

    def _room_s(self, place: Place) -> float:
        return max(place.end_s - place.start_s, self.duration_s)

    def draw(self, index: int) -> tuple[int, float]:
        """The recording of a clip, and when the clip starts, in seconds."""
        generator = torch.Generator().manual_seed(spread_seed(self.seed, self.epoch, index, 1))
        share, which, where = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        last_s = self.duration_s - 1 / self.labeling.fps  # from the first frame to the last
        if share < self.background or not self._marks:
            ends = np.cumsum([self._room_s(place) for place in self.places.values()])
            number = list(self.places)[int(np.searchsorted(ends, which * ends[-1], side="right"))]
            place = self.places[number]
            return number, place.start_s + where * max(place.end_s - place.start_s - last_s, 0)
        marks = self._marks
        if self.balanced:
            labels = sorted({mark.label for _, mark in marks})
            label = labels[int(which * len(labels))]
            marks = [pair for pair in marks if pair[1].label == label]
            which = which * len(labels) % 1
        number, mark = marks[int(which * len(marks))]
        place = self.places[number]
        return number, float(
            np.clip(mark.start_s - where * last_s, place.start_s, max(place.end_s - last_s, place.start_s))
        )

    def _shown(self, times_s: Floats, wanted_s: Floats, index: int) -> NDArray[np.int64]:
        """The frames of a clip; the labels of a clip that is read as one of another rate are those of its times."""
        generator = torch.Generator().manual_seed(spread_seed(self.seed, self.epoch, index, 2))
        if torch.rand((), generator=generator) < self.rate_jitter:
            return converted_frames(times_s, wanted_s, self.labeling.fps, generator=generator)
        return sampled_frames(times_s, wanted_s, self.labeling.fps)

    def __getitem__(self, index: int) -> Sample:
        number, start_s = self.draw(index)
        recording, augmentation = self.recordings[number], self.augmentation
        try:
            video, times_s = recording.open(square_pixels=augmentation.square_pixels)
            with video:
                # From a frame on: at a file's own rate, the frames follow each other then.
                start_s = float(times_s[nearest_frames(times_s, np.array([start_s]))[0]])
                wanted_s = start_s + np.arange(augmentation.num_segments) / self.labeling.fps
                frames = read_shrunk(video, self._shown(times_s, wanted_s, index).tolist(), augmentation)
        except VideoError as error:
            return {"failure": str(error), "indices": number}
        targets = self.labeling.targets(self.places[number].marks, wanted_s)
        targets[wanted_s > times_s[-1] + 0.5 / self.labeling.fps] = 0
        generator = torch.Generator().manual_seed(spread_seed(self.seed, self.epoch, index))
        clip, labels = augmentation(frames, targets, generator=generator)
        return {"clips": clip, "labels": labels, "indices": number}


def read_shrunk(video: Video, frame_indices: Sequence[int], augmentation: Augmentation) -> Tensor:
    """Frames [n, 3, H, W], as small as the smallest crop of the augmentation allows: a few are in full size at once."""
    largest_px = round(augmentation.size_px / augmentation.min_crop_scale)
    parts = []
    for start in range(0, len(frame_indices), READ_AT_ONCE):
        part = video.read(frame_indices[start : start + READ_AT_ONCE])
        parts.append(resize_short_side(part, largest_px) if min(part.shape[-2:]) > largest_px else part)
    return torch.cat(parts)
