"""Video action recognition that knows the order of events, at the price of an image model.

The public names are imported when they are first used, so ``import gateshift`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gateshift.errors import GateShiftError
    from gateshift.model.bundle import load_model, save_model
    from gateshift.model.classifier import VideoClassifier, create_model
    from gateshift.model.gates import GateShift
    from gateshift.model.shift import gate_shift
    from gateshift.model.surgery import insert_temporal, remove_temporal, set_num_frames
    from gateshift.run.evidence import evidence_map
    from gateshift.run.explain import gate_maps, gate_openness
    from gateshift.run.stream import Stream

_HOMES = {
    "GateShift": "gateshift.model.gates",
    "GateShiftError": "gateshift.errors",
    "Stream": "gateshift.run.stream",
    "VideoClassifier": "gateshift.model.classifier",
    "create_model": "gateshift.model.classifier",
    "evidence_map": "gateshift.run.evidence",
    "gate_maps": "gateshift.run.explain",
    "gate_openness": "gateshift.run.explain",
    "gate_shift": "gateshift.model.shift",
    "insert_temporal": "gateshift.model.surgery",
    "load_model": "gateshift.model.bundle",
    "remove_temporal": "gateshift.model.surgery",
    "save_model": "gateshift.model.bundle",
    "set_num_frames": "gateshift.model.surgery",
}
__all__ = [
    "GateShift",
    "GateShiftError",
    "Stream",
    "VideoClassifier",
    "create_model",
    "evidence_map",
    "gate_maps",
    "gate_openness",
    "gate_shift",
    "insert_temporal",
    "load_model",
    "remove_temporal",
    "save_model",
    "set_num_frames",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gateshift' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
