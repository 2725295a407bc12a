"""Export a model: write it for another runtime, check the file on videos, and compare the accuracies of both."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gateshift.data.clips.dataset import open_entry, read_views
from gateshift.data.clips.frame_rates import seen_frames
from gateshift.data.clips.recordings import Recording, read_recordings
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.index_folder import index_folder_of
from gateshift.data.lists.manifest import Manifest, read_manifest, read_names, read_videos
from gateshift.devices import put_on_device
from gateshift.errors import ModelError, check_whole
from gateshift.evaluation.protocol import check_classes, choose_protocol
from gateshift.evaluation.scoring import score_videos
from gateshift.exported.formats import DeviceFormat, FileFormat, Format
from gateshift.exported.loading import ExportedModel, check_open, load_any
from gateshift.exporting.arguments import check_arguments
from gateshift.exporting.browser_page import MODEL_FILE, write_page
from gateshift.exporting.device_export import write_device_export
from gateshift.exporting.settings import ExportPrecision
from gateshift.exporting.writing import write_export
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.prediction.frames import DEFAULT_FRAMES, video_crop

if TYPE_CHECKING:
    from gateshift.evaluation.metrics import Metrics, MultiLabelMetrics

# More say little more about the range of an activation, and all of them are held in memory: 1.2 MB each at 8×224 px.
CALIBRATION_VIDEOS = 128
CALIBRATION_FRAMES = 8 * CALIBRATION_VIDEOS  # of models that answer for each frame, whose clips may be long
CHECKED_VIDEOS = 4


@dataclass(frozen=True)
class ExportResult:
    """An exported file, and how it does beside its model.

    Attributes:
        path: The file; of a page for browsers the folder.
        error: Difference of its logits from the model's, relative to their size; NaN of a Core ML package, which was
            not run.
        protocol: The views of each video that both were tested on.
        model_metrics: Accuracies of the model.
        file_metrics: Accuracies of the file.
        same_answers: Share of videos, in 0..1, with the same top-1; with the same labels if a video may have several.
        num_calibration: How many videos int8 was fitted to; None where it is not int8.
        structure: What a Core ML package is made of; None of other files.

    Of a Core ML package ``same_answers`` is NaN too, and metrics and ``protocol`` are None. Of a model that answers
    for each frame there are no accuracies here: ``protocol`` and both metrics are None, and ``same_answers`` is the
    share of frames of the checked clips.
    """

    path: Path
    error: float
    protocol: EvalProtocol | None
    model_metrics: Metrics | MultiLabelMetrics | None
    file_metrics: Metrics | MultiLabelMetrics | None
    same_answers: float
    num_calibration: int | None = None
    structure: str | None = None

    def __str__(self) -> str:
        if self.structure is not None:
            return (
                f"{self.path}: was not run, as Core ML runs on Apple devices alone: compare its logits there\n"
                f"checked in structure: {self.structure}"
            )
        fitted = () if self.num_calibration is None else (f"int8 fitted to {self.num_calibration} videos",)
        told = f"{self.path}: logits within {self.error:.1e} of the model's"
        if self.model_metrics is None:
            return "\n".join((*fitted, told, f"same class on {self.same_answers:.2%} of the frames of checked clips"))
        what = "top-1" if self.model_metrics.FIRST == "top1" else "labels"
        return "\n".join(
            (
                *fitted,
                told,
                f"model ({self.protocol}): {self.model_metrics}",
                f"file ({self.protocol}): {self.file_metrics}",
                f"same {what} on {self.same_answers:.2%} of {self.model_metrics.num_videos} videos",
            )
        )


def export(
    model: VideoClassifier | str | PathLike[str],
    videos: str | PathLike[str],
    *,
    format: Format,
    out: str | PathLike[str] | None = None,
    precision: ExportPrecision = "float32",
    calibrate: str | PathLike[str] | None = None,
    segments: int | None = None,
    classes: str | PathLike[str] | None = None,
    root: str | PathLike[str] | None = None,
    workers: int | None = None,
    runtime: str | PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ExportResult:
    """Write a model, folded for inference and with its preprocessing inside, as a file for another runtime.

    The file is kept once its logits on the videos are those of the model; a Core ML package, which runs on Apple
    devices alone, once its structure is right. ``load_any`` and everything that takes the path of a model take it;
    :class:`gateshift.exported.runtime.Runtime` runs .onnx, .xml and .tflite without torch.

    Args:
        model: In eval mode; left as it is. Or the path of a .safetensors model or a released checkpoint.
        videos: Labelled videos to check the file on: a CSV, a videofolder.txt list, or a folder of class folders; of a
            model that answers for each frame recordings with their events or spans.
        format: "torch" (.pt2), "onnx" (.onnx), "openvino" (.xml and .bin); of phones, for one clip at a time, "litert"
            (.tflite), "executorch" (.pte) or "coreml" (.mlpackage); or "web": a folder for any web server, with a page
            that classifies cameras and clips in the browser. A .pt2 file is a program: open only your own.
        out: The file or folder to write; by default beside the model's, with the suffix of the format, or "-web".
        precision: "float32"; "float16" (onnx and web) keeps weights in half as many bytes and computes in float32, that
            of coreml computes in float16 too; "bf16" (torch and openvino) is faster where the machine computes in it;
            "int8" (openvino) makes the file a quarter as large. All but the first cost digits.
        calibrate: Videos that int8 is fitted to, without their labels; by default ``videos``, whose accuracy may then
            come out a little too good. Of a model that answers for each frame, recordings in a list as ``videos`` are.
        segments: T, frames per clip, which are fixed in the file; by default as in training.
        classes: A file with names for the class numbers of a released checkpoint and of the list, one a line.
        root: Where relative paths of the list start; its own folder by default.
        workers: Processes that load videos; None for a core for each but one.
        runtime: Of a page: the .tgz of onnxruntime-web that ``npm pack`` writes, where there is no network. By default
            npm fetches it, once.
        overwrite: Replace the file if it is there.
        progress: Called with the number of videos tested and of all, those of the model and those of the file.

    Raises:
        SettingsError: If arguments contradict each other, or the file cannot be written.
        ModelError: If the model is an export itself or in training mode, cannot be converted, the file's logits are not
            the model's, or a package that writes the format is not installed.
        ManifestError: If the list cannot be read, or has other classes.
        VideoError: If a video cannot be read.

    >>> result = export("run/best.safetensors", "lists/val.csv", format="openvino")  # doctest: +SKIP
    >>> result.path, result.same_answers  # doctest: +SKIP
    (PosixPath('run/best.xml'), 1.0)
    """
    check_open(model)
    options: dict[str, Any] = {"overwrite": overwrite, "calibrate": calibrate, "runtime": runtime, "workers": workers}
    path = check_arguments(model, format, precision, out=out, **options)
    names = () if classes is None else read_names(Path(classes))
    model = _loaded(model, names)
    config = model.config
    if config.is_dense:
        if format == "web":
            raise ModelError(f"`format=web` of a model with `task={config.task}`; its page is for one answer a clip")
        checked_on, calibrated_on = (
            read_recordings(source, config.task, root=root, fps=config.fps, box=config.box)
            for source in (videos, videos if calibrate is None else calibrate)
        )
        return _export_dense(model, path, format, precision, checked_on, segments, calibrated_on)
    manifest = read_manifest(videos, root=root, names=names, multi_label=config.multi_label).with_box(config.box)
    fitted_to = manifest if calibrate is None else read_videos(calibrate, root=root).with_box(config.box)
    for each in (manifest, fitted_to):
        each.check_files()
    check_classes(config, manifest)
    protocol = choose_protocol(config, segments=segments)
    clips = read_clips(manifest, config, protocol)
    calibration = read_clips(fitted_to, config, protocol, count=CALIBRATION_VIDEOS) if precision == "int8" else None
    is_ready = model.mean.device.type == "cpu" and model.head_dtype == torch.float32
    on_cpu = model if is_ready else _plainly(model)
    if format == "web":
        file = path / MODEL_FILE
        archive = None if runtime is None else Path(runtime)
        error = write_page(on_cpu, path, clips=clips, precision=precision, archive=archive)
    else:
        file = path
        error, structure = _write(on_cpu, path, format, clips=clips, precision=precision, calibration=calibration)
        if structure is not None:
            return _untested(path, structure)
    of_model, of_file, same = _compare(model, load_any(file), manifest, protocol, workers=workers, progress=progress)
    num_calibration = None if calibration is None else min(CALIBRATION_VIDEOS, len(fitted_to))
    return ExportResult(path, error, protocol, of_model, of_file, same, num_calibration)


def _plainly(model: VideoClassifier) -> VideoClassifier:
    """A copy on the CPU in float32, whatever the model is in: how a file computes is said by the precision alone."""
    return copy.deepcopy(model).to("cpu", torch.float32)


def _write(
    model: VideoClassifier,
    path: Path,
    kind: FileFormat | DeviceFormat,
    *,
    clips: Tensor,
    precision: ExportPrecision,
    calibration: Tensor | None = None,
) -> tuple[float, str | None]:
    """Write and check a file: the relative error of its logits, or, of what cannot be run here, its structure."""
    if kind == "litert" or kind == "executorch" or kind == "coreml":
        return write_device_export(model, path, kind, clips=clips, precision=precision)
    return write_export(model, path, kind, clips=clips, precision=precision, calibration=calibration), None


def _export_dense(
    model: VideoClassifier,
    path: Path,
    kind: FileFormat | DeviceFormat,
    precision: ExportPrecision,
    recordings: Sequence[Recording],
    segments: int | None,
    fitted_to: Sequence[Recording],
) -> ExportResult:
    """Export a model that answers for each frame, checked, and for int8 fitted, on the middles of some recordings."""
    if segments is not None:
        advice = f"a clip has at least 1 frame; try `segments={DEFAULT_FRAMES}`"
        check_whole("segments", segments, least=1, advice=advice)
    config, num_frames = model.config, segments or model.config.num_segments or DEFAULT_FRAMES
    shown = _middles(recordings, config, num_frames, count=max(2, min(CHECKED_VIDEOS, len(recordings))))
    calibration = None
    if precision == "int8":
        most = max(CALIBRATION_FRAMES // num_frames, CHECKED_VIDEOS)
        calibration = _middles(fitted_to, config, num_frames, count=min(most, len(fitted_to)))
    model = _plainly(model)
    error, structure = _write(model, path, kind, clips=shown, precision=precision, calibration=calibration)
    if structure is not None:
        return _untested(path, structure)
    with torch.no_grad():
        own, other = (each(shown)[..., : len(config.classes) + 1].argmax(-1) for each in (model, load_any(path)))
    num_calibration = None if calibration is None else len(calibration)
    return ExportResult(path, error, None, None, None, float((own == other).float().mean()), num_calibration)


def _middles(recordings: Sequence[Recording], config: ModelConfig, num_frames: int, *, count: int) -> Tensor:
    """One clip from the middle of each of ``count`` recordings, spread over all: uint8 [count, T, 3, size, size]."""
    clips = []
    for number in range(count):
        video, times_s = recordings[number * len(recordings) // count].open(square_pixels=config.square_pixels)
        with video:
            seen = seen_frames(times_s, config.fps)
            first = max(len(seen) - num_frames, 0) // 2
            numbers = [seen[min(first + place, len(seen) - 1)] for place in range(num_frames)]
            clips.append(torch.stack([video_crop(video, index, config) for index in numbers]))
    return torch.stack(clips)


def _untested(path: Path, structure: str) -> ExportResult:
    return ExportResult(path, math.nan, None, None, None, math.nan, structure=structure)


def _loaded(model: VideoClassifier | str | PathLike[str], names: Sequence[str]) -> VideoClassifier:
    found = model if isinstance(model, VideoClassifier) else load_any(Path(model), names=names)
    if isinstance(found, ExportedModel):
        raise ModelError(f"{found.path}: is an export itself; export the model that it was made of")
    if found.training:
        raise ModelError("the model is in training mode, where answers are random; call model.eval()")
    return found


def read_clips(
    manifest: Manifest, config: ModelConfig, protocol: EvalProtocol, *, count: int = CHECKED_VIDEOS
) -> Tensor:
    """The first views of ``count`` videos of a list, or of all: uint8 [B, T, 3, size, size] with B at least 2.

    They are spread over the list, as many lists go class by class.

    Raises:
        VideoError: If one of these videos cannot be read.
    """
    views, folder = [], index_folder_of(manifest.source)
    count = max(2, min(count, len(manifest)))
    for number in range(count):
        entry = manifest.entries[number * len(manifest) // count]
        with open_entry(entry, square_pixels=config.square_pixels, index_folder=folder) as video:
            views.append(read_views(video, protocol, size_px=config.size_px, resize_px=config.resize_px)[0])
    return torch.stack(views)


def _compare(
    model: VideoClassifier,
    file: VideoClassifier | ExportedModel,
    manifest: Manifest,
    protocol: EvalProtocol,
    *,
    workers: int | None,
    progress: Callable[[int, int], None],
) -> tuple[Metrics | MultiLabelMetrics, Metrics | MultiLabelMetrics, float]:
    """The accuracies of a model and of its file, and the share of videos on which they answer the same."""
    done = 0

    def count(videos: int) -> None:
        nonlocal done
        done += videos
        progress(done, 2 * len(manifest))

    if torch.accelerator.is_available():
        model = put_on_device(copy.deepcopy(model))
    first, second = (
        score_videos(each, model.config, manifest, protocol, batch_size=2, workers=workers, on_batch=count).scores
        for each in (model, file)
    )
    if model.config.multi_label:
        same = ((first.logits > 0) == (second.logits > 0)).all(1)
    else:
        same = first.logits.argmax(1) == second.logits.argmax(1)
    return first.metrics(), second.metrics(), float(same.mean())
