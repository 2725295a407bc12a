"""What the verb bench does with its settings, and prints.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from gateshift.bench.settings import BenchSettings
from gateshift.errors import SettingsError
from gateshift.files import check_writable
from gateshift.terminal import print_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from gateshift.bench.data_rate import LoaderRate
    from gateshift.bench.programs import Timing
    from gateshift.data.lists.manifest import Manifest
    from gateshift.model.classifier import VideoClassifier


def run_bench(settings: BenchSettings) -> None:
    """Verb ``bench``."""
    import torch

    from gateshift.bench.data_rate import find_bottleneck
    from gateshift.bench.output import PLOT_SUFFIXES, draw_ratios, write_table
    from gateshift.bench.programs import bench, matrix_rate

    _check(settings)
    if settings.csv is not None:
        check_writable("--csv", settings.csv, overwrite=settings.overwrite)
    if settings.plot is not None:
        check_writable("--plot", settings.plot, overwrite=settings.overwrite, suffixes=PLOT_SUFFIXES)
    manifest = _read_list(settings)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    model = _model(settings)
    segments, size_px = settings.segments or model.config.num_segments or 8, model.config.size_px
    # Before any network has run, so that neither waits for the other.
    data = None if manifest is None else _measure(settings, manifest, size_px=size_px, segments=segments)
    generator = torch.Generator().manual_seed(0)
    shape = (settings.batch_size, segments, 3, size_px, size_px)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    rates = {"float32": matrix_rate(torch.float32), "bf16": matrix_rate(torch.bfloat16)}
    told = (
        f"{settings.model}, {model.config.temporal}, {settings.batch_size} clips of {segments} frames of {size_px} px, "
        f"{torch.get_num_threads()} threads"
    )
    reached = ", ".join(f"{2 * rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in rates.items())
    print_line(f"{told}; matrix products: {reached}")
    found = bench(
        model,
        clips,
        rounds=settings.rounds,
        compiled=settings.compile,
        training=settings.training or data is not None,
        others=settings.others,
        say=print_line,
    )
    _print_tables(found, model, clips, rates)
    bottleneck = None if data is None else find_bottleneck(data, found, batch_size=settings.batch_size)
    if bottleneck is not None:
        print_line(str(bottleneck))
    if settings.csv is not None:
        write_table(settings.csv, found, bottleneck, batch_size=settings.batch_size)
    if settings.plot is not None:
        draw_ratios(settings.plot, found, title=told)


def _check(settings: BenchSettings) -> None:
    for name in ("batch_size", "rounds", "segments", "threads"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise SettingsError(f"--{name.replace('_', '-')} {value}; it must be at least 1; raise it")
    for name in ("root", "workers"):
        if getattr(settings, name) is not None and settings.videos is None:
            raise SettingsError(f"--{name} without --videos, the list that it is about; add that, or leave it out")


def _read_list(settings: BenchSettings) -> Manifest | None:
    from gateshift.data.lists.manifest import read_videos

    if settings.videos is None:
        return None
    manifest = read_videos(settings.videos, root=settings.root)
    manifest.check_files()
    return manifest


def _measure(settings: BenchSettings, manifest: Manifest, *, size_px: int, segments: int) -> LoaderRate:
    from gateshift.bench.data_rate import measure_loader

    return measure_loader(
        manifest,
        size_px=size_px,
        num_segments=segments,
        batch_size=settings.batch_size,
        workers=settings.workers,
    )


def _print_tables(
    found: Mapping[str, list[Timing]], model: VideoClassifier, clips: torch.Tensor, rates: Mapping[str, float]
) -> None:
    from gateshift.bench.programs import kind_of, share_of_peak

    for title, timings in found.items():
        table = Table(Column("program", no_wrap=True), "ms", "times faster", "error", "of the peak", title=title)
        for row in timings:
            # Neither the peak of int8 nor the multiply-adds of the other networks are known here.
            known = title == "inference" and kind_of(row.name) != "other" and "int8" not in row.name
            rate = rates["bf16" if "bf16" in row.name else "float32"]
            share = f"{share_of_peak(model, clips, row.seconds, rate):.0%}" if known else ""
            error = "" if row.error is None else f"{row.error:.0e}"
            table.add_row(row.name, f"{1e3 * row.seconds:.1f}", f"{row.ratio:.2f}", error, share)
        Console().print(table)


def _model(settings: BenchSettings) -> VideoClassifier:
    import torch

    from gateshift.model.classifier import create_model
    from gateshift.model.io import load_model
    from gateshift.model.temporal.modules import GateShift

    if Path(settings.model).is_file():
        if settings.temporal != "gsm" or settings.ratio is not None:
            raise SettingsError(
                f"--temporal or --ratio with {settings.model}, a file, which says these itself; leave them out"
            )
        return load_model(settings.model)
    torch.manual_seed(0)
    model = create_model(settings.model, settings.temporal, num_classes=174, ratio=settings.ratio)
    for module in model.modules():
        if isinstance(module, GateShift):  # a new one is closed, and what it sends would not count in the errors
            torch.nn.init.normal_(module.weight, std=0.02)
    return model
