"""Which frames a network of one rate sees of recordings of other rates, in a test and in a training.

A network sees a recording at its own rate: at times that are ``1 / fps`` apart, each time the frame that is shown
about then. So a second is as many frames of the network for a file of any rate, also of one that varies.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gateshift.data.clips.recordings import Floats

NEAREST, NEARLY_NEXT = 0.5, 0.9  # how far before a frame, in parts of the time since the one before, it is taken
SLOWEST = 2.2  # periods of the network between the frames of a clip that is read as one of a lower rate
LONGEST, SHORTEST = 2.0, 0.5  # periods that frames last in one of an irregular rate
LACKING = 1.1  # periods of the network between frames of a file from which on it lacks some of the network's
ROUNDED_S = 1e-3  # by which a file that counts milliseconds may end earlier, beside its start, than its frames do
UNEVEN = 1.5  # how many times as long as the one before or after a frame lasts in a file of an irregular rate


def nearest_frames(times_s: Floats, wanted_s: Floats) -> NDArray[np.int64]:
    """The frame that is shown nearest to each time; of two equally near ones the first.

    >>> nearest_frames(np.array([0.0, 0.1, 0.2, 0.5]), np.array([-1.0, 0.04, 0.06, 0.35, 9.0])).tolist()
    [0, 0, 1, 2, 3]
    """
    return _frames_at(times_s, wanted_s, np.full(max(len(times_s) - 1, 0), NEAREST))


def sampled_frames(times_s: Floats, wanted_s: Floats, fps: float) -> NDArray[np.int64]:
    """The frame that a network of a rate sees at each time: of a file of about its rate, or a lower one, the nearest.

    A file of a higher rate may have been converted from one of the network's rate, so that it has frames several times.
    Some programs show at each time the newest frame, which is up to a frame of the file late then; others round to the
    nearest time. In either file the frame that follows a time is the right one, but for one that is shown just before
    it. So where frames are less than 1 / 1.4 of the network's period apart, the following one is taken; between there
    and the whole period, the rule turns into the nearest.

    >>> sampled_frames(np.arange(9) / 60, np.arange(4) / 25, 25.0).tolist()  # at 0, 2.4, 4.8 and 7.2 frames
    [0, 3, 5, 8]

    Args:
        times_s: When each frame of the file is shown, rising: [n].
        wanted_s: [m].
        fps: The network's rate.

    Returns:
        The numbers of the frames: [m].
    """
    periods = 1 / fps / np.maximum(np.diff(times_s), 1e-9)  # of the network, in frames of the file
    return _frames_at(times_s, wanted_s, np.clip(periods - 0.5, NEAREST, NEARLY_NEXT))


def _frames_at(times_s: Floats, wanted_s: Floats, shares: Floats) -> NDArray[np.int64]:
    """Of the frames around a time the later one, if it is less than a share [n - 1] of the time between them away."""
    if len(times_s) == 1:
        return np.zeros(len(wanted_s), np.int64)
    after = np.searchsorted(times_s, wanted_s).clip(1, len(times_s) - 1)
    reach_s = shares[after - 1] * (times_s[after] - times_s[after - 1])
    return np.where(times_s[after] - wanted_s < reach_s - 1e-9, after, after - 1)


def seen_frames(times_s: Floats, fps: float | None) -> NDArray[np.int64]:
    """Which frames of a recording a network of this rate sees, one after the other: all of them if it has none.

    >>> seen_frames(np.arange(8) / 50, 25.0).tolist(), seen_frames(np.arange(3) / 12.5, 25.0).tolist()
    ([0, 2, 4, 6], [0, 0, 1, 1, 2])
    """
    if fps is None:
        return np.arange(len(times_s))
    count = int((times_s[-1] - times_s[0] + ROUNDED_S) * fps) + 1
    return sampled_frames(times_s, times_s[0] + np.arange(count) / fps, fps)


def seen_times(times_s: Floats, fps: float | None) -> Floats:
    """When what a network of this rate answers for is, for each of the :func:`seen_frames` of a recording.

    It is when the frame is shown. A file of a lower or an irregular rate lacks frames: one stands for several of the
    network's, and what happened between two of them is first shown up to the whole time between them later. The network
    has learned to say when it happens from such clips too (:func:`converted_frames`), so there its own time counts.

    >>> seen_times(np.array([0.0, 0.04, 0.08, 0.12, 0.24, 0.28]), 25.0).tolist()
    [0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28]
    """
    frames = seen_frames(times_s, fps)
    if fps is None or len(times_s) == 1:
        return times_s[frames]
    own_s = times_s[0] + np.arange(len(frames)) / fps
    after = np.searchsorted(times_s, own_s).clip(1, len(times_s) - 1)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(np.diff(times_s), 1, mode="edge"), 3)
    is_lacking = around.max(1) > np.minimum(LACKING / fps, UNEVEN * around.min(1))
    return np.where(is_lacking[after - 1], own_s, times_s[frames])


def converted_frames(times_s: Floats, wanted_s: Floats, fps: float, *, generator: torch.Generator) -> NDArray[np.int64]:
    """The frames of a clip as if the recording had been converted to a lower rate, or, as often, to an irregular one.

    The converted recording is never written: it would show, at times of its own, the frame that the recording shows
    then, and the network would see its frames as :func:`sampled_frames` says. So some frames are left out, and others
    are seen twice.

    Args:
        times_s: When each frame of the recording is shown, rising: [n].
        wanted_s: The times of the network's frames, rising: [m].
        fps: The network's rate.
        generator: Random numbers: which of the two, the lower rate and where it begins, or how long each frame lasts.

    Returns:
        Their numbers, none before the one before it: [m].
    """
    share, phase = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    span = int(wanted_s[-1] * fps - wanted_s[0] * fps) + 1
    if share < 0.5:
        period = 1 + (SLOWEST - 1) * 2 * share
        steps = torch.full((int(span / period) + 3,), period, dtype=torch.float64)
    else:
        steps = torch.rand(int(span / SHORTEST) + 3, generator=generator, dtype=torch.float64)
        steps = SHORTEST + (LONGEST - SHORTEST) * steps
    shown_s = wanted_s[0] + ((steps.cumsum(0) - (1 + phase) * steps[0]).numpy()) / fps
    shown = np.searchsorted(times_s, shown_s + 1e-6, side="right").clip(1) - 1
    return shown[sampled_frames(shown_s, wanted_s, fps)]
