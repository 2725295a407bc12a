"""The drawn data set: files, manifests, and classes that are each other backwards."""

import csv
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from gateshift.demo.reversal_clips import PAIRS, draw_clip, write_mp4, write_reversal_clips
from gateshift.demo.scenes import MAX_FRAMES, MIN_FRAMES
from gateshift.errors import SettingsError

NAMES = [name for pair in PAIRS for name in pair]
pairs = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])


def decoded(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def drawn(label: str, seed: int, size_px: tuple[int, int] = (96, 72)) -> NDArray[np.uint8]:
    return draw_clip(label, rng=np.random.default_rng(seed), size_px=size_px)


def middle_of_change(frames: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre (x, y) of what is in the first, and in the last frame and not in the other."""
    first, last = frames[0].astype(float), frames[-1].astype(float)
    usual = np.median(frames, axis=0)

    def centre(frame: NDArray[np.float64]) -> NDArray[np.float64]:
        y, x = np.nonzero(np.abs(frame - usual).sum(-1) > 60)
        return np.array([x.mean(), y.mean()])

    return centre(first), centre(last)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_reversal_clips(folder, train_per_class=2, val_per_class=2, seed=3)
    return folder


@pytest.mark.slow
@pairs
def test_the_second_class_of_a_pair_is_the_first_with_its_frames_reversed(pair: tuple[str, str]) -> None:
    for seed in range(3):
        np.testing.assert_array_equal(drawn(pair[0], seed), drawn(pair[1], seed)[::-1])


@pairs
def test_the_frames_without_their_order_are_the_same_for_both_classes_of_a_pair(
    pair: tuple[str, str],
) -> None:
    forward, backward = ({frame.tobytes() for frame in drawn(name, 5)} for name in pair)
    assert forward == backward


@pairs
def test_a_clip_ends_on_another_picture_than_it_starts_with(pair: tuple[str, str]) -> None:
    for seed in range(3):
        frames = drawn(pair[0], seed).astype(float)
        change = (frames[-1] - frames[0]).reshape(9, 8, 12, 8, 3).mean((1, 3))  # blocks, free of noise
        assert np.abs(change).max() > 25


@pytest.mark.slow
def test_move_left_ends_further_left_than_it_starts() -> None:
    moved = []
    for seed in range(8):
        first, last = middle_of_change(drawn("move left", seed))
        moved.append(last[0] - first[0])
    assert np.median(moved) < -0.25 * 96


def test_drawing_again_from_the_same_seed_gives_the_same_frames() -> None:
    np.testing.assert_array_equal(drawn("cover", 7), drawn("cover", 7))


def test_another_seed_gives_another_clip() -> None:
    assert drawn("cover", 7)[0].tobytes() != drawn("cover", 8)[0].tobytes()


@pytest.mark.slow
def test_lengths_vary_and_stay_within_the_documented_range() -> None:
    lengths = [len(drawn("cover", seed, (32, 32))) for seed in range(60)]
    assert min(lengths) >= MIN_FRAMES == 17
    assert max(lengths) <= MAX_FRAMES == 47
    assert len(set(lengths)) > 10


@pytest.mark.slow
@pytest.mark.parametrize("num_segments", [2, 3, 4, 5, 8, 16])
def test_the_middle_frames_of_equal_segments_are_the_same_forward_and_backward(num_segments: int) -> None:
    for seed in range(20):
        num_frames = len(drawn("cover", seed, (32, 32)))
        middles = [(2 * i + 1) * num_frames // (2 * num_segments) for i in range(num_segments)]
        assert [num_frames - 1 - i for i in reversed(middles)] == middles


@pytest.mark.parametrize("size_px", [(32, 32), (64, 96), (128, 48)])
@pytest.mark.parametrize("label", NAMES[::2])
def test_every_action_draws_at_other_picture_sizes(label: str, size_px: tuple[int, int]) -> None:
    assert drawn(label, 0, size_px).shape[1:] == (size_px[1], size_px[0], 3)


@pytest.mark.slow
def test_the_manifests_list_the_asked_number_of_clips_of_each_class(folder: Path) -> None:
    for split in ("train", "val"):
        labels = [row["label"] for row in rows(folder / f"{split}.csv")]
        assert {name: labels.count(name) for name in NAMES} == dict.fromkeys(NAMES, 2)


@pytest.mark.slow
def test_manifests_and_files_agree(folder: Path) -> None:
    for split in ("train", "val"):
        listed = [row["path"] for row in rows(folder / f"{split}.csv")]
        found = [path.relative_to(folder).as_posix() for path in (folder / split).rglob("*")]
        assert sorted(listed) == sorted(path for path in found if path.endswith(".mp4"))


@pytest.mark.slow
def test_each_clip_lies_in_the_folder_of_its_class(folder: Path) -> None:
    for split in ("train", "val"):
        for row in rows(folder / f"{split}.csv"):
            assert row["path"].split("/")[:2] == [split, row["label"]]


@pytest.mark.slow
def test_classes_txt_lists_the_pairs_in_order(folder: Path) -> None:
    assert (folder / "classes.txt").read_text(encoding="utf-8").splitlines() == NAMES


@pytest.mark.slow
def test_there_is_an_unseen_clip_named_after_each_class(folder: Path) -> None:
    assert {path.stem.replace("_", " ") for path in (folder / "unseen").iterdir()} == set(NAMES)


@pytest.mark.slow
def test_no_unfinished_file_is_left_behind(folder: Path) -> None:
    assert not list(folder.rglob(".partial-*"))


@pytest.mark.slow
def test_every_file_decodes_to_its_full_length_at_its_size(folder: Path) -> None:
    for path in folder.rglob("*.mp4"):
        frames = decoded(path)
        with av.open(str(path)) as container:
            assert container.streams.video[0].frames == len(frames)
        assert frames.shape[1:] == (72, 96, 3)
        assert MIN_FRAMES <= len(frames) <= MAX_FRAMES


@pytest.mark.slow
@pairs
@pytest.mark.parametrize("path", ["val/{}/0000.mp4", "val/{}/0001.mp4", "unseen/{}.mp4"])
def test_decoded_val_and_unseen_clips_are_exact_reversals(folder: Path, pair: tuple[str, str], path: str) -> None:
    names = [name.replace(" ", "_") if path.startswith("unseen") else name for name in pair]
    forward, backward = (decoded(folder / path.format(name)) for name in names)
    np.testing.assert_array_equal(forward, backward[::-1])


@pytest.mark.slow
@pairs
def test_training_clips_of_the_two_classes_are_not_reversals(folder: Path, pair: tuple[str, str]) -> None:
    forward, backward = (decoded(folder / f"train/{name}/0000.mp4") for name in pair)
    assert len(forward) != len(backward) or np.abs(forward.astype(int) - backward[::-1]).mean() > 5


@pytest.mark.slow
def test_no_clip_is_in_two_splits(folder: Path) -> None:
    first_frames = [decoded(path)[0].tobytes() for path in (folder / "train").rglob("*.mp4")]
    others = [decoded(path) for split in ("val", "unseen") for path in (folder / split).rglob("*.mp4")]
    assert not set(first_frames) & {frame.tobytes() for frames in others for frame in frames}


@pytest.mark.slow
def test_every_frame_is_a_key_frame(folder: Path) -> None:
    with av.open(str(folder / "val/cover/0000.mp4")) as container:
        assert all(frame.key_frame for frame in container.decode(video=0))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_the_encoded_picture_is_close_to_the_drawn_one(tmp_path: Path, codec: str) -> None:
    frames = drawn("pick up", 2)
    write_mp4(tmp_path / "clip.mp4", frames, codec=codec)  # type: ignore[arg-type]
    assert np.abs(decoded(tmp_path / "clip.mp4") - frames.astype(float)).mean() < 6


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_coding_does_not_tell_the_first_frame_from_the_last(tmp_path: Path, codec: str) -> None:
    frames = drawn("move left", 2)
    for name, ordered in (("forward", frames), ("backward", np.ascontiguousarray(frames[::-1]))):
        write_mp4(tmp_path / f"{name}.mp4", ordered, codec=codec)  # type: ignore[arg-type]
    np.testing.assert_array_equal(decoded(tmp_path / "forward.mp4"), decoded(tmp_path / "backward.mp4")[::-1])


@pytest.mark.slow
def test_writing_again_with_the_same_seed_gives_the_same_frames(folder: Path, tmp_path: Path) -> None:
    write_reversal_clips(tmp_path, train_per_class=1, val_per_class=1, seed=3)
    for path in ("train/uncover/0000.mp4", "val/move right/0000.mp4", "unseen/recede.mp4"):
        np.testing.assert_array_equal(decoded(folder / path), decoded(tmp_path / path))


@pytest.mark.slow
def test_writing_into_the_same_folder_again_is_allowed(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_reversal_clips(tmp_path, train_per_class=1, val_per_class=1, size_px=(32, 32), seed=seed)
    assert len(list(tmp_path.rglob("*.mp4"))) == 30


def test_a_folder_with_other_clips_is_an_error_that_names_one(tmp_path: Path) -> None:
    (tmp_path / "train/cover").mkdir(parents=True)
    (tmp_path / "train/cover/mine.mp4").touch()
    with pytest.raises(SettingsError, match=r"train/cover/mine\.mp4.*give a new folder"):
        write_reversal_clips(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train_per_class": 0}, "train_per_class is 0; accepted is 1"),
        ({"val_per_class": -2}, "val_per_class is -2; accepted is 1"),
        ({"seed": -1}, "seed is -1; accepted is 0"),
        ({"size_px": (96, 71)}, "size_px is 96 x 71; accepted are even"),
        ({"size_px": (30, 72)}, "size_px is 30 x 72; accepted are even numbers of at least 32"),
    ],
)
def test_an_argument_outside_its_range_is_an_error_and_writes_nothing(
    tmp_path: Path, given: dict[str, int], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        write_reversal_clips(tmp_path / "new", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_an_unknown_label_is_an_error_that_lists_the_classes() -> None:
    with pytest.raises(SettingsError, match=r"'wave' is not a class; accepted are move left, .*; give one"):
        drawn("wave", 0)
