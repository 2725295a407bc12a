"""Pages in a browser without network: no errors, nothing that overlaps, on a screen and on a phone."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateshift.data.lists.manifest import read_manifest
from gateshift.drawing.html_page import Section, render_page
from gateshift.evaluation.result import Evaluation
from gateshift.evaluation.scores import Scores

pytestmark = pytest.mark.slow

PHRASES = (
    "Pretending to put something next to something",
    "Putting something on the edge of something so it is not supported and falls down",
    "Moving something closer to something",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
)

# Pairs of labels of a picture that share a pixel, and cells whose content is wider than they are.
CROWDED = """() => {
  const crowded = [];
  for (const svg of document.querySelectorAll("svg")) {
    const boxes = [...svg.querySelectorAll("text")].map(e => [e.textContent, e.getBoundingClientRect()]);
    boxes.forEach(([one, a], i) => boxes.slice(i + 1).forEach(([two, b]) => {
      if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) crowded.push([one, two]);
    }));
  }
  for (const cell of document.querySelectorAll("th, td, dd, dt, li, summary, h1, h2, p")) {
    if (cell.scrollWidth > cell.clientWidth + 1 && getComputedStyle(cell).display !== "inline")
      crowded.push([cell.tagName, cell.textContent]);
  }
  return crowded;
}"""
SMALLEST_TEXT_PX = """() => Math.min(...[...document.querySelectorAll("svg text")].map(e => {
  const scale = e.getScreenCTM();
  return parseFloat(getComputedStyle(e).fontSize) * Math.hypot(scale.a, scale.b);
}))"""


def make_report(count: int, clips: Path) -> Evaluation:
    """A report with everything in it: long names, a comparison, views, skipped videos; frames for ten classes."""
    manifest = read_manifest(clips / "val.csv") if count == 10 else None
    videos = 10 if manifest else 5 * count
    names = tuple(f"{PHRASES[number % 4]} {number // 4}" for number in range(count))
    rng = np.random.default_rng(count)
    labels = np.arange(videos) % count
    logits = rng.normal(size=(2, videos, count)).astype(np.float32) + np.eye(count, dtype=np.float32)[labels]
    ids = tuple(manifest.entries.video_ids()) if manifest else tuple(f"a/long/path/{n:06d}.webm" for n in range(videos))
    scores = Scores(ids, labels, logits[0], names, "8 segments × 2 clips × 10 crops")
    other = dataclasses.replace(scores, logits=logits[1])
    choices = rng.integers(0, count, (videos, 2, 10))
    return Evaluation(scores, "run/best.safetensors", manifest, choices, {"bad.mp4": "no frames"}, other, "other.npz")


@pytest.fixture(scope="module", params=[2, 10, 174])
def report(request: pytest.FixtureRequest, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / f"{request.param}.html"
    make_report(request.param, clips).report(path)
    return path


@pytest.mark.parametrize(("width_px", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_report_opens_without_network_errors_or_overlaps(
    browser: Any, report: Path, width_px: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width_px, "height": 900}, color_scheme=scheme, offline=True)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width_px  # tables scroll, the page does not
    assert page.evaluate(CROWDED) == []
    assert page.evaluate(SMALLEST_TEXT_PX) >= 10
    loaded = page.evaluate("[...document.images].every(e => e.complete && e.naturalWidth > 0)")
    assert loaded
    page.close()


@pytest.mark.parametrize("report", [2], indirect=True)
def test_a_report_is_light_or_dark_as_the_reader_is(browser: Any, report: Path) -> None:
    check_colours(browser, report)


def test_a_page_of_sections_is_light_or_dark_too_and_its_tables_scroll_on_a_phone(browser: Any, tmp_path: Path) -> None:
    path, columns = tmp_path / "page.html", [f"a_long_name_{number}" for number in range(12)]
    path.write_text(render_page("A page", [Section("Table", ["Text."], columns=columns, rows=[["0.123456"] * 12])]))
    check_colours(browser, path)
    page = browser.new_page(viewport={"width": 390, "height": 900}, offline=True)
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def check_colours(browser: Any, report: Path) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(report.as_uri())
        style = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        colours.append([sum(map(int, colour[4:-1].split(","))) for colour in style])
        page.close()
    (light_page, light_text), (dark_page, dark_text) = colours
    assert light_page > 700 and dark_text > 600
    assert dark_page < 100 and light_text < 120
