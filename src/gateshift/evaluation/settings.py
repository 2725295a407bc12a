"""The options of ``test`` and ``ensemble``; the text under a field is its help.

Nothing heavy is imported here, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gateshift.data.choices import ShortVideos
from gateshift.devices import AnyPrecision


@dataclass(frozen=True)
class FrameTestOptions:
    """Models that answer for each frame (train --task): VAL are recordings with their events or spans. Besides these
    options they take --classes, --scores (the answers, .csv or .json), --report, --skip-bad, --overwrite, --root and
    --box."""

    tolerances: tuple[float, ...] = (0, 1, 2, 4)
    """Of events, in frames: how far an answer may be from its event."""
    fps: float | None = None
    """Frames a second that --tolerances count, such as 1000 for milliseconds; default: each recording's own."""
    suppress: Annotated[float, arg(metavar="SECONDS")] = 0.2
    """Answers within so many seconds of a better one of their class are dropped."""
    suppression: Literal["e2e-spot", "greedy", "soft"] = "e2e-spot"
    """How they are dropped: e2e-spot (dropped ones count too), greedy, or soft (scores are lowered)."""


@dataclass(frozen=True)
class EvaluationSettings:
    """Test a model by the papers' protocol: top-1, top-5 and mean class accuracy; of several labels a video mAP and F1.

    Accuracies are printed with their protocol, segments × clips × crops, and written as JSON beside the scores. A model
    of events is tested by mAP within several frames, before and after suppression; one of spans by frame accuracy, edit
    score and F1.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, an exported file, or a released GSM, GSF or TSM checkpoint (.pth.tar)."""
    videos: Annotated[Positional[Path], arg(metavar="VAL")]
    """Labelled videos: a CSV, a videofolder.txt list, or a folder of class folders; for a model of several labels a
    video, a CSV."""
    recipe: str | None = None
    """A published row (see gateshift recipes) or a .toml file of yours: its segments, clips and crops. Options given
    beside it win. Of a recipe of several models, MODEL is the folder with all of them; their scores are averaged."""
    segments: int | None = None
    """Frames per clip; by default as in training. Released checkpoints do not say: give it."""
    clips: int | None = None
    """Clips of each video; by default the model's own number: 1, or that of its recipe."""
    crops: int | None = None
    """Crops of each clip: 1 (center), 3 (along the long side), 5 (corners, center) or 10 (those and mirrored);
    by default the model's own number: 1, or that of its recipe."""
    classes: Path | None = None
    """Class names, one a line, for the class numbers of a released checkpoint or of a list: the release's
    category.txt."""
    scores: Path | None = None
    """Write ids, labels, logits and classes to this .npz, and the accuracies to a .json beside it."""
    report: Annotated[Path | None, arg(metavar="FILE.html")] = None
    """Write the results to this page: confused classes, figures of each class, calibration, frames of the worst
    mistakes, and how far the views agree. It needs no other file and no network."""
    compare: Annotated[Path | None, arg(metavar="SCORES.npz")] = None
    """Compare with another model by its scores on the same videos: what changed, and McNemar's exact test. The report
    has the details."""
    fit_threshold: Annotated[float | None, arg(metavar="ACCURACY")] = None
    """Fit a confidence threshold: the lowest probability from which this share of the answers is correct, such as 0.95.
    VAL must not be the training videos."""
    out: Annotated[Path | None, arg(metavar="FILE.safetensors")] = None
    """Write MODEL to this file with that threshold and this protocol: below it, predict says unsure."""
    skip_bad: Annotated[int, arg(metavar="N")] = 0
    """Skip up to N unreadable videos, and list them; one more is an error."""
    overwrite: bool = False
    """Replace files that exist: the scores, the report, and that of --out."""
    root: Path | None = None
    """Where relative paths of the list start; its own folder by default."""
    box: Annotated[str | None, arg(metavar="X0,Y0,X1,Y1")] = None
    """Region of the picture, of a fixed camera: shares of it, as 0.1,0.2,0.6,0.9, or pixels, as 120,80,520,460; 0,0,1,1
    for all of it. A column box of VAL wins. By default the model's own."""
    short_videos: ShortVideos = "spread"
    """Videos with at most SEGMENTS frames: spread the segments over them, or repeat the first frame (first-frame), as
    the released code validates by mistake."""
    batch_size: int = 4
    """Videos of one forward pass, over all processes."""
    precision: AnyPrecision = "no"
    """no is float32. bf16 costs digits and is faster where the machine multiplies in it; fp16 needs a GPU. auto is bf16
    where that is faster here, and gives the first 16 clips the classes of float32."""
    workers: int | None = None
    """Processes that load videos; 0 loads in the main process. By default one fewer than there are cores, at most 8."""
    frames: FrameTestOptions = field(default_factory=FrameTestOptions)

    def __post_init__(self) -> None:
        if self.recipe is not None:
            from gateshift.recipes.recipe import load_recipe

            for name, value in load_recipe(self.recipe).protocol().items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)


@dataclass(frozen=True)
class EnsembleSettings:
    """Average the scores of several models, video by video, and print the accuracy.

    The files must be of the same videos, labels and classes, in any order.
    """

    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="SCORES.npz ...")]
    """Two or more files written by gateshift test --scores."""
    scores: Path | None = None
    """Write the averaged scores to this .npz, and the accuracies to a .json beside it."""
    overwrite: bool = False
    """Replace the scores file if it exists."""
