"""Which frames a network of one rate sees of recordings of other rates, also as programs convert them."""

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WriteVideo
from hypothesis import given, settings
from hypothesis import strategies as st

from gateshift.data.clips.frame_rates import (
    SLOWEST,
    converted_frames,
    nearest_frames,
    sampled_frames,
    seen_frames,
)
from gateshift.data.events.events import Event
from gateshift.data.video.files import VideoFile
from gateshift.demo.spot_videos import write_at_rate
from gateshift.model.classifier import create_model
from gateshift.prediction.spotting import Moments, Seen

SPOTTER = create_model("test_resnet", classes=["a"], task="spot", fps=25.0).config
RATES = (12.5, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0)
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program is not installed: make system")


@pytest.mark.slow
@given(
    times=st.lists(st.integers(0, 400), min_size=1, max_size=20, unique=True),
    wanted=st.lists(st.integers(-50, 450), min_size=1, max_size=20),
)
@settings(deadline=None)
def test_the_frame_nearest_to_a_time_is_found(times: list[int], wanted: list[int]) -> None:
    shown = np.sort(np.array(times)) / 100
    found = nearest_frames(shown, np.array(wanted) / 100)
    assert found.tolist() == [int(abs(shown - each / 100).round(9).argmin()) for each in wanted]


@pytest.mark.parametrize(("rate", "fps"), [(25, 25.0), (50, 25.0), (12.5, 25.0), (60, 25.0), (30, 29.97), (25, None)])
def test_a_network_sees_a_recording_at_its_own_rate(rate: float, fps: float | None) -> None:
    times_s = 0.4 + np.arange(200) / rate
    seen = seen_frames(times_s, fps)
    if fps is None:
        assert seen.tolist() == list(range(200))
        return
    wanted_s = 0.4 + np.arange(len(seen)) / fps
    later_s = times_s[seen] - wanted_s
    assert later_s.max() <= max(0.5 / rate, min(0.9 / rate, 1 / fps)) + 1e-6
    assert later_s.min() >= -0.5 / rate - 1e-6
    assert 0 <= times_s[-1] - wanted_s[-1] < 1 / fps + 1e-6


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("tick_s", [1e-9, 1 / 90_000, 1 / 15_360, 0.001])
def test_of_a_file_of_the_networks_rate_it_sees_every_frame_however_its_clock_is_rounded(
    fps: float, tick_s: float
) -> None:
    for times in (1, 2):  # at twice the rate, every other one
        times_s = np.round(np.arange(2000) / fps / times / tick_s) * tick_s
        seen = seen_frames(times_s, fps).tolist()
        assert seen == list(range(0, 2000, times))  # the last one too, though the clock may end just before it is due


@pytest.mark.slow
@given(st.lists(st.floats(0.04, 0.3), min_size=1, max_size=40), st.floats(0, 0.04))
@settings(deadline=None)
def test_of_a_file_of_a_lower_rate_it_sees_the_nearest_frame(gaps_s: list[float], phase_s: float) -> None:
    times_s = np.cumsum([0.0, *gaps_s])
    wanted_s = phase_s + np.arange(50) / 25
    assert sampled_frames(times_s, wanted_s, 25.0).tolist() == nearest_frames(times_s, wanted_s).tolist()


def converted(own: float, other: float, rule: Callable[[float], int], count: int = 400) -> np.ndarray:
    """Which frame of a recording each frame of a converted one shows.

    The frame that is shown at a time is the one that came last, at its own time as the rule rounds it.
    """
    starts = np.array([rule(round(number * other / own, 9)) for number in range(count)])
    return np.searchsorted(starts, np.arange(starts[-1] + 1), side="right") - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "other"), [(25, 60), (24, 60), (25, 50), (30, 50), (30, 60), (12.5, 25), (25, 29.97), (25, 30), (24, 30)]
)
def test_it_sees_the_frames_of_a_recording_of_its_rate_in_one_that_was_converted_to_a_higher(
    own: float, other: float
) -> None:
    to_nearest = converted(own, other, lambda at: floor(at + 0.5))
    newest = converted(own, other, ceil)
    for shows in (to_nearest, newest):
        seen = shows[seen_frames(np.arange(len(shows)) / other, own)]
        wrong = seen != np.arange(len(seen))
        # At less than 1.4 times the rate, a file that shows the newest frame is not told from one that rounds.
        assert not wrong.any() or (shows is newest and other / own < 1.4 and wrong.mean() < 0.3)


BITS = 6


def striped(count: int) -> np.ndarray:
    """Frames [n, 32, 96, 3] that tell their number, however lossy they are coded, by bright and dark stripes."""
    bits = np.arange(count)[:, None] >> np.arange(BITS) & 1
    row = np.repeat(20 + 200 * bits, 16, axis=1).astype(np.uint8)
    return np.broadcast_to(row[:, None, :, None], (count, 32, 16 * BITS, 3)).copy()


def shown_numbers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """When each frame of a striped video is shown, and the number that it tells."""
    with closing(VideoFile(path)) as video:
        stripes = video.read(list(range(video.num_frames)))[:, 0, 16, 8::16]
        return video.clock_s(), ((stripes > 120).numpy() << np.arange(BITS)).sum(1)


@pytest.mark.slow
@needs_ffmpeg
@pytest.mark.parametrize(
    ("options", "halved"),
    [(("-r", "60"), False), (("-vf", "fps=60"), False), (("-vf", "fps=30"), False), (("-vf", "fps=12.5"), True)],
)
def test_what_it_sees_of_videos_that_ffmpeg_wrote_again(
    options: tuple[str, ...], halved: bool, tmp_path: Path, write_video: WriteVideo
) -> None:
    source = write_video(tmp_path / "a.mp4", striped(60), fps=25)
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, *options, tmp_path / "b.mp4"], check=True)
    times_s, numbers = shown_numbers(tmp_path / "b.mp4")
    found = numbers[seen_frames(times_s, 25.0)]
    assert len(found) >= 58
    wanted = np.arange(60) // 2 * 2 if halved else np.arange(60)
    assert found.tolist() == wanted[: len(found)].tolist()


def test_it_sees_the_frames_of_drawn_videos_at_60_frames_a_second(tmp_path: Path, write_video: WriteVideo) -> None:
    write_video(tmp_path / "a.mp4", striped(60), fps=25)
    (tmp_path / "list.csv").write_text("path,time_s,label\na.mp4,0.4,x\n")
    write_at_rate(tmp_path / "list.csv", tmp_path / "60", fps=60)
    times_s, numbers = shown_numbers(tmp_path / "60" / "a.mp4")
    assert numbers[seen_frames(times_s, 25.0)].tolist() == list(range(60))


@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from([12.5, 25.0, 29.97, 60.0]),
    start=st.integers(0, 60),
    length=st.integers(1, 90),
)
@settings(deadline=None)
def test_frames_as_of_another_rate_are_those_that_were_shown_about_then(
    seed: int, rate: float, start: int, length: int
) -> None:
    times_s = 0.3 + np.arange(80) / rate
    wanted_s = times_s[start] + np.arange(length) / 25  # it may go beyond the end
    frames = converted_frames(times_s, wanted_s, 25.0, generator=torch.Generator().manual_seed(seed))
    assert frames.shape == (length,)
    assert frames.min() >= 0
    assert frames.max() < 80
    assert (np.diff(frames) >= 0).all()
    shown_s, within = times_s[frames], wanted_s <= times_s[-1]
    reach_s = SLOWEST / 2 / 25
    assert (shown_s <= wanted_s + reach_s + 1e-6).all()
    assert (shown_s >= wanted_s - reach_s - 1 / rate - 1e-5)[within].all()


def test_some_frames_are_seen_twice_and_others_never() -> None:
    times_s, kept = np.arange(400) / 25, []
    for seed in range(200):
        frames = converted_frames(times_s, times_s[20:300], 25.0, generator=torch.Generator().manual_seed(seed))
        kept.append(len({*frames.tolist()}) / 280)
    assert min(kept) == pytest.approx(1 / SLOWEST, abs=0.02)
    assert max(kept) > 0.97
    # Of an irregular rate, whose frames last 1.25 periods in the mean, some are too close for the network to see both.
    assert np.median(kept) == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize(("rate", "most_later"), [(12.5, 0), (20.0, 0), (25.0, 0), (50.0, 1), (60.0, 2)])
def test_the_first_frame_that_it_sees_of_an_event_is_the_first_that_shows_it_or_one_less_than_a_period_later(
    rate: float, most_later: int
) -> None:
    times_s = 0.2 + np.arange(200) / rate
    seen = Seen.of(times_s, SPOTTER)
    for frame in range(1, 150):
        answer = first_answer(seen, frame)
        assert answer.frame is not None
        assert frame <= answer.frame <= frame + most_later
        # The time is the frame's own, where the file has a frame for each of the network's.
        assert answer.time_s == pytest.approx(times_s[answer.frame], abs=1e-6 if rate >= 25 else 0.5 / rate)


@pytest.mark.parametrize("fps", [2.0, 25.0])
@pytest.mark.parametrize("rate", [12.5, 25.0, 50.0])
def test_the_last_answer_stands_until_the_file_ends(rate: float, fps: float) -> None:
    times_s = 0.2 + np.arange(101) / rate  # the network's period is from half a frame to 25 frames
    seen = Seen.of(times_s, dataclasses.replace(SPOTTER, fps=fps))
    assert seen.ends_s[-1] == pytest.approx(0.2 + 101 / rate)
    assert Seen.of(times_s[:1], SPOTTER).ends_s.tolist() == pytest.approx([0.2, 0.24])


@pytest.mark.parametrize("longest_s", [0.06, 0.08])
def test_in_a_file_of_an_irregular_rate_an_event_is_found_within_a_period_of_when_it_happens(longest_s: float) -> None:
    away_s = []
    for seed in range(10):
        times_s = np.concatenate([[0.0], np.random.default_rng(seed).uniform(0.02, longest_s, 200).cumsum()])
        shown = np.floor(times_s * 25 + 1e-6).astype(int)  # frames of the recording that the file was converted from
        seen = Seen.of(times_s, SPOTTER)
        assert (np.diff(seen.ends_s) > 0).all()
        for frame in range(10, 120):
            answer = first_answer(seen, int(np.argmax(shown >= frame)))
            assert answer.time_s is not None
            away_s.append(abs(answer.time_s - frame / 25))
    assert np.mean(np.array(away_s) <= 0.0401) > 0.97  # by the times of the frames 70 to 80 %
    assert max(away_s) < 0.066


def first_answer(seen: Seen, frame: int) -> Event:
    """Of a network that says that something happens where it first sees this frame of a file or a later one."""
    place = int(np.argmax(seen.frames >= frame))
    return Moments(("a",), np.array([place]), np.array([0]), np.array([0.9])).events("video", seen)[0]
