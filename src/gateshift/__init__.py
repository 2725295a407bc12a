"""Video action recognition that knows the order of events, at the price of an image model.

What ``__all__`` names is stable. These names are imported when they are first used, so ``import gateshift`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gateshift.version import __version__ as __version__

if TYPE_CHECKING:
    from gateshift.errors import GateShiftError
    from gateshift.explanation.evidence import evidence_map
    from gateshift.explanation.gate_maps import gate_maps, gate_openness
    from gateshift.exported.runtime import Runtime
    from gateshift.model.classifier import VideoClassifier, create_model
    from gateshift.model.config import ModelConfig
    from gateshift.model.io import load_model, save_model
    from gateshift.model.surgery.insert import InsertReport, insert_temporal, remove_temporal, set_num_frames
    from gateshift.model.temporal.functional import gate_shift, gate_shift_fuse, temporal_shift
    from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalShift
    from gateshift.prediction.stream import Stream

# Where each public name is: the imports above, for a running program. tests/test_public_names.py compares the two.
_MODULES = {
    "gateshift.errors": ("GateShiftError",),
    "gateshift.explanation.evidence": ("evidence_map",),
    "gateshift.explanation.gate_maps": ("gate_maps", "gate_openness"),
    "gateshift.exported.runtime": ("Runtime",),
    "gateshift.model.classifier": ("VideoClassifier", "create_model"),
    "gateshift.model.config": ("ModelConfig",),
    "gateshift.model.io": ("load_model", "save_model"),
    "gateshift.model.surgery.insert": ("InsertReport", "insert_temporal", "remove_temporal", "set_num_frames"),
    "gateshift.model.temporal.functional": ("gate_shift", "gate_shift_fuse", "temporal_shift"),
    "gateshift.model.temporal.modules": ("GateShift", "GateShiftFuse", "TemporalShift"),
    "gateshift.prediction.stream": ("Stream",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "GateShift",
    "GateShiftError",
    "GateShiftFuse",
    "InsertReport",
    "ModelConfig",
    "Runtime",
    "Stream",
    "TemporalShift",
    "VideoClassifier",
    "create_model",
    "evidence_map",
    "gate_maps",
    "gate_openness",
    "gate_shift",
    "gate_shift_fuse",
    "insert_temporal",
    "load_model",
    "remove_temporal",
    "save_model",
    "set_num_frames",
    "temporal_shift",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gateshift' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
