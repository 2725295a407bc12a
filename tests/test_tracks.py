"""Persons that a tracker has followed: one answer for each, as of videos that were cut by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_data import trained as after_training

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.tracks import TRACK_COLUMNS, Track, read_tracks
from gateshift.data.video.files import open_video
from gateshift.errors import ManifestError, ModelError, SettingsError
from gateshift.model.classifier import VideoClassifier

NUM_FRAMES, HEIGHT, WIDTH = 24, 96, 160
SIDE, MARGIN = 24, 0.5  # of a person, and around it
TOP = {"right": 12, "left": 60}  # of each person


def left_of(person: str, number: int) -> int:
    """Where a person is: one walks to the right, the other to the left."""
    return 16 + 4 * number if person == "right" else 116 - 4 * number


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """Two persons, each a texture of its own that changes as it walks, before a gray wall."""
    rng = np.random.default_rng(0)
    frames = np.full((NUM_FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8)
    for person, top in TOP.items():
        texture = np.kron(rng.integers(0, 256, (NUM_FRAMES, 6, 6, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)
        for number in range(NUM_FRAMES):
            left = left_of(person, number)
            frames[number, top : top + SIDE, left : left + SIDE] = texture[number]
    return write_video(tmp_path_factory.mktemp("persons") / "hall.mp4", frames)


@pytest.fixture(scope="module")
def model() -> VideoClassifier:
    torch.manual_seed(0)
    return after_training(gs.create_model("test_resnet", classes=["go", "sit", "run"], num_segments=4, size_px=32))


@pytest.fixture(scope="module")
def model_file(model: VideoClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    gs.save_model(model, path)
    return path


def box_of(person: str, number: int) -> tuple[float, ...]:
    left, top = left_of(person, number), TOP[person]
    return left, top, left + SIDE, top + SIDE


def write_tracks(path: Path, rows: Sequence[Sequence[object]], columns: Sequence[str] = TRACK_COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def seen(person: str) -> range:
    return range(2, 22) if person == "right" else range(NUM_FRAMES)


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    """Rows as trackers write them: frame by frame."""
    pairs = [(number, person) for number in range(NUM_FRAMES) for person in TOP if number in seen(person)]
    return write_tracks(
        tmp_path / "tracks.csv", [(number, *box_of(person, number), person) for number, person in pairs]
    )


@pytest.mark.slow
def test_each_person_has_the_answer_of_a_video_cut_by_hand(model: VideoClassifier, video: Path, tracks: Path) -> None:
    with open_video(video) as opened:
        frames = opened.read(range(NUM_FRAMES)).permute(0, 2, 3, 1).numpy()
        times_s = opened.ends_s()  # type: ignore[attr-defined]
    found = gs.predict_tracks(model, video, tracks, margin=MARGIN, clips=2, crops=3)
    assert [each.id for each in found] == ["left", "right"]
    around = round(SIDE * MARGIN) // 2
    answers = []
    for each in found:
        cut = []
        for number in seen(each.id):
            left, top = left_of(each.id, number) - around, TOP[each.id] - around
            cut.append(frames[number, top : top + 36, left : left + 36])
        by_hand = model.predict(np.stack(cut), clips=2, crops=3)
        assert each.prediction.probabilities is not None and by_hand.probabilities is not None
        assert torch.allclose(each.prediction.probabilities, by_hand.probabilities, rtol=0, atol=1e-6)
        assert each.label == by_hand.label and each.prediction.video == str(video)
        assert (each.first_frame, each.last_frame) == (seen(each.id)[0], seen(each.id)[-1])
        assert (each.start_s, each.end_s) == (times_s[each.first_frame], times_s[each.last_frame + 1])
        assert each.num_frames == len(seen(each.id))
        answers.append(by_hand.probabilities)
    assert not torch.allclose(*answers, atol=1e-3)
    one_by_one = gs.predict_tracks(model, video, tracks, margin=MARGIN, clips=2, crops=3, batch_size=1)
    for one, other in zip(one_by_one, found, strict=True):
        torch.testing.assert_close(one.prediction.probabilities, other.prediction.probabilities, rtol=0, atol=1e-6)


def test_images_have_persons_without_times(
    tmp_path: Path, model: VideoClassifier, video: Path, tracks: Path, write_folder: Callable[..., Path]
) -> None:
    with open_video(video) as opened:
        folder = write_folder(tmp_path / "frames", opened.read(range(NUM_FRAMES)).permute(0, 2, 3, 1).numpy())
    of_file, of_images = (gs.predict_tracks(model, source, tracks) for source in (video, folder))
    for one, other in zip(of_file, of_images, strict=True):
        assert one.prediction.top == other.prediction.top and one.start_s is not None
        assert other.start_s is None and other.end_s is None


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.floats(-40, 190), st.floats(-40, 90), st.floats(4, 200), st.floats(4, 200)),
        min_size=1,
        max_size=20,
        unique_by=lambda row: row[0],
    ),
    st.floats(0, 2),
)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_squares_are_in_the_picture_and_of_one_size(rows: list[tuple[float, ...]], margin: float) -> None:
    rows = sorted(rows)
    frames = np.array([int(row[0]) for row in rows])
    boxes = np.array([(x, y, x + width, y + height) for _, x, y, width, height in rows])
    squares = Track("1", frames, boxes).squares(200, 100, margin=margin)
    left, top, right, bottom = squares.T
    assert (left >= 0).all() and (top >= 0).all() and (right <= 200).all() and (bottom <= 100).all()
    assert len({*(right - left).tolist()}) == 1 and len({*(bottom - top).tolist()}) == 1
    longest = (boxes.clip(0, (200, 100, 200, 100))[:, 2:] - boxes.clip(0, (200, 100, 200, 100))[:, :2]).max()
    wanted = round(longest * (1 + margin))
    assert right[0] - left[0] == min(wanted, 200) and bottom[0] - top[0] == min(wanted, 100)


def test_a_square_does_not_shake_with_its_boxes_and_goes_on_where_nobody_is_seen() -> None:
    shaking = np.array([50 + 10 * (number % 2) for number in range(40)], float)
    boxes = np.stack([shaking, shaking * 0 + 40, shaking + 20, shaking * 0 + 60], axis=1)
    left = Track("1", np.arange(40), boxes).squares(200, 100, margin=0.0)[:, 0]
    assert np.ptp(left[5:-5]) <= 2 < np.ptp(shaking)
    walking = np.array([0, 1, 2, 3, 12, 13, 14, 15])  # a pixel a frame, behind a column for a while
    boxes = np.stack([walking + 30, walking * 0 + 40, walking + 50, walking * 0 + 60], axis=1).astype(float)
    assert np.array_equal(Track("1", walking, boxes).squares(200, 100, margin=0.0)[:, 0], walking + 30)


GOOD = (0, 10, 10, 40, 40, "7")
TABLES: dict[str, tuple[list[Sequence[object]], str]] = {
    "no rows": ([], "no boxes in it; give those of a tracker"),
    "a text": ([(0, "left", 10, 40, 40, "7")], "line 2: x0 'left'; it must be a number"),
    "not a number": ([(0, 10, "nan", 40, 40, "7")], "line 2: y0 'nan'; it must be a number"),
    "half a frame": ([(0.5, 10, 10, 40, 40, "7")], "line 2: frame '0.5'; frames are whole numbers from 0"),
    "before the first": ([(-1, 10, 10, 40, 40, "7")], "line 2: frame '-1'; frames are whole numbers from 0"),
    "no id": ([(0, 10, 10, 40, 40, " ")], "line 2: no id"),
    "reversed": ([(0, 40, 10, 10, 40, "7")], "line 2: box .* ends before it begins"),
    "twice": ([GOOD, GOOD], "tracks.csv: id 7 is in frame 0 twice"),
    "beyond the video": ([GOOD, (24, 10, 10, 40, 40, "7")], "id 7 is in frame 24, and .*hall.mp4 has frames 0 to 23"),
    "outside": ([GOOD, (1, 160, 10, 190, 40, "7")], "id 7 in frame 1: the box 160,10,190,40 is outside of the picture"),
    "shares": ([(0, 0.1, 0.1, 0.4, 0.4, "7")], "id 7 is smaller than 4 px in all of its frames; give boxes in pixels"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_table_is_one_line(tmp_path: Path, model: VideoClassifier, video: Path, name: str) -> None:
    rows, told = TABLES[name]
    with pytest.raises(ManifestError, match=told) as caught:
        gs.predict_tracks(model, video, write_tracks(tmp_path / "tracks.csv", rows))
    assert "\n" not in str(caught.value) and "tracks.csv" in str(caught.value)


def test_a_table_without_a_column_says_which_are_needed(tmp_path: Path, model: VideoClassifier, video: Path) -> None:
    source = write_tracks(tmp_path / "tracks.csv", [GOOD[:-1]], TRACK_COLUMNS[:-1])
    with pytest.raises(ManifestError, match="columns frame, x0, y0, x1, y1; its first line must be .*y1,id"):
        gs.predict_tracks(model, video, source)
    with pytest.raises(ManifestError, match="no such file"):
        gs.predict_tracks(model, video, tmp_path / "missing.csv")


def test_arguments_are_checked(tmp_path: Path, model: VideoClassifier, video: Path, tracks: Path) -> None:
    with pytest.raises(SettingsError, match="`margin` -1"):
        gs.predict_tracks(model, video, tracks, margin=-1)
    with pytest.raises(SettingsError, match=r"`out` .*answers.txt"):
        gs.predict_tracks(model, video, tracks, out=tmp_path / "answers.txt")
    dense = gs.create_model("test_resnet", classes=["a"], task="spot", fps=25, size_px=32).eval()
    with pytest.raises(ModelError, match="answers for each frame"):
        gs.predict_tracks(dense, video, tracks)


def test_whoever_is_seen_once_is_told(tmp_path: Path, model_file: Path, video: Path, tracks: Path, capsys: Any) -> None:
    with tracks.open("a") as file:
        file.write("5,10,10,40,40,passing\n")
    out = tmp_path / "answers.csv"
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(model_file), str(video), "--tracks", str(tracks), "--json", "--out", str(out)])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    records = [json.loads(line) for line in printed.out.splitlines()]
    assert [record["id"] for record in records] == ["left", "right", "passing"]
    assert [record["error"] is None for record in records] == [True, True, False]
    assert records[2]["label"] is None and records[2]["num_frames"] == 1
    assert printed.err.splitlines() == [f"gateshift: {video}: id passing is seen in 1 frame, and a clip has at least 2"]
    with out.open() as file:
        listed = list(csv.DictReader(file))
    assert [row["id"] for row in listed] == ["left", "right", "passing"]
    assert [row["label"] for row in listed] == [record["label"] or "" for record in records]
    assert listed[1]["first_frame"] == "2" and listed[1]["last_frame"] == "21" and listed[1]["start_s"] == "0.080"
    assert listed[2]["error"] and not listed[2]["score"]


@pytest.mark.slow
def test_the_command_line_writes_json_and_prints_a_line_for_each(
    tmp_path: Path, model_file: Path, model: VideoClassifier, video: Path, tracks: Path, capsys: Any
) -> None:
    out = tmp_path / "answers.json"
    command = ["predict", str(model_file), str(video), "--tracks", str(tracks), "--out", str(out)]
    main(command)
    printed = capsys.readouterr().out.splitlines()
    expected = gs.predict_tracks(model, video, tracks)
    written = json.loads(out.read_text())
    assert written["video"] == str(video)
    assert [record["label"] for record in written["tracks"]] == [each.label for each in expected]
    assert [line.partition(":")[0] for line in printed] == [
        f"{video}, id left, frames 0-23",
        f"{video}, id right, frames 2-21",
    ]
    for words, told in (
        ([], "exists"),
        (["--overwrite", "--box", "0,0,0.5,0.5"], "--box 0,0,0.5,0.5 with --tracks"),
        (["--overwrite", "--workers", "2"], "--workers 2 with --tracks"),
        (["--overwrite", "--stream"], "--stream with --tracks"),
        (["--overwrite", "--engine", "ray"], "--tracks with --engine ray"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([*command, *words])
        told_lines = capsys.readouterr().err.splitlines()
        assert stop.value.code == 2 and len(told_lines) == 1 and told in told_lines[0], told_lines
    main([*command, "--overwrite"])
    with pytest.raises(SystemExit):
        main(["predict", str(model_file), str(video), str(video), "--tracks", str(tracks)])
    assert "2 videos were named; --tracks are of one" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", str(model_file), str(video), "--margin", "0.5"])
    assert "--margin 0.5 was given without --tracks" in capsys.readouterr().err


def test_other_columns_and_orders_are_taken(tmp_path: Path, tracks: Path) -> None:
    (left, right) = read_tracks(tracks)
    with tracks.open() as file:
        rows = list(csv.DictReader(file))
    columns = ("score", "id", *TRACK_COLUMNS[:-1])
    other = write_tracks(
        tmp_path / "other.csv", [["0.9", *(row[name] for name in columns[1:])] for row in reversed(rows)], columns
    )
    for one, again in zip((right, left), read_tracks(other), strict=False):
        known = {left.id: left, right.id: right}[again.id]
        assert np.array_equal(known.frames, again.frames) and np.array_equal(known.boxes, again.boxes)
        assert one.id in ("left", "right")
