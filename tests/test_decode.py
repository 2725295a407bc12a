"""Frame numbers are checked against a plain decode of the whole file, which is what a player shows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from coded_videos import CODINGS, DERIVED, NUM_FRAMES, decode_all
from hypothesis import given, settings
from hypothesis import strategies as st

from gateshift.data.video.decode import FrameDecoder
from gateshift.data.video.files import open_video
from gateshift.errors import VideoError


@pytest.mark.parametrize("name", [*CODINGS, *DERIVED])
def test_any_frames_in_any_order_equal_those_of_a_plain_decode(name: str, coded: Any) -> None:
    path = coded(name)
    every_frame = decode_all(path)
    with open_video(path) as video:  # one reader throughout, so that each read starts where the last one ended
        assert video.num_frames == len(every_frame)

        @settings(max_examples=25, deadline=None, derandomize=True, database=None)
        @given(st.lists(st.integers(0, video.num_frames - 1), min_size=1, max_size=6))
        def check(indices: list[int]) -> None:
            assert torch.equal(video.read(indices), every_frame[indices])

        check()
        assert torch.equal(video.read(range(video.num_frames)), every_frame)


def test_frames_that_no_other_needs_are_left_out_and_come_when_they_are_asked_for(
    coded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = coded("b_frames.mp4")
    every_frame = decode_all(path)
    runs = []
    start_at = FrameDecoder._start_at
    monkeypatch.setattr(FrameDecoder, "_start_at", lambda *place: (runs.append(start_at(*place)), runs[-1])[1])
    decoder = FrameDecoder(path)
    given = [frame.to_ndarray(format="rgb24") for frame in decoder.decode([5, 11])]
    assert np.array_equal(np.stack(given), every_frame[[5, 11]].permute(0, 2, 3, 1))
    left_out = {number for run in runs for number in run.left_out}
    assert len(left_out) >= 4
    for number in sorted(left_out):
        (frame,) = decoder.decode([number])
        assert np.array_equal(frame.to_ndarray(format="rgb24"), every_frame[number].permute(1, 2, 0))
    decoder.close()


def test_reading_one_frame_after_the_other_never_goes_back(coded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []
    start_at = FrameDecoder._start_at
    monkeypatch.setattr(FrameDecoder, "_start_at", lambda *place: (starts.append(place[-1]), start_at(*place))[1])
    with open_video(coded("one_key_frame.mp4")) as video:
        for number in range(NUM_FRAMES):
            video.read([number])
    assert len(starts) <= 2  # the first read ends its decoding early, as most videos are read once


@pytest.mark.parametrize("name", [*CODINGS, "animated.apng"])
def test_every_frame_that_was_written_is_counted(name: str, coded: Any) -> None:
    with open_video(coded(name)) as video:
        assert video.num_frames == NUM_FRAMES


def test_frames_cut_off_by_an_edit_list_are_not_counted(coded: Any) -> None:
    with open_video(coded("edit_list.mp4")) as cut, open_video(coded("b_frames.mp4")) as whole:
        assert cut.num_frames == NUM_FRAMES - 17
        assert torch.equal(cut.read([0, 22]), whole.read([17, 39]))


def test_a_frame_that_is_only_there_to_be_referred_to_is_not_counted(coded: Any) -> None:
    with open_video(coded("hidden_frame.webm")) as video:
        assert video.num_frames == NUM_FRAMES - 1


def test_frames_tell_their_own_numbers(tmp_path: Path, write_video: Any, counting_frames: Any, numbers_of: Any) -> None:
    path = write_video(tmp_path / "a.mp4", counting_frames(60))
    with open_video(path) as video:
        assert numbers_of(video.read(range(60))) == list(range(60))
        assert numbers_of(video.read([59, 0, 31, 31])) == [59, 0, 31, 31]


def test_frames_are_uint8_of_frames_by_channels_by_height_by_width(coded: Any) -> None:
    with open_video(coded("b_frames.mp4")) as video:
        frames = video.read([3, 1])
    assert frames.dtype == torch.uint8
    assert frames.shape == (2, 3, 48, 64)


def test_indices_may_be_a_tensor_or_an_array(coded: Any) -> None:
    with open_video(coded("b_frames.mp4")) as video:
        expected = video.read([4, 9])
        assert torch.equal(video.read(torch.tensor([4, 9])), expected)  # type: ignore[arg-type]
        assert torch.equal(video.read(np.array([4, 9])), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("indices", [[], [-1], [0, NUM_FRAMES]])
def test_an_index_outside_the_video_is_refused(indices: list[int], coded: Any) -> None:
    with open_video(coded("b_frames.mp4")) as video, pytest.raises(ValueError, match=r"in 0\.\.39"):
        video.read(indices)


@pytest.mark.parametrize("name", ["mpeg4.avi", "motion_jpeg.avi"])
def test_a_frame_cut_in_two_is_an_error_and_those_before_it_are_not(name: str, tmp_path: Path, coded: Any) -> None:
    path = tmp_path / "cut.avi"
    shutil.copy(coded(name), path)
    every_frame = decode_all(path)
    os.truncate(path, path.stat().st_size * 3 // 4)
    with open_video(path) as video:
        last = video.num_frames - 1
        assert 10 < last < NUM_FRAMES
        assert torch.equal(video.read([last - 1]), every_frame[last - 1 : last])
        with pytest.raises(VideoError, match=rf"cut\.avi: frame {last} "):
            video.read([last])
        assert torch.equal(video.read([3]), every_frame[3:4])


def test_damage_is_an_error_only_for_the_frames_that_need_it(tmp_path: Path, coded: Any) -> None:
    path = tmp_path / "damaged.mp4"
    shutil.copy(coded("b_frames.mp4"), path)
    every_frame = decode_all(path)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [place for place, packet in enumerate(packets) if packet.is_keyframe] == [0, 12, 24, 36]
    data = bytearray(path.read_bytes())
    for packet in packets[12:15]:
        assert packet.pos is not None
        data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    with open_video(path) as video:
        assert torch.equal(video.read([0, 8]), every_frame[[0, 8]])  # nothing is decoded past what is wanted
        assert torch.equal(video.read([39, 24]), every_frame[[39, 24]])  # and the damage is skipped by a seek
        with pytest.raises(VideoError, match=r"damaged\.mp4: frame 13 of 40"):
            video.read([13])
        assert torch.equal(video.read([25, 2]), every_frame[[25, 2]])


def test_frames_predicted_from_one_that_ffmpeg_patched_up_are_errors(tmp_path: Path, coded: Any) -> None:
    path = tmp_path / "patched.mp4"
    shutil.copy(coded("b_frames.mp4"), path)
    every_frame = decode_all(path)
    with av.open(str(path)) as container:
        key_packet = [packet for packet in container.demux(video=0) if packet.size][12]
    assert key_packet.pos is not None
    data = bytearray(path.read_bytes())
    middle = key_packet.pos + key_packet.size // 2
    data[middle : middle + 40] = np.random.default_rng(3).bytes(40)
    path.write_bytes(data)
    patched = [number for number, frame in enumerate(decode_all(path)) if not torch.equal(frame, every_frame[number])]
    assert patched == list(range(12, 24)), "the plain decode gives wrong frames for right ones"
    with open_video(path) as video:
        for number in range(video.num_frames):
            if number in patched:
                with pytest.raises(VideoError, match=rf"frame {number} of 40 cannot be decoded"):
                    video.read([number])
            else:
                assert torch.equal(video.read([number])[0], every_frame[number])
