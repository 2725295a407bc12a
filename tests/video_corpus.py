"""Every kind of good and bad video that a folder of clips may hold, written on the spot.

Frame ``i`` of a good one is grey, of a level that tells its number, with a brighter quarter at the top left, that tells
which way is up: a reader gives the right frames or it does not.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np

NUM_FRAMES = 12
SIZE = (48, 64)  # height, width
TOLERANCE = 5  # of the levels of a quarter; those of neighbours differ by 12
UNEVEN_MS = (0, 40, 80, 300, 320, 330, 600, 640, 680, 1500, 1540, 1580)
TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # clockwise; as in ISO 14496-12
MIRRORS = {"mirrored": (-1, 0, 0, 1), "upside down": (1, 0, 0, -1)}


@dataclass(frozen=True)
class Kind:
    """One kind of video.

    Attributes:
        file: Its name.
        write: Writes it to a path in an empty folder, beside which it may put others.
        frames: What is shown, uint8 [T, H, W, 3]; None where it must not open.
        may_lack: Frames at the end that may be missing, where a file is cut off.
        error: What the error says, where there is one; a regular expression.
    """

    file: str
    write: Callable[[Path], None]
    frames: np.ndarray | None = None
    may_lack: int = 0
    error: str = ""


@cache
def scene(num_frames: int = NUM_FRAMES, height: int = SIZE[0], width: int = SIZE[1]) -> np.ndarray:
    """Frames [n, H, W, 3] that tell their number and which way is up."""
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    frames[:] = (20 + 12 * np.arange(num_frames) % 144)[:, None, None, None]
    frames[:, : height // 2, : width // 2] += 80
    return frames


def numbers_in(found: np.ndarray, expected: np.ndarray) -> list[int]:
    """Say which of the frames expected each one is; -1 for none: each quarter is as bright, but for what coding costs.

    Both are [n, H, W, 3].
    """
    if found.shape[1:] != expected.shape[1:]:
        return [-1] * len(found)
    errors = np.abs(_quarters(found)[:, None] - _quarters(expected)[None]).max((2, 3))  # [n, T]
    return [int(row.argmin()) if row.min() < TOLERANCE else -1 for row in errors]


def _quarters(frames: np.ndarray) -> np.ndarray:
    """Mean colours [n, 4, 3]."""
    height, width = frames.shape[1:3]
    rows = (slice(0, (height + 1) // 2), slice(height // 2, height))
    columns = (slice(0, (width + 1) // 2), slice(width // 2, width))
    return np.stack([frames[:, row, column].mean((1, 2)) for row in rows for column in columns], axis=1)


def encode(
    path: Path,
    frames: np.ndarray | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    format: str | None = None,
    times_ms: Sequence[int] | None = None,
    sound_s: float = 0.0,
    fps: int = 25,
    pixel_aspect: Fraction | None = None,
) -> None:
    """Encode frames, and silence if wanted."""
    frames = scene() if frames is None else frames
    with av.open(str(path), "w", format=format, options=dict(container_options or {})) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=dict(options or {}))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if pix_fmt.startswith("gray"):
            stream.codec_context.color_range = 2  # from 0 to 255
        time_base = Fraction(1, fps) if times_ms is None else Fraction(1, 1000)
        stream.codec_context.time_base = time_base
        sound: Any = container.add_stream("aac", rate=48000, layout="mono") if sound_s else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number if times_ms is None else times_ms[number], time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_silence(container, sound, sound_s)


def _add_silence(container: Any, sound: Any, duration_s: float) -> None:
    for start in range(0, int(48000 * duration_s), 1024):
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 48000, start
        container.mux(sound.encode(silence))
    container.mux(sound.encode(None))


def sound_alone(path: Path, *, codec: str = "aac") -> None:
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream(codec, rate=48000, layout="mono")
        _add_silence(container, sound, 0.5)


def changed(write: Callable[[Path], None], change: Callable[[bytes], bytes], path: Path) -> None:
    """Write a video and change its bytes."""
    write(path)
    path.write_bytes(change(path.read_bytes()))


def cut(share: float, data: bytes) -> bytes:
    return data[: int(len(data) * share)]


def put(place: int, piece: bytes, data: bytes) -> bytes:
    return data[:place] + piece + data[place + len(piece) :]


def put_after(mark: bytes, distance: int, piece: bytes, data: bytes) -> bytes:
    """Replace what stands at a distance behind each mark."""
    place = data.find(mark)
    assert place >= 0, mark
    while place >= 0:
        data = put(place + distance, piece, data)
        place = data.find(mark, place + distance)
    return data


def turn(how: int | str, data: bytes) -> bytes:
    """Have the track matrix of an mp4 file turn its frames clockwise by so many degrees, or mirror them."""
    (a, b, c, d), one = {**TURNS, **MIRRORS}[how], 1 << 16
    x, y = SIZE[1] * (a < 0) + SIZE[0] * (c < 0), SIZE[1] * (b < 0) + SIZE[0] * (d < 0)
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30)
    return put_after(b"tkhd", 44, matrix, data)


def tilt(data: bytes) -> bytes:
    """Have the track matrix of an mp4 file turn its frames by 30 degrees."""
    cosine, sine = round(0.8660254 * 65536), round(0.5 * 65536)
    return put_after(b"tkhd", 44, struct.pack(">9i", cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30), data)


def three_hours_mp4(data: bytes) -> bytes:
    """Have each header of an mp4 file say that it lasts three hours."""
    for box, distance, scale_at in (("mvhd", 20, 16), ("mdhd", 20, 16), ("tkhd", 24, None), ("elst", 12, None)):
        place = data.index(box.encode())
        scale = 1000 if scale_at is None else struct.unpack_from(">I", data, place + scale_at)[0]
        data = put(place + distance, struct.pack(">I", 10800 * scale), data)
    return data


def three_hours_avi(data: bytes) -> bytes:
    data = put_after(b"avih", 24, struct.pack("<I", 10800 * 25), data)
    return put_after(b"strh", 40, struct.pack("<I", 10800 * 25), data)


def three_hours_mkv(data: bytes) -> bytes:
    return put_after(b"\x44\x89\x88", 3, struct.pack(">d", 10800e3), data)


def _two_streams(path: Path) -> None:
    """A small picture beside the video, as a thumbnail is."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, ((48, 64), (16, 32)), strict=True):
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
        for pixels in scene():
            for stream in streams:
                part = np.ascontiguousarray(pixels[: stream.height, : stream.width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))


def _two_sizes(path: Path) -> None:
    with path.open("wb") as joined:
        for number, (size, turn) in enumerate((((48, 64), 1), ((32, 32), -1))):
            part = path.with_name(f"part{number}.m1v")
            encode(part, scene(NUM_FRAMES, *size)[:, ::turn, ::turn], codec="mpeg1video", format="mpeg1video")
            joined.write(part.read_bytes())
            part.unlink()


def _joined(path: Path) -> None:
    encode(path)
    first = path.read_bytes()
    encode(path, scene()[:, ::-1, ::-1])
    path.write_bytes(first + path.read_bytes())


def _link(target: str, path: Path) -> None:
    path.symlink_to(target)


def _linked(path: Path) -> None:
    encode(path.with_name("real.dat"), format="mp4")
    path.symlink_to("real.dat")


def _text(text: str, path: Path) -> None:
    path.write_text(text)


def _good(file: str, height: int = SIZE[0], width: int = SIZE[1], num: int = NUM_FRAMES, **options: Any) -> Kind:
    frames = scene(num, height, width)
    return Kind(file, partial(encode, frames=frames, **options), frames)


def _altered(file: str, change: Callable[[bytes], bytes], **fields: Any) -> Kind:
    options = fields.pop("options", {})
    return Kind(file, partial(changed, partial(encode, **options), change), **fields)


LOSSLESS = {"codec": "ffv1", "pix_fmt": "yuv444p"}
MPEG4: dict[str, Any] = {"codec": "mpeg4", "options": {"qmin": "2", "qmax": "2"}}
MJPEG: dict[str, Any] = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {"qmin": "2", "qmax": "2"}}
VP8, VP9 = {"codec": "libvpx"}, {"codec": "libvpx-vp9"}
X265 = {"options": {"x265-params": "log-level=none"}, "codec": "libx265"}

GOOD: dict[str, Kind] = {
    "h264 in mp4": _good("a.mp4"),
    "h264 in mp4, frames in order": _good("a.mp4", options={"bf": "0", "g": "4"}),
    "h264 in mp4, every frame a key frame": _good("a.mp4", options={"g": "1"}),
    "h264 in mp4, open groups of pictures": _good("a.mp4", options={"x264-params": "open-gop=1:keyint=4:bframes=3"}),
    "h264 in mp4, index first": _good("a.mp4", container_options={"movflags": "faststart"}),
    "h264 in mp4, in fragments": _good("a.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    "h264 in mov": _good("a.mov"),
    "h264 in mkv": _good("a.mkv"),
    "h264 in avi": _good("a.avi", options={"bf": "0"}),
    "h264 in flv": _good("a.flv"),
    "h264 in ts": _good("a.ts"),
    "h265 in mp4": _good("a.mp4", **X265),
    "mpeg4 in mp4": _good("a.mp4", **MPEG4),
    "mpeg4 in avi": _good("a.avi", **MPEG4),
    "mpeg4 in avi, with frames between": _good("a.avi", codec="mpeg4", options={"bf": "2", "qmin": "2", "qmax": "2"}),
    "mjpeg in avi": _good("a.avi", **MJPEG),
    "mjpeg in mov": _good("a.mov", **MJPEG),
    "raw in avi": _good("a.avi", codec="rawvideo", pix_fmt="bgr24"),
    "mpeg1 in mpg": _good("a.mpg", codec="mpeg1video"),
    "mpeg2 in ts": _good("a.ts", codec="mpeg2video"),
    "wmv2 in wmv": _good("a.wmv", codec="wmv2"),
    "h263 in 3gp": _good("a.3gp", 144, 176, codec="h263"),
    "vp8 in webm": _good("a.webm", **VP8),
    "vp9 in webm": _good("a.webm", **VP9),
    "vp9 in mkv": _good("a.mkv", **VP9),
    "av1 in mp4": _good("a.mp4", 64, 64, codec="libsvtav1", options={"preset": "12"}),
    "ffv1 in mkv": _good("a.mkv", **LOSSLESS),
    "prores in mov": _good("a.mov", codec="prores_ks", pix_fmt="yuv422p10le"),
    "qtrle in mov": _good("a.mov", codec="qtrle", pix_fmt="rgb24"),
    "png in mov": _good("a.mov", codec="png", pix_fmt="rgb24"),
    "gif": _good("a.gif", codec="gif", pix_fmt="gray"),
    "apng": _good("a.apng", codec="apng", pix_fmt="rgb24"),
    "odd size, h264": _good("a.mp4", 33, 17, pix_fmt="yuv444p"),
    "odd size, vp9 with half the colours": _good("a.webm", 33, 17, **VP9),
    "1 x 1 px, ffv1": _good("a.mkv", 1, 1, **LOSSLESS),
    "1 x 1 px, gif": _good("a.gif", 1, 1, codec="gif", pix_fmt="gray"),
    "1 x 1 px, vp9": _good("a.webm", 1, 1, **VP9),
    "2 px high, 400 px wide": _good("a.mp4", 2, 400),
    "one frame, h264": _good("a.mp4", num=1),
    "one frame, webm": _good("a.webm", num=1, **VP9),
    "one frame, gif": _good("a.gif", num=1, codec="gif", pix_fmt="gray"),
    "10 bits, h264": _good("a.mp4", pix_fmt="yuv420p10le"),
    "10 bits, h265": _good("a.mp4", pix_fmt="yuv420p10le", **X265),
    "12 bits, h265": _good("a.mkv", pix_fmt="yuv444p12le", **X265),
    "16 bits, ffv1": _good("a.mkv", codec="ffv1", pix_fmt="yuv420p16le"),
    "grey, h264": _good("a.mp4", pix_fmt="gray"),
    "grey in 10 bits, h264": _good("a.mp4", pix_fmt="gray10le"),
    "alpha, vp9": _good("a.webm", pix_fmt="yuva420p", **VP9),
    "alpha, png": _good("a.mov", codec="png", pix_fmt="rgba"),
    "alpha, prores": _good("a.mov", codec="prores_ks", pix_fmt="yuva444p10le"),
    "interlaced, h264": _good("a.mp4", options={"x264-params": "interlaced=1"}),
    "interlaced, mpeg2": _good("a.ts", codec="mpeg2video", options={"flags": "+ilme+ildct"}),
    "variable rate, mp4": _good("a.mp4", times_ms=UNEVEN_MS),
    "variable rate, webm": _good("a.webm", times_ms=UNEVEN_MS, **VP9),
    "times from far": _good("a.mkv", times_ms=[10_000_000 + 40 * i for i in range(NUM_FRAMES)]),
    "times below zero, which are not shown": Kind(
        "a.mp4", partial(encode, times_ms=[40 * i - 400 for i in range(NUM_FRAMES)]), scene()[10:]
    ),
    "with sound": _good("a.mp4", sound_s=0.48),
    "with sound, longer than the frames": _good("a.mkv", sound_s=3.0),
    "two streams of video": Kind("a.mkv", _two_streams, scene()),
    "a name that FFmpeg might read into": _good("http:a%03d?x.mp4", format="mp4"),
    "another suffix": _good("a.avi", format="mp4"),
    "no suffix": _good("a", format="mp4"),
    "a link": Kind("a.mp4", _linked, scene()),
    "bytes behind the end": _altered("a.mp4", lambda data: data + os.urandom(3000), frames=scene()),
    "zeros behind the end": _altered("a.webm", lambda data: data + bytes(9000), options=VP9, frames=scene()),
    "a header of 3 hours, mp4": _altered("a.mp4", three_hours_mp4, frames=scene()),
    "a header of 3 hours, avi": _altered("a.avi", three_hours_avi, options=MPEG4, frames=scene()),
    "a header of 3 hours, mkv": _altered("a.mkv", three_hours_mkv, frames=scene()),
    # Decoders lose the last frame before the change, as ffmpeg does.
    "frames of two sizes": Kind("a.mpg", _two_sizes, np.concatenate([scene()[:11], scene()[:, ::-1, ::-1]])),
    "mirrored": _altered("a.mp4", partial(turn, "mirrored"), frames=scene()[:, :, ::-1]),
    "mirrored and upside down": _altered("a.mp4", partial(turn, "upside down"), frames=scene()[:, ::-1]),
    "pixels that are not square": _good("a.mp4", pixel_aspect=Fraction(4, 3)),
    "pictures that begin after the sound": _good("a.mkv", times_ms=[1000 + 40 * i for i in range(12)], sound_s=1.5),
    "two recordings in one": Kind("a.ts", _joined, np.concatenate([scene(), scene()[:, ::-1, ::-1]])),
    "tilted by 30 degrees": _altered("a.mp4", tilt, frames=scene()),
    **{
        f"rotated by {degrees}": _altered(
            "a.mp4", partial(turn, degrees), frames=np.rot90(scene(), -degrees // 90, (1, 2))
        )
        for degrees in TURNS
    },
}

CONTAINERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mp4": ("a.mp4", {}),
    "mp4, index first": ("a.mp4", {"container_options": {"movflags": "faststart"}}),
    "mp4, in fragments": (
        "a.mp4",
        {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "3"}},
    ),
    "mov": ("a.mov", MJPEG),
    "webm": ("a.webm", VP9),
    "mkv": ("a.mkv", {}),
    "avi": ("a.avi", MPEG4),
    "avi, mjpeg": ("a.avi", MJPEG),
    "gif": ("a.gif", {"codec": "gif", "pix_fmt": "gray"}),
    "apng": ("a.apng", {"codec": "apng", "pix_fmt": "rgb24"}),
    "mov, png": ("a.mov", {"codec": "png", "pix_fmt": "rgb24"}),
    "mkv, ffv1": ("a.mkv", LOSSLESS),
    "mpg": ("a.mpg", {"codec": "mpeg1video"}),
    "flv": ("a.flv", {}),
    "ts": ("a.ts", {"codec": "mpeg2video"}),
    "wmv": ("a.wmv", {"codec": "wmv2"}),
}
SHARES = (0.01, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95, 0.99)
CUT: dict[str, Kind] = {
    f"{name}, cut at {share:.0%}": _altered(
        file, partial(cut, share), options=options, frames=scene(), may_lack=NUM_FRAMES, error="a[.].*; "
    )
    for name, (file, options) in CONTAINERS.items()
    for share in SHARES
}
DAMAGED: dict[str, Kind] = {
    f"{name}, {what} damaged": _altered(
        file,
        partial(put, place, b"\xa5" * size),
        options=options,
        frames=scene(),
        may_lack=NUM_FRAMES,
        error="a[.].*; ",
    )
    for name, (file, options) in CONTAINERS.items()
    for what, place, size in (("first bytes", 0, 16), ("header", 16, 64), ("more of the header", 8, 600))
    if (name, what) != ("gif", "header")  # which is its colours, and no file says what they were
}

UNREADABLE, NO_VIDEO = "cannot be read as a video", "has no video stream"
SESSION = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
CONCAT = "ffconcat version 1.0\nfile a.mp4\n"
GREY_GIF: dict[str, Any] = {"codec": "gif", "pix_fmt": "gray"}


def _gif_of(size: int, data: bytes) -> bytes:
    return put(6, struct.pack("<HH", size, size), data)


def _playlist(name: str) -> str:
    return f"#EXTM3U\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n"


def _wav(path: Path) -> None:
    sound_alone(path.with_suffix(".wav"), codec="pcm_s16le")
    path.with_suffix(".wav").rename(path)


def _circle(path: Path) -> None:
    path.symlink_to("b.mp4")
    path.with_name("b.mp4").symlink_to(path.name)


BAD: dict[str, Kind] = {
    "zero bytes": Kind("a.mp4", partial(_text, ""), error="is empty, with 0 bytes"),
    "one byte": Kind("a.mp4", partial(_text, "x"), error=UNREADABLE),
    "text": Kind("a.mp4", partial(_text, "no video\n" * 500), error=UNREADABLE),
    "a web page": Kind("a.mp4", partial(_text, "<!doctype html><title>404</title>" * 9), error=UNREADABLE),
    "subtitles": Kind("a.mkv", partial(_text, "1\n00:00:00,000 --> 00:00:01,000\nhello\n\n" * 9), error=NO_VIDEO),
    "noise": Kind("a.webm", lambda path: path.write_bytes(np.random.default_rng(0).bytes(9000)), error=UNREADABLE),
    "zeros alone": Kind("a.mp4", lambda path: path.write_bytes(bytes(9000)), error=UNREADABLE),
    "sound alone, mp4": Kind("a.mp4", sound_alone, error=NO_VIDEO),
    "sound alone, mkv": Kind("a.mkv", sound_alone, error=NO_VIDEO),
    "sound alone, wav called avi": Kind("a.avi", _wav, error=NO_VIDEO),
    "a folder": Kind("a.mp4", lambda path: path.mkdir(), error="no image lies directly in this folder"),
    "a link to itself": Kind("a.mp4", partial(_link, "a.mp4"), error="its links lead in a circle"),
    "links in a circle": Kind("a.mp4", _circle, error="its links lead in a circle"),
    "a link to nothing": Kind("a.mp4", partial(_link, "gone.mp4"), error="there is no such file"),
    "a pipe": Kind("a.mp4", os.mkfifo, error="is not a file"),
    "a list of itself": Kind("a.mp4", partial(_text, CONCAT), error="cannot be read as a video .Invalid arg"),
    "a playlist of itself": Kind("a.mp4", partial(_text, _playlist("a.mp4")), error=UNREADABLE),
    "a playlist of itself, called so": Kind("a.m3u8", partial(_text, _playlist("a.m3u8")), error=UNREADABLE),
    "a playlist of an address": Kind("a.mp4", partial(_text, _playlist("http://127.0.0.1:9/a.ts")), error=UNREADABLE),
    "a session that waits for packets": Kind("a.mp4", partial(_text, SESSION), error=UNREADABLE),
    "frames of 30000 x 30000 px, gif": _altered(
        "a.gif", partial(_gif_of, 30000), options=GREY_GIF, error="frame 0 of 12 cannot be decoded"
    ),
    "frames of 30000 x 30000 px, avi": _altered(
        "a.avi",
        partial(put_after, b"strf", 12, struct.pack("<ii", 30000, 30000)),
        options={"codec": "rawvideo", "pix_fmt": "bgr24"},
        error="frame 0 of 12 cannot be decoded",
    ),
}
