"""What a training leaves to look at: curves, the first batch, gates over epochs, counts of labels."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from trainings import StopAt, train_small

import gateshift as gs
from gateshift.data.lists.manifest import read_manifest
from gateshift.errors import StoppedError
from gateshift.training import loop
from gateshift.training import progress_page as training_page
from gateshift.training.progress_page import draw_batch, draw_curves, watched_clips, write_training_page
from gateshift.training.run_folder import RunFolder
from gateshift.training.train import TrainResult


@pytest.fixture
def run(trained: TrainResult) -> RunFolder:
    return RunFolder(trained.folder)


@pytest.mark.slow
def test_a_training_leaves_a_page_with_its_curves_first_batch_epochs_and_labels(run: RunFolder) -> None:
    page = run.page.read_text(encoding="utf-8")
    assert "<h1>Training my run</h1>" in page
    assert page.count('src="data:image/png;base64,') == 2
    assert f">{run.read_log()[1]['loss']:.4g}</td>" in page
    assert '<td>approach</td>\n<td class="number">1</td>\n<td class="number">1</td>' in page
    for picture in (run.curves, run.first_batch):
        with Image.open(picture) as image:
            image.load()


@pytest.mark.slow
@pytest.mark.parametrize(("every_s", "drawn"), [(0.0, [1, 2, 3, 4]), (1000.0, [2, 4])])
def test_the_page_waits_for_more_than_a_short_epoch_but_not_at_the_end_nor_when_the_run_is_stopped(
    every_s: float, drawn: list[int], clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    monkeypatch.setattr(loop, "DRAW_EVERY_S", every_s)
    monkeypatch.setattr(loop, "write_training_page", lambda folder, *_: shown.append(len(folder.read_log())))
    options: dict[str, Any] = {"epochs": 4, "batch_size": 10}  # one batch an epoch
    stopping = StopAt(3)
    with pytest.raises(StoppedError):
        train_small(clips, tmp_path / "run", stopping, stop=stopping.request, **options)
    train_small(clips, tmp_path / "run", resume=True, **options)
    assert shown == drawn


@pytest.mark.slow
def test_the_log_says_how_far_gates_are_open_on_clips_that_stay_the_same(run: RunFolder, clips: Path) -> None:
    model = gs.load_model(run.last)
    watched = watched_clips(model, read_manifest(clips / "val.csv"), 4)
    assert watched is not None
    with run.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for layer, both in gs.gate_openness(model, [watched]).items():
        assert float(rows[1][f"gate/{layer}"]) == pytest.approx(float(both.mean()), abs=1e-4)
        assert float(rows[0][f"gate/{layer}"]) != float(rows[1][f"gate/{layer}"])


def test_watched_clips_come_from_all_over_the_list_and_bad_videos_are_left_out(run: RunFolder, tmp_path: Path) -> None:
    model = gs.load_model(run.last)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "list.csv").write_text("path,label\n" + f"bad.mp4,{model.classes[0]}\n")
    assert watched_clips(model, read_manifest(tmp_path / "list.csv"), 3) is None


def test_the_first_batch_is_drawn_frame_beside_frame_in_order(tmp_path: Path) -> None:
    levels = torch.tensor([0, 120, 250], dtype=torch.uint8).view(1, 3, 1, 1, 1).expand(1, 3, 3, 40, 40)
    draw_batch(levels, ["$x^ & <b>"], tmp_path / "batch.png")
    with Image.open(tmp_path / "batch.png") as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    row = pixels[int(0.7 * len(pixels))]
    places = [int(share * len(row)) for share in (0.2, 0.5, 0.8)]
    assert row[places].tolist() == pytest.approx([0, 120, 250], abs=2)


@pytest.mark.slow
def test_the_page_says_how_many_videos_each_class_has(run: RunFolder, tmp_path: Path) -> None:
    lists = [tmp_path / "train.csv", tmp_path / "val.csv"]
    for path, counts in zip(lists, ({"b": 12, "a": 3}, {"a": 2}), strict=True):
        labels = [label for label, count in counts.items() for _ in range(count)]
        rows = [f"{number}.mp4,{label}" for number, label in enumerate(labels)]
        path.write_text("\n".join(["path,label", *rows]))
    write_training_page(run, ["a", "b", "none"], *map(read_manifest, lists))
    page = run.page.read_text(encoding="utf-8")
    for name, *counts in (("a", 3, 2), ("b", 12, 0), ("none", 0, 0)):
        cells = "\n".join(f'<td class="number">{count}</td>' for count in counts)
        assert f"<td>{name}</td>\n{cells}" in page


def test_what_was_validated_is_drawn_whichever_epoch_was_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(training_page, "save_png", lambda figure, _: drawn.extend(labels_in(figure)))
    draw_curves(
        [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "val_top1": 0.5}, {"epoch": 3, "loss": 1.0}], tmp_path
    )
    assert "validation" in drawn


def labels_in(figure: Any) -> list[str]:
    return [line.get_label() for axis in figure.axes for line in axis.get_lines()]


@pytest.mark.slow
def test_names_are_shown_as_they_are(run: RunFolder, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{clips / 'unseen' / 'approach.mp4'},<script>alert(1)</script>\n")
    manifest = read_manifest(tmp_path / "list.csv")
    write_training_page(run, manifest.class_names(), manifest, manifest)
    page = run.page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>" not in page
