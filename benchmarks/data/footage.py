"""Clips for the measurements: photographs under a moving camera, with things that cross them and sensor noise."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

Pixels = NDArray[np.uint8]


def draw_frames(seed: int, *, width: int, height: int, num_frames: int) -> list[Pixels]:
    """Frames [H, W, 3] of one clip: a slow pan and zoom, three cut-outs that move on their own, noise."""
    rng = np.random.default_rng(seed)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    wall = Image.new("RGB", (4 * 640, 4 * 427))
    for place in range(16):
        photo = photos[(place + place // 4 + seed) % 2]
        turned = photo.transpose(Image.Transpose(int(rng.integers(2)))) if rng.random() < 0.5 else photo
        wall.paste(turned, (place % 4 * 640, place // 4 * 427))
    scale = 1.6 if height >= 720 else 1.2 * height / 427
    wall = wall.resize((round(wall.width * scale * 0.9), round(wall.height * scale * 0.9)), Image.Resampling.LANCZOS)
    things = [
        (photos[i % 2].resize((height // 3, height // 4)), rng.uniform(0, 1, 2), rng.uniform(-0.012, 0.012, 2))
        for i in range(3)
    ]
    start, speed = rng.uniform(0.2, 0.4, 2), rng.uniform(-0.0015, 0.0015, 2)
    frames = []
    for number in range(num_frames):
        zoom = 1 + 0.1 * np.sin(number / 40 + seed)
        left, top = (start + speed * number) * (wall.width - 1.2 * width, wall.height - 1.2 * height)
        box = (left, top, left + width * zoom, top + height * zoom)
        frame = wall.resize((width, height), Image.Resampling.BILINEAR, box=box)
        for thing, place, step in things:
            x, y = (place + step * number) % 1 * (width, height)
            frame.paste(thing, (round(x), round(y)))
        noise = rng.normal(0, 1.5, (height, width, 1))
        frames.append((np.asarray(frame) + noise).clip(0, 255).astype(np.uint8))
    return frames


def write_h264(path: Path, frames: list[Pixels], *, fps: int = 30) -> None:
    """As most footage is: x264, preset medium, its default quality and B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "medium"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def extract_as_released(video: Path, folder: Path) -> None:
    """What ``ffmpeg -i VIDEO -qscale:v 2 FOLDER/%05d.jpg`` writes."""
    folder.mkdir(parents=True)
    with av.open(str(video)) as container:
        source = container.streams.video[0]
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height, encoder.pix_fmt = source.width, source.height, "yuvj420p"
        encoder.time_base = 1 / source.average_rate
        encoder.options = {"qmin": "2", "qmax": "2"}
        for number, frame in enumerate(container.decode(source), start=1):
            full_range = frame.reformat(format="yuvj420p")
            full_range.pict_type = 0
            (packet,) = encoder.encode(full_range)
            (folder / f"{number:05d}.jpg").write_bytes(bytes(packet))
