"""The command line: one verb, one function."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Union

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gateshift import __version__
from gateshift.errors import GateShiftError, ScoresError, VideoError
from gateshift.run.settings import (
    DemoSettings,
    EnsembleSettings,
    PredictSettings,
    TestSettings,
)
from gateshift.run.train_settings import TrainSettings

EXIT_BAD_INPUT = 2

# What runs is imported inside each verb, so that --help does not wait for torch.


class ConsoleReporter:
    """Shows a training on the terminal: a line for each epoch, a bar within it."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    @contextmanager
    def epoch(self, number: int, num_epochs: int, num_batches: int) -> Iterator[Callable[..., None]]:
        """Draw a bar with loss, accuracy and the time left of this epoch."""
        with _bar(self.console) as bar:
            task = bar.add_task(f"epoch {number + 1}/{num_epochs}", total=num_batches, note="")

            def tell(*, loss: float, accuracy: float) -> None:
                bar.update(task, advance=1, note=f"loss {loss:.3f}  accuracy {accuracy:.1%}")

            yield tell


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def run_train(settings: TrainSettings) -> None:
    """Verb ``train``."""
    from gateshift.run.train import Silent, train

    console = Console(stderr=True)
    folder = train(settings, ConsoleReporter(console) if _is_main_process() else Silent())
    if _is_main_process():
        Console(soft_wrap=True).print(f"best model: {folder.best}", highlight=False, markup=False)


def run_test(settings: TestSettings) -> None:
    """Verb ``test``."""
    from gateshift.data.manifest import read_manifest
    from gateshift.data.views import Protocol
    from gateshift.model.bundle import load_model
    from gateshift.run.evaluate import choose_segments, create_accelerator, evaluate
    from gateshift.run.scores import check_output, save_scores

    if settings.scores is not None:
        check_output(settings.scores, overwrite=settings.overwrite)
    manifest = read_manifest(settings.videos, root=settings.root)
    manifest.check_files()
    model = load_model(settings.model)
    segments = choose_segments(model.config, settings.segments)
    protocol = Protocol(segments, settings.clips, settings.crops, settings.short_videos)
    accelerator = create_accelerator(settings.precision)
    with _bar(Console(stderr=True)) as bar:
        task = bar.add_task("testing", total=len(manifest), note=f"{len(manifest)} videos")
        scores = evaluate(
            accelerator.prepare(model),
            model.config,
            manifest,
            protocol,
            accelerator,
            batch_size=settings.batch_size,
            workers=settings.workers,
            on_batch=lambda videos: bar.advance(task, videos),
        )
    if accelerator.is_main_process:
        _print(f"{protocol}: {scores.metrics()}")
        if settings.scores is not None:
            save_scores(scores, settings.scores)
            _print(f"scores: {settings.scores}")


def run_ensemble(settings: EnsembleSettings) -> None:
    """Verb ``ensemble``."""
    from gateshift.run.scores import check_output, ensemble, load_scores, save_scores

    if len(settings.files) < 2:
        raise ScoresError(f"{len(settings.files)} scores file; an ensemble takes at least 2; name more")
    if settings.scores is not None:
        check_output(settings.scores, overwrite=settings.overwrite)
    parts = [load_scores(path) for path in settings.files]
    for path, part in zip(settings.files, parts, strict=True):
        _print(f"{path} ({part.protocol}): {part.metrics()}")
    together = ensemble(parts)
    _print(f"ensemble of {len(parts)} ({together.protocol}): {together.metrics()}")
    if settings.scores is not None:
        save_scores(together, settings.scores)
        _print(f"scores: {settings.scores}")


def run_predict(settings: PredictSettings) -> None:
    """Verb ``predict``. Exits with 2 if a video could not be read, after the others."""
    from gateshift.data.views import Protocol
    from gateshift.model.bundle import load_model
    from gateshift.run.evaluate import choose_segments
    from gateshift.run.predict import collect_videos, find_device, predict

    if not settings.videos:
        raise VideoError("no video named; name files or folders after the model")
    videos = collect_videos(settings.videos)
    model = load_model(settings.model).to(find_device())
    protocol = Protocol(choose_segments(model.config, settings.segments), settings.clips, settings.crops)
    failed = 0
    table = Table("video", "class", "probability", title=f"{settings.model.name}, {protocol}")
    for prediction in predict(model, videos, protocol, top=settings.top):
        failed += prediction.error is not None
        if settings.json:
            print(json.dumps(prediction.to_dict()), flush=True)  # noqa: T201 - the records are the output
        for rank, (name, probability) in enumerate(prediction.top):
            table.add_row("" if rank else prediction.video, name, f"{probability:.3f}", end_section=False)
        if prediction.error is not None:
            table.add_row(prediction.video, "not read", "")
            sys.stderr.write(f"gateshift: {prediction.error}\n")
    if not settings.json:
        Console(markup=False).print(table)  # class names may have brackets
    if failed:
        raise SystemExit(EXIT_BAD_INPUT)


def run_demo(settings: DemoSettings) -> None:
    """Verb ``demo``."""
    from gateshift.run.demo import demo

    demo(settings, ConsoleReporter(Console(stderr=True)), Console())


VERBS: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "train": (TrainSettings, run_train),
    "test": (TestSettings, run_test),
    "ensemble": (EnsembleSettings, run_ensemble),
    "predict": (PredictSettings, run_predict),
    "demo": (DemoSettings, run_demo),
}


def parse(arguments: Sequence[str]) -> Any:
    """Turn the words of a command line into the settings of its verb; prints help or usage and exits if asked."""
    choices = tuple(
        Annotated[settings, tyro.conf.subcommand(name, prefix_name=False)] for name, (settings, _) in VERBS.items()
    )
    verbs: Any = Union[choices]  # noqa: UP007 - built at run time
    return tyro.cli(
        verbs,
        prog="gateshift",
        description="Video action recognition that knows the order of events, at the price of an image model.",
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Bad input ends in one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        _print(f"gateshift {__version__}")
        return
    settings = parse(words)
    verb = next(run for kind, run in VERBS.values() if type(settings) is kind)
    try:
        verb(settings)
    except GateShiftError as error:
        sys.stderr.write(f"gateshift: {error}\n")
        raise SystemExit(EXIT_BAD_INPUT) from None
    except BrokenPipeError:  # who read the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_BAD_INPUT) from None
    except OSError as error:
        sys.stderr.write(f"gateshift: {error}; check the path, its permissions and the space on the disk\n")
        raise SystemExit(EXIT_BAD_INPUT) from None
    except KeyboardInterrupt:
        sys.stderr.write("gateshift: stopped\n")
        raise SystemExit(130) from None


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _is_main_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0  # set by torchrun and accelerate launch
