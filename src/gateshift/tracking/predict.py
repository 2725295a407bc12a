"""One answer for each person that a tracker has followed through a video."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from gateshift.data.clips.tracks import Track, TrackedPerson, read_tracks
from gateshift.data.lists.labels import LABEL_SEPARATOR
from gateshift.data.video.files import Video, VideoFile, open_video
from gateshift.data.video.sources import Source, name_of
from gateshift.devices import AnyPrecision
from gateshift.errors import SettingsError, VideoError, check_whole
from gateshift.files import check_writable, csv_text, write_text
from gateshift.prediction.predict import check_not_live, ready_model
from gateshift.prediction.scoring import AnyModel, Prediction, VideoScorer
from gateshift.prediction.windows import in_batches

MIN_FRAMES = 2  # of a person: in one frame nothing happens
OUT_SUFFIXES = (".csv", ".json")
_COLUMNS = ("id", "first_frame", "last_frame", "num_frames", "start_s", "end_s", "label", "score", "error")


@dataclass(frozen=True)
class TrackPrediction:
    """What a model says of one person.

    Attributes:
        id: As the tracker calls the person.
        prediction: The answer, or why there is none.
        first_frame: The first frame of the video in which the person is seen, from 0.
        last_frame: The last one.
        num_frames: In how many frames the person is seen.
        start_s: When the first frame is shown, in seconds on the video's clock; None of images, which have none.
        end_s: When the last frame ends.
    """

    id: str
    prediction: Prediction
    first_frame: int
    last_frame: int
    num_frames: int
    start_s: float | None = None
    end_s: float | None = None

    @property
    def label(self) -> str | None:
        """The class; None where the model is unsure, or there is no answer."""
        return self.prediction.label

    def to_dict(self) -> dict[str, Any]:
        """The record as it stands in JSON: the prediction's, and whose it is."""
        own = {name: value for name, value in vars(self).items() if name != "prediction"}
        record = self.prediction.to_dict()
        return {"video": record.pop("video"), **own, **record}


def predict_tracks(
    model: AnyModel | str | PathLike[str],
    video: Source,
    tracks: str | PathLike[str],
    *,
    margin: float = 0.25,
    classes: str | PathLike[str] | None = None,
    top: int = 5,
    segments: int | None = None,
    clips: int | None = None,
    crops: int | None = None,
    precision: AnyPrecision = "no",
    batch_size: int = 4,
    out: str | PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[TrackPrediction]:
    """Classify what each person of a video does, whom a tracker of yours has followed.

    Of each person the network sees the frames in which the person is seen, each cut to a square that goes with it; see
    :mod:`gateshift.data.clips.tracks`. A region that the model sees of whole pictures (its ``box``) is not used.

    Args:
        model: Of clips, in eval mode; or the path of one.
        video: A video file, as a path, an address, bytes or a file object; or a folder of frames.
        tracks: A CSV ``frame,x0,y0,x1,y1,id``: frames from 0, boxes in pixels of the picture as players show it, and
            any text as id. Boxes may reach beyond the picture.
        margin: How much longer the side of a square is than the longest side of the person's boxes, as a share of it.
        classes: A file with names for the class numbers of a released checkpoint, one a line.
        top: How many classes to name; this, ``segments``, ``clips``, ``crops`` and ``precision`` are as in
            :func:`gateshift.predict`.
        batch_size: Persons of one forward pass.
        out: A file to write: .csv, or .json with the records that the predictions' ``to_dict`` gives.
        overwrite: Replace ``out`` if it is there.
        progress: Called with the number of persons that are done and of all.

    Returns:
        A prediction for each id, in the order in which the file names them. A person whose frames cannot be read, or
        who is seen in one frame alone, has an error.

    Raises:
        ManifestError: If the tracks are no such table, or not of this video.
        VideoError: If the video cannot be opened.
        SettingsError: If a number is out of range, or ``out`` cannot be written.
        ModelError: If the model cannot be loaded, is in training mode, or answers for each frame.
    """
    check_whole("batch_size", batch_size, least=1, advice="it must be at least 1; raise it")
    if not 0 <= margin < math.inf:
        raise SettingsError(f"`margin` {margin}; it must be 0 or more; try 0.25")
    if isinstance(video, str):
        check_not_live([video])
    if out is not None:
        check_writable("out", Path(out), overwrite=overwrite, suffixes=OUT_SUFFIXES)
    persons, name = read_tracks(tracks), name_of(video)
    model = ready_model(model, classes=classes)
    scorer = VideoScorer(model, top=top, segments=segments, clips=clips, crops=crops, precision=precision)
    with open_video(video, square_pixels=True) as opened:
        size_px = _size_of(opened, persons)
        for person in persons:
            person.check(Path(tracks), name, opened.num_frames, size_px)
        ends_s = _ends_s(opened)
        read = ((person, _views(scorer, opened, name, person, size_px, margin)) for person in persons)
        found: list[TrackPrediction] = []
        progress(0, len(persons))
        for batch in in_batches(read, batch_size):
            for (person, _), answer in zip(batch, scorer.predict([(name, views) for _, views in batch]), strict=True):
                found.append(_told(person, answer, ends_s))
            progress(len(found), len(persons))
    if out is not None:
        write_text(Path(out), _text(found, name, Path(out).suffix), errors="backslashreplace")
    return found


def _size_of(video: Video, persons: Sequence[Track]) -> tuple[int, int]:
    """Width and height of a video; of its frames one is read that somebody is in, if there is such a one."""
    number = min(int(persons[0].frames[0]), video.num_frames - 1)
    height, width = video.read([number]).shape[-2:]
    return width, height


def _ends_s(video: Video) -> list[float] | None:
    """When each frame is shown, and when the last one ends; None where nothing says."""
    with suppress(VideoError):
        return video.ends_s() if isinstance(video, VideoFile) else None
    return None


def _views(
    scorer: VideoScorer, video: Video, name: str, person: Track, size_px: tuple[int, int], margin: float
) -> Tensor | VideoError:
    """The views of a person, or why there are none."""
    if len(person.frames) < MIN_FRAMES:
        return VideoError(f"{name}: id {person.id} is seen in 1 frame, and a clip has at least {MIN_FRAMES}")
    squares = person.squares(*size_px, margin=margin)
    try:
        return scorer.views(TrackedPerson(video, f"{name}, id {person.id}", person.frames, squares))
    except VideoError as error:
        return error


def _told(person: Track, answer: Prediction, ends_s: list[float] | None) -> TrackPrediction:
    first, last = int(person.frames[0]), int(person.frames[-1])
    start_s, end_s = (None, None) if ends_s is None else (ends_s[first], ends_s[last + 1])
    return TrackPrediction(person.id, answer, first, last, len(person.frames), start_s, end_s)


def _text(found: Sequence[TrackPrediction], video: str, suffix: str) -> str:
    """What the file of answers holds."""
    if suffix == ".json":
        record = {"video": video, "tracks": [each.to_dict() for each in found]}
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    return csv_text([_COLUMNS, *map(_row, found)])


def _row(found: TrackPrediction) -> Iterator[object]:
    answer = found.prediction
    yield from (found.id, found.first_frame, found.last_frame, found.num_frames)
    yield from ("" if time_s is None else f"{time_s:.3f}" for time_s in (found.start_s, found.end_s))
    yield answer.label if answer.labels is None else LABEL_SEPARATOR.join(answer.labels)
    yield f"{answer.top[0][1]:.4f}" if answer.top else ""
    yield answer.error
