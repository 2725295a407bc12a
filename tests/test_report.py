"""The report of a test: its numbers, its page, and the command that writes it."""

import base64
import dataclasses
import io
import re
import shutil
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import classification_report, log_loss

import gateshift as gs
from gateshift.cli.main import main, parse
from gateshift.data.clips.dataset import open_entry, read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.manifest import read_manifest
from gateshift.devices import create_accelerator
from gateshift.errors import ScoresError
from gateshift.evaluation import report_figures as figures
from gateshift.evaluation.evaluate import evaluate_views
from gateshift.evaluation.metrics import confusion
from gateshift.evaluation.report import Report, pair, write_report
from gateshift.evaluation.report_drawing import draw_matrix, matrix_ticks
from gateshift.evaluation.scores import Scores, load_scores, save_scores
from gateshift.evaluation.settings import EvaluationSettings


def random_scores(
    seed: int, *, videos: int = 60, classes: Sequence[str] = tuple("abcdef"), gain: float = 1.0
) -> Scores:
    rng = np.random.default_rng(seed)
    labels = np.arange(videos) % len(classes)
    logits = rng.normal(size=(videos, len(classes))).astype(np.float32)
    logits[np.arange(videos), labels] += gain
    ids = tuple(f"{number}.mp4" for number in range(videos))
    return Scores(ids, labels, logits, tuple(classes), "8 segments × 1 clips × 1 crops")


# Numbers


def test_probabilities_are_a_softmax_that_does_not_overflow() -> None:
    scores = random_scores(0)
    probabilities = figures.probabilities_of(scores.logits)
    by_hand = -np.log(probabilities[np.arange(60), scores.labels]).mean()
    assert log_loss(scores.labels, probabilities, labels=range(6)) == pytest.approx(by_hand)
    assert figures.probabilities_of(np.array([[1000, 0], [0, 0]], np.float32)).tolist() == [[1, 0], [0.5, 0.5]]


@given(seed=st.integers(0, 50))
def test_the_reliability_curve_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = np.concatenate([rng.random(80), [0.0, 1.0, 0.2, 0.4]])
    is_right = rng.random(84) < confidence
    found = [each for each in figures.reliability(confidence, is_right) if each.num_videos]
    accuracy, mean = calibration_curve(is_right, confidence, n_bins=15, strategy="uniform")
    np.testing.assert_allclose([each.accuracy for each in found], accuracy)
    np.testing.assert_allclose([each.confidence for each in found], mean)
    assert sum(each.num_videos for each in found) == 84


def test_the_calibration_error_by_hand() -> None:
    # 0.90 and 0.92 share the bin above 13/15, 0.5 has its own: gaps |0.5 - 0.91| of 2 videos and |1 - 0.5| of 1
    bins = figures.reliability(np.array([0.90, 0.92, 0.5]), np.array([True, False, True]))
    assert len(bins) == 15
    assert figures.calibration_error(bins) == pytest.approx((2 * 0.41 + 0.5) / 3)


def test_a_probability_on_an_edge_belongs_to_the_bin_below() -> None:
    bins = figures.reliability(np.array([0.5, 0.5000001]), np.array([True, True]), num_bins=2)
    assert [each.num_videos for each in bins] == [1, 1]


@given(seed=st.integers(0, 50))
def test_figures_of_classes_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, answers = rng.integers(0, 5, 30), rng.integers(0, 5, 30)
    matrix = confusion(np.eye(5, dtype=np.float32)[answers], labels)
    expected = classification_report(labels, answers, labels=range(5), output_dict=True, zero_division=np.nan)
    for found in figures.class_figures(matrix):
        row = expected[str(found.index)]
        values = (found.precision, found.recall, found.f1, found.num_videos)
        np.testing.assert_allclose(values, [row[name] for name in ("precision", "recall", "f1-score", "support")])
        assert found.num_called == (answers == found.index).sum()


def test_a_class_names_the_one_it_is_most_often_mistaken_for() -> None:
    found = figures.class_figures(np.array([[5, 1, 2], [0, 3, 0], [0, 0, 0]]))
    assert [each.mistaken_for for each in found] == [2, None, None]
    assert np.isnan([found[2].recall, found[1].precision]).tolist() == [True, False]


def test_classes_that_are_confused_most_come_first_and_side_by_side() -> None:
    matrix = np.diag([9] * 6)
    matrix[4, 1], matrix[0, 5], matrix[1, 4] = 7, 3, 2
    assert figures.confused_pairs(matrix) == [(4, 1, 7), (0, 5, 3), (1, 4, 2)]
    assert figures.confusion_order(matrix) == [4, 1, 0, 5, 2, 3]


@given(first=st.integers(0, 30), second=st.integers(0, 30))
def test_mcnemars_test_is_exact(first: int, second: int) -> None:
    total, smaller = first + second, min(first, second)
    tail = sum(comb(total, k) for k in range(smaller + 1)) / 2**total
    assert figures.mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))


def test_a_comparison_sorts_the_videos_by_who_is_right() -> None:
    labels, here, there = np.array([0, 0, 0, 0, 0]), np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 2])
    found = figures.compare(here, there, labels)
    masks = (found.both_right, found.gained, found.lost, found.swapped, found.both_wrong)
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [[0], [1], [2], [4], [3, 4]]


def test_views_are_counted_by_how_many_agree_with_the_answer() -> None:
    choices = np.array([[[1, 1], [1, 1]], [[1, 1], [1, 0]], [[1, 0], [1, 0]], [[0, 0], [0, 1]]])
    found = figures.agreement(choices, answers=np.array([1, 1, 1, 1]), labels=np.array([1, 0, 1, 1]))
    assert [(count, share) for _, count, share in found.levels] == [(1, 1.0), (1, 0.0), (2, 1.0)]
    assert found.accuracy.tolist() == [[0.5, 0.25], [0.5, 0.75]]


# Comparisons


def test_the_other_models_videos_and_classes_may_stand_in_any_order() -> None:
    scores, other = random_scores(0), random_scores(1)
    order = np.random.default_rng(0).permutation(60)
    columns = [5, 4, 3, 2, 1, 0]
    mixed = Scores(
        tuple(other.ids[row] for row in order),
        5 - other.labels[order],
        other.logits[np.ix_(order, columns)],
        tuple("fedcba"),
        other.protocol,
    )
    plain, found = pair(scores, other, names=("a", "b")), pair(scores, mixed, names=("a", "b"))
    np.testing.assert_array_equal(found.there.logits, plain.there.logits)
    assert str(found) == str(plain)


def test_videos_of_one_test_alone_are_left_out_and_counted() -> None:
    scores, other = random_scores(0), random_scores(1)
    found = pair(scores.select(scores.ids[2:]), other.select(other.ids[:-3]), names=("a", "b"))
    assert (found.left_out, found.here.ids) == (5, scores.ids[2:-3])
    page = Report(scores, other=other.select(other.ids[:-3])).html()
    assert "3 videos are in one of the two tests alone and left out here" in page


def test_models_without_a_common_video_cannot_be_compared() -> None:
    scores = random_scores(0)
    other = dataclasses.replace(scores, ids=tuple(f"x{video}" for video in scores.ids))
    with pytest.raises(ScoresError, match="b and a have no video in common, as x0.mp4 and 0.mp4 show; test both"):
        pair(scores, other, names=("a", "b"))
    with pytest.raises(ScoresError, match="b has 6 classes and a has 6, or other names"):
        pair(scores, dataclasses.replace(scores, classes=tuple("ABCDEF")), names=("a", "b"))


# The page


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
    report = Report(scores, "<i>m</i>", None, None, {"<u>v</u>": "<u>why</u>"}, other, "<s>o</s>")
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
    html = Report(scores, other=other).html()
    page = Page(html)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    assert not re.search(r"@import|url\(|http-equiv=\"refresh|https?://", html)
    assert all(name in html for name in names)
    assert len(html) < 400_000


def test_many_classes_are_a_picture_and_a_table_of_pairs() -> None:
    few, many = (
        Page(Report(random_scores(0, videos=200, classes=[f"c{n}" for n in range(count)])).html()) for count in (30, 31)
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
    report = Report(scores, "run/best.safetensors", other=random_scores(4), other_name="b.npz")
    text = " ".join("".join(Page(report.html()).text).split())
    metrics, found = scores.metrics(), report.comparison
    assert found is not None
    assert f"Top-1 accuracy{100 * metrics.top1:.1f} %" in text
    assert "8 segments × 1 clips × 1 crops" in text
    assert f"Right here{found.figures.both_right.sum()}{found.figures.gained.sum()}" in text
    assert f"p = {found.figures.p_value:.3g}" in text
    assert "15 bins of equal width" in text


def test_the_same_scores_give_the_same_page() -> None:
    assert Report(random_scores(0)).html() == Report(random_scores(0)).html()


def test_the_surest_mistakes_and_the_least_certain_hits_are_told_in_order() -> None:
    margins = [5.0, 1.0, 3.0, 4.0, 0.5, 2.0]  # of the answer, which is class 0
    logits = np.array([[margin, 0.0] for margin in margins], np.float32)
    page = Report(Scores(tuple("abcdef"), np.array([1, 1, 1, 0, 0, 0]), logits, ("x", "y"), "p")).html()
    wrong, right = (
        re.findall(r"<bdi>([a-f])</bdi>", part) for part in page.split('id="mistakes"')[1].split('id="hits"')
    )
    assert (wrong, right) == (["a", "c", "b"], ["e", "f", "d"])


def test_a_model_that_is_always_right_or_always_wrong_has_a_page() -> None:
    logits = np.eye(3, dtype=np.float32)
    for labels, said in ((np.arange(3), "There are no mistakes."), (np.array([1, 2, 0]), "There are no hits.")):
        assert said in Report(Scores(("a", "b", "c"), labels, logits, ("x", "y", "z"), "p")).html()


def test_names_that_are_no_text_are_written_too(tmp_path: Path) -> None:
    scores = dataclasses.replace(random_scores(0), ids=tuple(f"\udcff{number}" for number in range(60)))
    write_report(Report(scores), tmp_path / "out.html")
    assert "\\udcff" in (tmp_path / "out.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


# The command


@pytest.fixture(scope="module")
def model(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights that knows the classes of the clips."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    classes = (clips / "classes.txt").read_text().splitlines()
    gs.save_model(gs.create_model("test_resnet", temporal="gsm", classes=classes, size_px=32), path)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    main([str(argument) for argument in (*arguments, "--segments", 4, "--workers", 0)])
    return capsys.readouterr().out


def refuse(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        run(capsys, *arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_test_writes_a_report_with_frames_views_and_a_comparison(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, scores, other = tmp_path / "out.html", tmp_path / "a.npz", tmp_path / "b.npz"
    plain = run(capsys, "test", model, clips / "val.csv", "--scores", other)
    wide = ("--clips", 2, "--crops", 3, "--scores", scores, "--report", out, "--compare", other)
    printed = run(capsys, "test", model, clips / "val.csv", *wide)
    assert f"report: {out}" in printed
    assert re.search(rf"compared with {other}: top-1 .* \(4 segments × 1 clips × 1 crops\); \d+ videos right", printed)
    page = Page(out.read_text(encoding="utf-8"))
    text = " ".join("".join(page.text).split())
    assert f"Top-1 accuracy{100 * load_scores(scores).metrics().top1:.1f} %" in text
    assert "Each video was seen in 6 views, 2 × 3 clips and crops" in text
    frames = [address for address in page.addresses if address.startswith("data:image/jpeg")]
    assert len(frames) == 8 * len(re.findall(r"probability \d", text)) >= 64
    frame = Image.open(io.BytesIO(base64.b64decode(frames[0].partition(",")[2])))
    assert frame.size == (48, 36)
    assert "report:" not in plain


def test_the_frames_are_those_of_the_video_in_order(
    model: Path, tmp_path: Path, counting_frames: object, write_video: object, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "one.mp4", counting_frames(40))  # type: ignore[operator]
    (tmp_path / "val.csv").write_text("path,label\none.mp4,cover\n")
    run(capsys, "test", model, tmp_path / "val.csv", "--report", tmp_path / "out.html")
    addresses = Page((tmp_path / "out.html").read_text(encoding="utf-8")).addresses
    frames = [Image.open(io.BytesIO(base64.b64decode(each.partition(",")[2]))) for each in addresses if "jpeg" in each]
    numbers = [round((np.asarray(frame).mean() - 10) / 4) for frame in frames]
    assert numbers == [2, 7, 12, 17, 22, 27, 32, 37]  # the middles of eight parts of five frames


def test_each_view_chooses_for_itself_and_mirrored_ones_for_the_swapped_class(model: Path, clips: Path) -> None:
    network, manifest = gs.load_model(model), read_manifest(clips / "val.csv")
    pairs = (("move left", "move right"), ("cover", "uncover"))
    config = dataclasses.replace(network.config, mirror_pairs=pairs)
    protocol = EvalProtocol(4, num_clips=2, num_crops=10)
    accelerator = create_accelerator("no")
    found = evaluate_views(network, config, manifest, protocol, accelerator, batch_size=3, workers=0)
    assert found.choices.shape == (10, 2, 10)
    names = config.classes
    swap = {names.index(one): names.index(two) for pair in pairs for one, two in (pair, pair[::-1])}
    for row, entry in enumerate(manifest.entries):
        with open_entry(entry) as video, torch.inference_mode():
            shown = network(read_views(video, protocol, size_px=config.size_px, resize_px=config.resize_px)).argmax(1)
        for view, choice in enumerate(shown.tolist()):
            expected = swap.get(choice, choice) if view % 2 else choice
            assert found.choices[row, view // 10, view % 10] == expected


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
    html = Report(scores, manifest=manifest).html()
    assert html.count("No frames:") == 2
    assert html.count('<div class="strip"') == 6


def test_unreadable_videos_are_skipped_if_asked_and_listed(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(clips / "val", tmp_path / "val")
    shutil.copy(clips / "val.csv", tmp_path)
    rows = (clips / "val.csv").read_text().splitlines()
    bad, worse = rows[1].partition(",")[0], rows[6].partition(",")[0]
    for name in (bad, worse):
        (tmp_path / name).write_bytes(b"no video")
    out, scores = tmp_path / "out.html", tmp_path / "a.npz"
    options = ("--report", out, "--scores", scores, "--batch-size", 1)
    assert bad in refuse(capsys, "test", model, tmp_path / "val.csv", *options)
    too_few = refuse(capsys, "test", model, tmp_path / "val.csv", *options, "--skip-bad", 1)
    assert f"--skip-bad 1: 2 videos cannot be read, the last: {tmp_path / worse}" in too_few
    assert not out.exists()
    printed = run(capsys, "test", model, tmp_path / "val.csv", *options, "--skip-bad", 2)
    assert "8 videos" in printed and "skipped 2 videos that cannot be read:\n" in printed
    assert bad not in load_scores(scores).ids
    text = " ".join("".join(Page(out.read_text(encoding="utf-8")).text).split())
    assert "Videos8, 2 more skipped" in text
    for name in (bad, worse):
        assert name in text.partition("count in no figure of this page: 2.")[2]


def test_a_list_without_a_single_readable_video_is_an_error(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "val.csv").write_text("path,label\na.mp4,cover\nb.mp4,cover\n")
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    printed = refuse(capsys, "test", model, tmp_path / "val.csv", "--skip-bad", 5).strip()
    assert printed.startswith("gateshift: none of the 2 videos can be read; the first: ")
    assert "a.mp4" in printed and "\n" not in printed


def test_a_report_that_cannot_be_written_is_an_error_before_the_test(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.html").write_text("old")
    (tmp_path / "folder.html").mkdir()
    cases: Mapping[str, str] = {
        "old.html": "exists; choose another name, or add --overwrite",
        "a.pdf": "its name must end with .html; rename it",
        "nowhere/a.html": "create it",
        "folder.html": "is a folder; choose another name",
    }
    for name, message in cases.items():
        printed = refuse(capsys, "test", model, tmp_path / "no.csv", "--report", tmp_path / name)
        assert printed.startswith(f"gateshift: --report {tmp_path / name}") and message in printed
    assert (tmp_path / "old.html").read_text() == "old"


def test_an_old_report_is_replaced_if_asked(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.html").write_text("old")
    run(capsys, "test", model, clips / "val.csv", "--report", tmp_path / "old.html", "--overwrite")
    assert (tmp_path / "old.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_scores_of_other_videos_or_classes_are_refused_before_the_test(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = (clips / "classes.txt").read_text().splitlines()
    for names, message in (
        (tuple("abcdef"), "has 6 classes and this test has 10"),
        (classes, "are of different videos"),
    ):
        save_scores(random_scores(0, classes=names), tmp_path / "other.npz")
        options = ("--compare", tmp_path / "other.npz", "--scores", tmp_path / "mine.npz")
        printed = refuse(capsys, "test", model, clips / "val.csv", *options)
        assert printed.startswith(f"gateshift: --compare {tmp_path / 'other.npz'}") and message in printed
        assert not (tmp_path / "mine.npz").exists()


# The document


def test_the_documents_python_runs_and_its_commands_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / "docs" / "reports.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "reports.md", "exec"), {})
    assert "Evaluation of <bdi>my model</bdi>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    commands = re.findall(r"^gateshift (.*)$", text, re.MULTILINE)
    assert [type(parse(command.split())) for command in commands] == [EvaluationSettings, EvaluationSettings]
