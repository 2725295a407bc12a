"""The verbs export and features: a model as a file for other programs, and what it sees as arrays for them.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

from gateshift.cli.terminal import count_bar, print_line, print_note
from gateshift.exporting.settings import ExportSettings
from gateshift.extraction.settings import FeatureSettings

BACKBONE_SEGMENTS = 8


def run_export(settings: ExportSettings) -> None:
    """Verb ``export``."""
    from gateshift.exporting.export import export

    with count_bar("testing", "videos of the model and of the file") as progress:
        result = export(**vars(settings), progress=progress)
    print_line(str(result))


def run_features(settings: FeatureSettings) -> None:
    """Verb ``features``. Exits with 2 if a video could not be read, after the others."""
    from gateshift.extraction.extract import extract_features
    from gateshift.model.classifier import VideoClassifier, create_model

    videos = settings.sources()
    model: VideoClassifier | str = settings.model
    if settings.backbone is not None:
        model = create_model(
            settings.backbone,
            settings.temporal,
            num_classes=1,  # nothing is classified
            weights=settings.weights,
            size_px=settings.size,
            num_segments=BACKBONE_SEGMENTS,
        ).eval()
    names = ("out", "per", "window", "stride", "segments", "fps", "box", "format", "batch_size", "workers", "engine")
    options = {name: getattr(settings, name) for name in (*names, "timeout")}
    # Ray tells of dead workers on standard output, which is for the answer.
    with redirect_stdout(sys.stderr), count_bar("extracting", "videos") as progress:
        found = extract_features(model, videos, **options, progress=progress)
    for error in found.failures.values():
        print_note(error)
    print_line(
        f"{settings.out}: features of {len(found.files)} videos, {found.num_made} of them made now; "
        f"{len(found.failures)} could not be read"
    )
    if found.failures:
        raise SystemExit(2)
