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


def train_and_test(clips: Path) -> dict[str, float]:
    result: gs.TrainResult = gs.train(clips / "train", clips / "val", out="run", backbone="resnet18", epochs=1)
    model: gs.VideoClassifier = result.model
    found: gs.Evaluation = gs.evaluate(model, clips / "val", clips=2)
    both: gs.Evaluation = gs.ensemble([found, "scores.npz"])
    both.report("report.html")
    best: int = result.metrics.best_epoch
    return found.accuracies() | {"best_epoch": best}


def predict(model: gs.VideoClassifier, paths: list[Path], frames: Tensor) -> str | None:
    one: gs.Prediction = model.predict("clip.mp4")
    also: gs.Prediction = model.predict(frames, top=1)
    assert one.probabilities is not None
    clip: Tensor = model.transform(frames)
    for each in model.predict(paths, batch_size=8, workers=2):
        name: str | None = each.label or each.error
        assert name or each.top
    boxed: gs.Prediction = model.predict("clip.mp4", box=(0.1, 0.2, 0.6, 0.9))
    persons: list[gs.TrackPrediction] = gs.predict_tracks(model, "hall.mp4", "tracks.csv")
    assert boxed.video and [person.label for person in persons]
    events = gs.find_events(model, paths[0], out="events.srt")
    assert also.video and clip.shape and [event.label for event in events]
    model.reset_classifier(classes=["a", "b"])
    wrapped: gs.VideoClassifier = gs.VideoClassifier.wrap(nn.Flatten(), 12, classes=["a", "b"])
    address: str = wrapped.push_to_hub("user/name")
    return address


def prepare_and_export(model: gs.VideoClassifier, folder: Path) -> tuple[float, list[str]]:
    lists: gs.Prepared = gs.prepare("folder", folder, "lists")
    checked: gs.ScanReport = gs.scan(folder, out=None)
    exported: gs.ExportResult = gs.export(model, lists.val, format="onnx")
    runtime = gs.Runtime(exported.path)
    page: gs.ExplainResult = gs.explain(model, "clip.mp4", out="explained")
    sites: gs.NetworkReport = gs.inspect("resnet18")
    recipes: list[gs.Recipe] = gs.list_recipes()
    assert checked.counts or runtime or page or sites.after.parameters
    return exported.error, [recipe.name for recipe in recipes]


def refuse() -> str:
    try:
        gs.create_model("no_such_net", num_classes=2)
    except gs.GateShiftError as error:
        return str(error)
    return str(torch.get_num_threads())


def score(path: Path) -> float:
    listed: gs.EventList = gs.read_events(path)
    answers: list[gs.Event] = gs.suppress(listed.events, 2, "greedy")
    scores: gs.EventScores = gs.score_events(path, [*answers, gs.Event("v", "hit", frame=3)], tolerances=(1, 2), fps=25)
    figures: dict[str, gs.EventFigures] = scores.figures(0.5)
    spans: dict[str, list[gs.Span]] = gs.read_spans(path)
    found: gs.SpanScores = gs.score_spans(path, spans)
    gs.write_events([{"video": "v", "frame": 3, "label": "hit"}], path, form="soccernet")
    gs.write_spans(spans, path)
    return figures["hit"].f1 + found.f1[0.5] + scores.mean_ap
