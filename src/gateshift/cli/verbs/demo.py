"""What ``demo`` does with its settings."""

from __future__ import annotations

from rich.console import Console

from gateshift.demo.settings import DemoSettings
from gateshift.terminal import ConsoleReporter


def run_demo(settings: DemoSettings) -> None:
    """Verb ``demo``."""
    from gateshift.demo.demo import demo

    demo(settings, ConsoleReporter(Console(stderr=True)), Console())
