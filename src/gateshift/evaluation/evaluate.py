"""Test models on labelled videos by the papers' protocol, one or an ensemble of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from gateshift.data.choices import ShortVideos
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.manifest import Manifest, read_manifest, read_names
from gateshift.data.regions import AnyRegion, Region, region_of
from gateshift.devices import AnyPrecision, create_accelerator, num_processes, put_on_device
from gateshift.errors import ModelError, ScoresError, SettingsError
from gateshift.evaluation.confidence import ConfidenceThreshold, check_accuracy, measure_threshold
from gateshift.evaluation.fast_form import ChosenPrecision, fast_form
from gateshift.evaluation.protocol import choose_protocol
from gateshift.evaluation.result import Evaluation, name_of, scores_of
from gateshift.evaluation.scores import Scores, average, check_classes_and_videos, check_output
from gateshift.evaluation.scoring import score_videos
from gateshift.exported.formats import EXPORTED_SUFFIXES
from gateshift.exported.loading import config_of, load_any
from gateshift.files import check_writable
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.io import save_model
from gateshift.recipes.recipe import load_recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

AnyPath = str | PathLike[str]
AnyScores = AnyPath | Scores | Evaluation


def evaluate(
    model: AnyPath | nn.Module,
    videos: AnyPath | Manifest,
    *,
    recipe: str | None = None,
    segments: int | None = None,
    clips: int | None = None,
    crops: int | None = None,
    classes: AnyPath | Sequence[str] | None = None,
    scores: AnyPath | None = None,
    report: AnyPath | None = None,
    compare: AnyScores | None = None,
    fit_threshold: float | None = None,
    out: AnyPath | None = None,
    skip_bad: int = 0,
    overwrite: bool = False,
    root: AnyPath | None = None,
    box: AnyRegion | None = None,
    short_videos: ShortVideos = "spread",
    batch_size: int = 4,
    precision: AnyPrecision = "no",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Test a model on labelled videos. What is wrong with an argument or a list is found before the test.

    Args:
        model: A .safetensors model, an exported file, or a released checkpoint, which are put on this machine's
            accelerator; or a model, which stays where it is and is left in eval mode. For a recipe of several models,
            the folder that training or download wrote with it.
        videos: A CSV, a videofolder.txt list, a folder of class folders, or a manifest.
        recipe: A published row or a .toml file, whose segments, clips and crops count where none are given. Of a
            recipe of several models the scores are averaged.
        segments: Frames per clip (T); None for as many as in training.
        clips: Clips of each video; None for the model's own number.
        crops: Crops of each clip: 1, 3, 5 or 10; None for the model's own number.
        classes: Names for the class numbers of a released checkpoint and of a list: a file, one a line, or the names.
        scores: Write ids, labels, logits and classes to this .npz, and the accuracies to a .json beside it.
        report: Write a page to this .html; see :meth:`Evaluation.report`.
        compare: Another model on the same videos, for :attr:`Evaluation.comparison` and the report.
        fit_threshold: Find the lowest probability from which this share of the answers is correct, in 0..1, for
            :attr:`Evaluation.threshold`. The videos must not be those of the training.
        out: Write the model to this .safetensors with that threshold, and this protocol and ``box``.
        skip_bad: Skip up to so many unreadable videos, and list them.
        overwrite: Replace the files that are written.
        root: Where relative paths of the list start; None for its own folder.
        box: The region of the picture of videos for which the list has none in a column ``box``, as of
            :func:`gateshift.predict`; None for the model's own.
        short_videos: Frames of videos with fewer than ``segments``: see ``EvalProtocol``.
        batch_size: Videos of one batch, over all processes.
        precision: "no" is float32; "bf16" costs digits and is faster where the machine multiplies in it; "fp16" needs a
            GPU; "auto" is bf16 where it is faster here and gives the first 16 clips the classes of float32.
        workers: Processes that load videos; 0 loads in this one; None for one less than there are cores, at most 8.
        progress: Called with the number of videos that are done, and of all, after each batch.

    Returns:
        What the test found. Where several processes share it (torchrun, accelerate launch), each returns all of it,
        and the first one writes the files.

    Raises:
        SettingsError: If an argument is out of range, or a file cannot be written.
        ModelError: If a model cannot be loaded, or its classes have no names.
        ManifestError: If the list cannot be used, or a label is none of the model's classes.
        VideoError: If more videos than may be skipped cannot be read.
        ScoresError: If ``compare`` is of other videos or classes.
    """
    _check_outputs(model, scores=scores, report=report, fit_threshold=fit_threshold, out=out, overwrite=overwrite)
    accelerator = create_accelerator("no") if num_processes() > 1 else None
    test = _Test(
        videos=videos,
        root=root,
        box=region_of(box),
        names=read_names(Path(classes)) if isinstance(classes, str | PathLike) else list(classes or ()),
        protocol={"segments": segments, "clips": clips, "crops": crops},
        short_videos=short_videos,
        skip_bad=skip_bad,
        batch_size=batch_size,
        precision=precision,
        workers=workers,
        other=None if compare is None else _read_other(compare),
        other_name=Evaluation.other_name if compare is None else name_of(compare),
        accelerator=accelerator,
        progress=progress,
    )
    rows, parts = _find_models(model, recipe), []
    one_label = {"report": report, "compare": compare, "fit_threshold": fit_threshold}
    if len(rows) > 1 and fit_threshold is not None:
        raise SettingsError(
            f"`fit_threshold={fit_threshold}` with a recipe of several models, which have no file together; leave it "
            "out, or test one of them"
        )
    for source, row in rows:
        loaded = test.load(source)
        if config_of(loaded).multi_label:
            _check_one_label(source, one_label, is_part=len(rows) > 1)
        parts.append(test.run(loaded, _name(source), row))
    found = parts[0] if len(parts) == 1 else _average(parts, _name(model))
    is_main = accelerator is None or accelerator.is_main_process
    if scores is not None and is_main:  # first, as they took the longest
        found.save(scores, overwrite=True)
    if len(parts) == 1:
        found = dataclasses.replace(found, threshold=_threshold(found, loaded, fit_threshold))
    if out is not None and is_main and found.threshold is not None:
        protocol = test.choose_protocol(config_of(loaded), rows[0][1])
        _save_with_threshold(loaded, Path(out), found.threshold, protocol, test.box)
    if report is not None and is_main:
        found.report(report, overwrite=True)
    return found


def ensemble(files: Sequence[AnyScores], *, scores: AnyPath | None = None, overwrite: bool = False) -> Evaluation:
    """Average the scores of several models, video by video.

    Args:
        files: Two or more score files, scores or evaluations, of the same videos, labels and classes in any order.
        scores: Write the averaged scores to this .npz, and the accuracies to a .json beside it.
        overwrite: Replace these files.

    Raises:
        ScoresError: If there are fewer than two, or they do not go together.
        SettingsError: If ``scores`` cannot be written.
    """
    if not isinstance(files, Sequence) or isinstance(files, str):
        raise ScoresError(f"`files` of type {type(files).__name__}; give a list of two or more")
    if len(files) < 2:
        raise ScoresError(f"{len(files)} scores file{'s' * (len(files) != 1)}; an ensemble takes at least 2; name more")
    if scores is not None:
        check_output(Path(scores), overwrite=overwrite)
    parts = [each if isinstance(each, Evaluation) else Evaluation(scores_of(each), name_of(each)) for each in files]
    found = _average(parts, "ensemble")
    if scores is not None:
        found.save(scores, overwrite=True)
    return found


@dataclass(frozen=True)
class _Test:
    """What is tested on, and how: arguments of :func:`evaluate`."""

    videos: AnyPath | Manifest
    root: AnyPath | None
    box: Region | None
    names: Sequence[str]
    protocol: Mapping[str, int | None]
    short_videos: ShortVideos
    skip_bad: int
    batch_size: int
    precision: AnyPrecision
    workers: int | None
    other: Scores | None
    other_name: str
    accelerator: Accelerator | None
    progress: Callable[[int, int], None] | None

    def load(self, source: AnyPath | nn.Module) -> nn.Module:
        """A model with class names; one from a file is put where it runs."""
        if not isinstance(source, str | PathLike):
            config_of(source)
            return source
        model: nn.Module = load_any(Path(source), names=self.names)
        return put_on_device(model) if self.accelerator is None else model.to(self.accelerator.device)

    def choose_protocol(self, config: ModelConfig, recipe: str | None) -> EvalProtocol:
        """As asked, else as the recipe says, else as the model says."""
        usual = {} if recipe is None else load_recipe(recipe).protocol()
        chosen = {name: usual.get(name) if value is None else value for name, value in self.protocol.items()}
        return choose_protocol(config, **chosen, short_videos=self.short_videos)

    def read_list(self, config: ModelConfig) -> Manifest:
        """The videos, which are all there, and those of ``other``."""
        manifest = self.videos
        if not isinstance(manifest, Manifest):
            manifest = read_manifest(manifest, root=self.root, names=self.names, multi_label=config.multi_label)
        manifest = manifest.with_box(self.box or config.box)
        manifest.check_files()
        if self.other is not None:
            # Videos that one of the tests has skipped cannot be in both.
            ids = self.other.ids if self.skip_bad else tuple(manifest.entries.video_ids())
            named = (f"`compare` {self.other_name}", "this test")
            check_classes_and_videos(self.other, classes=config.classes, ids=ids, names=named)
        return manifest

    def run(self, model: nn.Module, name: str, recipe: str | None) -> Evaluation:
        """Test one model."""
        manifest = self.read_list(config_of(model))
        done = 0

        def count(videos: int) -> None:
            nonlocal done
            done = min(done + videos, len(manifest))
            if self.progress is not None:
                self.progress(done, len(manifest))

        form = fast_form(model.eval(), self.precision)
        found = score_videos(
            form,
            config_of(model),
            manifest,
            self.choose_protocol(config_of(model), recipe),
            batch_size=self.batch_size,
            workers=self.workers,
            skip_bad=self.skip_bad,
            on_batch=count,
            accelerator=self.accelerator,
        )
        chosen = str(form) if isinstance(form, ChosenPrecision) else None
        return Evaluation(
            found.scores, name, manifest, found.choices, found.skipped, self.other, self.other_name, precision=chosen
        )


def _find_models(model: AnyPath | nn.Module, recipe: str | None) -> list[tuple[AnyPath | nn.Module, str | None]]:
    """The models to test, each with the recipe of its protocol.

    Raises:
        ModelError: If one of a recipe of several is not in its folder.
    """
    parts = () if recipe is None else load_recipe(recipe).parts
    if not parts:
        return [(model, recipe)]
    if isinstance(model, nn.Module):
        raise SettingsError(f"`recipe={recipe}` is of several models; give the folder that holds them")
    return [(find_part(Path(model), part), part) for part in parts]


def find_part(folder: Path, name: str) -> Path:
    """Where a model of an ensemble lies, as a training or a download leaves it.

    Raises:
        ModelError: If it is not there.
    """
    places = (folder / name / "best.safetensors", folder / f"{name}.safetensors")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ModelError(
            f"{folder}: no model {name}: neither {places[0]} nor {places[1]}; "
            "give the folder that train or download wrote with this recipe"
        )
    return found


def _read_other(compare: AnyScores) -> Scores:
    other = scores_of(compare)
    if other.multi_label:
        raise SettingsError(
            f"`compare` {name_of(compare)}: scores of several labels a video; it is for one; leave it out"
        )
    return other


def _name(model: AnyPath | nn.Module) -> str:
    return Evaluation.model if isinstance(model, nn.Module) else str(model)


def _average(parts: Sequence[Evaluation], name: str) -> Evaluation:
    """An ensemble, on the videos that every model could read."""
    skipped = {video_id: reason for each in parts for video_id, reason in each.skipped.items()}
    kept = [each.scores.select([video_id for video_id in each.scores.ids if video_id not in skipped]) for each in parts]
    first = parts[0]
    together = average(kept, [each.model for each in parts])
    return Evaluation(together, name, first.manifest, None, skipped, first.other, first.other_name, parts=tuple(parts))


def _check_outputs(
    model: AnyPath | nn.Module,
    *,
    scores: AnyPath | None,
    report: AnyPath | None,
    fit_threshold: float | None,
    out: AnyPath | None,
    overwrite: bool,
) -> None:
    """Raise SettingsError unless all that is asked for can be written."""
    if scores is not None:
        check_output(Path(scores), overwrite=overwrite)
    if report is not None:
        check_writable("report", Path(report), overwrite=overwrite, suffixes=[".html"])
    if fit_threshold is not None:
        check_accuracy(fit_threshold)
    if out is None:
        return
    if fit_threshold is None:
        raise SettingsError(
            f"`out` {out} without `fit_threshold`, which it is for; add `fit_threshold=0.95` or another accuracy"
        )
    is_exported = isinstance(model, nn.Module) and not isinstance(model, VideoClassifier)
    if is_exported or Path(_name(model)).suffix in EXPORTED_SUFFIXES:
        raise SettingsError(
            f"`out` {out} of {_name(model)}, an exported file; give the model, and export what is written"
        )
    check_writable("out", Path(out), overwrite=overwrite, suffixes=[".safetensors"])


def _check_one_label(source: AnyPath | nn.Module, wanted: Mapping[str, object], *, is_part: bool) -> None:
    """Raise SettingsError for what a model of several labels a video does not have."""
    if is_part:
        raise SettingsError(
            f"{source}: a model of several labels a video, and a recipe of several models is for one; test each with "
            "`scores`, and average them by gateshift ensemble"
        )
    for name, value in wanted.items():
        if value is not None:
            raise SettingsError(
                f"`{name}` {value} with {_name(source)}, a model of several labels a video; it is for one; "
                "leave it out, and take `scores`"
            )


def _threshold(found: Evaluation, model: nn.Module, accuracy: float | None) -> ConfidenceThreshold | None:
    """A fitted threshold, or how the model does with its own."""
    own = config_of(model).abstain_below
    if accuracy is None:
        return None if own is None else measure_threshold(found.scores, own)
    try:
        return found.fit_threshold(accuracy)
    except SettingsError as error:  # the test took long, and its accuracy is to be known
        raise SettingsError(f"{error} ({found})") from None


def _save_with_threshold(
    model: nn.Module, path: Path, threshold: ConfidenceThreshold, protocol: EvalProtocol, box: Region | None
) -> None:
    """Write a model with a threshold, and the protocol and box that it was fitted by.

    Other views, and other parts of the picture, have other probabilities.
    """
    if isinstance(model, VideoClassifier):
        config = dataclasses.replace(
            config_of(model),
            abstain_below=threshold.probability,
            num_segments=protocol.num_segments,
            num_clips=protocol.num_clips,
            num_crops=protocol.num_crops,
            box=box or model.config.box,
        )
        save_model(model, path, config=config)
