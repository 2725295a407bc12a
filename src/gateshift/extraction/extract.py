"""Features of videos as files, one for each: by this process, or by Ray; what is there is not made again."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from gateshift.data.clips.loader import default_workers
from gateshift.data.on_ray import check_cluster, check_ray, map_on_ray
from gateshift.data.regions import AnyRegion, region_of
from gateshift.devices import put_on_device
from gateshift.errors import (
    GateShiftError,
    SettingsError,
    VideoError,
    check_choice,
    check_whole,
    explain_system_error,
)
from gateshift.evaluation.protocol import choose_protocol
from gateshift.exported.loading import check_open, load_open
from gateshift.extraction.files import name_videos, write_features
from gateshift.extraction.network import FeatureNetwork, digest_of
from gateshift.extraction.reading import Part, Wanted, WatchedReaders, read_each, read_parts
from gateshift.extraction.settings import FORMATS, TIMEOUT_S, Per
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import OWN, ModelConfig
from gateshift.model.io import load_model, save_model
from gateshift.prediction.cluster import list_boxes
from gateshift.prediction.job_folder import begin_job
from gateshift.prediction.windows import check_positive

StrPath = str | os.PathLike[str]
STRIDE_S = 0.5  # per clip
MOST_AT_ONCE = 256  # videos of one task of Ray, where there are very many
Failures = dict[str, str]


@dataclass(frozen=True)
class ExtractedFeatures:
    """A job of features that is done.

    Attributes:
        files: The file of each video that has one, by what the video is called.
        num_made: How many of them were made now; the others were there.
        failures: Why other videos have none, a line each.
    """

    files: dict[str, Path]
    num_made: int
    failures: Failures = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """Travels to workers.

    Attributes:
        wanted: What is read of a video.
        folder: Where files go.
        suffix: Of these.
        digest: Of the model.
        timeout_s: How long a part of a video may take, where it is read by another process.
    """

    wanted: Wanted
    folder: Path
    suffix: str
    digest: str
    timeout_s: float

    @property
    def network(self) -> Path:
        """Where workers find the model while they need it."""
        return self.folder / ".network.safetensors"

    def path_of(self, name: str) -> Path:
        return self.folder / f"{name}{self.suffix}"

    def extract(self, network: FeatureNetwork, name: str, video: str, parts: Iterator[Part]) -> None:
        """Write the features of one video.

        Raises:
            VideoError: If it cannot be read.
        """
        wanted = self.wanted
        outline, pixels = next(parts)
        assert outline is not None  # which the first part has
        times_s = None if outline.times_s is None else outline.times_s.round(6).tolist()
        about = {
            "video": video,
            "model": self.digest,
            "protocol": str(wanted),
            "per": "clip" if wanted.per_clip else "frame",
            "num_segments": wanted.num_segments,
            "size_px": wanted.config.size_px,
            "num_frames": outline.num_frames,
            "fps": outline.fps,
            "window_frames": outline.window_frames,
            "stride_frames": outline.stride_frames,
            "times_s": times_s,
        }
        rows = network.rows(chain((pixels,), (each for _, each in parts)))
        write_features(self.path_of(name), rows, outline.num_rows, about)


def extract_features(
    model: VideoClassifier | StrPath,
    videos: StrPath | Iterable[StrPath],
    *,
    out: StrPath,
    per: Per | None = None,
    window: float | None = 2.0,
    stride: float | None = None,
    segments: int | None = None,
    fps: float | None = None,
    box: AnyRegion | None = None,
    format: Literal["npy", "safetensors"] = "npy",
    batch_size: int = 4,
    workers: int | None = None,
    engine: Literal["here", "ray"] = "here",
    timeout: float = TIMEOUT_S,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ExtractedFeatures:
    """Write what a network sees in videos, before its classifier: an array float32 [rows, F] and times for each video.

    Memory does not grow with the length of a video. A job that was stopped goes on, given the same again, and takes
    more videos; a video whose file is there is not read. Each video goes through the network alone, so that, with as
    many threads of torch, its features are the same to the bit whatever is done beside it.

    Args:
        model: In eval mode; or the path of any model whose layers can be looked into. Any network of timm is one by
            ``gs.create_model(name, "none", num_classes=1, weights="imagenet", num_segments=8).eval()``.
        videos: Video files, folders of frames, folders with videos at any depth, addresses (http://, s3:// and others
            of fsspec), and lists of these: a ``.txt`` with a video a line, or a ``.csv`` with a column ``path``.
        out: Folder for ``NAME.npy`` with ``NAME.times.json`` beside it, or ``NAME.safetensors``, made if need be. NAME
            is the path in the folder that was given, or beside the list, without suffix.
        per: "clip" for a row for each of the windows that slide over a video: the mean over the frames of the window's
            clip, center crops, which is what the classifier sees. "frame" for a row for each frame that the network
            sees, of all of the video as one clip. By default "frame" for a network that answers for each frame.
        window: Per clip, length of a window, in seconds; None for all of a video, however long. A shorter video is one
            window, and the last window ends with its video.
        stride: Time from one row to the next, in seconds. By default 0.5 per clip, and per frame every frame that the
            network sees: all, or those of the rate that it was trained on.
        segments: T, frames of a clip; by default as in training.
        fps: Frames a second of images, which have no clock; of a file, where they are not those that it says.
        box: The region of the picture, as of :func:`gateshift.predict`; that of a list's column ``box`` wins.
        format: "npy" or "safetensors".
        batch_size: Windows that go through the network at once.
        workers: Threads that decode the next videos while the network runs; 0 decodes between its runs, None is one
            less than there are cores, at most 8. With Ray, the cluster has its own.
        engine: "here", or "ray" for all cores and GPUs of this machine, or the cluster at RAY_ADDRESS; its machines see
            ``out`` and videos under the same paths.
        timeout: With Ray, how long fetching a video, or decoding its next part, may take, in seconds.
        progress: Called with the number of videos that are done and of all; first with those of before.

    Raises:
        SettingsError: If a number is out of range, ``out`` holds features of another model or protocol or something
            else, two videos have one name, or Ray is not there.
        ManifestError: If a list cannot be read.
        VideoError: If there are no videos.
        ModelError: If the model cannot be loaded or looked into, or is in training mode.

    >>> found = extract_features("run/best.safetensors", "clips", out="features")  # doctest: +SKIP
    >>> np.load(found.files["clips/open/1.mp4"]).shape  # doctest: +SKIP
    (3, 1280)
    """
    check_open(model)
    for name, value in (("window", window), ("stride", stride), ("fps", fps), ("timeout", timeout)):
        check_positive(name, value)
    check_whole("batch_size", batch_size, least=1, advice="it must be at least 1; raise it")
    check_choice("format", format, tuple(FORMATS))
    if per is not None:
        check_choice("per", per, get_args(Per))
    _check_engine(engine, workers, timeout)
    sources = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
    named = name_videos(sources)
    network = model if isinstance(model, VideoClassifier) else load_open(Path(model), classes=None).eval()
    per = ("frame" if network.config.is_dense else "clip") if per is None else per
    wanted = dataclasses.replace(
        _wanted(network.config, per, window, stride, segments, fps, batch_size),
        box=region_of(box),
        boxes=list_boxes(sources),
    )
    if engine == "ray" and network.config.backbone.startswith(OWN):
        raise SettingsError("`engine=ray` with a network of your own, which workers cannot build; leave it out")
    job = _Job(wanted, Path(out).absolute(), FORMATS[format], digest_of(network), timeout)
    if engine == "here" and not isinstance(model, VideoClassifier):
        network = put_on_device(network)
    features = FeatureNetwork(network, wanted)  # before a folder is made
    begin_job(Path(out), {"model": job.digest, "features": str(wanted), "format": format})
    todo = [(name, video) for name, video in named.items() if not job.path_of(name).is_file()]
    done, failures = len(named) - len(todo), Failures()
    progress(done, len(named))
    if engine == "ray":
        found = _on_ray(job, network, todo)
    else:
        threads = default_workers() if workers is None else workers
        found = _each(job, features, todo, lambda video: read_parts(video, wanted), threads)
    for video, error in found:
        if error is not None:
            failures[video] = error
        done += 1
        progress(done, len(named))
    files = {video: Path(out) / f"{name}{job.suffix}" for name, video in named.items() if video not in failures}
    return ExtractedFeatures(files, len(todo) - len(failures), failures)


def _check_engine(engine: str, workers: int | None, timeout: float) -> None:
    """Raise SettingsError unless Ray can be used, if it is to be, and every option is of the engine."""
    check_choice("engine", engine, ("here", "ray"))
    check_whole("workers", workers or 0, least=0, advice="give 0 (decode in this thread) or more")
    if engine == "ray":
        if workers is not None:
            raise SettingsError(f"`workers` {workers} with `engine=ray`, which has its own; leave it out")
        check_ray()
        check_cluster()
    elif timeout != TIMEOUT_S:
        raise SettingsError(f"`timeout` {timeout:g} was given without `engine=ray`; leave it out")


def _wanted(
    config: ModelConfig,
    per: Per,
    window: float | None,
    stride: float | None,
    segments: int | None,
    fps: float | None,
    batch_size: int,
) -> Wanted:
    if per == "clip":
        num_segments = choose_protocol(config, segments=segments).num_segments
        return Wanted(config, True, num_segments, window, stride or STRIDE_S, fps, batch_size, Path.cwd())
    if segments is not None:
        raise SettingsError(f"`segments` {segments} with `per=frame`, where all of a video is one clip; leave it out")
    if stride is not None and config.fps is not None:
        raise SettingsError(
            f"`stride` {stride:g} with a network that was trained on {config.fps:g} frames a second, of which each has "
            "a row; leave it out"
        )
    return Wanted(config, False, 1, None, stride, fps, batch_size, Path.cwd())


def _each(
    job: _Job,
    network: FeatureNetwork,
    videos: Sequence[tuple[str, str]],
    read: Callable[[str], Iterator[Part]],
    workers: int,
) -> Iterator[tuple[str, str | None]]:
    """Each video when it is done, and why it could not be read, if so."""
    for (name, video), parts in read_each(videos, lambda each: read(each[1]), workers=workers):
        try:
            job.extract(network, name, video, parts)
        except VideoError as error:
            yield video, str(error)
        else:
            yield video, None


def _on_ray(job: _Job, model: VideoClassifier, videos: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str | None]]:
    if not videos:
        return
    at_once = min(math.ceil(len(videos) / 1000), MOST_AT_ONCE)
    rows = [{"videos": json.dumps(videos[start : start + at_once])} for start in range(0, len(videos), at_once)]
    try:
        save_model(model, job.network)
        for row in map_on_ray(_Worker, (job,), rows):
            failures = json.loads(row["failures"])
            for _, video in json.loads(row["videos"]):
                yield video, failures.get(video)
    finally:
        job.network.unlink(missing_ok=True)


class _Worker:
    """What a worker of Ray does: some videos in, their files written, and why others have none out."""

    def __init__(self, job: _Job, cpus: int) -> None:
        self._job, self._cpus = job, cpus
        self._readers = WatchedReaders(job.wanted, timeout_s=job.timeout_s)

    @cached_property
    def _network(self) -> FeatureNetwork:
        return FeatureNetwork(put_on_device(load_model(self._job.network).eval()), self._job.wanted)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        videos = [(str(name), str(video)) for name, video in json.loads(row["videos"])]
        failures, failure = Failures(), ""
        try:
            found = _each(self._job, self._network, videos, self._readers.parts, self._cpus)
            failures = {video: error for video, error in found if error is not None}
        except GateShiftError as error:  # raised here, it would reach the user as a page of Ray's
            failure = str(error)
        except OSError as error:
            failure = explain_system_error(error)
        return {**row, "failures": json.dumps(failures), "failure": failure}
