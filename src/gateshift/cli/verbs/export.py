"""What the verb export does with its settings, and prints.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from gateshift.errors import ModelError, SettingsError
from gateshift.exporting.settings import ExportSettings
from gateshift.terminal import make_bar, print_line

if TYPE_CHECKING:
    import torch

    from gateshift.data.clips.views import EvalProtocol
    from gateshift.data.lists.manifest import Manifest
    from gateshift.evaluation.scores import Scores
    from gateshift.model.config import ModelConfig


def check_calibration(settings: ExportSettings) -> None:
    """Raise SettingsError if there are videos to fit int8 to, and no int8."""
    if settings.calibrate and settings.precision != "int8":
        raise SettingsError(
            f"--calibrate {settings.calibrate} with --precision {settings.precision}; only int8 is fitted to videos; "
            "add --precision int8, or leave it out"
        )


def read_calibration(manifest: Manifest, config: ModelConfig, protocol: EvalProtocol) -> torch.Tensor:
    """Clips to fit int8 to: uint8 [N, T, 3, size, size]; says whose."""
    from gateshift.exporting.export import read_clips
    from gateshift.exporting.quantize import CALIBRATION_VIDEOS

    count = min(CALIBRATION_VIDEOS, len(manifest))
    print_line(f"fitting int8 to {count} of {len(manifest)} videos of {manifest.source}, without their labels")
    return read_clips(manifest, config, protocol, count=count)


def _read_lists(settings: ExportSettings, names: Sequence[str], *, multi_label: bool) -> tuple[Manifest, Manifest]:
    """The videos to test on, and those that int8 is fitted to."""
    from gateshift.data.lists.manifest import read_manifest, read_videos

    manifest = read_manifest(settings.videos, root=settings.root, names=names, multi_label=multi_label)
    fitted_to = manifest
    if settings.calibrate is not None:
        fitted_to = read_videos(settings.calibrate, root=settings.root)
    for each in (manifest, fitted_to):
        each.check_files()
    return manifest, fitted_to


def run_export(settings: ExportSettings) -> None:
    """Verb ``export``."""
    from gateshift.data.lists.manifest import read_names
    from gateshift.devices import create_accelerator
    from gateshift.evaluation.protocol import check_classes, choose_protocol
    from gateshift.evaluation.scoring import score_videos
    from gateshift.exporting.export import check_export, export, read_clips
    from gateshift.exporting.loading import FORMAT_SUFFIXES, ExportedModel, load_any

    out = settings.out or settings.model.with_suffix(FORMAT_SUFFIXES[settings.format])
    check_export(out, settings.format, settings.precision, overwrite=settings.overwrite)
    check_calibration(settings)
    names = () if settings.classes is None else read_names(settings.classes)
    model = load_any(settings.model, names=names)
    if isinstance(model, ExportedModel):
        raise ModelError(f"{settings.model}: is an export itself; export the model that it was made of")
    manifest, fitted_to = _read_lists(settings, names, multi_label=model.config.multi_label)
    check_classes(model.config, manifest)
    protocol = choose_protocol(model.config, segments=settings.segments)
    clips = read_clips(manifest, model.config, protocol)
    calibration = read_calibration(fitted_to, model.config, protocol) if settings.precision == "int8" else None
    error = export(model, out, settings.format, clips=clips, precision=settings.precision, calibration=calibration)
    print_line(f"{out}: logits within {error:.1e} of the model's")
    accelerator = create_accelerator("no")

    def score(name: str, each: torch.nn.Module) -> Scores:
        with make_bar(Console(stderr=True)) as bar:
            task = bar.add_task(f"testing the {name}", total=len(manifest), note=f"{len(manifest)} videos")
            found = score_videos(
                each,
                model.config,
                manifest,
                protocol,
                accelerator=accelerator,
                batch_size=2,
                workers=settings.workers,
                on_batch=lambda videos: bar.advance(task, videos),
            )
        print_line(f"{name} ({protocol}): {found.scores.metrics()}")
        return found.scores

    first, second = score("model", model.to(accelerator.device)), score("file", load_any(out))
    if model.config.multi_label:
        same, what = ((first.logits > 0) == (second.logits > 0)).all(1).mean(), "labels"
    else:
        same, what = (first.logits.argmax(1) == second.logits.argmax(1)).mean(), "top-1"
    print_line(f"same {what} on {same:.2%} of {len(manifest)} videos")
