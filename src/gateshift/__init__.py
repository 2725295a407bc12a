"""Video action recognition that knows the order of events, at the price of an image model.

The public names are imported when they are first used, so ``import gateshift`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gateshift.version import __version__ as __version__

if TYPE_CHECKING:
    from gateshift.errors import GateShiftError
    from gateshift.explanation.evidence import evidence_map
    from gateshift.explanation.gate_maps import gate_maps, gate_openness
    from gateshift.model.classifier import VideoClassifier, create_model
    from gateshift.model.io import load_model, save_model
    from gateshift.model.surgery.insert import insert_temporal, remove_temporal, set_num_frames
    from gateshift.model.temporal.functional import gate_shift
    from gateshift.model.temporal.modules import GateShift
    from gateshift.prediction.stream import Stream


_HOMES = {
    "GateShift": "gateshift.model.temporal.modules",
    "GateShiftError": "gateshift.errors",
    "Stream": "gateshift.prediction.stream",
    "VideoClassifier": "gateshift.model.classifier",
    "create_model": "gateshift.model.classifier",
    "evidence_map": "gateshift.explanation.evidence",
    "gate_maps": "gateshift.explanation.gate_maps",
    "gate_openness": "gateshift.explanation.gate_maps",
    "gate_shift": "gateshift.model.temporal.functional",
    "insert_temporal": "gateshift.model.surgery.insert",
    "load_model": "gateshift.model.io",
    "remove_temporal": "gateshift.model.surgery.insert",
    "save_model": "gateshift.model.io",
    "set_num_frames": "gateshift.model.surgery.insert",
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
