"""The verb ``serve``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing

from gateshift.cli.terminal import print_line
from gateshift.web.app import serve
from gateshift.web.settings import ServeSettings

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def run_serve(settings: ServeSettings) -> None:
    """Verb ``serve``: until Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that files are removed
    options = vars(settings) | {"token": settings.token or os.environ.get("GATESHIFT_TOKEN") or None}
    try:
        with closing(serve(**options, block=False)) as server:
            print_line(f"gateshift: {server.url}/ (Ctrl-C stops it)")
            if settings.host not in LOCAL_HOSTS and options["token"] is None:
                print_line("gateshift: any client that reaches this address may use it; --token requires a secret")
            sys.stdout.flush()
            server.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
