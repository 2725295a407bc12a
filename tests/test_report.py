"""The page of a test."""

import base64
import dataclasses
import io
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from score_data import random_scores

from gateshift.data.lists.manifest import read_manifest
from gateshift.evaluation.report_drawing import draw_matrix, matrix_ticks
from gateshift.evaluation.result import Evaluation
from gateshift.evaluation.scores import Scores


class Page(HTMLParser):
    """The elements of a page, its text, and every address in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


HOSTILE = ("<script>alert(1)</script>", '" onload="x', "&lt;", "\u202eesrever", "</style><b>", "{{ 7 * 7 }}")


def test_hostile_names_of_classes_videos_and_models_are_text() -> None:
    plain = random_scores(0, classes=HOSTILE)
    scores = dataclasses.replace(plain, ids=tuple(f"<img src=x onerror=y>{video}" for video in plain.ids))
    other = dataclasses.replace(random_scores(1, classes=HOSTILE), ids=scores.ids)
    report = Evaluation(scores, "<i>m</i>", None, None, {"<u>v</u>": "<u>why</u>"}, other, "<s>o</s>")
    html = report.html()
    page = Page(html)
    assert not {"script", "b", "i", "u", "s", "img"} & set(page.tags)
    assert "onload" not in re.sub(r'"[^"]*"', "", html.replace("&#34;", "'")).split("<body>")[0]
    shown = "".join(page.text)
    for name in (*HOSTILE, "<i>m</i>", "<u>why</u>", "<s>o</s>"):
        assert name in shown


@pytest.mark.parametrize("classes", [2, 10, 30, 31, 174, 400])
def test_a_page_needs_nothing_but_itself_whatever_the_number_of_classes(classes: int) -> None:
    names = tuple(f"Pretending to put something {number}" for number in range(classes))
    scores, other = (random_scores(seed, videos=3 * classes, classes=names, gain=2.0) for seed in (0, 1))
    html = Evaluation(scores, other=other).html()
    page = Page(html)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    assert not re.search(r"@import|url\(|http-equiv=\"refresh|https?://", html)
    assert all(name in html for name in names)
    assert len(html) < 400_000


def test_many_classes_are_a_picture_and_a_table_of_pairs() -> None:
    few, many = (
        Page(Evaluation(random_scores(0, videos=200, classes=[f"c{n}" for n in range(count)])).html())
        for count in (30, 31)
    )
    assert "image" in many.tags and "image" not in few.tags
    assert "The 20 most frequent of" in "".join(many.text)


def test_the_picture_of_a_matrix_has_a_pixel_for_each_cell() -> None:
    matrix = np.array([[3, 1], [0, 0]])
    data = draw_matrix(matrix).removeprefix("data:image/png;base64,")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert pixels.shape == (2, 2, 4)
    assert pixels[..., 3].tolist() == [[round(255 * 0.75**0.5), round(255 * 0.25**0.5)], [0, 0]]
    assert pixels[0, 0, 2] > pixels[0, 0, 0] and pixels[0, 1, 0] > pixels[0, 1, 2]  # blue, orange


@pytest.mark.parametrize("classes", [31, 100, 174, 400, 5000])
def test_ticks_are_few_and_inside(classes: int) -> None:
    ticks = matrix_ticks(classes)
    assert 1 <= len(ticks) <= 6
    assert max(ticks) <= classes


def test_a_page_tells_the_figures() -> None:
    scores = random_scores(3)
    report = Evaluation(scores, "run/best.safetensors", other=random_scores(4), other_name="b.npz")
    text = " ".join("".join(Page(report.html()).text).split())
    metrics, found = scores.metrics(), report.comparison
    assert found is not None
    assert f"Top-1 accuracy{100 * metrics.top1:.1f} %" in text
    assert "8 segments × 1 clips × 1 crops" in text
    assert f"Right here{found.both_right.sum()}{found.gained.sum()}" in text
    assert f"p = {found.p_value:.3g}" in text
    assert "15 bins of equal width" in text


def test_the_same_scores_give_the_same_page() -> None:
    assert Evaluation(random_scores(0)).html() == Evaluation(random_scores(0)).html()


def test_the_surest_mistakes_and_the_least_certain_hits_are_told_in_order() -> None:
    margins = [5.0, 1.0, 3.0, 4.0, 0.5, 2.0]  # of the answer, which is class 0
    logits = np.array([[margin, 0.0] for margin in margins], np.float32)
    page = Evaluation(Scores(tuple("abcdef"), np.array([1, 1, 1, 0, 0, 0]), logits, ("x", "y"), "p")).html()
    wrong, right = (
        re.findall(r"<bdi>([a-f])</bdi>", part) for part in page.split('id="mistakes"')[1].split('id="hits"')
    )
    assert (wrong, right) == (["a", "c", "b"], ["e", "f", "d"])


def test_a_model_that_is_always_right_or_always_wrong_has_a_page() -> None:
    logits = np.eye(3, dtype=np.float32)
    for labels, said in ((np.arange(3), "There are no mistakes."), (np.array([1, 2, 0]), "There are no hits.")):
        assert said in Evaluation(Scores(("a", "b", "c"), labels, logits, ("x", "y", "z"), "p")).html()


def test_names_that_are_no_text_are_written_too(tmp_path: Path) -> None:
    scores = dataclasses.replace(random_scores(0), ids=tuple(f"\udcff{number}" for number in range(60)))
    Evaluation(scores).report(tmp_path / "out.html")
    assert "\\udcff" in (tmp_path / "out.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_frames_that_are_gone_are_told_and_the_report_is_written(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips / "val", tmp_path / "val")
    shutil.copy(clips / "val.csv", tmp_path)
    manifest = read_manifest(tmp_path / "val.csv")
    ids = tuple(manifest.entries.video_ids())
    classes = tuple(manifest.class_names())
    labels = np.array(manifest.label_indices(classes))
    scores = Scores(ids, labels, np.eye(len(classes), dtype=np.float32)[labels], classes, "p")
    (tmp_path / ids[0]).unlink()
    (tmp_path / ids[1]).write_bytes(b"no video")
    html = Evaluation(scores, manifest=manifest).html()
    assert html.count("No frames:") == 2
    assert html.count('<div class="strip"') == 6
