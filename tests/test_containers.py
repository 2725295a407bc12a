"""Frame k is the k-th one that the ffmpeg program shows, in every container and however it is reached."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from container_files import (
    CODINGS,
    NUM_FRAMES,
    Coding,
    ffmpeg,
    lose_flv_offsets,
    lose_mp4_offsets,
    pack_b_frames,
    shown,
    write,
)
from field_files import IN_ORDER, REORDERED, write_fields

from gateshift.data.video import index_cache
from gateshift.data.video.files import VideoFile, open_video
from gateshift.errors import VideoError

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program is not installed: make system")

NOTICEABLE = 6  # mean difference of levels; two frames of the scene differ by 85
X264 = ("-c:v", "libx264", "-x264-params", "keyint=9:scenecut=0:bframes=3:b-adapt=0")
CODING = {coding.name: coding for coding in CODINGS}


def read(video: VideoFile, numbers: Sequence[int]) -> np.ndarray:
    return video.read(numbers).permute(0, 2, 3, 1).numpy().astype(np.int16)  # [n, H, W, 3]


def different(found: np.ndarray, expected: np.ndarray) -> list[int]:
    return np.flatnonzero(np.abs(found - expected).mean((1, 2, 3)) > NOTICEABLE).tolist()


def check_frames(*paths: Path, may_lack: int = 0) -> None:
    """Compare all frames in a row, backwards, alone and sparse with what ffmpeg shows."""
    for path, expected in zip(paths, shown(*paths), strict=True):
        check_against(expected.astype(np.int16), path, may_lack)


def check_against(expected: np.ndarray, path: Path, may_lack: int) -> None:
    num_frames = len(expected)
    assert NUM_FRAMES - may_lack <= num_frames <= NUM_FRAMES
    with VideoFile(path) as video:
        assert video.num_frames == num_frames, path.name
        assert different(read(video, range(num_frames)), expected) == [], f"{path.name}, in a row"
        backwards = [read(video, [number])[0] for number in reversed(range(num_frames))]
        assert different(np.stack(backwards), expected[::-1]) == [], f"{path.name}, backwards"
    numbers = [0, 1, 8, 9, 10, 17, 18, num_frames - 1]
    alone = []
    for number in numbers:
        with VideoFile(path) as video:
            alone.append(read(video, [number])[0])
    assert different(np.stack(alone), expected[numbers]) == [], f"{path.name}, alone"
    sparse = list(range(2, num_frames, 7))
    with VideoFile(path) as video:
        assert different(read(video, sparse), expected[sparse]) == [], f"{path.name}, sparse"


def test_there_are_as_many_of_them_as_the_first_page_says() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    assert f"{sum(1 + len(coding.suffixes) for coding in CODINGS)} combinations of codec" in readme


@pytest.mark.slow
@pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: f"{coding.name} {coding.pix_fmt}")
def test_frames_are_those_that_ffmpeg_shows(coding: Coding, tmp_path: Path) -> None:
    check_frames(*write(coding, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mpeg4 B1", "mpeg4 B3", "libxvid B2"])
def test_packed_b_frames_are_in_order(name: str, tmp_path: Path) -> None:
    plain, *_ = write(CODING[name], tmp_path)
    packed = tmp_path / "packed.avi"
    pack_b_frames(plain, packed)
    check_frames(packed, may_lack=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "lose"), [("mp4", lose_mp4_offsets), ("mov", lose_mp4_offsets), ("flv", lose_flv_offsets)]
)
@pytest.mark.parametrize("name", ["h264 B1 open", "h264 B3"])
def test_frames_are_in_order_where_composition_times_are_lost(
    name: str, suffix: str, lose: object, tmp_path: Path
) -> None:
    paths = {path.suffix: path for path in write(CODING[name], tmp_path)}
    path = paths[f".{suffix}"]
    path.write_bytes(lose(path.read_bytes()))  # type: ignore[operator]
    check_frames(path, may_lack=2)  # an edit list leaves out frames at the start


@pytest.mark.slow
@pytest.mark.parametrize("second_s", [0, 1, 1000])  # at 1 s the clock goes on, as in segments of HLS
@pytest.mark.parametrize(
    "codec", [X264, ("-c:v", "mpeg2video", "-g", "9", "-bf", "2", "-q:v", "3")], ids=("h264", "mpeg2")
)
def test_joined_streams_follow_each_other(codec: tuple[str, ...], second_s: float, tmp_path: Path) -> None:
    first, *_ = write(CODING["ffv1"], tmp_path)
    parts = []
    for name, begin, start_s in (("a", 0, 0.4), ("b", 15, second_s)):
        trim = f"trim=start_frame={begin}:end_frame={begin + 15},setpts=PTS-STARTPTS"
        part = tmp_path / f"{name}.ts"
        ffmpeg("-i", first, "-vf", trim, *codec, "-threads", "1", "-output_ts_offset", str(start_s), part)
        parts.append(part.read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    check_frames(joined)


@pytest.mark.slow
def test_a_packet_that_is_lost_before_a_key_frame_is_no_join(tmp_path: Path) -> None:
    first, *_ = write(CODING["ffv1"], tmp_path)
    path = tmp_path / "a.ts"
    ffmpeg("-i", first, *X264, "-threads", "1", path)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    key = next(place for place, packet in enumerate(packets) if place and packet.is_keyframe)
    data, lost = path.read_bytes(), packets[key - 1].pos
    assert lost is not None
    path.write_bytes(data[: lost + 188] + data[lost + 376 :])
    with open_video(path) as video, pytest.raises(VideoError, match="cannot be decoded"):
        video.read(range(key))


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True], ids=["a packet each", "one packet"])
@pytest.mark.parametrize("order", [IN_ORDER, REORDERED], ids=["in order", "reordered"])
@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4", "mpg", "avi", "h264"])
def test_two_fields_are_one_frame(suffix: str, order: tuple[int, ...], together: bool, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    write_fields(path, order, together=together)
    check_frames(path, may_lack=NUM_FRAMES - len(order) + (suffix == "mp4"))


@pytest.mark.slow
def test_nothing_is_decoded_to_open_a_file_of_fields_with_sound_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fields(tmp_path / "a.ts", REORDERED, together=True)

    def decode_all(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(index_cache, "order_as_decoded", decode_all)
    with open_video(tmp_path / "a.ts") as video:
        video.read([5, 9, 22])
        assert video.times_s() == pytest.approx([number / 25 for number in range(27)])  # type: ignore[attr-defined]


@pytest.mark.slow
def test_nothing_is_decoded_to_open_a_file_with_sound_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(CODING["h264 B3"], tmp_path)

    def decode_all(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(index_cache, "order_as_decoded", decode_all)
    for path in paths:
        if path.suffix in (".mp4", ".mkv", ".mov", ".ts", ".flv", ".nut"):
            with open_video(path) as video:
                video.read([5, 9, 22])
