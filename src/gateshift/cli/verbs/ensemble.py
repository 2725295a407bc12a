"""What ``ensemble`` does with its settings, and prints."""

from __future__ import annotations

from gateshift.cli.terminal import print_line
from gateshift.cli.verbs.test import print_accuracies
from gateshift.evaluation.settings import EnsembleSettings


def run_ensemble(settings: EnsembleSettings) -> None:
    """Verb ``ensemble``."""
    from gateshift.evaluation.evaluate import ensemble

    print_accuracies(ensemble(**vars(settings)))
    if settings.scores is not None:
        print_line(f"scores: {settings.scores}")
