"""Compiled and exported networks against eager ones, whole and at real sizes; see README.md."""

import argparse
import copy
import csv
import itertools
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from gateshift.exported.formats import FORMAT_SUFFIXES
from gateshift.exported.loading import ExportedModel
from gateshift.exporting.writing import write_export
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.temporal.modules import GateShift

NETWORKS = ("bninception", "inceptionv3", "resnet50", "tf_efficientnet_lite0")
LENGTHS = (8, 16)
FIELDS = ["network", "frames", "form", "relative_error"]


def network(name: str) -> VideoClassifier:
    """A network with open gates, and without dropout, whose draws a compiled network makes in its own way."""
    torch.manual_seed(0)
    model = create_model(name, "gsm", num_classes=174, dropout=0.0)
    for module in model.modules():
        if isinstance(module, GateShift):
            nn.init.normal_(module.weight, std=0.5 / math.sqrt(module.weight[0].numel()))
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics are those of the clips it has seen
    nn.init.normal_(model.head.weight, std=0.1)
    with torch.no_grad():
        model.train()(clips_for(model, 8))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # None would break the graph of a compiled step
    return model.eval()


def clips_for(model: VideoClassifier, num_frames: int) -> Tensor:
    size_px = model.config.size_px
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randint(0, 256, (2, num_frames, 3, size_px, size_px), dtype=torch.uint8, generator=generator)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def step(model: nn.Module, called: nn.Module, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and all gradients of one training step of ``model``, which ``called`` computes."""
    model.zero_grad()
    logits = called(clips)
    nn.functional.cross_entropy(logits, torch.arange(len(clips))).backward()
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return logits.detach(), torch.cat(gradients)


def errors(model: VideoClassifier, clips: Tensor) -> Iterator[tuple[str, float]]:
    """Logits against those in float64; gradients, which would take too much memory so, against the eager ones, NCHW."""
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(clips)
        yield "eager", relative(model(clips), expected)
        deployed = model.deploy()
        yield "deployed", relative(deployed(clips), expected)
        yield "deployed, compiled", relative(torch.compile(deployed)(clips), expected)
        yield "compiled", relative(torch.compile(copy.deepcopy(model))(clips), expected)
    with tempfile.TemporaryDirectory() as folder:
        for kind, suffix in FORMAT_SUFFIXES.items():
            path = Path(folder) / f"model{suffix}"
            write_export(model, path, kind, clips=clips)
            yield f"exported to {kind}", relative(ExportedModel(path)(clips), expected)
    with torch.no_grad():
        expected = copy.deepcopy(model).double().train()(clips)
    plain = copy.deepcopy(model).train()
    logits, gradients = step(plain, plain, clips)
    yield "training, eager: logits", relative(logits, expected)
    del plain
    for form in ("channels-last", "compiled"):
        trained = copy.deepcopy(model).to(memory_format=torch.channels_last).train()
        found, found_gradients = step(trained, torch.compile(trained) if form == "compiled" else trained, clips)
        yield f"training, {form}: logits", relative(found, expected)
        yield f"training, {form}: gradients", relative(found_gradients, gradients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.csv", help="what it holds already is not done again")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    given = parser.parse_args()
    done = set()
    if given.out.exists():
        with given.out.open(newline="") as file:
            done = {(line["network"], int(line["frames"])) for line in csv.DictReader(file)}
    with given.out.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not file.tell():
            writer.writerow(FIELDS)
        for name, num_frames in itertools.product(given.networks, LENGTHS):
            if (name, num_frames) in done:
                continue
            torch.compiler.reset()
            model = network(name)
            found = list(errors(model, clips_for(model, num_frames)))
            writer.writerows([name, num_frames, form, f"{error:.1e}"] for form, error in found)
            file.flush()


if __name__ == "__main__":
    main()
