"""What the verb serve does with its settings.

What runs is imported inside, so that --help does not wait for torch.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from gateshift.errors import SettingsError
from gateshift.terminal import print_line
from gateshift.web.settings import ServeSettings

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def run_serve(settings: ServeSettings) -> None:
    """Verb ``serve``: until it is stopped."""
    settings = dataclasses.replace(settings, token=settings.token or os.environ.get("GATESHIFT_TOKEN") or None)
    settings.check()
    if importlib.util.find_spec("gradio") is None:
        raise SettingsError("serve needs Gradio, which is not installed; run pip install 'gateshift[demo]'")
    _check_address(settings)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which leaves the block below, and so no files
    with tempfile.TemporaryDirectory(prefix="gateshift-serve-") as folder:
        # Gradio reads these when it is imported.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_TEMP_DIR=folder)
        _serve(settings, Path(folder))


def _serve(settings: ServeSettings, folder: Path) -> None:
    import uvicorn

    from gateshift.devices import put_on_device
    from gateshift.exporting.loading import load_open
    from gateshift.web.app import create_app
    from gateshift.web.scoring import Scorer

    model = load_open(settings.model, classes=settings.classes)
    scorer = Scorer(put_on_device(model).eval(), settings)
    app = create_app(scorer, folder, token=settings.token)
    scorer.warm_up()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print_line(f"gateshift: http://{host}:{settings.port}/ (Ctrl-C stops it)")
    if settings.host not in LOCAL_HOSTS and settings.token is None:
        print_line("gateshift: everyone who reaches this address may use it; --token lets in only who knows it")
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning", server_header=False)


def _check_address(settings: ServeSettings) -> None:
    """Raise SettingsError if the address is taken or not ours, before a model is loaded."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        raise SettingsError(
            f"--host {settings.host} --port {settings.port}: {error.strerror or error}; choose a free port of an "
            "address of this machine"
        ) from None
