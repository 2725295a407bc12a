"""Video files of every codec in every container that takes it, written by the ffmpeg program, and what it shows.

Each frame is of colored blocks of its own, so that no other can pass for it, however much coding costs.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

NUM_FRAMES = 30
HEIGHT, WIDTH, BLOCK = 96, 128, 16
X264 = "keyint=9:min-keyint=9:scenecut=0:b-adapt=0"
GOP = ("-g", "9", "-sc_threshold", "1000000000")
ANNEX_B = {"libx264": "h264_mp4toannexb", "libx265": "hevc_mp4toannexb"}
N_VOP = b"\x00\x00\x01\xb6\x60\xff"  # a frame that is not coded: type P, and nothing more
DIVX_PACKED = b"\x00\x00\x01\xb2DivX503b1393p"


@dataclass(frozen=True)
class Coding:
    """One way to encode, and the containers that take the result.

    Attributes:
        name: What it is called in a test.
        encode: Arguments of ffmpeg.
        native: Suffix of the container it is first written to, by which the others are made without encoding.
        suffixes: Of the others.
        pix_fmt: Of the pixels.
    """

    name: str
    encode: tuple[str, ...]
    native: str
    suffixes: tuple[str, ...]
    pix_fmt: str = "yuv420p"


def _x264(bframes: int, open_gop: int, *more: str) -> Coding:
    params = f"{X264}:bframes={bframes}:open-gop={open_gop}:b-pyramid={'normal' if bframes > 1 else 'none'}"
    name = f"h264 B{bframes}{' open' if open_gop else ''}"
    containers = ("mp4", "mov", "3gp", "avi", "flv", "ts", "m2ts", "mpg", "vob", "asf", "nut", "h264")
    return Coding(name, ("-c:v", "libx264", "-x264-params", params, *more), "mkv", containers)


def _x265(bframes: int, open_gop: int) -> Coding:
    params = f"{X264}:bframes={bframes}:open-gop={open_gop}:log-level=none:pools=none:frame-threads=1"
    name = f"hevc B{bframes}{' open' if open_gop else ''}"
    return Coding(name, ("-c:v", "libx265", "-x265-params", params), "mkv", ("mp4", "mov", "ts", "nut", "hevc"))


def _mpeg(codec: str, bframes: int, native: str, *suffixes: str, closed: bool = False) -> Coding:
    flags = ("-flags", "+cgop") if closed else ()
    name = f"{codec} B{bframes}{' closed' if closed else ''}"
    return Coding(name, ("-c:v", codec, *GOP, "-bf", str(bframes), "-q:v", "3", *flags), native, suffixes)


def _plain(codec: str, native: str, *suffixes: str, pix_fmt: str = "yuv420p", more: tuple[str, ...] = ()) -> Coding:
    return Coding(codec, ("-c:v", codec, *more), native, suffixes, pix_fmt)


MPEG4 = ("mp4", "mov", "mkv", "3gp", "ts", "nut", "asf", "m4v")
MPEG12 = ("vob", "ts", "mkv", "avi", "mp4", "mov", "nut", "asf", "m2v")
CODINGS = (
    *(_x264(*each) for each in ((0, 0), (1, 1), (2, 1), (3, 0), (4, 1))),
    *(_x265(*each) for each in ((0, 0), (2, 0), (4, 1))),
    *(_mpeg("mpeg4", bframes, "avi", *MPEG4) for bframes in (0, 1, 3)),
    *(_mpeg("libxvid", bframes, "avi", "mp4", "mkv") for bframes in (0, 1, 2)),
    *(_mpeg("mpeg2video", bframes, "mpg", *MPEG12, "mxf") for bframes in (0, 1, 4)),
    _mpeg("mpeg2video", 2, "mpg", "vob", "ts", "mxf", closed=True),
    *(_mpeg("mpeg1video", bframes, "mpg", *MPEG12) for bframes in (0, 2)),
    _plain("wmv2", "asf", "avi", "mkv", more=GOP),
    _plain("msmpeg4", "avi", "asf", "mkv", more=GOP),
    _plain("flv", "flv", "avi", "mkv", more=GOP),
    _plain("h263p", "avi", "mov", "mkv", more=GOP),
    _plain("rv10", "rm", more=GOP),
    _plain("rv20", "rm", more=GOP),
    _plain("libvpx", "webm", "mkv", "ogv", "ivf", "avi", more=("-g", "9", "-auto-alt-ref", "1", "-lag-in-frames", "8")),
    _plain("libvpx-vp9", "webm", "mkv", "mp4", "ivf", "avi", more=("-g", "9", "-cpu-used", "8", "-lag-in-frames", "8")),
    _plain("libsvtav1", "mkv", "webm", "mp4", "ivf", more=("-g", "9", "-preset", "12")),
    _plain("libtheora", "ogv", "mkv", more=("-g", "9")),
    _plain("ffv1", "mkv", "avi", "mov", "nut"),
    _plain("huffyuv", "avi", "mkv", "mov", "nut", pix_fmt="yuv422p"),
    _plain("vc2", "mkv", "mov", "ts", "nut", "drc", pix_fmt="yuv422p"),
    _plain("snow", "avi", "nut", more=("-g", "9")),
    _plain("mjpeg", "avi", "mov", "mkv", "mp4", "nut", pix_fmt="yuvj420p"),
    _plain("prores_ks", "mov", "mkv", "nut", pix_fmt="yuv422p10le"),
    _plain("png", "avi", "mov", "mkv", "nut", pix_fmt="rgb24"),
    _plain("png", "avi", "mov", "mkv", pix_fmt="pal8"),
    _plain("qtrle", "mov", pix_fmt="rgb24"),
    _plain("qtrle", "mov", pix_fmt="gray"),
    _plain("rawvideo", "avi", pix_fmt="pal8"),
    _plain("rawvideo", "avi", "nut"),
    _plain("gif", "gif", pix_fmt="pal8"),
    _plain("apng", "apng", pix_fmt="rgb24"),
)


@cache
def scene() -> np.ndarray:
    """Frames [T, H, W, 3], uint8, of random blocks."""
    blocks = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, HEIGHT // BLOCK, WIDTH // BLOCK, 3), np.uint8)
    return blocks.repeat(BLOCK, 1).repeat(BLOCK, 2)


def ffmpeg(*arguments: str | Path, data: bytes | None = None) -> bytes:
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def write(coding: Coding, folder: Path) -> list[Path]:
    """Encode once, then put the result into each of the other containers."""
    first = folder / f"a.{coding.native}"
    size = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-")
    colors = ("-pix_fmt", coding.pix_fmt)
    if coding.pix_fmt == "pal8":
        colors = ("-filter_complex", "split[a][b];[a]palettegen[p];[b][p]paletteuse")
    ffmpeg(*size, *colors, *coding.encode, "-threads", "1", first, data=scene().tobytes())
    others = [folder / f"a.{suffix}" for suffix in coding.suffixes]
    # Times that lack are left as they are, or as ffmpeg makes them up, where the container takes that.
    made_up = [path for path in others if path.suffix in (".mkv", ".ts", ".nut")]
    for flags, paths in (((), [path for path in others if path not in made_up]), (("-fflags", "+genpts"), made_up)):
        outputs: list[str | Path] = []
        for path in paths:
            is_raw = path.suffix in (".avi", ".mpg", ".vob", ".hevc", ".asf")
            filters = ("-bsf:v", ANNEX_B[coding.encode[1]]) if is_raw and coding.encode[1] in ANNEX_B else ()
            outputs += ["-c", "copy", "-strict", "experimental", *filters, path]
        if outputs:
            ffmpeg(*flags, "-i", first, *outputs)
    return [first, *others]


def shown(*paths: Path) -> list[np.ndarray]:
    """Frames [n, H, W, 3] of each video as ffmpeg shows them."""
    inputs: list[str | Path] = []
    outputs: list[str | Path] = []
    raw = [path.with_name(f"{path.name}.rgb24") for path in paths]
    for number, (path, target) in enumerate(zip(paths, raw, strict=True)):
        inputs += ["-threads", "1", "-i", path]
        outputs += ["-map", f"{number}:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", target]
    ffmpeg(*inputs, *outputs)
    return [np.fromfile(target, np.uint8).reshape(-1, HEIGHT, WIDTH, 3) for target in raw]


def pack_b_frames(source: Path, target: Path) -> None:
    """Write the AVI of an MPEG-4 video anew as XviD and DivX do: a B-frame in the packet of the frame it comes after.

    The packet that is left over holds a frame that is not coded.
    """
    with av.open(str(source)) as read:
        packets = [bytes(packet) for packet in read.demux(video=0) if packet.size]
        groups: list[list[bytes]] = []
        for data in packets:
            place = data.index(b"\x00\x00\x01\xb6")
            if data[place + 4] >> 6 == 2:  # a B-frame
                groups[-1].append(data)
            else:
                groups.append([data[:place] + (DIVX_PACKED if place else b"") + data[place:]])
        chunks = [
            chunk
            for first, *others in groups
            for chunk in ((first + others[0], *others[1:], N_VOP) if others else (first,))
        ]
        with av.open(str(target), "w") as written:
            stream = written.add_stream_from_template(read.streams.video[0])
            stream.codec_context.codec_tag = "XVID"
            for number, chunk in enumerate(chunks):
                packet = av.Packet(chunk)
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
                packet.is_keyframe = b"\x00\x00\x01\x20" in chunk
                written.mux(packet)


def lose_mp4_offsets(data: bytes) -> bytes:
    """An mp4 without its table of composition offsets."""
    return data.replace(b"ctts", b"free")


def lose_flv_offsets(data: bytes) -> bytes:
    """An flv of H.264 whose composition offsets are all 0."""
    changed, place = bytearray(data), 13
    while place < len(data):
        size = int.from_bytes(data[place + 1 : place + 4], "big")
        if data[place] == 9 and data[place + 12] == 1:  # a packet of a frame
            changed[place + 13 : place + 16] = bytes(3)
        place += 11 + size + 4
    return bytes(changed)
