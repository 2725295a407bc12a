"""The drawn videos with events, which are exactly at their frames of the decoded file, and each other backwards."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

import gateshift as gs
from gateshift.data.lists.tables import read_pairs
from gateshift.data.video.files import VideoFile
from gateshift.demo import spot_scenes
from gateshift.demo.pictures import set_stage
from gateshift.demo.spot_scenes import FLOOR, SPOT_CLASSES, SPOT_PAIRS, WALL, draw_spot_video
from gateshift.demo.spot_videos import encode, write_at_rate, write_spot_videos
from gateshift.errors import SettingsError

SIZE, NUM_FRAMES, FPS = (128, 96), 500, 25.0
OTHER = {one: other for pair in SPOT_PAIRS for one, other in (pair, pair[::-1])}


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.float32)


def filmed(actor: spot_scenes.Actor, seed: int, path: Path) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """One actor alone, encoded and decoded: how much each pixel differs from the empty scene, [T, H, W]."""
    stage = set_stage(np.random.default_rng(seed), SIZE)
    scene, events = actor(stage, NUM_FRAMES, FPS)

    def frames() -> Iterable[np.ndarray]:
        for number in range(NUM_FRAMES):
            picture = stage.background.copy()
            scene(picture, number / FPS)
            side = stage.margin
            yield np.asarray(picture.crop((side, side, side + stage.width, side + stage.height)).reduce(2))

    encode(path, frames(), [number / FPS for number in range(NUM_FRAMES)], rate=FPS)
    found = decoded(path)
    return np.abs(found - np.median(found[::8], axis=0)).max(-1), events


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_a_ball_is_lowest_when_it_bounces_and_farthest_right_when_it_hits_the_wall(tmp_path: Path, seed: int) -> None:
    changes, events = filmed(spot_scenes._ball, seed, tmp_path / "ball.mp4")
    assert events
    for frame, label in events:
        lines = [
            (changes[number] > 40).any(axis=1 if label == "bounce" else 0) for number in range(frame - 5, frame + 6)
        ]
        ends = [int(np.flatnonzero(line).max()) for line in lines]
        assert ends.index(max(ends)) == 5 and ends.count(max(ends)) == 1
        assert max(ends) == pytest.approx(FLOOR * SIZE[1] if label == "bounce" else WALL * SIZE[0], abs=3)


@pytest.mark.slow
@pytest.mark.parametrize("fps", [25.0, 60.0])
def test_a_lamp_is_half_lit_at_the_frame_of_the_event_and_full_or_off_beside_it(tmp_path: Path, fps: float) -> None:
    stage = set_stage(np.random.default_rng(1), SIZE)
    scene, events = spot_scenes._lamp(stage, NUM_FRAMES, fps)
    video = spot_scenes.SpotVideo(NUM_FRAMES, fps, tuple(events), _pictures(stage, scene, fps))
    encode(tmp_path / "lamp.mp4", video, [n / fps for n in range(NUM_FRAMES)], rate=fps)
    found = decoded(tmp_path / "lamp.mp4").mean(-1)
    lamp = np.ptp(found, axis=0) > 0.7 * np.ptp(found)
    level = found[:, lamp].mean(-1)
    level = (level - level.min()) / np.ptp(level)
    near = 1 if fps == 25 else 3
    for frame, label in events:
        before, after = (0, 1) if label == "switch on" else (1, 0)
        assert level[[frame - 5, frame - near, frame, frame + near, frame + 5]] == pytest.approx(
            [before, before, 0.5, after, after], abs=0.1
        )
    assert [label for _, label in events] == [
        SPOT_PAIRS[0][(n + (events[0][1] != "switch on")) % 2] for n in range(len(events))
    ]


def _pictures(stage: spot_scenes.Canvas, scene: spot_scenes.Scene, fps: float = FPS) -> Callable[[int], np.ndarray]:
    def frame(number: int) -> np.ndarray:
        picture = stage.background.copy()
        scene(picture, number / fps)
        return np.asarray(picture.crop((0, 0, 2 * SIZE[0], 2 * SIZE[1])).reduce(2))

    return frame


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_half_of_what_peeks_out_can_be_seen_at_the_frame_of_the_event(tmp_path: Path, seed: int) -> None:
    changes, events = filmed(spot_scenes._peeker, seed, tmp_path / "peeker.mp4")
    area = (changes > 25).sum((1, 2))
    full = np.percentile(area, 98)
    assert {label for _, label in events} == {"appear", "vanish"}
    for frame, label in events:
        hidden, out = (frame - 12, frame + 9) if label == "appear" else (frame + 12, frame - 9)
        assert area[hidden] < 0.1 * full
        assert 0.25 * full < area[frame] < 0.75 * full
        assert area[out] > 0.75 * full


@pytest.mark.parametrize("seed", range(2))
def test_what_a_hand_takes_is_gone_after_it_and_what_it_lets_go_lies_there(seed: int) -> None:
    stage = set_stage(np.random.default_rng(seed), SIZE)
    scene, events = spot_scenes._hand(stage, NUM_FRAMES, FPS)
    picture = _pictures(stage, scene)
    empty = stage.background.crop((0, 0, 2 * SIZE[0], 2 * SIZE[1])).reduce(2)
    there = [np.abs(picture(n).astype(float) - np.asarray(empty)).sum() > 0 for n in range(NUM_FRAMES)]
    assert events
    for frame, label in events:
        away = 30  # frames after which the hand is out of sight
        ends = [there[number] if 0 <= number < NUM_FRAMES else None for number in (frame - away, frame + away)]
        wanted = [True, False] if label == "take" else [False, True]
        assert [None if end is None else want for end, want in zip(ends, wanted, strict=True)] == ends


@pytest.mark.parametrize("seed", range(4))
def test_a_video_backwards_has_the_other_class_of_each_pair_at_the_mirrored_frame(seed: int) -> None:
    video = draw_spot_video(seed, duration_s=5)
    other = video.backwards()
    last = video.num_frames - 1
    assert {(last - frame, OTHER.get(label, label)) for frame, label in video.events} == set(other.events)
    assert list(other.events) == sorted(other.events, key=lambda event: event[0])
    for number in (0, 40, last):
        np.testing.assert_array_equal(other.frame(number), video.frame(last - number))
    np.testing.assert_array_equal(other.backwards().frame(7), video.frame(7))


@pytest.mark.slow
def test_each_direction_is_as_frequent_and_all_classes_occur() -> None:
    counts = Counter(label for seed in range(30) for _, label in draw_spot_video(seed, duration_s=60).events)
    assert counts.keys() == set(SPOT_CLASSES)
    for one, other in SPOT_PAIRS:
        assert abs(counts[one] - counts[other]) < 0.15 * (counts[one] + counts[other])


def test_only_what_is_asked_for_happens(tmp_path: Path) -> None:
    asked = ("switch on", "switch off", "bounce", "wall hit")
    labels = {label for seed in range(6) for _, label in draw_spot_video(seed, duration_s=60, classes=asked).events}
    assert labels == {*asked}
    write_spot_videos(tmp_path / "two", train=1, val=0, test=0, duration_s=4, size_px=(64, 48), classes=asked[:2])
    assert (tmp_path / "two" / "classes.txt").read_text() == "switch on\nswitch off\n"
    assert (tmp_path / "two" / "reversal_pairs.csv").read_text() == "class,reversed\nswitch on,switch off\n"
    with pytest.raises(SettingsError, match="`classes` \\('jump',\\); give at least one of switch on"):
        write_spot_videos(tmp_path / "three", classes=("jump",))


@pytest.mark.slow
def test_events_of_a_class_are_never_closer_than_nine_frames() -> None:
    for seed in range(10):
        for label in SPOT_CLASSES:
            frames = [frame for frame, own in draw_spot_video(seed, duration_s=120).events if own == label]
            assert min((b - a for a, b in pairwise(frames)), default=9) >= 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spot") / "videos"
    write_spot_videos(folder, train=2, val=1, test=0, duration_s=6, size_px=(64, 48), seed=3)
    return folder


@pytest.mark.slow
def test_the_folder_has_lists_that_name_each_video(folder: Path) -> None:
    train = gs.read_events(folder / "train.csv")
    assert list(train.videos) == ["train/0000.mp4", "train/0001.mp4"]
    assert all((folder / name).is_file() for name in train.videos)
    classes = (folder / "classes.txt").read_text().split("\n")[:-1]
    assert classes == list(SPOT_CLASSES)
    assert dict(read_pairs(folder / "reversal_pairs.csv", classes, ("class", "reversed"), with_itself=True)).keys() == {
        "switch on", "take", "appear", "bounce", "wall hit",
    }  # fmt: skip
    assert len(gs.read_events(folder / "test.csv").videos) == 0


@pytest.mark.slow
def test_a_file_has_frames_predicted_from_later_ones_and_the_times_of_the_list(folder: Path) -> None:
    with av.open(str(folder / "val" / "0000.mp4")) as container:
        kinds = Counter(av.video.frame.PictureType(frame.pict_type) for frame in container.decode(video=0))
    assert kinds[av.video.frame.PictureType.B] > kinds[av.video.frame.PictureType.I]
    with VideoFile(folder / "val" / "0000.mp4") as video:
        times_s = video.times_s()
    assert len(times_s) == 150
    for event in gs.read_events(folder / "val.csv").events:
        assert event.frame is not None
        assert event.time_s == pytest.approx(times_s[event.frame], abs=1e-4)


@pytest.mark.slow
def test_the_same_seed_writes_the_same_and_more_videos_leave_the_others(folder: Path, tmp_path: Path) -> None:
    write_spot_videos(tmp_path / "again", train=1, val=2, test=0, duration_s=6, size_px=(64, 48), seed=3)
    np.testing.assert_array_equal(decoded(folder / "val/0000.mp4"), decoded(tmp_path / "again/val/0000.mp4"))
    listed = gs.read_events(tmp_path / "again" / "val.csv").by_video()
    assert listed["val/0000.mp4"] == gs.read_events(folder / "val.csv").by_video()["val/0000.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize(("fps", "num_frames"), [(60, 360), (12.5, 75), (None, None)])
def test_at_another_rate_each_moment_shows_what_the_source_shows_then(
    folder: Path, tmp_path: Path, fps: float | None, num_frames: int | None
) -> None:
    table = write_at_rate(folder / "val.csv", tmp_path / "other", fps=fps)
    own, given = gs.read_events(folder / "val.csv"), gs.read_events(table)
    assert [(each.time_s, each.label) for each in given.events] == [(each.time_s, each.label) for each in own.events]
    with VideoFile(tmp_path / "other" / "val" / "0000.mp4") as video:
        times_s = np.array(video.times_s())
        assert num_frames is None or video.num_frames == num_frames
        steps = np.diff(times_s)
        assert np.ptp(steps) > 0.03 if fps is None else steps == pytest.approx(1 / fps, abs=1e-4)
    source, other = decoded(folder / "val/0000.mp4"), decoded(tmp_path / "other/val/0000.mp4")
    shown = np.minimum((times_s * FPS + 1e-3).astype(int), len(source) - 1)
    assert np.abs(other - source[shown]).mean() < 4
    assert np.abs(other - source[np.minimum(shown + 3, len(source) - 1)]).mean() > np.abs(other - source[shown]).mean()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train": -1}, "train is -1; accepted is 0"),
        ({"duration_s": 1}, "duration_s is 1; accepted is 4"),
        ({"fps": 2}, "fps is 2; accepted is 5"),
        ({"size_px": (63, 48)}, "size_px is 63 x 48"),
    ],
)
def test_an_argument_outside_its_range_is_an_error_and_writes_nothing(
    tmp_path: Path, given: dict[str, int], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        write_spot_videos(tmp_path / "new", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_a_folder_that_exists_is_left_alone(folder: Path) -> None:
    for write in (lambda: write_spot_videos(folder), lambda: write_at_rate(folder / "val.csv", folder)):
        with pytest.raises(SettingsError, match="exists; choose another folder"):
            write()  # type: ignore[no-untyped-call]
