"""Classify videos: one, or many with decoding beside the network; a bad one costs itself alone."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from gateshift.data.clips.loader import default_workers
from gateshift.data.lists.manifest import read_names
from gateshift.data.regions import AnyRegion
from gateshift.data.video.folders import FolderSearch
from gateshift.data.video.live import is_live
from gateshift.data.video.sources import is_file_address, is_web_address
from gateshift.devices import AnyPrecision, put_on_device
from gateshift.errors import GateShiftWarning, SettingsError, VideoError, check_whole
from gateshift.exported.loading import load_any
from gateshift.prediction.inputs import VideoInput, collect_videos, is_video_input, name_of_input
from gateshift.prediction.scoring import AnyModel, VideoScorer
from gateshift.prediction.scoring import Prediction as Prediction

Read = tuple[str, Tensor | VideoError]  # what a video is called, and its views or why there are none


def predict_with(
    model: AnyModel,
    source: VideoInput | Iterable[VideoInput],
    *,
    batch_size: int = 1,
    workers: int = 0,
    top: int = 5,
    segments: int | None = None,
    clips: int | None = None,
    crops: int | None = None,
    precision: AnyPrecision = "no",
    box: AnyRegion | None = None,
) -> Prediction | Iterator[Prediction]:
    """Classify a video, or each of several.

    A model of this library runs in its deployed form, which has its answers to rounding; it is made once for each
    model. Several threads may predict with one model.

    Args:
        model: In eval mode.
        source: A video, or an iterable of videos. A video is a path (a file, a folder of frames, a zip of packed
            frames), an http or https address, bytes, a file object opened with "rb", or frames: an array or tensor
            [T, H, W, 3], uint8 RGB or float in 0..1.
        batch_size: Videos of one forward pass, each with all of its views.
        workers: Threads that decode the next videos while the network runs; 0 decodes between its runs, and takes no
            video from an iterable before it is due.
        top: How many classes to name.
        segments: T, frames per clip; by default as in training.
        clips: Clips per video; by default as the model says.
        crops: Crops per clip, 1, 3, 5 or 10; by default as the model says.
        precision: "no" is float32; "bf16" is faster where the machine multiplies in it; "fp16" needs a GPU; "auto" is
            bf16 where that is faster here and gives the first 16 clips the classes of float32.
        box: The region of the picture that the model sees, x0, y0, x1, y1 as shares of it or in pixels: a text such as
            "0.1,0.2,0.6,0.9", or four numbers; "0,0,1,1" for all of it. By default the model's own.

    Returns:
        The prediction of one video. Of several an iterator, in their order, each as soon as its batch is done; one that
        cannot be read has its error. No more videos are held at a time than ``2 * batch_size + workers``.

    Raises:
        VideoError: If there is one video, and it cannot be read.
        SettingsError: If a number is out of range, or ``source`` is nothing of the above.
        ModelError: If the model is in training mode.

    >>> predict_with(model, "clip.mp4").label  # doctest: +SKIP
    'opening'
    >>> for prediction in predict_with(model, paths, batch_size=8, workers=2):  # doctest: +SKIP
    ...     print(prediction.video, prediction.label or prediction.error)
    """
    check_whole("batch_size", batch_size, least=1, advice="it must be at least 1; raise it")
    check_whole("workers", workers, least=0, advice="give 0 (decode in this thread) or more")
    if not is_video_input(source) and not isinstance(source, Iterable):
        raise SettingsError(
            f"`source` of type {type(source).__name__}; give a path, an address, bytes, a file object or frames "
            "[T, H, W, 3], or a list of these"
        )
    scorer = VideoScorer(model, top=top, segments=segments, clips=clips, crops=crops, precision=precision, box=box)
    if is_video_input(source):
        return scorer.predict([(name_of_input(source), scorer.read(source))])[0]
    return _predict_each(scorer, cast("Iterable[VideoInput]", source), batch_size, workers)


def predict(
    model: AnyModel | str | PathLike[str],
    videos: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    classes: str | PathLike[str] | None = None,
    top: int = 5,
    segments: int | None = None,
    clips: int | None = None,
    crops: int | None = None,
    precision: AnyPrecision = "no",
    box: AnyRegion | None = None,
    batch_size: int = 4,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[Prediction]:
    """Classify the videos of paths, folders and addresses.

    What lies in a folder beside its videos is told as a :class:`GateShiftWarning`.

    Args:
        model: In eval mode; or the path of any model, which is loaded and put on this machine's accelerator.
        videos: Video files, folders of frames, folders with videos at any depth, and http or https addresses; one, or
            several.
        classes: A file with names for the class numbers of a released checkpoint, one a line.
        top: How many classes to name.
        segments: T, frames per clip; by default as in training.
        clips: Clips per video; by default as the model says.
        crops: Crops per clip, 1, 3, 5 or 10; by default as the model says.
        precision: As for ``predict_with``.
        box: As for ``predict_with``.
        batch_size: Videos of one forward pass.
        workers: Threads that decode the next videos while the network runs; 0 decodes between its runs, None is one
            less than there are cores, at most 8.
        progress: Called with the number of predictions that were taken, and of all videos.

    Returns:
        An iterator over the predictions, in the order of the videos; one that cannot be read has its error.

    Raises:
        VideoError: If no video is named.
        SettingsError: If a number is out of range, or a camera or a live address is named.
        ModelError: If the model cannot be loaded, or is in training mode.
    """
    named = _paths(videos)
    check_not_live(named)
    model = ready_model(model, classes=classes)
    search = FolderSearch()
    found = collect_videos([video if is_web_address(video) else Path(video) for video in named], search)
    for note in search.notes():
        warnings.warn(note, GateShiftWarning, stacklevel=2)
    predictions = predict_with(
        model,
        found,
        batch_size=batch_size,
        workers=default_workers() if workers is None else workers,
        top=top,
        segments=segments,
        clips=clips,
        crops=crops,
        precision=precision,
        box=box,
    )
    return _counted(cast("Iterator[Prediction]", predictions), len(found), progress)


def _paths(videos: str | PathLike[str] | Iterable[str | PathLike[str]]) -> list[str | PathLike[str]]:
    if isinstance(videos, str | PathLike):
        return [videos]
    each: list[Any] = [videos] if is_video_input(videos) or not isinstance(videos, Iterable) else list(videos)
    for video in each:
        if not isinstance(video, str | PathLike):
            raise SettingsError(
                f"`videos` of type {type(video).__name__}; this takes paths and addresses; model.predict takes "
                "bytes, files and frames, too"
            )
    return each


def _counted(
    predictions: Iterator[Prediction], total: int, progress: Callable[[int, int], None]
) -> Iterator[Prediction]:
    progress(0, total)
    for done, prediction in enumerate(predictions, start=1):
        yield prediction
        progress(done, total)


def check_not_live(videos: Iterable[str | PathLike[str]]) -> None:
    """Raise VideoError if there is no video, and SettingsError if one has no end, as cameras and streams have none."""
    texts = [fspath(video) for video in videos]
    if not texts:
        raise VideoError("no video named; name files or folders after the model")
    live = [text for text in texts if is_live(text) and not is_file_address(text)]
    if live:
        raise SettingsError(
            f"{live[0]} is a camera or an address, and only a stream has these; take stream_video, or `stream=True` on "
            "the command line"
        )


def ready_model(model: AnyModel | str | PathLike[str], *, classes: str | PathLike[str] | None) -> AnyModel:
    """A model as it is; or of a path, loaded and on this machine's accelerator.

    Raises:
        ModelError: If it cannot be read, or there are not as many names as classes.
    """
    if not isinstance(model, str | PathLike):
        return model
    names = () if classes is None else read_names(Path(classes))
    return put_on_device(load_any(Path(model), names=names))


def _predict_each(
    scorer: VideoScorer, videos: Iterable[VideoInput], batch_size: int, workers: int
) -> Iterator[Prediction]:
    batch: list[Read] = []
    for read in _read_each(scorer, videos, workers, ahead=batch_size + workers):
        batch.append(read)
        if len(batch) == batch_size:
            yield from scorer.predict(batch)
            batch = []
    yield from scorer.predict(batch)


def _read_each(scorer: VideoScorer, videos: Iterable[VideoInput], workers: int, *, ahead: int) -> Iterator[Read]:
    """The views of videos, in order; with workers, of up to ``ahead`` before they are asked for."""

    def read(video: VideoInput) -> Read:
        if not is_video_input(video):
            error = VideoError(f"a video of type {type(video).__name__}; give a path, bytes, or frames [T, H, W, 3]")
            return str(video), error
        try:
            return name_of_input(video), scorer.read(video)
        except VideoError as error:
            return name_of_input(video), error

    if workers == 0:
        yield from map(read, videos)
        return
    waiting: deque[Future[Read]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="gateshift-decoder")
    try:
        for video in videos:
            if len(waiting) == ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(read, video))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
