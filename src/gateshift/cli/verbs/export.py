"""The verb export: what ``gateshift.exporting.export.export`` does, and its result printed.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

from gateshift.cli.terminal import count_bar, print_line
from gateshift.exporting.settings import ExportSettings


def run_export(settings: ExportSettings) -> None:
    """Verb ``export``."""
    from gateshift.exporting.export import export

    with count_bar("testing", "videos of the model and of the file") as progress:
        result = export(
            settings.model,
            settings.videos,
            format=settings.format,
            out=settings.out,
            precision=settings.precision,
            calibrate=settings.calibrate,
            segments=settings.segments,
            classes=settings.classes,
            root=settings.root,
            workers=settings.workers,
            runtime=settings.runtime,
            overwrite=settings.overwrite,
            progress=progress,
        )
    print_line(str(result))
