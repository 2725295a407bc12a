"""The verb predict: prints what the functions of ``gateshift.prediction`` say of videos.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from gateshift.cli.terminal import count_bar, print_line, print_note
from gateshift.errors import SettingsError, VideoError
from gateshift.prediction.settings import PredictSettings

if TYPE_CHECKING:
    from gateshift.model.config import ModelConfig
    from gateshift.prediction.predict import Prediction
    from gateshift.prediction.stream import Answer


# Of the columns of a table, by the fields of an event.
HEADINGS = {"start_s": "start, s", "end_s": "end, s", "time_s": "time, s", "label": "class"}


def run_predict(settings: PredictSettings) -> None:
    """Verb ``predict``. Exits with 2 if a video could not be read, after the others."""
    settings.check()
    if settings.people.tracks is not None:
        num_failed = _tracks(settings, settings.people.tracks)
    elif settings.cluster.out is not None:
        num_failed = _predict_on_ray(settings, settings.cluster.out)
    elif settings.live.stream:
        num_failed = _stream(settings)
    elif settings.live.events is not None:
        num_failed = _events(settings, settings.live.events)
    elif settings.live.timeline is not None:
        num_failed = _timeline(settings, settings.live.timeline)
    else:
        num_failed = _predict_videos(settings)
    if num_failed:
        raise SystemExit(2)


def _predict_videos(settings: PredictSettings) -> int:
    from gateshift.evaluation.fast_form import ChosenPrecision, fast_form
    from gateshift.evaluation.protocol import choose_protocol
    from gateshift.prediction.predict import check_not_live, predict, ready_model

    check_not_live(settings.videos)  # before the model is loaded, which takes seconds
    model = fast_form(ready_model(settings.model, classes=settings.classes), settings.precision)
    views = _options(settings, "segments", "clips", "crops")
    protocol = choose_protocol(model.config, **views)
    output, num_failed = sys.stdout, 0  # which a bar takes for itself, and shows on the terminal
    if not settings.json:
        print_line(f"{settings.model.name}, {protocol}")
    with _bar("predicting", "videos") as progress:
        own = _options(settings, "box", "top", "batch_size", "workers")
        for prediction in predict(model, settings.videos, **views, **own, progress=progress):
            num_failed += prediction.error is not None
            if prediction.error is not None:
                print_note(prediction.error)
            line = json.dumps(prediction.to_dict()) if settings.json else _row(prediction)
            print(line, file=sys.stdout if output.isatty() else output, flush=True)
    if isinstance(model, ChosenPrecision):
        print_note(str(model))
    return num_failed


def _row(prediction: Prediction) -> str:
    none = "not read" if prediction.error is not None else "unsure" if prediction.unsure else "none"
    first = [] if prediction.label is not None else [none]
    return f"{prediction.video}: {', '.join([*first, *(f'{name} {share:.3f}' for name, share in prediction.top)])}"


def _predict_on_ray(settings: PredictSettings, out: Path) -> int:
    """``predict --engine ray``: records in a file, and a line that says where."""
    from gateshift.prediction.cluster import predict_on_ray

    # Ray tells of dead workers on standard output, which is for the answer.
    with redirect_stdout(sys.stderr), _bar("predicting", "videos") as progress:
        job = predict_on_ray(
            settings.model,
            settings.videos,
            out=out,
            timeout=settings.cluster.timeout,
            progress=progress,
            **_options(settings, "classes", "top", "segments", "clips", "crops", "box"),
        )
    print_line(f"{job.path}: {job.num_videos} videos, of which {job.num_failed} could not be read")
    return job.num_failed


def _stream(settings: PredictSettings) -> int:
    """``predict --stream``: a record for each answer, or a line whenever what happens changes."""
    from gateshift.prediction.predict import ready_model
    from gateshift.prediction.scoring import check_top
    from gateshift.prediction.video_stream import StreamReport, stream_video

    check_top(settings.top)
    label: str | None = None
    report = StreamReport()
    model = ready_model(settings.model, classes=settings.classes)
    answers = stream_video(
        model,
        settings.videos[0],
        exact=settings.live.exact,
        report=report,
        suppress=settings.live.suppress,
        **_window_options(settings),
    )
    try:
        for answer in answers:
            if settings.json:
                _print_record(_record(settings, model.config, answer))
            elif answer.label != label and not (model.config.task == "spot" and answer.label is None):
                print_line(_line(answer))
            label = answer.label
    except VideoError as error:
        return _tell_failure(settings, error)
    finally:
        if report.frames:
            print_note(str(report))
    return 0


def _record(settings: PredictSettings, config: ModelConfig, answer: Answer) -> dict[str, Any]:
    likeliest = config.likeliest(answer.probabilities, settings.top)
    return {
        "video": settings.videos[0],
        "start_s": answer.start_s,
        "end_s": answer.end_s,
        "start_frame": answer.start,
        "end_frame": answer.end,
        "label": answer.label,
        "top": [{"class": name, "probability": probability} for name, probability in likeliest],
        "error": None,
    }


def _line(answer: Answer) -> str:
    known = answer.start_s is not None and answer.end_s is not None
    place = f"{answer.start_s:.2f}-{answer.end_s:.2f} s" if known else f"frames {answer.start}-{answer.end}"
    return f"{place}: {answer.label or 'nothing'} ({float(answer.probabilities.max()):.3f})"


def _timeline(settings: PredictSettings, out: Path) -> int:
    """``predict --timeline``: the events of one file, written and printed."""
    from gateshift.prediction.timeline import find_events

    try:
        with _named("timeline"), _bar("predicting", "windows") as progress:
            events = find_events(
                settings.model,
                settings.videos[0],
                out=out,
                progress=progress,
                **_options(settings, "classes", "precision"),
                **_options(settings.live, "format", "overwrite"),
                **_window_options(settings),
            )
    except VideoError as error:
        return _tell_failure(settings, error)
    _print_events(settings, out, {"start_s": ".2f", "end_s": ".2f", "label": "", "score": ".3f"}, events)
    return 0


def _events(settings: PredictSettings, out: Path) -> int:
    """``predict --events``: the events of one file to the frame, written and printed."""
    from gateshift.prediction.spotting import spot_events

    try:
        with _named("events"), _bar("predicting", "frames") as progress:
            events = spot_events(
                settings.model,
                settings.videos[0],
                out=out,
                progress=progress,
                **_options(settings, "classes", "precision", "box"),
                **_options(settings.live, "threshold", "suppress", "suppression", "fps", "format", "overwrite"),
            )
    except VideoError as error:
        return _tell_failure(settings, error)
    _print_events(settings, out, {"time_s": ".3f", "frame": "d", "label": "", "score": ".3f"}, events)
    return 0


def _tracks(settings: PredictSettings, tracks: Path) -> int:
    """``predict --tracks``: an answer for each person, written and printed."""
    from gateshift.tracking.predict import predict_tracks

    try:
        with _bar("predicting", "persons") as progress:
            found = predict_tracks(
                settings.model,
                settings.videos[0],
                tracks,
                margin=settings.people.margin,
                out=settings.cluster.out,
                overwrite=settings.live.overwrite,
                progress=progress,
                **_options(settings, "classes", "top", "segments", "clips", "crops", "precision", "batch_size"),
            )
    except VideoError as error:
        return _tell_failure(settings, error)
    for each in found:
        if settings.json:
            _print_record(each.to_dict())
        else:
            place = f"id {each.id}, frames {each.first_frame}-{each.last_frame}"
            print_line(_row(replace(each.prediction, video=f"{each.prediction.video}, {place}")))
        if each.prediction.error is not None:
            print_note(each.prediction.error)
    return sum(each.prediction.error is not None for each in found)


def _print_events(settings: PredictSettings, out: Path, fields: dict[str, str], events: Sequence[Any]) -> None:
    """A table or JSON records of what was found: these fields of each event, with their formats in the table."""
    table = Table(*(HEADINGS.get(name, name) for name in fields), title=settings.videos[0])
    for event in events:
        table.add_row(*(format(getattr(event, name), how) for name, how in fields.items()))
        if settings.json:
            found = {name: getattr(event, name) for name in fields}
            _print_record({"video": settings.videos[0], **found, "error": None})
    if not settings.json:
        Console(markup=False).print(table)
    print_note(f"{len(events)} events: {out}")


def _window_options(settings: PredictSettings) -> dict[str, Any]:
    """What a stream and a timeline take alike."""
    live = _options(settings.live, "window", "hop", "smooth", "enter", "leave", "fps")
    return {**_options(settings, "segments", "box"), **live}


def _options(settings: object, *names: str) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


@contextmanager
def _named(option: str) -> Iterator[None]:
    """Errors call the file of answers, which is ``out`` in Python, by the option that names it."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(str(error).replace("`out`", f"`{option}`")) from None


@contextmanager
def _bar(task: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    with count_bar(task, unit) as progress:
        yield progress


def _print_record(record: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(record)}\n")
    sys.stdout.flush()


def _tell_failure(settings: PredictSettings, error: VideoError) -> int:
    """Say that a source cannot be read, or read on; one video has failed."""
    if settings.json:
        _print_record({"video": settings.videos[0], "label": None, "top": [], "error": str(error)})
    print_note(str(error))
    return 1
