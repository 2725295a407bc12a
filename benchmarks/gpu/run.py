"""Gate-shift on a GPU: kernel against twin, speed of every form, share of the peak; see README.md and --help."""

import argparse
import copy
import csv
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from gateshift.bench.programs import time_programs
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.cost import count_cost
from gateshift.model.temporal.functional import gate_shift_in_steps
from gateshift.model.temporal.kernels import fused_gate_shift
from gateshift.model.temporal.modules import GateShift

sys.path.insert(0, str(Path(__file__).parent.parent))

from released_order import in_released_order

SEGMENTS = 8
PRECISIONS = ("float32", "bf16")
FIELDS = ["network", "what", "precision", "program", "clips", "ms", "times_faster", "relative_error"]
FIELDS += ["over_tsn", "gate_shift_share", "share_of_peak", "videos_per_s"]
# Largest difference from the twin in float32, over its largest number: one unit in the last place of the result.
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}
SHAPES = ((96, 28), (20, 7), (4, 1))  # channels, pixels of a side

Program = Callable[[], Tensor]
Row = dict[str, object]


class InPytorch(GateShift):
    """The gate-shift module without the GPU kernel."""

    def forward(self, features: Tensor) -> Tensor:
        gates = self.gates(features)
        return gate_shift_in_steps(features, gates, num_frames=self.num_frames, interleave=self.interleave)


def without_kernel(model: VideoClassifier) -> VideoClassifier:
    other = copy.deepcopy(model)
    for module in other.modules():
        if type(module) is GateShift:
            module.__class__ = InPytorch
    return other


def check_kernel(device: str) -> None:
    """Raise RuntimeError unless the kernels compute what their twin computes, forward and backward."""
    for dtype, tolerance in TOLERANCES.items():
        for memory_format in (torch.contiguous_format, torch.channels_last):
            for interleave in (True, False):
                for channels, side in SHAPES if device == "cuda" else SHAPES[1:]:
                    features = torch.randn(16, channels, side, side, device=device).to(dtype)
                    gates = torch.randn(16, 2, side, side, device=device).tanh().to(dtype)
                    sources = [features.to(memory_format=memory_format), gates, torch.randn_like(features)]
                    found = _with_gradients(fused_gate_shift, *sources, interleave=interleave)
                    twins = _with_gradients(
                        gate_shift_in_steps, *(source.float() for source in sources), interleave=interleave
                    )
                    for name, ours, theirs in zip(("result", "features", "gates"), found, twins, strict=True):
                        error = float((ours.float() - theirs).abs().max() / theirs.abs().max())
                        if error > tolerance:
                            raise RuntimeError(
                                f"kernel and twin differ by {error:.1e} in {name}, {dtype}, {memory_format}, "
                                f"interleave={interleave}, {channels} channels of {side} px; at most {tolerance:.1e}"
                            )


def _with_gradients(
    function: Callable[..., Tensor], features: Tensor, gates: Tensor, upstream: Tensor, *, interleave: bool
) -> tuple[Tensor, ...]:
    sources = features.detach().requires_grad_(), gates.detach().requires_grad_()
    result = function(*sources, num_frames=SEGMENTS, interleave=interleave)
    return result.detach(), *torch.autograd.grad(result, sources, upstream)


def network(backbone: str, temporal: str, size_px: int, device: str) -> VideoClassifier:
    """A network with random weights and open gates, whose batch norms know the statistics of random clips."""
    torch.manual_seed(0)
    model = create_model(backbone, temporal, num_classes=174, size_px=size_px).to(device)
    for module in model.modules():
        if isinstance(module, GateShift):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    nn.init.normal_(model.head.weight, std=0.1)
    with torch.no_grad():
        model.train()(random_clips(2, size_px, device))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return model.eval()


def random_clips(count: int, size_px: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, SEGMENTS, 3, size_px, size_px), dtype=torch.uint8, generator=generator).to(
        device
    )


def forms(model: VideoClassifier, plain: VideoClassifier, *, compiled: bool) -> dict[str, nn.Module]:
    """What is timed in inference and in training; the first is what the others are compared with."""
    found: dict[str, nn.Module] = {"release": in_released_order(model)}
    for name, each in (("twin", without_kernel(model)), ("kernel", model), ("TSN", plain)):
        found[name] = copy.deepcopy(each).to(memory_format=torch.channels_last)
        if compiled:
            found[f"{name}, compiled"] = torch.compile(copy.deepcopy(found[name]), dynamic=False)
    return found


def deployed_forms(
    model: VideoClassifier, plain: VideoClassifier, precision: str, device: str, *, graphs: bool
) -> dict[str, nn.Module]:
    """Folded networks, and with ``graphs`` every kind of network as a CUDA graph, which one clip needs most."""
    found: dict[str, nn.Module] = {}
    for name, each in (("deployed", model), ("TSN, deployed", plain)):
        dtype = torch.bfloat16 if precision == "bf16" else None
        found[name] = copy.deepcopy(each).cpu().deploy(dtype=dtype).to(device)
    if graphs:
        for name, each in (("kernel", model), ("TSN", plain)):
            fast = copy.deepcopy(each).to(memory_format=torch.channels_last)
            found[f"{name}, CUDA graph"] = torch.compile(fast, mode="reduce-overhead", dynamic=False)
        for name in ("deployed", "TSN, deployed"):
            other = copy.deepcopy(found[name])
            found[f"{name}, CUDA graph"] = torch.compile(other, mode="reduce-overhead", dynamic=False)
    return found


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def answering(name: str, model: nn.Module, clips: Tensor, precision: str, device: str) -> Program:
    autocast = precision == "bf16" and "deployed" not in name  # deployed networks hold their weights in bf16

    @torch.inference_mode()
    def answer() -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            logits = model(clips).clone()  # a CUDA graph writes every answer to the same place
        synchronise(device)
        return logits

    return answer


def training(model: nn.Module, clips: Tensor, precision: str, device: str) -> Program:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)  # the same step again and again
    labels = torch.arange(len(clips), device=device)

    def step() -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = nn.functional.cross_entropy(model(clips), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        synchronise(device)
        return loss.detach()

    return step


@torch.inference_mode()
def matrix_rate(device: str, *, size: int, rounds: int = 30) -> float:
    """Multiply-adds a second of a large bf16 matrix product: what this GPU reaches at best."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(rounds):
        synchronise(device)
        started = time.perf_counter()
        a @ b
        synchronise(device)
        times.append(time.perf_counter() - started)
    return size**3 / min(times)


def rows_of(what: str, programs: dict[str, Program], *, rounds: int, **known: object) -> list[Row]:
    """Run programs in turn, and say how the median of each compares with the release and with TSN.

    ``known`` has the network, its precision, the clips of a run, and as ``peak_s`` the time that the multiply-adds of a
    run would take at the peak rate.
    """
    for program in programs.values():
        program()  # compiled networks and CUDA graphs take a third run to get ready
    found = time_programs(programs, rounds=rounds, alike=lambda name: what == "inference" and "TSN" not in name)
    seconds = {timing.name: timing.seconds for timing in found}
    rows = []
    for timing in found:
        row = {name: value for name, value in known.items() if name != "peak_s"}
        row |= {"what": what, "program": timing.name, "ms": f"{1e3 * timing.seconds:.3f}"}
        row |= {"times_faster": f"{timing.ratio:.2f}", "videos_per_s": f"{known['clips'] / timing.seconds:.1f}"}
        row["relative_error"] = "" if timing.error is None else f"{timing.error:.1e}"
        row["share_of_peak"] = f"{known['peak_s'] / timing.seconds:.3f}" if known["precision"] == "bf16" else ""
        floor = seconds.get(re.sub("^(release|twin|kernel)", "TSN", timing.name).replace("deployed", "TSN, deployed"))
        if floor and not timing.name.startswith("TSN"):
            row["over_tsn"] = f"{timing.seconds / floor:.3f}"
            row["gate_shift_share"] = f"{1 - floor / timing.seconds:.3f}"
        rows.append(row)
    return rows


def rows_of_network(backbone: str, options: argparse.Namespace, rate: float) -> list[Row]:
    device, size_px = options.device, options.size_px
    model, plain = (network(backbone, temporal, size_px, device) for temporal in ("gsm", "none"))
    clip_s = count_cost(model, num_frames=SEGMENTS).macs * SEGMENTS / rate  # forward, at the peak
    rows: list[Row] = []
    for precision in PRECISIONS:
        known = {"network": backbone, "precision": precision}
        for count in sorted({1, options.clips}):
            torch.compiler.reset()
            clips = random_clips(count, size_px, device)
            models = forms(model, plain, compiled=options.compiled)
            models |= deployed_forms(model, plain, precision, device, graphs=options.compiled and count == 1)
            programs = {name: answering(name, each, clips, precision, device) for name, each in models.items()}
            known |= {"clips": count, "peak_s": clip_s * count}
            rows += rows_of("inference", programs, rounds=options.rounds, **known)
        torch.compiler.reset()
        models = forms(model, plain, compiled=options.compiled)
        programs = {name: training(each, clips, precision, device) for name, each in models.items()}
        known["peak_s"] = 3 * clip_s * count  # the backward pass computes twice what the forward pass does
        rows += rows_of("training step", programs, rounds=options.rounds, **known)
    return rows


def options_of_command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["bninception", "inceptionv3", "resnet50"])
    parser.add_argument("--clips", type=int, default=16, help="of a training step, and of the larger inference")
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--matrix-size", type=int, default=8192, help="of the product that the peak is measured with")
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: to try this program itself")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    return parser.parse_args()


def main() -> None:
    options = options_of_command_line()
    torch._dynamo.config.recompile_limit = 64  # many networks share the code that is compiled
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    check_kernel(options.device)
    print(f"{name}, torch {torch.__version__}: the kernels compute what their twin computes")
    rate = matrix_rate(options.device, size=options.matrix_size)
    print(f"bf16 matrix products: {2e-12 * rate:.0f} TFLOP/s, which share_of_peak is a share of")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for backbone in options.networks:
            for row in rows_of_network(backbone, options, rate):
                writer.writerow(row)
            file.flush()
            print(f"{backbone}: in {path}")


if __name__ == "__main__":
    main()
