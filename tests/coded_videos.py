"""Short videos of many codecs and containers, whose frames show which ones they were predicted from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

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
    "windows.avi": {"codec": "msmpeg4", "options": GOP},
    "phone.avi": {"codec": "h263p", "options": GOP},  # in which FFmpeg calls every packet a key frame
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
    "no_index.avi",
]


def moving_frames() -> np.ndarray:
    """A texture that moves 2 px a frame, [T, H, W, 3], so that a wrong reference frame shows."""
    texture = np.random.default_rng(0).integers(0, 255, (6, 80, 3), dtype=np.uint8)
    texture = texture.repeat(8, axis=0).repeat(4, axis=1)
    return np.stack([texture[:, 2 * number : 2 * number + 64] for number in range(NUM_FRAMES)])


class CodedVideos:
    """Gives the file of a name in ``CODINGS`` or ``DERIVED``, written when it is first asked for."""

    def __init__(self, folder: Path, write_video: Any) -> None:
        self._folder, self._write_video = folder, write_video

    def __call__(self, name: str) -> Path:
        path = self._folder / name
        if path.exists():
            return path
        if name in CODINGS:
            self._write_video(path, moving_frames(), **CODINGS[name])
        elif name.startswith("starts_anywhere"):
            remux(self("open_gop.mp4"), path, skip=5)
        elif name == "edit_list.mp4":
            remux(self("b_frames.mp4"), path, earlier=17 * 512)
        elif name == "hidden_frame.webm":
            remux(self("vp8.webm"), path, hide=7)
        elif name == "no_index.avi":  # as where a recording was interrupted
            data = self("windows.avi").read_bytes()
            path.write_bytes(data[: data.rindex(b"idx1")])
        else:
            images = [Image.fromarray(moving_frames()[0]) for _ in range(NUM_FRAMES)]
            for number, image in enumerate(images):  # only what changes is stored
                image.paste((255, 0, 0), (number, 10, number + 5, 20))
            images[0].save(path, format="PNG", save_all=True, append_images=images[1:], duration=40)
        return path


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
