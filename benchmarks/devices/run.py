"""Files for phones beside those for computers: what converts, how exact, large and fast it is; see README.md."""

import argparse
import csv
import math
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from gateshift.bench.programs import Program, answering, time_programs
from gateshift.errors import ModelError
from gateshift.exported.formats import DEVICE_SUFFIXES, FORMAT_SUFFIXES
from gateshift.exported.loading import ExportedModel
from gateshift.exporting.device_export import CONVERTERS, write_device_export
from gateshift.exporting.writing import files_of, write_export
from gateshift.model.classifier import VideoClassifier, create_model
from gateshift.model.temporal.modules import GateShift

# Of different families; not every network takes every size.
SIZES_PX = {
    "mobilenetv2_100": 112,
    "mobilenetv3_small_100": 112,
    "tf_efficientnet_lite0": 112,
    "resnet18": 112,
    "regnety_002": 112,
    "convnext_atto": 112,
    "bninception": 127,
}
TEMPORAL = ("gsm", "tsm")
FIELDS = ["backbone", "temporal", "size_px", "format", "converts", "relative_error", "megabytes", "ms", "times_faster"]
SEGMENTS = 8
ROUNDS = 11
PYTORCH = "PyTorch, deployed"


def network(backbone: str, temporal: str) -> VideoClassifier:
    """A network with random weights and open gates, whose batch norms know the statistics of random clips."""
    torch.manual_seed(0)
    model = create_model(backbone, temporal, num_classes=174, size_px=SIZES_PX[backbone], num_segments=SEGMENTS)
    for module in model.modules():
        if isinstance(module, GateShift):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics are those of the clips that it sees
    nn.init.normal_(model.head.weight, std=0.1)
    with torch.no_grad():
        model.train()(random_clips(model))
    return model.eval()


def random_clips(model: VideoClassifier) -> Tensor:
    size_px = model.config.size_px
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, SEGMENTS, 3, size_px, size_px), dtype=torch.uint8, generator=generator)


def bytes_of(path: Path) -> int:
    """Of the files of an export: OpenVINO has two, and Core ML a folder."""
    files = path.rglob("*") if path.is_dir() else files_of(path)
    return sum(file.stat().st_size for file in files if file.is_file())


def write(model: VideoClassifier, clips: Tensor, kind: str, folder: Path) -> tuple[dict[str, object], Path | None]:
    """Write a file: what the table says of it, and the file if it can be run here."""
    path = folder / f"model{(FORMAT_SUFFIXES | DEVICE_SUFFIXES)[kind]}"
    try:
        if kind in DEVICE_SUFFIXES:
            error, _ = write_device_export(model, path, kind, clips=clips)
        else:
            error = write_export(model, path, kind, clips=clips)
    except ModelError as failure:
        return {"converts": str(failure).removeprefix(f"{path}: ")}, None
    told = {"converts": "yes", "megabytes": f"{bytes_of(path) / 1e6:.1f}"}
    return told | ({} if math.isnan(error) else {"relative_error": f"{error:.1e}"}), None if math.isnan(error) else path


def table(backbone: str, temporal: str) -> list[dict[str, object]]:
    """The lines of a network: all its files, run in turn on the same clip."""
    model = network(backbone, temporal)
    clips = random_clips(model)
    rows: dict[str, dict[str, object]] = {PYTORCH: {"converts": ""}}
    programs: dict[str, Program] = {PYTORCH: answering(model.deploy(), clips[:1])}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("onnx", "openvino", *DEVICE_SUFFIXES):
            rows[kind], path = write(model, clips, kind, Path(folder))
            if path is not None:
                programs[kind] = answering(ExportedModel(path, threads=1), clips[:1])
        for timing in time_programs(programs, rounds=ROUNDS, alike=lambda _name: True):
            rows[timing.name] |= {"ms": f"{1e3 * timing.seconds:.1f}", "times_faster": f"{timing.ratio:.2f}"}
    named = {"backbone": backbone, "temporal": temporal, "size_px": SIZES_PX[backbone]}
    return [{**named, "format": kind, **row} for kind, row in rows.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.csv", help="what it holds already is not done again")
    parser.add_argument("--backbones", nargs="+", choices=list(SIZES_PX), default=list(SIZES_PX))
    given = parser.parse_args()
    missing = [name for names in CONVERTERS.values() for name in names if find_spec(name) is None]
    if missing:
        parser.error(f"{', '.join(missing)}: not installed; pip install 'gateshift[litert,executorch,coreml]'")
    torch.set_num_threads(1)
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool

    _unsafe_reset_threadpool(1)
    done = set()
    if given.out.exists():
        with given.out.open(newline="") as file:
            done = {(line["backbone"], line["temporal"]) for line in csv.DictReader(file)}
    with given.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        for backbone in given.backbones:
            for temporal in TEMPORAL:
                if (backbone, temporal) not in done:
                    writer.writerows(table(backbone, temporal))
                    file.flush()


if __name__ == "__main__":
    main()
