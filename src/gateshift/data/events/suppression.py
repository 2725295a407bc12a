"""Suppression: of many answers around one event the best is kept, or the others count for less."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gateshift.data.events.events import Event
from gateshift.errors import SettingsError, check_choice

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Suppression = Literal["e2e-spot", "greedy", "soft"]
MIN_SCORE = 0.01  # at which soft suppression stops, as E2E-Spot lists no lower answers


def suppress(
    events: Sequence[Event],
    window: float,
    method: Suppression = "e2e-spot",
    *,
    unit: Literal["frames", "seconds"] = "frames",
) -> list[Event]:
    """Suppress answers beside better ones of their class and video.

    Args:
        events: With scores.
        window: w, how far an answer reaches to either side, at least 0; an answer exactly so far away is reached.
        method: "e2e-spot" drops an answer if any within ``window`` has a higher score, dropped ones too; equal ones
            both stay. "greedy" keeps the best answer, drops those that it reaches, and goes on with the best of the
            rest; of equal ones the first. "soft" (Soft-NMS) goes on in this order too, but multiplies the scores of
            those that it reaches at a distance d by (d/w)², and drops what ends below 0.01.
        unit: What ``window`` counts.

    Returns:
        What is left, in the order given.

    Raises:
        SettingsError: If ``window`` is below 0, there is no such method, or an event lacks its score or frame or time.

    >>> answers = [Event("v", "bounce", frame=n, score=score) for n, score in enumerate((0.9, 0.8, 0.7))]
    >>> for event in suppress(answers, 1, "greedy"):
    ...     print(event.frame, event.score)
    0 0.9
    2 0.7
    """
    check_choice("method", method, get_args(Suppression))
    if not window >= 0:
        raise SettingsError(f"`window` {window}; it must be at least 0; raise it")
    wanted = "frame" if unit == "frames" else "time_s"
    places, scores = [getattr(event, wanted) for event in events], [event.score for event in events]
    if None in places or None in scores:
        raise SettingsError(f"events without `{'score' if None in scores else wanted}`; suppression by {unit} needs it")
    codes: dict[tuple[str, str], int] = {}
    groups = np.array([codes.setdefault((event.video, event.label), len(codes)) for event in events], np.int64)
    kept, left = suppress_scores(groups, np.array(places, float), np.array(scores, float), window, method)
    return [replace(events[i], score=float(left[i])) if method == "soft" else events[i] for i in kept]


def suppress_scores(
    groups: Ints, places: Floats, scores: Floats, window: float, method: Suppression
) -> tuple[Ints, Floats]:
    """Suppress answers that are given as numbers, as :func:`suppress` does.

    Args:
        groups: A number for each answer's video and class: [n].
        places: When each is, in frames or seconds: [n].
        scores: Their scores: [n].
        window: w, in the unit of ``places``.
        method: As in :func:`suppress`.

    Returns:
        Which answers are left, rising, and the scores of all after it: [n].
    """
    order = np.lexsort((places, groups))
    lows, highs = neighbors(groups[order], places[order], window)
    if method == "soft":
        kept, left = _soft(places[order], scores[order], order, lows, highs, window)
    else:
        own = left = scores[order]
        kept = own >= _range_max(own, lows, highs) if method == "e2e-spot" else _greedy(own, order, lows, highs)
    result = np.empty_like(left)
    result[order] = left
    return np.sort(order[kept]), result


def neighbors(groups: Ints, places: Floats, reach: float | Floats) -> tuple[Ints, Ints]:
    """For each of sorted places those of its group within ``reach``, itself too: from [n], before [n]."""
    return ranges(groups, places, groups, places, reach)


def ranges(
    groups: Ints, places: Floats, wanted_groups: Ints, wanted: Floats, reach: float | Floats
) -> tuple[Ints, Ints]:
    """Which of some places, sorted by group and place [n], are within ``reach`` of each wanted one: two [m]."""
    if not len(places) or not len(wanted):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.int64)
    # Groups are put one after the other on one line, so far apart that none reaches the next.
    start = min(places.min(), wanted.min())
    length = max(places.max(), wanted.max()) - start
    reach = np.minimum(reach, length + 1)  # no further than everything
    step = 3 * (length + 2)
    line, at = groups * step + (places - start), wanted_groups * step + (wanted - start)
    slack = 4 * np.spacing(max(line.max(), at.max()))  # of the sums, so that what is exactly so far away is reached
    return np.searchsorted(line, at - reach - slack), np.searchsorted(line, at + reach + slack, side="right")


def _range_max(values: Floats, lows: Ints, highs: Ints) -> Floats:
    """The largest of each range of values, none of them empty: two overlapping ranges of a power of two in length."""
    if not len(values):
        return values
    level = np.log2(highs - lows).astype(np.int64)
    result, table = np.empty_like(values), values
    for power in range(int(level.max()) + 1):
        at = level == power
        result[at] = np.maximum(table[lows[at]], table[highs[at] - 2**power])
        table = np.maximum(table[: -(2**power) or None], table[2**power :]) if len(table) > 2**power else table
    return result


def _greedy(scores: Floats, order: Ints, lows: Ints, highs: Ints) -> NDArray[np.bool_]:
    kept, free = np.zeros(len(scores), bool), np.ones(len(scores), bool)
    for best in np.lexsort((order, -scores)).tolist():
        if free[best]:
            kept[best] = True
            free[lows[best] : highs[best]] = False
    return kept


def _soft(
    places: Floats, scores: Floats, order: Ints, lows: Ints, highs: Ints, window: float
) -> tuple[NDArray[np.bool_], Floats]:
    # Plain lists: an answer reaches few others, for which calls of numpy would take most of the time.
    left, at, turn, low, high = (column.tolist() for column in (scores, places, order, lows, highs))
    done = [False] * len(left)
    queue = [(-score, turn[place], place) for place, score in enumerate(left)]
    heapq.heapify(queue)
    while queue and -queue[0][0] >= MIN_SCORE:
        score, _, best = heapq.heappop(queue)
        if done[best] or -score != left[best]:
            continue  # it has been lowered since, and stands in the queue again
        done[best] = True
        for place in range(low[best], high[best]):
            distance = abs(at[place] - at[best])
            if done[place] or distance >= window > 0:
                continue
            left[place] *= (distance / window) ** 2 if window else 0.0
            if left[place] >= MIN_SCORE:
                heapq.heappush(queue, (-left[place], turn[place], place))
    return np.array(done, bool), np.array(left)
