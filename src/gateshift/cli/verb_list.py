"""Every verb: what it is for, where its settings and its function are, and a line that shows it at work.

Nothing of a verb is imported here, so that ``gateshift --help`` and the start of every verb are quick.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from gateshift.errors import SettingsError

ABOUT = "Video action recognition that knows the order of events, at the price of an image model."


@dataclass(frozen=True)
class Verb:
    """One verb of the command line.

    Attributes:
        summary: What it does, in a few words.
        settings: ``module:name`` of its options, a dataclass.
        function: ``module:name`` of what runs it with them.
        example: What follows the verb in a line that works on the files of ``gateshift demo``.
        function_of_parts: What runs it with a recipe of several models: settings by the name of each model's recipe.
    """

    summary: str
    settings: str
    function: str
    example: str
    function_of_parts: str = ""

    def settings_type(self) -> type[Any]:
        """The dataclass of its options."""
        return _imported(self.settings)

    def run(self, settings: Any) -> None:
        """Do it."""
        _imported(self.function)(settings)

    def run_parts(self, parts: dict[str, Any]) -> None:
        """Do it for each model of a recipe of several, of a verb that takes recipes."""
        _imported(self.function_of_parts)(parts)


def _imported(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)


_MODEL, _CLIP, _VAL = "demo/gsm/last.safetensors", "demo/clips/unseen/pick_up.mp4", "demo/clips/val.csv"
GROUPS: dict[str, dict[str, Verb]] = {
    "First steps": {
        "demo": Verb(
            "see what gate-shift does: draw clips, train on them, test, predict; in minutes",
            "gateshift.demo.settings:DemoSettings",
            "gateshift.cli.verbs.demo:run_demo",
            "--out demo",
        ),
        "prepare": Verb(
            "make lists of training and validation videos, from folders, data sets or labels",
            "gateshift.data.prepare.settings:PrepareSettings",
            "gateshift.cli.verbs.prepare:run_prepare",
            "folder demo/clips --out lists",
        ),
        "train": Verb(
            "train a network on your videos",
            "gateshift.training.settings:TrainSettings",
            "gateshift.cli.verbs.train:run_train",
            f"demo/clips/train.csv {_VAL} --size 64 --epochs 2 --out run",
            "gateshift.cli.verbs.train:run_train_parts",
        ),
        "test": Verb(
            "measure how often a model is right on labelled videos",
            "gateshift.evaluation.settings:EvaluationSettings",
            "gateshift.cli.verbs.test:run_test",
            f"{_MODEL} {_VAL} --scores scores.npz",
        ),
        "predict": Verb(
            "classify videos, a live stream, or each part of a long recording",
            "gateshift.prediction.settings:PredictSettings",
            "gateshift.cli.verbs.predict:run_predict",
            f"{_MODEL} {_CLIP}",
        ),
    },
    "Your videos": {
        "scan": Verb(
            "find videos that cannot be read, before a training does",
            "gateshift.data.check.settings:ScanSettings",
            "gateshift.cli.verbs.scan:run_scan",
            "demo/clips/train",
        ),
    },
    "Understand a model": {
        "explain": Verb(
            "show where a model looks, and what it sends from frame to frame",
            "gateshift.explanation.settings:ExplainSettings",
            "gateshift.cli.verbs.explain:run_explain",
            f"{_MODEL} {_CLIP} --out explained",
        ),
        "inspect": Verb(
            "list where temporal modules go in a network, and what they cost",
            "gateshift.bench.settings:InspectSettings",
            "gateshift.cli.verbs.inspect:run_inspect",
            _MODEL,
        ),
        "score": Verb(
            "measure answers about events or spans beside labels, whoever gave them",
            "gateshift.evaluation.events.settings:ScoreSettings",
            "gateshift.cli.verbs.score:run_score",
            "demo/spot/test.csv demo/spot/answers.csv --report events.html",
        ),
        "ensemble": Verb(
            "average the scores of several models",
            "gateshift.evaluation.settings:EnsembleSettings",
            "gateshift.cli.verbs.test:run_ensemble",
            "demo/none.npz demo/gsm.npz",
        ),
    },
    "Put a model to use": {
        "export": Verb(
            "write a model as a file for another runtime",
            "gateshift.exporting.settings:ExportSettings",
            "gateshift.cli.verbs.export:run_export",
            f"{_MODEL} {_VAL} --format onnx --out model.onnx",
        ),
        "features": Verb(
            "write what a network sees in videos as arrays, for other programs",
            "gateshift.extraction.settings:FeatureSettings",
            "gateshift.cli.verbs.export:run_features",
            f"{_MODEL} demo/clips/unseen --out features",
        ),
        "serve": Verb(
            "offer a model on a page in the browser, and over HTTP",
            "gateshift.web.settings:ServeSettings",
            "gateshift.cli.verbs.serve:run_serve",
            f"{_MODEL} --examples demo/clips/unseen",
        ),
        "bench": Verb(
            "measure how fast a model runs on this machine",
            "gateshift.bench.settings:BenchSettings",
            "gateshift.cli.verbs.bench:run_bench",
            f"{_MODEL} --rounds 3",
        ),
    },
    "The papers": {
        "recipes": Verb(
            "list the published rows that train and test reproduce",
            "gateshift.published.settings:RecipesSettings",
            "gateshift.cli.verbs.published:run_recipes",
            "gsm-bninception-8",
        ),
        "download": Verb(
            "fetch the models that the papers' releases publish",
            "gateshift.published.settings:DownloadSettings",
            "gateshift.cli.verbs.published:run_download",
            "gsm-bninception-8 --out models",
        ),
    },
}
VERBS: dict[str, Verb] = {name: verb for verbs in GROUPS.values() for name, verb in verbs.items()}


def find_verb(name: str) -> Verb:
    """A verb by its name.

    Raises:
        SettingsError: If there is none; the error names the nearest.
    """
    if name not in VERBS:
        close = difflib.get_close_matches(name, VERBS, n=1)
        hint = f"did you mean {close[0]}?" if close else "gateshift --help lists all"
        raise SettingsError(f"{name}: no such command; {hint}")
    return VERBS[name]


def overview() -> str:
    """What ``gateshift --help`` prints: a newcomer's verbs first, then the others by what they are for."""
    width = max(map(len, VERBS))
    lines = ["usage: gateshift COMMAND ...", "", ABOUT]
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:{width}}  {verb.summary}" for name, verb in verbs.items())]
    lines += [
        "",
        "gateshift COMMAND --help     what a command does, and its options",
        "gateshift COMMAND --example  a line to try, on the files that gateshift demo leaves",
        "gateshift --version",
    ]
    return "\n".join(lines)
