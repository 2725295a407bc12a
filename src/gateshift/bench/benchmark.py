"""How fast a network runs here, and whether the data or the network is the bottleneck of a training."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from gateshift.bench.data_rate import Bottleneck, find_bottleneck, measure_loader
from gateshift.bench.output import PLOT_SUFFIXES, draw_ratios, write_table
from gateshift.bench.programs import (
    KINDS,
    Timing,
    inference_programs,
    int8_programs,
    kind_of,
    matrix_rate,
    other_programs,
    share_of_peak,
    time_programs,
    training_programs,
)
from gateshift.data.lists.manifest import Manifest, read_videos
from gateshift.errors import SettingsError
from gateshift.exporting.writing import EXPORTERS, missing_package
from gateshift.files import check_writable
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.io import load_model
from gateshift.model.temporal.modules import GateShift

AnyPath = str | PathLike[str]


@dataclass(frozen=True)
class Benchmark:
    """What was timed.

    Attributes:
        title: The network, its clips, and the threads.
        timings: "inference", and "training step" where asked -> its programs, the first of which is what the others
            are compared with.
        rates: "float32" and "bf16" -> multiply-adds a second of a large matrix product.
        bottleneck: Of a training on the list, where one was given.
    """

    title: str
    timings: Mapping[str, list[Timing]]
    rates: Mapping[str, float]
    bottleneck: Bottleneck | None


def benchmark(
    model: AnyPath | VideoClassifier,
    *,
    temporal: str = "gsm",
    ratio: float | None = None,
    segments: int | None = None,
    batch_size: int = 1,
    rounds: int = 9,
    threads: int | None = None,
    training: bool = False,
    compile: bool = False,
    others: bool = False,
    videos: AnyPath | Manifest | None = None,
    root: AnyPath | None = None,
    workers: int | None = None,
    csv: AnyPath | None = None,
    plot: AnyPath | None = None,
    overwrite: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Benchmark:
    """Time a network on the CPU: as it is, deployed and exported, beside one of the same backbone without modules.

    Args:
        model: A .safetensors model, a released checkpoint, a model on the CPU, or the name of a backbone.
        temporal: Temporal module; for a backbone only.
        ratio: Share of the channels that go through the module; for a backbone only. None for the family's.
        segments: Frames per clip (T); None for as many as in training, or 8.
        batch_size: Clips of one run.
        rounds: Runs of each program.
        threads: CPU threads of this process from now on; None for as they are.
        training: Time training steps, too.
        compile: Time compiled programs, too; compiling takes minutes.
        others: Time torchvision's video networks, too.
        videos: Find whether loading these or the model is the bottleneck of a training. Times training steps, too.
        root: Where relative paths of the list start; None for its own folder.
        workers: Processes that load the list; 0 loads in this one; None for one fewer than there are cores, at most 8.
        csv: Write the table to this .csv.
        plot: Draw the ratios to this .png or .svg.
        overwrite: Replace these files.
        log: Told in a line what is timed, before it is, and what has to be left out.

    Raises:
        SettingsError: If an argument is out of range, or a file cannot be written.
        ModelError: If there is no such model.
        ManifestError: If the list cannot be used.
        VideoError: If one of its videos cannot be read.
    """
    _check_ranges(batch_size=batch_size, rounds=rounds, segments=segments, threads=threads)
    for name, value in (("root", root), ("workers", workers)):
        if value is not None and videos is None:
            raise SettingsError(f"`{name}` without `videos`, the list that it is about; add that, or leave it out")
    if csv is not None:
        check_writable("csv", Path(csv), overwrite=overwrite)
    if plot is not None:
        check_writable("plot", Path(plot), overwrite=overwrite, suffixes=PLOT_SUFFIXES)
    manifest = videos if videos is None or isinstance(videos, Manifest) else _read_list(videos, root)
    if threads is not None:
        torch.set_num_threads(threads)
    network, name = _network(model, temporal, ratio), "model" if isinstance(model, VideoClassifier) else str(model)
    segments, size_px = segments or network.config.num_segments or 8, network.config.size_px
    data = None
    if manifest is not None:  # before any network has run, so that neither waits for the other
        data = measure_loader(manifest, size_px=size_px, num_segments=segments, batch_size=batch_size, workers=workers)
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (batch_size, segments, 3, size_px, size_px), dtype=torch.uint8, generator=generator)
    rates = {"float32": matrix_rate(torch.float32), "bf16": matrix_rate(torch.bfloat16)}
    title = (
        f"{name}, {network.config.temporal}, {batch_size} clips of {segments} frames of {size_px} px, "
        f"{torch.get_num_threads()} threads"
    )
    reached = ", ".join(f"{2 * rate / 1e9:.0f} GFLOP/s in {kind}" for kind, rate in rates.items())
    log(f"{title}; matrix products: {reached}")
    timings = {"inference": _time_inference(network, clips, rates, rounds, compiled=compile, others=others, log=log)}
    if training or data is not None:
        steps = training_programs(network, clips, compiled=compile)
        timings["training step"] = time_programs(steps, rounds=rounds, alike=lambda _: False)
    bottleneck = None if data is None else find_bottleneck(data, timings, batch_size=batch_size)
    if csv is not None:
        write_table(Path(csv), timings, bottleneck, batch_size=batch_size)
    if plot is not None:
        draw_ratios(Path(plot), timings, title=title)
    return Benchmark(title, timings, rates, bottleneck)


def _check_ranges(**given: int | None) -> None:
    for name, value in given.items():
        if value is not None and value < 1:
            raise SettingsError(f"`{name}` {value}; it must be at least 1; raise it")


def _read_list(videos: AnyPath, root: AnyPath | None) -> Manifest:
    manifest = read_videos(videos, root=root)
    manifest.check_files()
    return manifest


def _network(model: AnyPath | VideoClassifier, temporal: str, ratio: float | None) -> VideoClassifier:
    if isinstance(model, VideoClassifier) or Path(model).is_file():
        if temporal != "gsm" or ratio is not None:
            raise SettingsError("`temporal` or `ratio` with a model that is trained and has its own; leave them out")
        return model if isinstance(model, VideoClassifier) else load_model(Path(model))
    torch.manual_seed(0)
    network = create_model(str(model), temporal, num_classes=174, ratio=ratio)
    for module in network.modules():
        if isinstance(module, GateShift):  # a new one is closed, and what it sends would not count in the errors
            nn.init.normal_(module.weight, std=0.02)
    return network


def _time_inference(
    model: VideoClassifier,
    clips: Tensor,
    rates: Mapping[str, float],
    rounds: int,
    *,
    compiled: bool,
    others: bool,
    log: Callable[[str], None],
) -> list[Timing]:
    """All programs of inference, each with its share of the machine's peak where that is known."""
    missing = missing_package(*EXPORTERS)
    if missing is not None:
        log(f"ONNX Runtime and OpenVINO are left out: {missing}")
    with tempfile.TemporaryDirectory() as folder:
        programs = inference_programs(model.eval(), clips, Path(folder), compiled=compiled, exported=missing is None)
        if missing is None:
            programs |= int8_programs(model, clips, Path(folder), log=log)
        if others:
            programs |= other_programs(len(clips))
        ordered = {name: programs[name] for name in sorted(programs, key=lambda name: KINDS.index(kind_of(name)))}
        timings = time_programs(ordered, rounds=rounds, alike=lambda name: kind_of(name) == "model")

    def with_share(row: Timing) -> Timing:
        # Neither the peak of int8 nor the multiply-adds of the other networks are known here.
        if kind_of(row.name) == "other" or "int8" in row.name:
            return row
        rate = rates["bf16" if "bf16" in row.name else "float32"]
        return dataclasses.replace(row, peak=share_of_peak(model, clips, row.seconds, rate))

    return [with_share(row) for row in timings]
