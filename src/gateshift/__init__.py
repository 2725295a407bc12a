"""Video action recognition that knows the order of events, at the price of an image model.

What ``__all__`` names is stable. These names are imported when they are first used, so ``import gateshift`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gateshift.version import __version__ as __version__

if TYPE_CHECKING:
    from gateshift.bench.benchmark import Benchmark, benchmark
    from gateshift.bench.inspect import NetworkReport, inspect
    from gateshift.data.check.scan import ScanReport, scan
    from gateshift.data.events.event_tables import read_spans, write_spans
    from gateshift.data.events.events import Event, EventList, Span
    from gateshift.data.events.files import read_events, write_events
    from gateshift.data.events.suppression import suppress
    from gateshift.data.labelling.labels import Labels, read_labels
    from gateshift.data.labelling.writing import write_labels
    from gateshift.data.prepare.output import Prepared
    from gateshift.data.prepare.prepare import prepare
    from gateshift.demo.demo import DemoResult, run_demo
    from gateshift.demo.spot_demo import SpotDemoResult, run_spot_demo
    from gateshift.devices import keep_freed_memory
    from gateshift.errors import GateShiftError
    from gateshift.evaluation.evaluate import ensemble, evaluate
    from gateshift.evaluation.events.event_scores import EventFigures, EventScores, score_events
    from gateshift.evaluation.events.span_scores import SpanScores, score_spans
    from gateshift.evaluation.result import Evaluation
    from gateshift.explanation.evidence import evidence_map
    from gateshift.explanation.explain import ExplainResult, explain
    from gateshift.explanation.gate_maps import gate_maps, gate_openness
    from gateshift.exported.runtime import Runtime
    from gateshift.exporting.export import ExportResult, export
    from gateshift.extraction.extract import ExtractedFeatures, extract_features
    from gateshift.model.classifier import VideoClassifier, create_model
    from gateshift.model.config import ModelConfig
    from gateshift.model.io import load_model, save_model
    from gateshift.model.surgery.insert import InsertReport, insert_temporal, remove_temporal, set_num_frames
    from gateshift.model.temporal.functional import gate_shift, gate_shift_fuse, temporal_shift
    from gateshift.model.temporal.modules import GateShift, GateShiftFuse, TemporalShift
    from gateshift.prediction.predict import predict
    from gateshift.prediction.scoring import Prediction
    from gateshift.prediction.spotting import spot_events
    from gateshift.prediction.stream import Answer, Stream
    from gateshift.prediction.timeline import find_events
    from gateshift.prediction.video_stream import stream_video
    from gateshift.probing.probe import ProbeResult, probe
    from gateshift.published.download import download
    from gateshift.recipes.recipe import Recipe, list_recipes
    from gateshift.spotting.evaluate import FrameEvaluation, evaluate_frames
    from gateshift.tracking.predict import TrackPrediction, predict_tracks
    from gateshift.training.train import TrainResult, train
    from gateshift.web.app import Server, serve

# Where each public name is: the imports above, for a running program. tests/test_public_names.py compares the two.
_MODULES = {
    "gateshift.bench.benchmark": ("Benchmark", "benchmark"),
    "gateshift.bench.inspect": ("NetworkReport", "inspect"),
    "gateshift.data.check.scan": ("ScanReport", "scan"),
    "gateshift.data.events.event_tables": ("read_spans", "write_spans"),
    "gateshift.data.events.events": ("Event", "EventList", "Span"),
    "gateshift.data.events.files": ("read_events", "write_events"),
    "gateshift.data.events.suppression": ("suppress",),
    "gateshift.data.labelling.labels": ("Labels", "read_labels"),
    "gateshift.data.labelling.writing": ("write_labels",),
    "gateshift.data.prepare.output": ("Prepared",),
    "gateshift.data.prepare.prepare": ("prepare",),
    "gateshift.demo.demo": ("DemoResult", "run_demo"),
    "gateshift.demo.spot_demo": ("SpotDemoResult", "run_spot_demo"),
    "gateshift.devices": ("keep_freed_memory",),
    "gateshift.errors": ("GateShiftError",),
    "gateshift.evaluation.evaluate": ("ensemble", "evaluate"),
    "gateshift.evaluation.events.event_scores": ("EventFigures", "EventScores", "score_events"),
    "gateshift.evaluation.events.span_scores": ("SpanScores", "score_spans"),
    "gateshift.evaluation.result": ("Evaluation",),
    "gateshift.explanation.evidence": ("evidence_map",),
    "gateshift.explanation.explain": ("ExplainResult", "explain"),
    "gateshift.explanation.gate_maps": ("gate_maps", "gate_openness"),
    "gateshift.exporting.export": ("ExportResult", "export"),
    "gateshift.extraction.extract": ("ExtractedFeatures", "extract_features"),
    "gateshift.exported.runtime": ("Runtime",),
    "gateshift.model.classifier": ("VideoClassifier", "create_model"),
    "gateshift.model.config": ("ModelConfig",),
    "gateshift.model.io": ("load_model", "save_model"),
    "gateshift.model.surgery.insert": ("InsertReport", "insert_temporal", "remove_temporal", "set_num_frames"),
    "gateshift.model.temporal.functional": ("gate_shift", "gate_shift_fuse", "temporal_shift"),
    "gateshift.model.temporal.modules": ("GateShift", "GateShiftFuse", "TemporalShift"),
    "gateshift.prediction.predict": ("predict",),
    "gateshift.prediction.scoring": ("Prediction",),
    "gateshift.prediction.spotting": ("spot_events",),
    "gateshift.prediction.stream": ("Answer", "Stream"),
    "gateshift.prediction.timeline": ("find_events",),
    "gateshift.prediction.video_stream": ("stream_video",),
    "gateshift.probing.probe": ("ProbeResult", "probe"),
    "gateshift.published.download": ("download",),
    "gateshift.recipes.recipe": ("Recipe", "list_recipes"),
    "gateshift.spotting.evaluate": ("FrameEvaluation", "evaluate_frames"),
    "gateshift.tracking.predict": ("TrackPrediction", "predict_tracks"),
    "gateshift.training.train": ("TrainResult", "train"),
    "gateshift.web.app": ("Server", "serve"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Answer",
    "Benchmark",
    "DemoResult",
    "Evaluation",
    "Event",
    "EventFigures",
    "EventList",
    "EventScores",
    "ExplainResult",
    "ExportResult",
    "ExtractedFeatures",
    "FrameEvaluation",
    "GateShift",
    "GateShiftError",
    "GateShiftFuse",
    "InsertReport",
    "Labels",
    "ModelConfig",
    "NetworkReport",
    "Prediction",
    "Prepared",
    "ProbeResult",
    "Recipe",
    "Runtime",
    "ScanReport",
    "Server",
    "Span",
    "SpanScores",
    "SpotDemoResult",
    "Stream",
    "TemporalShift",
    "TrackPrediction",
    "TrainResult",
    "VideoClassifier",
    "benchmark",
    "create_model",
    "download",
    "ensemble",
    "evaluate",
    "evaluate_frames",
    "evidence_map",
    "explain",
    "export",
    "extract_features",
    "find_events",
    "gate_maps",
    "gate_openness",
    "gate_shift",
    "gate_shift_fuse",
    "insert_temporal",
    "inspect",
    "keep_freed_memory",
    "list_recipes",
    "load_model",
    "predict",
    "predict_tracks",
    "prepare",
    "probe",
    "read_events",
    "read_labels",
    "read_spans",
    "remove_temporal",
    "run_demo",
    "run_spot_demo",
    "save_model",
    "scan",
    "score_events",
    "score_spans",
    "serve",
    "set_num_frames",
    "spot_events",
    "stream_video",
    "suppress",
    "temporal_shift",
    "train",
    "write_events",
    "write_labels",
    "write_spans",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gateshift' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
