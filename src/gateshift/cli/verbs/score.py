"""What ``score`` does with its settings, and prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from gateshift.cli.terminal import print_line
from gateshift.errors import SettingsError
from gateshift.evaluation.events.settings import ScoreSettings

if TYPE_CHECKING:
    from gateshift.evaluation.events.event_scores import EventScores


def run_score(settings: ScoreSettings) -> None:
    """Verb ``score``."""
    from gateshift.data.events.event_tables import is_span_table
    from gateshift.evaluation.events.event_scores import score_events
    from gateshift.evaluation.events.span_scores import score_spans
    from gateshift.files import check_writable

    if is_span_table(settings.truth):
        if settings.report is not None:
            raise SettingsError("`report` of spans; a page is of events; leave it out")
        print_line(str(score_spans(settings.truth, settings.answers, settings.overlaps)))
        return
    if settings.report is not None:
        check_writable("report", settings.report, overwrite=settings.overwrite, suffixes=[".html"])
    scores = score_events(settings.truth, settings.answers, settings.tolerances, settings.rule, settings.fps)
    print_line(str(scores))
    print_figures(scores, settings.threshold)
    if settings.report is not None:
        scores.report(settings.report, root=settings.root, threshold=settings.threshold, overwrite=settings.overwrite)
        print_line(f"report: {settings.report}")


def print_figures(scores: EventScores, threshold: float) -> None:
    """A row for each class: average precision, and what answers from the threshold on are worth."""
    figures = scores.figures(threshold)
    columns = (*(f"AP at {tolerance:g}" for tolerance in scores["mAP"]), "events", "missed", "precision", "recall")
    table = Table("class", *columns, "F1", "median error", "90 % within")
    for label, row in figures.items():
        precisions = scores["per_class"].get(label) or (scores["mAP"] if label == list(figures)[-1] else {})
        table.add_row(
            label,
            *(f"{precisions[each]:.1%}" if each in precisions else "" for each in scores["mAP"]),
            *(str(row.num_events), str(row.misses), f"{row.precision:.1%}", f"{row.recall:.1%}", f"{row.f1:.1%}"),
            *("" if value is None else f"{value:.0f} ms" for value in (row.median_error_ms, row.p90_error_ms)),
        )
    Console(markup=False).print(table)
