"""Recordings of moving pictures with sound, of any length, and clips cut out of them without coding them again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av

X264 = ["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-bf", "3", "-c:a", "aac"]
CODINGS = {
    "b-frames.mp4": X264,
    "plain.mkv": X264,
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "50", "-c:a", "libopus"],
    "variable-rate.mp4": X264,
}
# Of 25 frames a second, each third one comes later.
VARIABLE = ["-vf", "setpts='PTS+if(eq(mod(N,3),1),0.015/TB,0)'", "-fps_mode", "vfr", "-video_track_timescale", "90000"]
CLIP_S, NUM_FRAMES = 2.0, 50  # of a clip, which begins with a key frame


def write_minute(path: Path) -> Path:
    """A minute at 320 x 240; the name says the coding."""
    name = path.name.partition("-")[2]
    timing = VARIABLE if name.startswith("variable") else []
    picture = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=60", "-f", "lavfi", "-i", "sine=d=60"]
    return path if path.exists() else ffmpeg(path, *picture, *timing, *CODINGS[name])


def repeat(minute: Path, path: Path, minutes: int) -> Path:
    """So many minutes."""
    if path.exists():
        return path
    return ffmpeg(path, "-stream_loop", str(minutes - 1), "-i", str(minute), "-c", "copy")


def cut_out(recording: Path, path: Path, start_s: float) -> Path:
    """The clip that begins with the key frame at a time, as the first 50 frames of a file."""
    if path.exists():
        return path
    # ffmpeg seeks 0.13 s earlier where frames are out of order, but not in mp4, where it hides what comes before.
    later_s = 1e-6 if path.suffix == ".mp4" else 0.15
    return ffmpeg(path, "-ss", f"{start_s + later_s:.6f}", "-i", str(recording), "-t", f"{CLIP_S}", "-c", "copy")


def key_frame_s(path: Path, near_s: float) -> float:
    """When the key frame before a time is shown, on the file's clock."""
    with av.open(str(path)) as container:
        start_s = (container.start_time or 0) / av.time_base
        container.seek(round((near_s + start_s) * av.time_base))
        packet = next(container.demux(video=0))
        assert packet.pts is not None
        return float(packet.pts * packet.time_base) - start_s


def key_frames_s(path: Path) -> list[float]:
    """When the key frames of an mp4 are shown, on the file's clock."""
    with av.open(str(path)) as container:
        start_s = (container.start_time or 0) / av.time_base
        packets = [packet for packet in container.demux(video=0) if packet.is_keyframe and packet.pts is not None]
    return sorted(float(packet.pts * packet.time_base) - start_s for packet in packets)


def ffmpeg(path: Path, *arguments: str) -> Path:
    """Write a file; it appears when it is whole."""
    partial = path.with_name(f"partial-{path.name}")
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments, str(partial)], check=True)
    return partial.replace(path)
