"""The server with models that answer for each frame: events and spans of an upload, as the library finds them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import WriteVideo
from serving import BRIGHT, DARK, SIZE_PX, closing_loops, grey_frames, needs_gradio, running

import gateshift as gs

httpx = pytest.importorskip("httpx", reason="gradio is not installed; pip install '.[demo]'")
pytestmark = [pytest.mark.slow, needs_gradio]

FPS, FLASH = 25, 17  # the frame that is bright


def flash_model(path: Path, task: str) -> Path:
    """A model that says of each frame whether it is bright: its head is set along what tells the two apart."""
    torch.manual_seed(0)
    model: Any = gs.create_model(
        "test_resnet", "none", classes=["flash"], task=task, head="none", fps=FPS, size_px=SIZE_PX, num_segments=8
    ).eval()
    with torch.no_grad():
        dark, bright = (
            model.frame_features(torch.full((1, 1, 3, SIZE_PX, SIZE_PX), level, dtype=torch.uint8))[0]
            for level in (DARK, BRIGHT)
        )
        towards = (bright - dark) / (bright - dark).square().sum()
        model.head.linear.weight.copy_(torch.stack([-6 * towards, 6 * towards]))
        middle = 6 * towards @ (dark + bright) / 2
        model.head.linear.bias.copy_(torch.stack([middle, -middle]))
    gs.save_model(model, path)
    return path


@pytest.fixture(scope="module")
def upload(write_video: WriteVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    levels = [BRIGHT if number == FLASH else DARK for number in range(2 * FPS)]
    return write_video(tmp_path_factory.mktemp("clips") / "flash.mp4", grey_frames(levels), fps=FPS)


def answer_of(url: str, upload: Path) -> Any:
    with upload.open("rb") as file:
        found = httpx.post(
            f"{url}/api/predict?timeline=true", files={"file": file}, timeout=100, trust_env=False, verify=False
        )
    assert found.status_code == 200, found.text
    return found.json()


def test_an_event_of_an_upload_is_at_its_frame(upload: Path, tmp_path: Path) -> None:
    model = flash_model(tmp_path / "spot.safetensors", "spot")
    with running(model) as server:
        answer = answer_of(server.url, upload)
        described = httpx.get(f"{server.url}/api/model", timeout=100, trust_env=False, verify=False).json()
    (event,) = answer["events"]
    assert (event["frame"], event["label"], event["time_s"]) == (FLASH, "flash", pytest.approx(FLASH / FPS))
    (offline,) = gs.spot_events(model, upload)
    assert event["score"] == pytest.approx(offline.score, abs=1e-6)
    assert answer["top"] == [{"class": "flash", "probability": pytest.approx(offline.score, abs=1e-6)}]
    assert answer["timeline"] is None
    assert described["protocol"] == "an answer for each frame at 25 a second"


def test_spans_of_an_upload_are_its_timeline(upload: Path, tmp_path: Path) -> None:
    model = flash_model(tmp_path / "segment.safetensors", "segment")
    with running(model) as server:
        answer = answer_of(server.url, upload)
    (span,) = answer["timeline"]
    (offline,) = gs.find_events(model, upload)
    assert (span["start_s"], span["end_s"]) == pytest.approx((offline.start_s, offline.end_s))
    assert answer["events"] is None


def test_the_page_shows_events(upload: Path, tmp_path: Path) -> None:
    from gateshift.web.page import build_page
    from gateshift.web.scoring import Scorer
    from gateshift.web.settings import ServeSettings

    path = flash_model(tmp_path / "spot.safetensors", "spot")
    with closing_loops():
        page = build_page(Scorer(gs.load_model(path).eval(), ServeSettings(path)))
        (show,) = [each.fn for each in page.fns.values() if each.name == "show"]
        _, top, events, _ = show(str(upload))
    assert events == [("0.68 s (100%)", "flash")]
    assert top["flash"] > 0.9
