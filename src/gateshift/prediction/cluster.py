"""Classify very many videos by Ray Data: on all cores or GPUs of this machine, or on a cluster.

Each worker has a model, and processes that decode. Records come back as text and are written by the driver alone, so no
video is in the results twice, whatever was killed on the way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gateshift.data.clips.remote import WantedViews, check_address, read_in_subprocesses
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.manifest import read_names
from gateshift.data.lists.tables import listed_path, open_text, read_boxes, read_table
from gateshift.data.on_ray import check_cluster, check_ray, map_on_ray
from gateshift.data.regions import AnyRegion, Region, region_text
from gateshift.data.video.sources import is_address
from gateshift.devices import put_on_device
from gateshift.errors import ManifestError, ModelError, SettingsError, VideoError
from gateshift.evaluation.protocol import choose_box, choose_protocol
from gateshift.exported.loading import load_any
from gateshift.prediction.inputs import collect_videos
from gateshift.prediction.job_folder import FINISHED, JobFolder
from gateshift.prediction.scoring import Prediction, VideoScorer, check_top

LIST_SUFFIXES = (".csv", ".txt")


@dataclass(frozen=True)
class RayJob:
    """A job that is done.

    Attributes:
        path: The file of all records, a line of JSON for each video, in order, as ``predict --json`` prints them.
        num_videos: How many videos there are.
        num_failed: How many of them could not be read; their records have the errors.
    """

    path: Path
    num_videos: int
    num_failed: int


@dataclass(frozen=True)
class _Scoring:
    """How videos are scored, for workers: a model file, names of its classes, and the arguments of predict_on_ray."""

    model: Path
    names: tuple[str, ...]
    protocol: EvalProtocol
    top: int
    timeout_s: float
    box: Region | None = None
    boxes: Mapping[str, Region] = field(default_factory=dict)


def predict_on_ray(
    model: str | PathLike[str],
    videos: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    out: str | PathLike[str],
    classes: str | PathLike[str] | None = None,
    top: int = 5,
    segments: int | None = None,
    clips: int | None = None,
    crops: int | None = None,
    timeout: float = 300.0,
    box: AnyRegion | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> RayJob:
    """Classify very many videos on the Ray cluster at RAY_ADDRESS, or on this machine if there is none.

    A job that was stopped goes on, given the same again: what is done, in ``out``, is not done again.

    Args:
        model: The path of any model, the same on every machine.
        videos: Video files, folders of frames, folders with videos at any depth, addresses (s3://, http://, file:// and
            others of fsspec), and lists of these: a ``.txt`` with a video a line, or a ``.csv`` with a column ``path``.
            Relative paths start at this process's folder; files lie under the same path on every machine.
        out: The job's folder. Only this process writes in it.
        classes: A file with names for the class numbers of a released checkpoint, one a line.
        top: How many classes to name; this, ``segments``, ``clips`` and ``crops`` are as in ``predict_with``.
        timeout: How long fetching and decoding one video may take, in seconds.
        box: As of :func:`gateshift.predict`; that of a list's column ``box`` wins.
        progress: Called with the number of videos that are done and of all; first with those of before.

    Raises:
        SettingsError: If Ray is not installed, ``out`` holds something else, or a number is out of range.
        ManifestError: If a list cannot be read.
        VideoError: If there are no videos.
        ModelError: If the model cannot be read, here or by a worker.
    """
    check_ray()
    check_top(top)
    if not timeout > 0:
        raise SettingsError(f"`timeout` {timeout:g}; it must be above 0 seconds; correct it")
    model, base = Path(model), Path.cwd()
    config = load_any(model, names=() if classes is None else read_names(Path(classes))).config
    sources = [videos] if isinstance(videos, str | PathLike) else list(videos)
    listed = list_videos(sources)
    protocol = choose_protocol(config, segments=segments, clips=clips, crops=crops)
    region = choose_box(config, box)
    scoring = _Scoring(model, config.classes, protocol, top, timeout, region, list_boxes(sources))
    if not (Path(out) / FINISHED).exists():
        check_cluster()
    job = JobFolder(Path(out), listed, _about(scoring, listed, base))
    parts = job.missing()
    done = len(listed) - sum(len(job.videos_of(part)) for part in parts)
    progress(done, len(listed))
    if parts:
        rows = [{"part": part, "videos": json.dumps(job.videos_of(part))} for part in parts]
        for scored in map_on_ray(_Scorer, (scoring, base), rows):
            part = int(scored["part"])
            job.write(part, str(scored["records"]))
            done += len(job.videos_of(part))
            progress(done, len(listed))
    job.finish()
    with job.finished.open(encoding="utf-8") as lines:
        return RayJob(job.finished, len(listed), sum(json.loads(line)["error"] is not None for line in lines))


def list_videos(sources: Iterable[str | PathLike[str]]) -> list[str]:
    """The videos meant by files, folders, addresses, and lists of these; one that is named twice comes once.

    Args:
        sources: A ``.txt`` with a video a line, or a ``.csv`` with a column ``path``, is a list. Paths in it start at
            its folder.

    Raises:
        ManifestError: If a list cannot be read.
        SettingsError: If there is nothing here to fetch from a kind of address.
        VideoError: If there are no videos.
    """
    found: dict[str, None] = {}
    named = [fspath(source) for source in sources]
    for source in named:
        path = Path(source)
        if is_address(source):
            found[source] = None
        elif path.suffix.lower() in LIST_SUFFIXES:
            found.update((line if is_address(line) else str(path.parent / line), None) for line in _lines(path))
        else:
            found.update((str(video), None) for video in collect_videos([path]))
    if not named:
        raise VideoError("no video named; name files, folders, addresses or lists of them")
    if not found:
        raise VideoError(f"{', '.join(named)}: no video in it; name files, folders, addresses or lists of them")
    for address in {video.partition("://")[0]: video for video in found if is_address(video)}.values():
        check_address(address)
    return list(found)


def _lines(path: Path) -> Iterator[str]:
    """What a list names, in order."""
    if not path.is_file():
        raise ManifestError(f"{path}: no such list; give a text file with a video a line, or a CSV with a column path")
    if path.suffix.lower() == ".txt":
        with open_text(path) as text:
            yield from filter(None, (listed_path(line.rstrip("\n"), path.parent) for line in text))
        return
    for where, row in read_table(path, ["path"]):
        if row.get("start") or row.get("end"):
            raise ManifestError(f"{where}: a part of a video; whole videos are scored; list them without start and end")
        video = listed_path(row["path"], path.parent)
        if not video:
            raise ManifestError(f"{where}: no path; correct or delete the line")
        yield video


def list_boxes(sources: Iterable[str | PathLike[str]]) -> dict[str, Region]:
    """The regions of videos whose list has a column ``box``, by the videos as :func:`list_videos` gives them.

    Raises:
        ManifestError: If one is no region, or a video has several.
    """
    found: dict[str, Region] = {}
    for path in map(Path, sources):
        for name, box in read_boxes(path).items():
            video = name if is_address(name) else str(path.parent / name)
            if found.setdefault(video, box) != box:
                raise ManifestError(f"{path}: another box of {video} than in a list before; give it the same")
    return found


def told_boxes(box: Region | None, boxes: Mapping[str, Region]) -> str:
    """What tells a job by the regions that its videos are cut to; nothing where they are not."""
    text = "" if box is None else f", box {region_text(box)}"
    if boxes:
        text += f", boxes of {len(boxes)} videos, {_digest([json.dumps(boxes, sort_keys=True).encode()])}"
    return text


class _Scorer:
    """What a worker does: a row with a part of the list in, its records out."""

    def __init__(self, scoring: _Scoring, base: Path, cpus: int) -> None:
        self._scoring = scoring
        self._base = base
        self._cpus = cpus

    @cached_property
    def _scorer(self) -> VideoScorer:
        scoring, protocol = self._scoring, self._scoring.protocol
        model = put_on_device(load_any(self._base / scoring.model, names=scoring.names, threads=self._cpus))
        return VideoScorer(
            model,
            top=scoring.top,
            segments=protocol.num_segments,
            clips=protocol.num_clips,
            crops=protocol.num_crops,
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            scorer = self._scorer
        except ModelError as error:  # raised here, it would reach the user as a page of Ray's
            return {"part": row["part"], "records": "", "failure": str(error)}
        predictions = self._predict(scorer, json.loads(row["videos"]))
        records = "".join(json.dumps(prediction.to_dict()) + "\n" for prediction in predictions)
        return {"part": row["part"], "records": records, "failure": ""}

    def _predict(self, scorer: VideoScorer, videos: Sequence[str]) -> list[Prediction]:
        scoring, config = self._scoring, scorer.config
        found: dict[int, Prediction] = {}
        with TemporaryDirectory(prefix="gateshift-") as folder:
            wanted = [
                WantedViews(
                    video,
                    self._base,
                    scoring.protocol,
                    config.size_px,
                    config.resize_px,
                    config.square_pixels,
                    Path(folder),
                    scoring.boxes.get(video, scoring.box),
                )
                for video in videos
            ]
            # The next video is decoded while the model is at this one.
            for number, read in read_in_subprocesses(wanted, workers=self._cpus, timeout_s=scoring.timeout_s):
                views = read if isinstance(read, VideoError) else torch.from_numpy(read)
                (found[number],) = scorer.predict([(videos[number], views)])
        return [found[number] for number in range(len(videos))]


def _about(scoring: _Scoring, videos: Sequence[str], base: Path) -> dict[str, str]:
    """What makes two jobs the same."""
    places = [video if is_address(video) else str(base / video) for video in videos]
    weights = scoring.model.with_suffix(".bin")  # of an OpenVINO file
    files = [scoring.model, *([weights] if scoring.model.suffix == ".xml" and weights.is_file() else [])]
    return {
        "list": f"{len(videos)} videos, {_digest([json.dumps(places).encode()])}",
        "model": f"{scoring.model.name}, {_digest([file.read_bytes() for file in files])}",
        "classes": _digest([json.dumps(scoring.names).encode()]),
        "protocol": str(scoring.protocol) + told_boxes(scoring.box, scoring.boxes),
        "top": str(scoring.top),
    }


def _digest(contents: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()[:16]
