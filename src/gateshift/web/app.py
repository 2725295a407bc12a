"""Serve a model: a page in the browser, and JSON over HTTP."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import socket
import tempfile
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateshift.data.regions import AnyRegion, box_text
from gateshift.errors import SettingsError
from gateshift.web.settings import ServeSettings

if TYPE_CHECKING:
    import uvicorn

    from gateshift.model.classifier import VideoClassifier

PATIENCE_S = 3  # for answers that are under way when the server is closed


class Server:
    """A running server.

    Attributes:
        url: Its address, without a slash at the end.
    """

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._server = server
        self._thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when the server has been closed, or Ctrl-C was pressed."""
        with suppress(KeyboardInterrupt):
            self._thread.join()

    def close(self) -> None:
        """Stop the server. Closing twice is harmless."""
        self._server.should_exit = True
        self._thread.join()


def serve(
    model: str | os.PathLike[str] | VideoClassifier,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    token: str | None = None,
    examples: str | os.PathLike[str] | None = None,
    classes: str | os.PathLike[str] | None = None,
    segments: int | None = None,
    box: AnyRegion | None = None,
    window: float = 2.0,
    hop: float = 0.5,
    max_mb: float = 50.0,
    max_duration: float = 60.0,
    max_side: int = 4096,
    timeout: float = 30.0,
    decoder_mb: int = 1024,
    decoders: int = 2,
    queue: int = 32,
    block: bool = True,
) -> Server:
    """Serve a model on a page in the browser and over HTTP, see docs/serve.md. Needs ``pip install 'gateshift[demo]'``.

    Args:
        model: A saved model or released checkpoint, or a model, which is put in eval mode.
        host: Address to listen at.
        port: Its port; 0 for any that is free.
        token: What every request must bring, at least 16 letters, digits, ``-`` or ``_``; None asks for none.
        examples: A folder of clips to try on the page.
        classes: A file with names for the class numbers of a released checkpoint, one a line.
        segments: Frames per clip (T); None for as many as in training.
        box: The region of the picture, as of :func:`gateshift.predict`; None for the model's own.
        window: Length of a window of the timeline, in seconds.
        hop: Time from one window to the next, in seconds.
        max_mb: Size of an upload.
        max_duration: Seconds of video.
        max_side: Longer side of a frame, in pixels.
        timeout: Seconds each for the upload, for decoding, and for the timeline.
        decoder_mb: Memory for decoding one video.
        decoders: Videos decoded in parallel.
        queue: Waiting requests.
        block: Whether to return when the server is stopped by Ctrl-C, rather than at once.

    Returns:
        The server, which answers at ``url`` until ``close()``; closed already if ``block``.

    Raises:
        SettingsError: If Gradio is not installed, an option is out of range, or the address cannot be used.
        ModelError: If the model cannot be read, or is an exported file, deployed, or none.
    """
    examples, classes = (None if path is None else Path(path) for path in (examples, classes))
    box = box_text(box)
    options: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("model", "block")}
    name = Path(model) if isinstance(model, (str, os.PathLike)) else Path(type(model).__name__)
    settings = ServeSettings(name, **options)
    settings.check()
    if importlib.util.find_spec("gradio") is None:
        raise SettingsError("a server needs Gradio, which is not installed; run pip install 'gateshift[demo]'")
    listener = _listen(settings)  # before a model is loaded
    try:
        server = Server(_create_server(model, settings), listener)
    except BaseException:
        listener.close()
        raise
    if block:
        with closing(server):
            server.wait()
    return server


def _create_server(model: str | os.PathLike[str] | VideoClassifier, settings: ServeSettings) -> uvicorn.Server:
    import uvicorn

    from gateshift.devices import put_on_device
    from gateshift.exported.loading import check_open, load_open

    check_open(model)  # its gates are drawn
    if isinstance(model, (str, os.PathLike)):
        model = load_open(Path(model), classes=settings.classes)
    # Gradio reads these when it is imported, and the folder with each upload: all servers of a process share it.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    if not os.environ.get("GRADIO_TEMP_DIR"):
        os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="gateshift-serve-")
        atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)
    from gateshift.web.api import create_app
    from gateshift.web.page import mount_page
    from gateshift.web.scoring import Scorer

    scorer = Scorer(put_on_device(model).eval(), settings)
    app = create_app(scorer)
    mount_page(app, scorer)
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=PATIENCE_S)
    return uvicorn.Server(config)


def _listen(settings: ServeSettings) -> socket.socket:
    """Raise SettingsError if the address is taken or not ours."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise SettingsError(
            f"`host={settings.host}` `port={settings.port}`: {error.strerror or error}; choose a free port of an "
            "address of this machine"
        ) from None
