"""What the verb bench does with its settings, and prints.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from gateshift.errors import SettingsError
from gateshift.run.settings import BenchSettings
from gateshift.terminal import print_line

if TYPE_CHECKING:
    from gateshift.model.classifier import VideoClassifier
    from gateshift.run.bench import Timing


def run_bench(settings: BenchSettings) -> None:
    """Verb ``bench``."""
    import torch

    from gateshift.run.bench import bench, matrix_rate, share_of_peak

    for name in ("batch_size", "rounds", "segments", "threads"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise SettingsError(f"--{name.replace('_', '-')} {value}; it must be at least 1; raise it")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    model = _model(settings)
    segments = settings.segments or model.config.num_segments or 8
    size_px = model.config.size_px
    generator = torch.Generator().manual_seed(0)
    shape = (settings.batch_size, segments, 3, size_px, size_px)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    rates = {"float32": matrix_rate(torch.float32), "bf16": matrix_rate(torch.bfloat16)}
    print_line(
        f"{settings.model}, {model.config.temporal}, {settings.batch_size} clips of {segments} frames of {size_px} px, "
        f"{torch.get_num_threads()} threads; matrix products: "
        + ", ".join(f"{2 * rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in rates.items())
    )
    found = bench(model, clips, rounds=settings.rounds, compiled=settings.compile, training=settings.training)
    for title, timings in found.items():
        table = Table(Column("program", no_wrap=True), "ms", "times faster", "error", "of the peak", title=title)
        for row in timings:
            rate = rates["bf16" if "bf16" in row.name else "float32"]
            share = f"{share_of_peak(model, clips, row.seconds, rate):.0%}" if title == "inference" else ""
            error = "" if row.error is None else f"{row.error:.0e}"
            table.add_row(row.name, f"{1e3 * row.seconds:.1f}", f"{row.ratio:.2f}", error, share)
        Console().print(table)
    if settings.csv is not None:
        _write(settings.csv, found)


def _model(settings: BenchSettings) -> VideoClassifier:
    import torch

    from gateshift.model.bundle import load_model
    from gateshift.model.classifier import create_model
    from gateshift.model.gates import GateShift

    if Path(settings.model).is_file():
        if (settings.temporal, settings.ratio) != ("gsm", 1.0):
            raise SettingsError(
                f"--temporal {settings.temporal} --ratio {settings.ratio} with {settings.model}, a file, which says "
                "these itself; leave them out"
            )
        return load_model(settings.model)
    torch.manual_seed(0)
    model = create_model(settings.model, settings.temporal, num_classes=174, ratio=settings.ratio)
    for module in model.modules():
        if isinstance(module, GateShift):  # a new one is closed, and what it sends would not count in the errors
            torch.nn.init.normal_(module.weight, std=0.02)
    return model


def _write(path: Path, found: dict[str, list[Timing]]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "program", "ms", "times faster", "relative error"])
        for title, timings in found.items():
            for row in timings:
                error = "" if row.error is None else f"{row.error:.1e}"
                writer.writerow([title, row.name, f"{1e3 * row.seconds:.1f}", f"{row.ratio:.3f}", error])
    partial.replace(path)
