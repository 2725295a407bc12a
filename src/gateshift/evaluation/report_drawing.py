"""The pictures of a report, as text that stands inside of it: SVG for curves, data addresses for pixels.

Colors and sizes of text are those of the page's style sheet, which a plotting library does not know: pictures are
light or dark as the page is, and can be read on a phone.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gateshift.data.clips.dataset import open_entry
from gateshift.data.clips.sampling import segment_indices
from gateshift.data.lists.entries import Entry
from gateshift.data.lists.index_folder import index_folder_of
from gateshift.data.lists.manifest import Manifest
from gateshift.drawing.html_page import data_address
from gateshift.errors import VideoError
from gateshift.evaluation.report_figures import Bin, Floats, Ints
from gateshift.evaluation.scores import Scores

STRIP_FRAMES, MOST_CASES = 8, 8
FRAME_SIDE_PX = 128
RIGHT_RGB, WRONG_RGB = (63, 135, 214), (217, 95, 2)  # blue and orange, told apart by color-blind readers too
LEFT, TOP, SIDE = 34, 8, 260  # of the square that curves are drawn in
HISTOGRAM_TOP, HISTOGRAM_HEIGHT = 304, 48


@dataclass(frozen=True)
class Strip:
    """Frames of a video as addresses of images; or why there are none."""

    frames: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Case:
    """One video and its prediction; ``strip`` is None where it is not known where the video lies."""

    video_id: str
    label: str
    answer: str
    probability: float
    strip: Strip | None


def draw_cases(scores: Scores, probabilities: Floats, manifest: Manifest | None) -> tuple[list[Case], list[Case]]:
    """The most confident wrong answers, and the least confident correct ones, with frames of their videos.

    Args:
        scores: Of the videos.
        probabilities: Of each class: [videos, classes].
        manifest: Where the videos are; None draws no frames.
    """
    answers = scores.logits.argmax(1)
    confidence = probabilities[np.arange(len(answers)), answers]  # [videos]
    is_right = answers == scores.labels
    wrong = [row for row in np.argsort(-confidence, kind="stable") if not is_right[row]][:MOST_CASES]
    right = [row for row in np.argsort(confidence, kind="stable") if is_right[row]][:MOST_CASES]
    strips = {} if manifest is None else _strips({scores.ids[row] for row in (*wrong, *right)}, manifest)

    def case(row: int) -> Case:
        video_id, label, answer = scores.ids[row], scores.classes[scores.labels[row]], scores.classes[answers[row]]
        return Case(video_id, label, answer, float(confidence[row]), strips.get(video_id))

    return [case(row) for row in wrong], [case(row) for row in right]


def _strips(ids: set[str], manifest: Manifest) -> dict[str, Strip]:
    entries = manifest.entries
    places = {video_id: place for place, video_id in enumerate(entries.video_ids()) if video_id in ids}
    missing = Strip(error="the list of videos does not have it")
    folder = index_folder_of(manifest.source)
    return {each: draw_strip(entries[places[each]], folder) if each in places else missing for each in sorted(ids)}


def draw_strip(entry: Entry, index_folder: Path | None = None) -> Strip:
    """Read at most eight frames of a video, each from the middle of an equal part of it."""
    try:
        with open_entry(entry, square_pixels=True, index_folder=index_folder) as video:
            indices = segment_indices(video.num_frames, min(STRIP_FRAMES, video.num_frames))
            frames = video.read(indices.tolist())  # [T, 3, H, W]
    except VideoError as error:
        return Strip(error=str(error))
    return Strip(tuple(frame_address(frame.permute(1, 2, 0).numpy()) for frame in frames))


def frame_address(pixels: NDArray[np.uint8]) -> str:
    """A frame [H, W, 3] as the address of a small picture."""
    image = Image.fromarray(pixels)
    image.thumbnail((FRAME_SIDE_PX, FRAME_SIDE_PX))
    return _address(image, "jpeg", quality=70, optimize=True)


def _address(image: Image.Image, kind: str, **options: object) -> str:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data_address(f"image/{kind}", data.getvalue())


def draw_matrix(matrix: Ints) -> str:
    """A confusion matrix as the address of an image with a pixel for each cell.

    A pixel is the more opaque, the larger the share of its row that it holds; empty cells are transparent. Hits are
    blue and mistakes orange.

    Args:
        matrix: [labels, answers], in the order to be shown.
    """
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)  # [K, K]
    pixels = np.empty((*matrix.shape, 4), np.uint8)
    pixels[..., :3] = np.where(np.eye(len(matrix), dtype=bool)[..., None], RIGHT_RGB, WRONG_RGB)
    pixels[..., 3] = np.rint(255 * np.sqrt(share))  # the root makes a single mistake of many videos visible
    pixels[matrix == 0] = 0
    return _address(Image.fromarray(pixels), "png", optimize=True)


def matrix_ticks(num_classes: int, *, most: int = 6) -> list[int]:
    """Class numbers, counted from 1, to write along a matrix: round ones, at most so many, none at its very edge.

    >>> matrix_ticks(174), matrix_ticks(31)
    ([50, 100, 150], [10, 20, 30])
    """
    step = next(
        size for power in range(9) for size in (10**power, 2 * 10**power, 5 * 10**power) if num_classes < most * size
    )
    return list(range(step, num_classes + 1, step))


def draw_reliability(bins: Sequence[Bin]) -> str:
    """Accuracy over probability, and below it how many videos each bin has, as SVG elements of a 304 x 354 picture."""
    parts = [_axes()]
    most = max(each.num_videos for each in bins)
    points = []
    for each in (each for each in bins if each.num_videos):
        left, width = _x(each.low), _x(each.high) - _x(each.low)
        height = max(HISTOGRAM_HEIGHT * each.num_videos / most, 1)
        parts.append(
            f'<rect class="bar" x="{left + 0.5:.1f}" y="{HISTOGRAM_TOP + HISTOGRAM_HEIGHT - height:.1f}" '
            f'width="{width - 1:.1f}" height="{height:.1f}"/>'
        )
        points.append((_x(each.confidence), _y(each.accuracy), _y(each.confidence)))
    parts += [f'<line class="gap" x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{on:.1f}"/>' for x, y, on in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    parts.append(f'<polyline class="curve" points="{line}"/>')
    parts += [f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y, _ in points]
    return "".join(parts)


def _x(share: float) -> float:
    return LEFT + SIDE * share


def _y(share: float) -> float:
    return TOP + SIDE * (1 - share)


def _axes() -> str:
    bottom = TOP + SIDE
    parts = [f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>']
    for percent in (0, 25, 50, 75, 100):
        x, y = _x(percent / 100), _y(percent / 100)
        anchor = "end" if percent == 100 else "middle"
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{LEFT + SIDE}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4}" text-anchor="end">{percent}</text>')
        parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="{anchor}">{percent}</text>')
    parts.append(f'<line class="ideal" x1="{LEFT}" y1="{bottom}" x2="{LEFT + SIDE}" y2="{TOP}"/>')
    base = HISTOGRAM_TOP + HISTOGRAM_HEIGHT
    parts.append(f'<line class="grid" x1="{LEFT}" y1="{base}" x2="{LEFT + SIDE}" y2="{base}"/>')
    return "".join(parts)
