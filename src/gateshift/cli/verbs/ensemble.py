"""What ``ensemble`` does with its settings, and prints."""

from __future__ import annotations

from gateshift.cli.verbs.test import save_and_say
from gateshift.errors import ScoresError
from gateshift.evaluation.settings import EnsembleSettings
from gateshift.terminal import print_line


def run_ensemble(settings: EnsembleSettings) -> None:
    """Verb ``ensemble``."""
    from gateshift.evaluation.scores import check_output, ensemble, load_scores

    if len(settings.files) < 2:
        raise ScoresError(f"{len(settings.files)} scores file; an ensemble takes at least 2; name more")
    if settings.scores is not None:
        check_output(settings.scores, overwrite=settings.overwrite)
    parts = [load_scores(path) for path in settings.files]
    for path, part in zip(settings.files, parts, strict=True):
        print_line(f"{path} ({part.protocol}): {part.metrics()}")
    together = ensemble(parts)
    print_line(f"ensemble of {len(parts)} ({together.protocol}): {together.metrics()}")
    save_and_say(together, settings.scores)
