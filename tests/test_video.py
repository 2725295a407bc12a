"""Frame numbers are checked against a plain decode of the whole file, which is what a player shows."""

from __future__ import annotations

import os
import shutil
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateshift.data.video.decode import FrameDecoder
from gateshift.data.video.files import FrameFolder, VideoFile, find_videos, open_video
from gateshift.data.video.folders import warn_of_flow
from gateshift.errors import GateShiftWarning, VideoError

NUM_FRAMES = 40
GOP = {"g": "12", "sc_threshold": "0"}
X264 = "keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"

# file name -> how to write it; in all of them frames are predicted from others
CODINGS: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"options": {"x264-params": X264}},
    "open_gop.mp4": {"options": {"x264-params": X264 + ":open-gop=1"}},
    "open_gop_hevc.mp4": {
        "codec": "libx265",
        "options": {"x265-params": X264 + ":open-gop=1:log-level=none:pools=none:frame-threads=1"},
    },
    "gradual_refresh.mp4": {"options": {"x264-params": "keyint=12:intra-refresh=1:bframes=0:scenecut=0"}},
    "one_key_frame.mp4": {"options": {"x264-params": "keyint=infinite:scenecut=0"}},
    "interlaced.ts": {"options": {"x264-params": X264 + ":tff=1"}},
    "plain.mkv": {"options": {"x264-params": X264}},
    "plain.mov": {"options": {"x264-params": X264}},
    "plain.ts": {"options": {"x264-params": X264}},
    "plain.h264": {"options": {"x264-params": X264}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "12"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "deadline": "realtime", "cpu-used": "8"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": GOP},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "options": {**GOP, "bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {**GOP, "bf": "2", "sc_threshold": "1000000000"}},
    "windows.wmv": {"codec": "wmv2", "options": GOP},
    "flash.flv": {"codec": "flv", "options": GOP},
    "motion_jpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "animated.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "uneven_times.mp4": {
        "options": {"x264-params": X264},
        "times": [i * i + 20 * i for i in range(NUM_FRAMES)],
    },
    "uneven_times.mkv": {
        "options": {"x264-params": X264},
        "times": [i * i + 20 * i for i in range(NUM_FRAMES)],
    },
    "late_start.mkv": {"options": {"x264-params": X264}, "times": [5000 + 40 * i for i in range(NUM_FRAMES)]},
}
DERIVED = [
    "starts_anywhere.mkv",
    "starts_anywhere.mp4",
    "edit_list.mp4",
    "hidden_frame.webm",
    "animated.apng",
]


@pytest.fixture(scope="module")
def moving_frames() -> np.ndarray:
    """A texture that moves 2 px a frame, [T, H, W, 3], so that a wrong reference frame shows."""
    texture = np.random.default_rng(0).integers(0, 255, (6, 80, 3), dtype=np.uint8)
    texture = texture.repeat(8, axis=0).repeat(4, axis=1)
    return np.stack([texture[:, 2 * number : 2 * number + 64] for number in range(NUM_FRAMES)])


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory, write_video: Any, moving_frames: np.ndarray) -> Any:
    """Give the file of a name in ``CODINGS`` or ``DERIVED``, written when first asked for."""
    folder = tmp_path_factory.mktemp("coded")

    def path_of(name: str) -> Path:
        path: Path = folder / name
        if path.exists():
            return path
        if name in CODINGS:
            write_video(path, moving_frames, **CODINGS[name])
        elif name.startswith("starts_anywhere"):
            remux(path_of("open_gop.mp4"), path, skip=5)
        elif name == "edit_list.mp4":
            remux(path_of("b_frames.mp4"), path, earlier=17 * 512)
        elif name == "hidden_frame.webm":
            remux(path_of("vp8.webm"), path, hide=7)
        else:
            images = [Image.fromarray(moving_frames[0]) for _ in range(NUM_FRAMES)]
            for number, image in enumerate(images):  # only what changes is stored
                image.paste((255, 0, 0), (number, 10, number + 5, 20))
            images[0].save(path, format="PNG", save_all=True, append_images=images[1:], duration=40)
        return path

    return path_of


def remux(source: Path, target: Path, *, skip: int = 0, earlier: int = 0, hide: int | None = None) -> None:
    """Copy packets: without the first ``skip``, ``earlier`` in time, the VP8 frame ``hide`` not to be shown."""
    options = {"avoid_negative_ts": "disabled"} if earlier else {}
    with av.open(str(source)) as read, av.open(str(target), "w", options=options) as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for place, packet in enumerate(read.demux(video=0)):
            if place < skip or not packet.size:
                continue
            data = bytearray(bytes(packet))
            if place == hide:
                data[0] &= ~0x10
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.is_keyframe = (
                packet.pts - earlier,
                packet.dts - earlier,
                packet.is_keyframe,
            )
            copy.time_base, copy.stream = packet.time_base, stream
            write.mux(copy)


def decode_all(path: Path) -> torch.Tensor:
    """Decode the whole file in order: [n, 3, H, W]."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24").copy() for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


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


# --- a part of a video -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (None, 0.2, range(0, 5)),
        (0.2, None, range(5, 40)),
        (0.2, 0.4, range(5, 10)),
        (0.21, 0.39, range(6, 10)),
        (0.0, 100.0, range(0, 40)),
    ],
)
@pytest.mark.parametrize("name", ["b_frames.mp4", "plain.ts", "plain.h264", "late_start.mkv", "mpeg4.avi"])
def test_times_count_from_the_first_frame_and_the_end_is_left_out(
    name: str, start_s: float | None, end_s: float | None, expected: range, coded: Any
) -> None:
    with open_video(coded(name)) as whole, open_video(coded(name), start_s=start_s, end_s=end_s) as part:
        assert part.num_frames == len(expected)
        ends = [expected[0], expected[-1]]
        assert torch.equal(part.read([0, part.num_frames - 1]), whole.read(ends))


def test_times_of_uneven_frames_are_those_that_were_written(coded: Any) -> None:
    with open_video(coded("uneven_times.mkv"), start_s=0.096, end_s=0.3) as video:  # from frame 4 to before 10
        assert video.num_frames == 6


def test_num_frames_keeps_the_first_ones_of_what_the_times_left(coded: Any) -> None:
    path = coded("b_frames.mp4")
    with open_video(path) as whole, open_video(path, start_s=0.4, num_frames=3) as part:
        assert part.num_frames == 3
        assert torch.equal(part.read([2]), whole.read([12]))
        with pytest.raises(ValueError, match=r"0\.\.2"):
            part.read([3])


@pytest.mark.parametrize("num_frames", [0, -1, 41])
def test_a_length_other_than_the_video_has_is_an_error(num_frames: int, coded: Any) -> None:
    with pytest.raises(VideoError, match=rf"b_frames\.mp4.*num_frames={num_frames}.*1\.\.40"):
        open_video(coded("b_frames.mp4"), num_frames=num_frames)


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [(2.0, None), (0.41, 0.43), (0.5, 0.5), (0.6, 0.5), (-1.0, None), (float("nan"), None)],
)
def test_times_without_a_frame_are_an_error(start_s: float, end_s: float | None, coded: Any) -> None:
    with pytest.raises(VideoError, match=r"b_frames\.mp4.*start_s="):
        open_video(coded("b_frames.mp4"), start_s=start_s, end_s=end_s)


# --- pixels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("ten_bit.mkv", "libx264", "yuv444p10le"),
        ("ten_bit_420.mkv", "ffv1", "yuv420p10le"),
        ("full_chroma.mp4", "libx264", "yuv444p"),
        ("full_range.avi", "mjpeg", "yuvj420p"),
        ("transparent.mov", "qtrle", "argb"),
        ("sixteen_bit.mkv", "ffv1", "gbrp16le"),
        ("bottom_up.avi", "rawvideo", "bgr24"),
        ("planes.mkv", "ffv1", "yuv410p"),
        ("vp9.webm", "libvpx-vp9", "yuv420p"),
    ],
)
@pytest.mark.parametrize("size", [(32, 48), (33, 49)])
def test_colours_survive_every_pixel_format_and_odd_sizes(
    name: str, codec: str, pix_fmt: str, size: tuple[int, int], tmp_path: Path, write_video: Any
) -> None:
    colours = np.array([[200, 60, 30], [40, 180, 90], [70, 50, 220]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (3, *size, 3)).copy()
    path = write_video(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt)
    with open_video(path) as video:
        read = video.read([0, 1, 2])
    assert read.shape == (3, 3, *size)
    torch.testing.assert_close(read.float(), torch.from_numpy(frames).permute(0, 3, 1, 2).float(), atol=6, rtol=0)


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16le", "gray10le"])
def test_grey_video_has_three_equal_channels(
    pix_fmt: str, tmp_path: Path, write_video: Any, counting_frames: Any, numbers_of: Any
) -> None:
    path = write_video(tmp_path / "a.mkv", counting_frames(5), codec="ffv1", pix_fmt=pix_fmt)
    with open_video(path) as video:
        frames = video.read(range(5))
    assert torch.equal(frames[:, :1].expand(-1, 3, -1, -1), frames)
    assert numbers_of(frames) == list(range(5))


def test_a_transparent_gif_becomes_rgb(tmp_path: Path) -> None:
    images = [Image.new("RGBA", (21, 13), (10 * i, 200, 30, 255)) for i in range(4)]
    images[0].putpixel((0, 0), (0, 0, 0, 0))
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=40, disposal=2)
    with open_video(tmp_path / "a.gif") as video:
        frames = video.read([0, 3])
    assert frames[0, :, 6, 6].tolist() == [0, 200, 30]
    assert frames[1, :, 6, 6].tolist() == [30, 200, 30]


@pytest.mark.parametrize(("matrix", "kr", "kb"), [("bt709", 0.2126, 0.0722), ("smpte170m", 0.299, 0.114)])
@pytest.mark.parametrize("is_full_range", [True, False])
def test_the_colour_matrix_and_range_that_a_file_states_are_used(
    matrix: str, kr: float, kb: float, is_full_range: bool, tmp_path: Path
) -> None:
    y, cb, cr = 120, 90, 160
    state = f"colormatrix={matrix}:fullrange={'on' if is_full_range else 'off'}"
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"qp": "0", "x264-params": state})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv444p"
        planes = np.stack([np.full((32, 32), level, np.uint8) for level in (y, cb, cr)])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode(None))
    luma, blue, red = (
        (y / 255, (cb - 128) / 255, (cr - 128) / 255)
        if is_full_range
        else ((y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224)
    )
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    with open_video(tmp_path / "a.mp4") as video:
        assert video.read([0])[0, :, 16, 16].tolist() == pytest.approx([255 * r, 255 * g, 255 * b], abs=1.5)


# --- upright ---------------------------------------------------------------------------------------------


def set_track_matrix(path: Path, a: int, b: int, c: int, d: int, x: int, y: int) -> None:
    """Write the track matrix of ISO 14496-12: a stored point (p, q) is shown at (ap + cq + x, bp + dq + y)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # version 0 of the box
    one = 1 << 16
    struct.pack_into(">9i", data, at, a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [
        (1, 0, 0, 1),
        (0, 1, -1, 0),
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ],
    ids=[
        "upright",
        "clockwise 90, as phones write portraits",
        "180",
        "clockwise 270",
        "mirrored, as front cameras write",
        "upside down and mirrored",
        "mirrored, then clockwise 270",
        "mirrored, then clockwise 90",
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_pixels_lie_where_the_track_matrix_puts_them(
    a: int, b: int, c: int, d: int, suffix: str, tmp_path: Path, write_video: Any
) -> None:
    height, width = 32, 48
    stored = np.zeros((3, height, width, 3), np.uint8)
    stored[:, :16, :24] = (230, 20, 20)  # red at the top left
    stored[:, :16, 24:] = (20, 230, 20)
    stored[:, 16:, :24] = (20, 20, 230)
    path = write_video(tmp_path / f"phone{suffix}", stored, pix_fmt="yuv444p", options={"crf": "1"})
    set_track_matrix(path, a, b, c, d, width * (a < 0) + height * (c < 0), width * (b < 0) + height * (d < 0))
    shown_width, shown_height = (height, width) if b else (width, height)
    with open_video(path) as video:
        frame = video.read([1])[0]
    assert frame.shape == (3, shown_height, shown_width)
    for q, p in [(8, 12), (8, 36), (24, 12), (24, 36)]:
        shown_x, shown_y = (a * p + c * q) % shown_width, (b * p + d * q) % shown_height
        assert frame[:, shown_y, shown_x].tolist() == pytest.approx(stored[1, q, p].tolist(), abs=6)


# --- errors ----------------------------------------------------------------------------------------------


def test_a_path_that_does_not_exist_says_so(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"none\.mp4: there is no such file"):
        open_video(tmp_path / "none.mp4")


@pytest.mark.parametrize("content", [b"", b"hello\n" * 500, os.urandom(5000)], ids=["empty", "text", "noise"])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.txt", "a.bin", "a"])
def test_a_file_that_is_no_video_is_an_error_that_names_it(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=str(tmp_path / name)):
        open_video(tmp_path / name)


def test_a_single_image_is_an_error_that_asks_for_the_folder(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(VideoError, match=r"a\.png.*give the folder"):
        open_video(tmp_path / "a.png")


@pytest.mark.parametrize("has_cover", [False, True])
def test_a_sound_file_is_an_error_even_with_a_cover(has_cover: bool, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=48000, layout="mono")
        if has_cover:
            cover: Any = container.add_stream("mjpeg", rate=1)
            cover.width = cover.height = 16
            cover.pix_fmt = "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
            container.mux(cover.encode(av.VideoFrame(16, 16, "yuvj420p")))
            container.mux(cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match=r"sound\.mp4: has no video stream"):
        open_video(path)


def test_a_codec_that_nobody_knows_is_an_error(tmp_path: Path, coded: Any) -> None:
    path = tmp_path / "new.mp4"
    path.write_bytes(coded("b_frames.mp4").read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError, match=r"new\.mp4.*convert it"):
        open_video(path)


def test_a_video_stream_without_frames_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        container.start_encoding()
    with pytest.raises(VideoError, match=r"a\.avi"):
        open_video(tmp_path / "a.avi")


@pytest.mark.parametrize("name", ["b_frames.mp4", "plain.mov", "faststart.mp4"])
def test_a_cut_off_mp4_is_an_error_that_names_it(
    name: str, tmp_path: Path, coded: Any, write_video: Any, moving_frames: np.ndarray
) -> None:
    path = tmp_path / name
    if name == "faststart.mp4":  # the list of frames comes first and survives
        write_video(path, moving_frames, container_options={"movflags": "faststart"})
    else:
        shutil.copy(coded(name), path)
    os.truncate(path, path.stat().st_size * 3 // 4)
    with pytest.raises(VideoError, match=str(path)):
        open_video(path)


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


@pytest.mark.parametrize("first", [[0, 4], [6], [4, 5], [9, 0]])
def test_frames_of_another_size_are_resized_to_that_of_the_first(
    first: list[int], tmp_path: Path, write_video: Any, counting_frames: Any
) -> None:
    small = write_video(tmp_path / "small.h264", counting_frames(5))
    large = write_video(tmp_path / "large.h264", counting_frames(5, 64, 64))
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoFile(path) as video:
        assert video.read(first).shape == (len(first), 3, 32, 48)
        assert video.changes_size == (max(first) > 4)
        levels = video.read(range(10)).float().mean((1, 2, 3)).tolist()
    assert levels == pytest.approx(2 * [10, 14, 18, 22, 26], abs=2)


def test_tags_in_an_unknown_encoding_do_no_harm(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        container.metadata["title"] = "TITLE"
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    data = (tmp_path / "a.avi").read_bytes()
    assert b"TITLE" in data
    (tmp_path / "a.avi").write_bytes(data.replace(b"TITLE", b"T\xe9\xe8LE"))
    with open_video(tmp_path / "a.avi") as video:
        assert video.num_frames == 1


def test_a_closed_video_says_so(coded: Any) -> None:
    video = open_video(coded("b_frames.mp4"))
    video.close()
    video.close()
    with pytest.raises(VideoError, match=r"b_frames\.mp4 was closed"):
        video.read([0])


def count_entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux to count open files and threads")
def test_no_file_stays_open_and_no_thread_is_started(tmp_path: Path, coded: Any) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\xff" * 1000)
    good, uncounted = coded("b_frames.mp4"), coded("plain.h264")
    num_files, num_threads = count_entries("/proc/self/fd"), count_entries("/proc/self/task")
    for _ in range(5):
        with pytest.raises(VideoError):
            open_video(broken)
        with pytest.raises(VideoError):
            open_video(good, num_frames=1000)
        for path in (good, uncounted):
            with open_video(path) as video:
                video.read([30, 2])
                assert count_entries("/proc/self/task") <= num_threads
    assert count_entries("/proc/self/fd") == num_files


# --- folders of images -----------------------------------------------------------------------------------


def test_images_are_in_the_natural_order_of_their_names(
    tmp_path: Path, write_folder: Any, counting_frames: Any, numbers_of: Any
) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(12), pattern="img_{}.png")
    with open_video(folder) as video:
        assert video.num_frames == 12
        assert numbers_of(video.read([1, 9, 11, 0, 9])) == [1, 9, 11, 0, 9]


def test_a_folder_keeps_the_first_num_frames(
    tmp_path: Path, write_folder: Any, counting_frames: Any, numbers_of: Any
) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(12), pattern="{:05d}.jpg")
    with open_video(folder, num_frames=10) as video:
        assert numbers_of(video.read(range(10))) == list(range(10))
        with pytest.raises(ValueError, match=r"0\.\.9"):
            video.read([10])
    with pytest.raises(VideoError, match=r"num_frames=13.*1\.\.12"):
        open_video(folder, num_frames=13)


def test_other_and_hidden_files_in_a_folder_are_no_frames(
    tmp_path: Path, write_folder: Any, counting_frames: Any
) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(3))
    for name in ("._img_00001.png", ".hidden.jpg", "notes.txt", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    with open_video(folder) as video:
        assert video.num_frames == 3


def test_optical_flow_beside_the_frames_is_not_used(
    tmp_path: Path, write_folder: Any, counting_frames: Any, numbers_of: Any
) -> None:
    warn_of_flow.cache_clear()
    folder = write_folder(tmp_path / "v", counting_frames(12), pattern="img_{:05d}.jpg")
    for axis in "xy":
        write_folder(tmp_path / "v", counting_frames(11), pattern=f"flow_{axis}_{{:05d}}.jpg")
    with pytest.warns(GateShiftWarning, match="optical flow"), open_video(folder) as video:
        assert numbers_of(video.read(range(video.num_frames))) == list(range(12))


@pytest.mark.parametrize(
    ("first", "second"),
    [("left_{:04d}.png", "right_{:04d}.png"), ("{:05d}.jpg", "{:05d}.png"), ("rgb-{}.png", "depth-{}.png")],
)
def test_two_kinds_of_images_in_a_folder_are_an_error(
    first: str, second: str, tmp_path: Path, write_folder: Any, counting_frames: Any
) -> None:
    for pattern in (first, second):
        folder = write_folder(tmp_path / "v", counting_frames(6), pattern=pattern)
    with pytest.raises(VideoError, match="two kinds of images with the same numbers.*a folder of its own"):
        open_video(folder)


@pytest.mark.parametrize("names", [("1.jpg", "2.jpg", "3.JPG", "4.JPG"), ("a1.png", "b2.png", "a3.png", "b4.png")])
def test_images_with_names_of_two_kinds_that_go_on_are_one_video(
    names: tuple[str, ...], tmp_path: Path, write_folder: Any, counting_frames: Any
) -> None:
    for name in names:
        folder = write_folder(tmp_path / "v", counting_frames(1), pattern=name)
    with open_video(folder) as video:
        assert video.num_frames == 4


def test_times_for_a_folder_are_an_error(tmp_path: Path, write_folder: Any, counting_frames: Any) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(3))
    with pytest.raises(VideoError, match=r"no clock"):
        open_video(folder, start_s=0.5)


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(VideoError, match=rf"{tmp_path}: no image"):
        open_video(tmp_path)


@pytest.mark.parametrize("reader", [FrameFolder, VideoFile])
def test_a_reader_given_the_wrong_kind_of_path_says_so(reader: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(VideoError, match="is not a"):
        reader(tmp_path / "file" if reader is FrameFolder else tmp_path)


@pytest.mark.parametrize("keep", [0, 30, 0.5], ids=["empty", "header only", "half"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_unreadable_image_is_an_error_that_names_it(
    suffix: str, keep: float, tmp_path: Path, write_folder: Any
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    folder = write_folder(tmp_path / "v", noise, pattern="{}" + suffix)
    bad = folder / f"2{suffix}"
    os.truncate(bad, int(keep if keep != 0.5 else bad.stat().st_size / 2))
    with open_video(folder) as video:
        video.read([0, 2])
        with pytest.raises(VideoError, match=str(bad)):
            video.read([0, 1])


def test_images_of_different_sizes_are_an_error(tmp_path: Path, write_folder: Any, counting_frames: Any) -> None:
    folder = write_folder(tmp_path / "v", counting_frames(3))
    Image.new("RGB", (20, 10)).save(folder / "img_00002.png")
    with open_video(folder) as video, pytest.raises(VideoError, match=r"frame 1 is 20 x 10 px.*48 x 32"):
        video.read([0, 1])
    with open_video(folder) as video:
        video.read([0])
        with pytest.raises(VideoError, match="one size"):
            video.read([1])


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16"])
def test_images_of_every_mode_become_rgb(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((5, 7), 255 * 257, np.uint16))
    else:
        image = Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode)
    image.save(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    with open_video(tmp_path) as video:
        assert torch.equal(video.read([0]), torch.full((1, 3, 5, 7), 255, dtype=torch.uint8))


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((5, 7), 100 * 256, np.uint16)).save(tmp_path / "a.png")
    with open_video(tmp_path) as video:
        assert video.read([0])[0, :, 0, 0].tolist() == [100, 100, 100]


def test_a_palette_with_transparent_colours_gives_no_warning(tmp_path: Path) -> None:
    image = Image.new("P", (7, 5), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=b"\x00\x80")
    with warnings.catch_warnings(), open_video(tmp_path) as video:
        warnings.simplefilter("error")
        assert video.read([0])[0, :, 0, 0].tolist() == [10, 20, 30]


def test_an_image_taken_with_a_turned_camera_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    with open_video(tmp_path) as video:
        assert video.read([0]).shape == (1, 3, 16, 8)


# --- searching -------------------------------------------------------------------------------------------


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_videos_are_found_below_a_folder_in_sorted_order(tmp_path: Path) -> None:
    touch(tmp_path / "b.mp4", tmp_path / "a" / "z.AVI", tmp_path / "a" / "y" / "x.webm", tmp_path / "notes.txt")
    assert find_videos(tmp_path) == [
        tmp_path / "a" / "y" / "x.webm",
        tmp_path / "a" / "z.AVI",
        tmp_path / "b.mp4",
    ]


def test_a_folder_of_images_below_is_one_video(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "1.jpg", tmp_path / "v" / "2.jpg", tmp_path / "v" / "deeper" / "1.jpg")
    touch(tmp_path / "w.mp4", tmp_path / "none" / "readme")
    assert find_videos(tmp_path) == [tmp_path / "v", tmp_path / "w.mp4"]


def test_a_folder_that_holds_images_itself_is_one_video(tmp_path: Path) -> None:
    touch(tmp_path / "1.jpg", tmp_path / "2.jpg", tmp_path / "below" / "w.mp4")
    assert find_videos(tmp_path) == [tmp_path]


def test_images_beside_videos_are_covers(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "a.jpg")
    assert find_videos(tmp_path) == [tmp_path / "a.mp4"]


def test_hidden_files_and_folders_are_not_found(tmp_path: Path) -> None:
    touch(tmp_path / ".a.mp4", tmp_path / ".cache" / "b.mp4", tmp_path / "._1.jpg")
    assert find_videos(tmp_path) == []


def test_a_link_that_leads_back_is_searched_once(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "b.mp4")
    (tmp_path / "a" / "round").symlink_to(tmp_path, target_is_directory=True)
    assert find_videos(tmp_path) == [tmp_path / "a" / "b.mp4"]


def test_searching_what_is_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"none is not a folder"):
        find_videos(tmp_path / "none")
