"""Which answer finds which event, by the rules of E2E-Spot and of SoccerNet, and the average precision of each.

Answers and events are numbers here: a group for each video and class, a place in frames or seconds, a score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateshift.data.events.suppression import Floats, Ints, ranges

SOCCERNET_THRESHOLDS = np.linspace(0, 1, 200)


@dataclass(frozen=True)
class Moments:
    """Events or answers.

    Attributes:
        groups: A number for each one's video and class: [n].
        places: When each is: [n].
        scores: [n]; 1 for events.
    """

    groups: Ints
    places: Floats
    scores: Floats

    def __getitem__(self, rows: Ints) -> Moments:
        return Moments(self.groups[rows], self.places[rows], self.scores[rows])

    def __len__(self) -> int:
        return len(self.groups)

    def in_time(self) -> Ints:
        """Rows sorted by group and place, those of one place in the order given: [n]."""
        return np.lexsort((self.places, self.groups))


def match_nearest(events: Moments, answers: Moments, reach: float) -> Ints:
    """The event that each answer hits, by the rule of E2E-Spot; -1 for a false alarm.

    From the highest score down, in the order given where scores are equal, each answer hits the nearest event of its
    group that no other has hit, if that is within ``reach``; of two equally near the first in the order given.

    Returns:
        A row of ``events`` for each answer: [n].
    """
    in_time = events.in_time()
    sorted_events, hit = events[in_time], np.full(len(answers), -1, np.int64)
    lows, highs = ranges(sorted_events.groups, sorted_events.places, answers.groups, answers.places, reach)
    low, high, row = lows.tolist(), highs.tolist(), in_time.tolist()  # plain numbers: a few events are near an answer
    at, where = sorted_events.places.tolist(), answers.places.tolist()
    free = [True] * len(row)
    by_score = np.argsort(-answers.scores, kind="stable")
    for answer in by_score[(highs > lows)[by_score]].tolist():
        near = [(abs(at[k] - where[answer]), row[k], k) for k in range(low[answer], high[answer]) if free[k]]
        if near:
            _, hit[answer], taken = min(near)
            free[taken] = False
    return hit


def average_precision(scores: Floats, is_hit: Ints, num_events: int) -> float:
    """The area under precision over recall: the precision at each hit, or at a later one if that is higher.

    Args:
        scores: Of the answers of one class: [n].
        is_hit: Which of them hit an event, as 0 and 1: [n].
        num_events: At least 1.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]), 2)
    0.8333333333333333
    """
    hits = is_hit[np.argsort(-scores, kind="stable")].astype(bool)
    precision = (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits]
    return float(np.maximum.accumulate(precision[::-1]).sum() / num_events)


def one_score_a_place(moments: Moments) -> Ints:
    """Of those of one group and place the last: rows, sorted by group and place."""
    rows = moments.in_time()
    groups, places = moments.groups[rows], moments.places[rows]
    is_last = np.ones(len(rows), bool)
    is_last[:-1] = (groups[1:] != groups[:-1]) | (places[1:] != places[:-1])
    return rows[is_last]


def match_best(events: Moments, answers: Moments, reach: Floats) -> Ints:
    """Which answers hit an event, by the rule of SoccerNet: each event takes the best free answer within its reach.

    Args:
        events: Sorted by group and place.
        answers: Sorted by group and place.
        reach: Of each event: [m].

    Returns:
        1 for a hit, else 0: [n].
    """
    lows, highs = ranges(answers.groups, answers.places, events.groups, events.places, reach)
    free, is_hit = answers.scores.copy(), np.zeros(len(answers), np.int64)
    for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
        if low < high:
            best = low + int(free[low:high].argmax())
            if free[best] >= 0:  # others are taken
                is_hit[best], free[best] = 1, -1
    return is_hit


def eleven_point_precision(scores: Floats, is_hit: Ints, num_events: int) -> float:
    """SoccerNet's average precision: at 200 thresholds of the score in 0..1, the best precision from 11 recalls on.

    Args:
        scores: Of the answers of one class: [n].
        is_hit: Which of them hit an event, as 0 and 1: [n].
        num_events: 0 gives 0.
    """
    if not num_events or not len(scores):
        return 0.0
    order = np.argsort(scores)
    first = np.searchsorted(scores[order], SOCCERNET_THRESHOLDS)  # of those from each threshold on
    hits_from = np.append(np.cumsum(is_hit[order][::-1])[::-1], 0)[first]
    precision, recall = hits_from / np.maximum(len(scores) - first, 1), hits_from / num_events
    best = [precision[recall >= level].max(initial=0) for level in np.arange(11) / 10]
    return float(np.mean(best))
