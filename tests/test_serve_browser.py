"""The page in a browser: a clip in, its class and gate maps out; what is refused says why; nothing from elsewhere."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import WriteVideo
from serving import BRIGHT, DARK, grey_frames, needs_gradio, running, write_brightness_model

from gateshift.web.app import Server

pytestmark = [pytest.mark.slow, needs_gradio]
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def server(write_video: WriteVideo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    write_brightness_model(folder / "model.safetensors")
    (folder / "examples").mkdir()
    write_video(folder / "examples" / "a bright one.mp4", grey_frames([BRIGHT] * 10))
    with running(folder / "model.safetensors", max_mb=0.2, examples=folder / "examples") as server:
        yield server


class Visit:
    """A page, what its console said and whom it asked."""

    def __init__(self, browser: Any, server: Server, *, width_px: int = 1280) -> None:
        self.page = browser.new_page(viewport={"width": width_px, "height": 900})
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url, server.url))
        self.page.goto(server.url)
        self.page.wait_for_selector("input[type=file]", state="attached", timeout=WAIT_MS)

    def _note(self, url: str, own: str) -> None:
        if not url.startswith((own, "data:", "blob:")):
            self.strangers.append(url)

    def upload(self, path: Path) -> None:
        self.page.set_input_files("input[type=file] >> nth=0", path)


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Visit]:
    visit = Visit(browser, server)
    yield visit
    visit.page.close()


@pytest.mark.parametrize("width_px", [1280, 390])
def test_a_clip_shows_its_class_timeline_and_gate_maps(
    browser: Any, server: Server, write_video: WriteVideo, tmp_path: Path, width_px: int
) -> None:
    visit = Visit(browser, server, width_px=width_px)
    visit.upload(write_video(tmp_path / "clip.mp4", grey_frames([DARK] * 25)))
    maps = visit.page.wait_for_selector("img[alt='gate maps']", timeout=WAIT_MS)
    assert maps.evaluate("image => image.complete && image.naturalWidth") > 500
    assert visit.page.inner_text("[data-testid=label-output-value]").strip() == "dark & <b>grim</b>"
    timeline = visit.page.inner_text("#timeline")
    assert "0.0–1.0 s" in timeline and "dark & <b>grim</b>" in timeline.replace(
        "DARK & <B>GRIM</B>", "dark & <b>grim</b>"
    )
    assert visit.page.is_visible("img[alt=evidence]")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width_px  # pictures scroll, the page does not
    assert not visit.page.is_visible("[aria-label='Trim video to selection']")
    assert visit.errors == [] and visit.strangers == []
    visit.page.close()


def test_an_example_is_looked_at(visit: Visit) -> None:
    visit.page.click("text=a bright one")
    visit.page.wait_for_selector("img[alt='gate maps']", timeout=WAIT_MS)
    assert visit.page.inner_text("[data-testid=label-output-value]").strip() == "bright"


def test_a_file_that_is_no_video_says_so(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video at all" * 100)
    visit.upload(path)
    message = visit.page.wait_for_selector("[role=alert].gateshift-message", timeout=WAIT_MS).inner_text()
    assert message.startswith("the file cannot be read as a video")
    assert not visit.page.is_visible("img[alt='gate maps']")


def test_a_file_over_the_limit_is_refused(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(1_000_000))
    visit.upload(path)
    visit.page.wait_for_selector("text=/exceed the maximum allowed size/", timeout=WAIT_MS)
    assert not list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("large*"))
