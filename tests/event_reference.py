"""The metrics and the suppression of events as slow loops, written from the text that defines them."""

from __future__ import annotations

import math
from collections import defaultdict

Row = tuple[str, int, str, float]  # video, frame, label, score; of an event the score does not matter


def nearest_map(truth: list[Row], answers: list[Row], tolerance: float) -> float:
    """E2E-Spot's mAP: the mean over the classes that occur in the truth."""
    found = []
    for label in {row[2] for row in truth}:
        events = [row[:2] for row in truth if row[2] == label]
        taken = [False] * len(events)
        noted = []
        for rank, (video, frame, _, _) in enumerate(
            sorted((row for row in answers if row[2] == label), key=lambda row: -row[3]), start=1
        ):
            nearest = None
            for number, (own, at) in enumerate(events):
                is_free = own == video and not taken[number]
                if is_free and (nearest is None or abs(at - frame) < abs(events[nearest][1] - frame)):
                    nearest = number
            if nearest is not None and abs(events[nearest][1] - frame) <= tolerance:
                taken[nearest] = True
                noted.append(sum(taken) / rank)
        found.append(sum(max(noted[place:]) for place in range(len(noted))) / len(events))
    return sum(found) / len(found)


def soccernet_map(truth: list[Row], answers: list[Row], width: float) -> float:
    """SoccerNet's mAP with δ·fps = ``width``: the mean over all classes."""
    labels = {row[2] for row in (*truth, *answers)}
    found = []
    for label in labels:
        events = sorted({row[:2] for row in truth if row[2] == label})
        scores = {row[:2]: row[3] for row in answers if row[2] == label}
        hit = set()
        for video, frame in events:
            best = None
            for key in sorted(scores):
                near = key[0] == video and abs(key[1] - frame) <= width / 2
                if near and key not in hit and (best is None or scores[key] > scores[best]):
                    best = key
            if best is not None:
                hit.add(best)
        points = []
        for step in range(200):
            above = [key for key in scores if scores[key] >= step / 199]
            hits = sum(key in hit for key in above)
            points.append((hits / len(events) if events else 0, hits / len(above) if above else 0))
        levels = [max((p for r, p in points if r >= level / 10), default=0) for level in range(11)]
        found.append(sum(levels) / 11)
    return sum(found) / len(found)


def suppressed(answers: list[tuple[int, float]], window: float, method: str) -> dict[int, float]:
    """What is left of the answers (frame, score) of one class and video, as place in the list -> score."""
    if method == "e2e-spot":
        return {
            place: score
            for place, (frame, score) in enumerate(answers)
            if not any(abs(other - frame) <= window and better > score for other, better in answers)
        }
    scores = [score for _, score in answers]
    left, kept = set(range(len(answers))), {}
    while left:
        best = min(left, key=lambda place: (-scores[place], place))
        if method == "soft" and scores[best] < 0.01:
            break
        left.remove(best)
        kept[best] = scores[best]
        for place in set(left):
            distance = abs(answers[place][0] - answers[best][0])
            if distance <= window and method == "greedy":
                left.remove(place)
            elif distance <= window:
                scores[place] *= (distance / window) ** 2 if window else 0
    return kept


def frame_scores(truth: list[str], answers: list[str], overlap: float) -> tuple[float, float, float]:
    """Frame accuracy, edit score and F1 of labels of each frame; an empty label is nothing."""

    def segments(labels: list[str]) -> list[tuple[str, set[int]]]:
        found: list[tuple[str, set[int]]] = []
        for frame, label in enumerate(labels):
            if frame and label == labels[frame - 1] and label:
                found[-1][1].add(frame)
            elif label:
                found.append((label, {frame}))
        return found

    own, given = segments(truth), segments(answers)
    distance = defaultdict(int, {(i, 0): i for i in range(len(own) + 1)} | {(0, j): j for j in range(len(given) + 1)})
    for i in range(1, len(own) + 1):
        for j in range(1, len(given) + 1):
            swap = distance[i - 1, j - 1] + (own[i - 1][0] != given[j - 1][0])
            distance[i, j] = min(distance[i - 1, j] + 1, distance[i, j - 1] + 1, swap)
    hits, used = 0, set()
    for label, frames in given:
        ious = {
            place: len(frames & other) / len(frames | other)
            for place, (name, other) in enumerate(own)
            if name == label and place not in used
        }
        best = max(ious, key=lambda place: ious[place], default=None)
        if best is not None and ious[best] >= overlap:
            used.add(best)
            hits += 1
    accuracy = sum(one == other for one, other in zip(truth, answers, strict=True)) / len(truth)
    edit = 100 * (1 - distance[len(own), len(given)] / max(len(own), len(given), 1))
    return accuracy, edit, 2 * hits / max(len(own) + len(given), 1) if own or given else math.nan
