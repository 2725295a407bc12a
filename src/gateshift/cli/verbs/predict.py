"""What the verb predict does with its settings, and prints: of videos, of a stream, of a long recording.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from gateshift.errors import SettingsError, VideoError
from gateshift.files import check_writable
from gateshift.prediction.settings import PredictSettings
from gateshift.terminal import make_bar, print_line

if TYPE_CHECKING:
    from gateshift.data.video.live import FileFrames, NewestFrames
    from gateshift.exporting.loading import ExportedModel
    from gateshift.model.classifier import VideoClassifier
    from gateshift.model.config import ModelConfig
    from gateshift.prediction.stream import Answer, Stream
    from gateshift.prediction.timeline import Event

    AnyModel = VideoClassifier | ExportedModel
    Clock = Callable[[int], float | None]  # seconds, by frame number

EXACT_CAPACITY = 16  # frames of a live source that wait for an exact stream, and then go through it together


def run_predict(settings: PredictSettings) -> None:
    """Verb ``predict``. Exits with 2 if a video could not be read, after the others."""
    from gateshift.devices import put_on_device

    if not settings.videos:
        raise VideoError("no video named; name files or folders after the model")
    settings.check()
    if settings.cluster.out is not None:
        _predict_on_ray(settings, settings.cluster.out)
        return
    _check_live(settings)
    if settings.live.timeline is not None:
        from gateshift.prediction.timeline import TIMELINE_SUFFIXES

        check_writable(
            "--timeline", settings.live.timeline, overwrite=settings.live.overwrite, suffixes=TIMELINE_SUFFIXES
        )
    model = put_on_device(_load(settings))
    if settings.live.stream:
        _stream(settings, model)
    elif settings.live.timeline is not None:
        _timeline(settings, model, settings.live.timeline)
    else:
        _predict_videos(settings, model)


def _check_live(settings: PredictSettings) -> None:
    """Raise SettingsError for a camera or the address of a stream, which has no end, without --stream."""
    from gateshift.data.video.live import is_live
    from gateshift.data.video.sources import is_file_address

    others = [] if settings.live.stream else [source for source in settings.videos if not is_file_address(source)]
    live = [source for source in others if is_live(source)]
    if live:
        raise SettingsError(f"{live[0]} is a camera or an address, and only a stream has these; add --stream")


def _load(settings: PredictSettings) -> AnyModel:
    from gateshift.data.lists.manifest import read_names
    from gateshift.exporting.loading import load_any

    names = () if settings.classes is None else read_names(settings.classes)
    return load_any(settings.model, names=names)


def _predict_videos(settings: PredictSettings, model: AnyModel) -> None:
    from gateshift.data.video.folders import FolderSearch
    from gateshift.data.video.sources import is_web_address
    from gateshift.evaluation.protocol import choose_protocol
    from gateshift.prediction.predict import collect_videos, predict

    search = FolderSearch()
    named = (source if is_web_address(source) else Path(source) for source in settings.videos)
    videos = collect_videos(named, search)
    for note in search.notes():
        sys.stderr.write(f"gateshift: {note}\n")
    protocol = choose_protocol(model.config, segments=settings.segments, clips=settings.clips, crops=settings.crops)
    failed = 0
    table = Table("video", "class", "probability", title=f"{settings.model.name}, {protocol}")
    for prediction in predict(model, videos, protocol, top=settings.top):
        failed += prediction.error is not None
        if prediction.error is not None:
            sys.stderr.write(f"gateshift: {prediction.error}\n")
        if settings.json:
            _print_record(prediction.to_dict())
            continue
        none = "unsure" if prediction.unsure else "none" if prediction.top and prediction.label is None else None
        if none is not None:
            table.add_row(prediction.video, none, "")
        for rank, (name, probability) in enumerate(prediction.top):
            video = "" if rank or none is not None else prediction.video
            table.add_row(video, name, f"{probability:.3f}", end_section=False)
        if prediction.error is not None:
            table.add_row(prediction.video, "not read", "")
    if not settings.json:
        Console(markup=False).print(table)  # class names may have brackets
    if failed:
        raise SystemExit(2)


def _predict_on_ray(settings: PredictSettings, out: Path) -> None:
    """``predict --engine ray``: records in a file, and a line that says where."""
    from gateshift.evaluation.protocol import choose_protocol
    from gateshift.prediction.cluster import Scoring, check_ray, list_videos, score_on_ray

    check_ray()
    model, videos = _load(settings), list_videos(settings.videos)
    protocol = choose_protocol(model.config, segments=settings.segments, clips=settings.clips, crops=settings.crops)
    scoring = Scoring(settings.model, model.config.classes, protocol, settings.top, settings.cluster.timeout)
    del model  # each worker has its own
    # Ray tells of dead workers on standard output, which is for the answer.
    with redirect_stdout(sys.stderr), make_bar(Console(stderr=True)) as bar:
        task = bar.add_task("videos", total=len(videos), note=f"{len(videos)} videos")
        finished = score_on_ray(scoring, videos, out, on_videos=lambda done: bar.advance(task, done))
    with finished.open(encoding="utf-8") as records:
        failed = sum(json.loads(record)["error"] is not None for record in records)
    print_line(f"{finished}: {len(videos)} videos, of which {failed} could not be read")
    if failed:
        raise SystemExit(2)


def _stream(settings: PredictSettings, model: AnyModel) -> None:
    """``predict --stream``: a record for each answer, or a line whenever what happens changes."""
    from gateshift.data.video.live import FileFrames, NewestFrames, is_live
    from gateshift.prediction.stream import StreamReport, run_stream

    address, options = settings.videos[0], settings.live
    source: FileFrames | NewestFrames
    try:
        kind = NewestFrames if is_live(address) else FileFrames
        source = kind(address, square_pixels=model.config.square_pixels)
    except VideoError as error:
        _fail(settings, error)
    report = StreamReport()
    try:
        stream = _make_stream(settings, model, source.rate)
        rate = options.fps or source.rate
        clock = _clock(source, options.fps)
        if isinstance(source, NewestFrames):
            source.start(EXACT_CAPACITY if options.exact else options.frames_in(options.window, rate))
        sys.stderr.write(f"gateshift: answers come {stream.delay} frames late\n" if options.exact else "")
        label: str | None = None
        for answer in run_stream(stream, source, report, newest=is_live(address)):
            if settings.json:
                _print_record(_record(settings, model.config, answer, clock))
            elif answer.label != label:
                print_line(_line(answer, clock))
            label = answer.label
    except VideoError as error:
        _fail(settings, error)
    finally:
        source.close()
        report.dropped = source.dropped
        sys.stderr.write(f"gateshift: {report}\n")


def _make_stream(settings: PredictSettings, model: AnyModel, rate: float | None) -> Stream:
    from gateshift.prediction.stream import Stream

    options = settings.live
    window, hop = 1, 1  # nothing to an exact stream
    if not options.exact:
        window, hop = options.frames_in(options.window, rate), options.frames_in(options.hop, rate)
    return Stream(
        model,
        exact=options.exact,
        window=window,
        hop=hop,
        segments=settings.segments,
        smooth=options.smooth,
        enter=options.enter,
        leave=options.leave,
    )


def _clock(source: FileFrames | NewestFrames, fps: float | None) -> Clock:
    """When a frame begins, by its number: as a file says of each, or by the rate."""
    from gateshift.data.video.files import VideoFile
    from gateshift.data.video.live import FileFrames

    rate = fps or source.rate
    if fps is None and rate is not None and isinstance(source, FileFrames) and isinstance(source.video, VideoFile):
        with suppress(VideoError):  # a file may have no times
            return source.video.ends_s().__getitem__
    return lambda number: None if rate is None else number / rate


def _record(settings: PredictSettings, config: ModelConfig, answer: Answer, clock: Clock) -> dict[str, Any]:
    likeliest = config.likeliest(answer.probabilities, settings.top)
    return {
        "video": settings.videos[0],
        "start_s": clock(answer.start),
        "end_s": clock(answer.end),
        "start_frame": answer.start,
        "end_frame": answer.end,
        "label": answer.label,
        "top": [{"class": name, "probability": probability} for name, probability in likeliest],
        "error": None,
    }


def _line(answer: Answer, clock: Clock) -> str:
    start_s, end_s = clock(answer.start), clock(answer.end)
    known = start_s is not None and end_s is not None
    place = f"{start_s:.2f}-{end_s:.2f} s" if known else f"frames {answer.start}-{answer.end}"
    return f"{place}: {answer.label or 'nothing'} ({float(answer.probabilities.max()):.3f})"


def _timeline(settings: PredictSettings, model: AnyModel, path: Path) -> None:
    """``predict --timeline``: the segments of one file, written and printed."""
    from gateshift.evaluation.protocol import choose_protocol
    from gateshift.prediction.timeline import find_events, open_recording, score_windows, write_timeline
    from gateshift.prediction.windows import Thresholds, Windows

    options, video = settings.live, settings.videos[0]
    thresholds = Thresholds(options.enter, options.leave)
    if options.smooth % 2 == 0:
        raise SettingsError(f"--smooth {options.smooth}; a timeline takes an odd number; try --smooth 3")
    protocol = choose_protocol(model.config, segments=settings.segments)
    try:
        with closing(open_recording(video, square_pixels=model.config.square_pixels)) as recording:
            size, hop = (options.frames_in(time_s, recording.rate) for time_s in (options.window, options.hop))
            windows = Windows(size, hop, protocol.num_segments)
            spans = windows.covering(recording.num_frames)
            with make_bar(Console(stderr=True)) as bar:
                task = bar.add_task("windows", total=len(spans), note=f"{len(spans)} windows")
                found = score_windows(model, recording, windows, on_window=lambda done: bar.advance(task, done))
            times_s = recording.ends_s()
    except VideoError as error:
        _fail(settings, error)
    classes = model.config.classes
    apart = model.config.multi_label
    segments = find_events(found, spans, times_s, classes, thresholds=thresholds, smooth=options.smooth, apart=apart)
    write_timeline(segments, path, video=video)
    _print_segments(settings, segments)
    sys.stderr.write(f"gateshift: {len(segments)} segments of {len(spans)} windows: {path}\n")


def _print_segments(settings: PredictSettings, segments: Sequence[Event]) -> None:
    table = Table("start, s", "end, s", "class", "score", title=settings.videos[0])
    for segment in segments:
        table.add_row(f"{segment.start_s:.2f}", f"{segment.end_s:.2f}", segment.label, f"{segment.score:.3f}")
        if settings.json:
            _print_record({"video": settings.videos[0], **vars(segment), "error": None})
    if not settings.json:
        Console(markup=False).print(table)


def _print_record(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)  # noqa: T201 - the records are the output


def _fail(settings: PredictSettings, error: VideoError) -> None:
    """Say that a source cannot be read, or read on, and exit with 2."""
    if settings.json:
        _print_record({"video": settings.videos[0], "top": [], "error": str(error)})
    sys.stderr.write(f"gateshift: {error}\n")
    raise SystemExit(2)
