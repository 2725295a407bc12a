"""How fast a model runs here: its programs run in turn, and their medians compared."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from gateshift.errors import ModelError
from gateshift.exported.formats import FORMAT_SUFFIXES, FileFormat
from gateshift.exported.runtime import Runtime
from gateshift.exporting.settings import ExportPrecision
from gateshift.exporting.writing import missing_package, write_export
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.cost import count_cost
from gateshift.model.stand_ins.activation_checkpointing import checkpoint_blocks
from gateshift.model.stand_ins.depthwise import keep_depthwise_float32

Program = Callable[[], Tensor]
Kind = Literal["model", "TSN", "other"]
KINDS: tuple[Kind, ...] = ("model", "TSN", "other")
WARM_UPS = 2
# torchvision's video networks, and the side of their input. mvit_v2_s takes 16 frames, no other number, s3d at least
# 14, and the other two any: so 16 for all of them. With more, as in their published tests, they only get slower.
OTHER_SIZES_PX = {"r2plus1d_18": 112, "s3d": 224, "mvit_v2_s": 224, "swin3d_t": 224}
OTHER_FRAMES = 16
# The form of the model that ``gateshift train`` trains when it is told nothing about speed.
TRAINED_FORM = "model, channels-last"


@dataclass(frozen=True)
class Timing:
    """How long a program takes.

    Attributes:
        name: Of the program.
        seconds: Median of one run.
        ratio: How many times faster than the first program.
        error: Relative difference of its answer from the first program's; None where it answers something else.
        peak: Share of the machine's matrix rate that it reaches, in 0..1; None where not known.
    """

    name: str
    seconds: float
    ratio: float
    error: float | None
    peak: float | None = None


def kind_of(program: str) -> Kind:
    """What a program runs, by its name: a form of the model, a TSN of its backbone, or one of torchvision's networks.

    >>> kind_of("TSN deployed, bf16"), kind_of("s3d, 16 x 224 px")
    ('TSN', 'other')
    """
    if program.startswith("TSN"):
        return "TSN"
    return "other" if program.split(",")[0] in OTHER_SIZES_PX else "model"


def time_programs(programs: Mapping[str, Program], *, rounds: int, alike: Callable[[str], bool]) -> list[Timing]:
    """Run programs in turn, so that a machine that slows down slows all of them, and take medians.

    Args:
        programs: By name; the first is what the others are compared with.
        rounds: How often each is run, after two runs to warm up.
        alike: Whether a program answers what the first does.
    """
    answers = {name: [program() for _ in range(WARM_UPS)][-1] for name, program in programs.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            started = time.perf_counter()
            program()
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(each) for name, each in times.items()}
    base = next(iter(programs))
    expected = answers[base].float()
    errors = {name: float((answers[name] - expected).norm() / expected.norm()) for name in programs if alike(name)}
    return [Timing(name, medians[name], medians[base] / medians[name], errors.get(name)) for name in programs]


def inference_programs(
    model: VideoClassifier, clips: Tensor, folder: Path, *, compiled: bool, exported: bool
) -> dict[str, Program]:
    """A model's forms, and a network of the same backbone that averages frames, on the same clips.

    Args:
        model: In eval mode, on the CPU.
        clips: uint8 [B, T, 3, H, W].
        folder: Where exported files may be written.
        compiled: Whether torch.compile is among them, which takes minutes to get ready.
        exported: Whether ONNX Runtime and OpenVINO are among them.
    """
    config = model.config
    torch.manual_seed(0)
    plain = create_model(config.backbone, "none", classes=config.classes, size_px=config.size_px).eval()
    programs: dict[str, Program] = {}
    programs["model"] = answering(model, clips)
    programs[TRAINED_FORM] = answering(copy.deepcopy(model).to(memory_format=torch.channels_last), clips)
    for name, each in (("deployed", model), ("TSN deployed", plain)):
        programs[name] = answering(each.deploy(), clips)
        programs[f"{name}, bf16"] = answering(each.deploy(dtype=torch.bfloat16), clips)
        if compiled:
            programs[f"{name}, compiled"] = answering(torch.compile(each.deploy()), clips)
            programs[f"{name}, compiled, bf16"] = answering(torch.compile(each.deploy(dtype=torch.bfloat16)), clips)
        if exported:
            programs |= _exported(name, each, clips, folder)
    return programs


def _exported(name: str, model: VideoClassifier, clips: Tensor, folder: Path) -> dict[str, Program]:
    kinds: tuple[tuple[FileFormat, ExportPrecision, str], ...] = (
        ("onnx", "float32", "ONNX Runtime"),
        ("openvino", "float32", "OpenVINO"),
        ("openvino", "bf16", "OpenVINO, bf16"),
    )
    return {f"{name}, {label}": _export(model, clips, folder, kind, precision) for kind, precision, label in kinds}


def _export(
    model: VideoClassifier, clips: Tensor, folder: Path, kind: FileFormat, precision: ExportPrecision
) -> Program:
    path = Path(tempfile.mkdtemp(dir=folder)) / f"model{FORMAT_SUFFIXES[kind]}"
    pair = clips if len(clips) > 1 else clips.repeat(2, 1, 1, 1, 1)
    write_export(model, path, kind, clips=pair, precision=precision)
    runtime = Runtime(path, threads=torch.get_num_threads())  # as many as the others have
    pixels = clips.numpy()
    return lambda: torch.from_numpy(runtime(pixels))


def int8_programs(
    model: VideoClassifier, clips: Tensor, folder: Path, *, log: Callable[[str], None]
) -> dict[str, Program]:
    """The model in int8, fitted to the clips; none, and a line that says why, where that cannot be had.

    Args:
        model: In eval mode, on the CPU.
        clips: uint8 [B, T, 3, H, W].
        folder: Where exported files may be written.
        log: Is told why there is none.
    """
    if (missing := missing_package("nncf")) is not None:
        log(f"int8 is left out: {missing}")
        return {}
    try:
        return {"deployed, OpenVINO, int8": _export(model, clips, folder, "openvino", "int8")}
    except ModelError as error:  # it is off by too much on random pixels, which says nothing about its speed
        log(f"int8 is left out: {error}")
        return {}


def other_programs(count: int) -> dict[str, Program]:
    """torchvision's video networks, as they come, with random weights, on random clips of the sizes they are made for.

    Args:
        count: Clips of one run.
    """
    from torchvision.models import video as video_networks

    programs: dict[str, Program] = {}
    for name, size_px in OTHER_SIZES_PX.items():
        network = getattr(video_networks, name)(weights=None).eval()
        clips = torch.randn(count, 3, OTHER_FRAMES, size_px, size_px)  # [B, C, T, H, W], normalized already
        programs[f"{name}, {OTHER_FRAMES} x {size_px} px"] = answering(network, clips)
    return programs


def answering(model: Callable[[Tensor], Tensor], clips: Tensor) -> Program:
    """The program that gives a network's answers for clips."""

    @torch.inference_mode()
    def answer() -> Tensor:
        return model(clips)

    return answer


def training_programs(model: VideoClassifier, clips: Tensor, *, compiled: bool) -> dict[str, Program]:
    """One training step, forward, backward and update, of a model's forms.

    Args:
        model: Any; copies of it are trained.
        clips: uint8 [B, T, 3, H, W].
        compiled: Whether torch.compile is among them.
    """
    programs: dict[str, Program] = {}
    fast = copy.deepcopy(model).to(memory_format=torch.channels_last)
    programs[TRAINED_FORM] = training_steps(copy.deepcopy(fast), clips)
    programs["bf16"] = training_steps(_for_bf16(fast), clips, bf16=True)
    saving = copy.deepcopy(fast)
    checkpoint_blocks(saving.backbone)
    programs["checkpointed"] = training_steps(saving, clips)
    config = model.config
    plain = create_model(config.backbone, "none", classes=config.classes, size_px=config.size_px)
    plain.to(memory_format=torch.channels_last)
    programs["TSN, channels-last"] = training_steps(copy.deepcopy(plain), clips)
    programs["TSN, bf16"] = training_steps(_for_bf16(plain), clips, bf16=True)
    if compiled:
        programs["compiled"] = training_steps(copy.deepcopy(fast), clips, compiled=True)
        programs["compiled, bf16"] = training_steps(_for_bf16(fast), clips, bf16=True, compiled=True)
    return programs


def _for_bf16(model: VideoClassifier) -> VideoClassifier:
    """A copy as ``gateshift train --precision bf16`` trains it on a CPU."""
    model = copy.deepcopy(model)
    keep_depthwise_float32(model.backbone)
    return model


def training_steps(model: VideoClassifier, clips: Tensor, *, bf16: bool = False, compiled: bool = False) -> Program:
    """The program that does one training step, forward, backward and update, of a network on clips."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)  # the same step again and again
    called = torch.compile(model) if compiled else model
    labels = torch.arange(len(clips)) % len(model.classes)

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(called(clips), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


@torch.inference_mode()
def matrix_rate(dtype: torch.dtype) -> float:
    """Multiply-adds a second of a large matrix product: what this machine can do at best.

    Where it has no such arithmetic, as older processors for bf16, a small one takes long enough.
    """
    for size in (256, 512, 1024, 2048):
        factors = {name: torch.randn(size, size).to(dtype) for name in ("left", "right")}
        timer = Timer("left @ right", globals=factors, num_threads=torch.get_num_threads())
        fastest_s = min(timer.blocked_autorange(min_run_time=0.2).times)
        if fastest_s >= 0.02:
            break
    return size**3 / fastest_s


def share_of_peak(model: VideoClassifier, clips: Tensor, seconds: float, rate: float) -> float:
    """The share of the machine's matrix rate that a run over clips reaches, in 0..1."""
    macs = count_cost(model, num_frames=clips.shape[1]).macs * clips.shape[0] * clips.shape[1]
    return macs / seconds / rate
