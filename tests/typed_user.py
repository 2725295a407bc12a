"""A program of a user: test_public_names.py has it checked by mypy --strict, and it is never run."""

from pathlib import Path

import torch
from torch import Tensor, nn

import gateshift as gs


def use_a_model(path: Path, clips: Tensor) -> Tensor:
    model: gs.VideoClassifier = gs.create_model("resnet18", temporal="gsm", classes=["close", "open"], num_segments=8)
    gs.save_model(model, path)
    loaded = gs.load_model(path)
    config: gs.ModelConfig = loaded.config
    names: tuple[str, ...] = config.classes
    logits: Tensor = loaded(clips)
    best: Tensor = logits.argmax(-1)
    openness: dict[str, Tensor] = gs.gate_openness(loaded, clips)
    assert len(names) == len(openness)
    return best


def change_a_network(net: nn.Module) -> str:
    report: gs.InsertReport = gs.insert_temporal(net, "gsm", sites=["conv1"])
    gs.set_num_frames(net, 16)
    removed: int = gs.remove_temporal(net)
    return f"{report.title} {removed}"


def use_modules(features: Tensor, gates: Tensor) -> Tensor:
    modules: list[nn.Module] = [gs.GateShift(64), gs.GateShiftFuse(64, num_frames=8), gs.TemporalShift(64)]
    shifted: Tensor = gs.gate_shift(features, gates, num_frames=8)
    return modules[0](shifted) + gs.temporal_shift(features, num_frames=8)  # type: ignore[no-any-return]


def refuse() -> str:
    try:
        gs.create_model("no_such_net", num_classes=2)
    except gs.GateShiftError as error:
        return str(error)
    return str(torch.get_num_threads())
