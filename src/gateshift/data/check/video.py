"""Everything that is wrong with one video, by decoding all of it."""

from __future__ import annotations

import hashlib
import itertools
import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gateshift.data.check.headers import durations_s, missing_bytes
from gateshift.data.check.quarantine import Fault, FaultyVideo
from gateshift.data.path_hints import hint_for
from gateshift.data.regions import Region
from gateshift.data.video.decode import frames_between
from gateshift.data.video.files import LATE_S, VideoFile, open_video
from gateshift.data.video.protocol import Video
from gateshift.errors import CutOffVideoError, EmptyVideoError, NoVideoStreamError, VideoError

# A header rounds, and says when the last frame begins or when it ends.
_TOLERANCE_S, _TOLERANCE = 0.25, 0.02
_UNEVEN = 0.5  # of the usual time from one frame to the next: more or less than that is another rate


class Part(NamedTuple):
    """What a list says of a video: where a part of it is, its frames, label and region; None where it does not say."""

    name: str = ""
    start_s: float | None = None
    end_s: float | None = None
    num_frames: int | None = None
    label: str | None = None
    box: Region | None = None


@dataclass(frozen=True)
class Finding:
    """What is wrong with a video, and what it shows.

    Attributes:
        problems: All that is wrong.
        digest: The same for two videos that show the same; None if it cannot be read.
    """

    problems: tuple[FaultyVideo, ...]
    digest: bytes | None = None


def check_video(path: Path, parts: Sequence[Part]) -> Finding:
    """Decode all of a video, and say what is wrong.

    Args:
        path: A file, a folder of images or a zip of them, which may be missing.
        parts: What lists say of it.
    """
    if not path.exists():
        return Finding((FaultyVideo(path, "missing", f"there is no such file; {hint_for(path) or 'check the path'}"),))
    try:
        with open_video(path) as video:
            digest = _digest(video)
            problems = [*_faults_of_parts(path, video, parts)]
            if isinstance(video, VideoFile):
                problems += _faults_of_file(path, video)
        return Finding(tuple(problems), digest)
    except VideoError as error:
        detail = str(error).removeprefix(f"{path}: ")
        return Finding((FaultyVideo(path, _fault_of(path, error), detail),))


def _fault_of(path: Path, error: VideoError) -> Fault:
    if isinstance(error, NoVideoStreamError):
        return "no-video"
    is_empty = isinstance(error, EmptyVideoError)
    if is_empty and not path.stat().st_size:
        return "zero-bytes"
    if isinstance(error, CutOffVideoError) or (path.is_file() and _missing_bytes(path)):
        return "truncated"
    return "empty" if is_empty else "unreadable"


def _missing_bytes(path: Path) -> int:
    try:
        return missing_bytes(path)
    except OSError:  # it may not be read, which is what is wrong with it
        return 0


def _digest(video: Video) -> bytes:
    """A number for what is seen: equal where all frames are, in whichever container."""
    found = hashlib.blake2b(digest_size=16)
    for number in range(video.num_frames):
        frame = video.read([number]).permute(0, 2, 3, 1)  # [1, H, W, 3]
        found.update(repr(tuple(frame.shape)).encode())
        found.update(frame.numpy().data)
    return found.digest()


def _faults_of_file(path: Path, video: VideoFile) -> Iterator[FaultyVideo]:
    missing = missing_bytes(path)
    if missing:
        yield FaultyVideo(
            path, "truncated", f"lacks {missing} bytes of what its header lists; write or download it again"
        )
        return  # its other faults are of what is missing
    stated = durations_s(path)
    if stated is not None:
        header_s, found_s = stated
        if header_s - found_s > max(_TOLERANCE_S, _TOLERANCE * found_s):
            yield FaultyVideo(
                path,
                "wrong-length",
                f"its header says {header_s:.2f} s, but what is in it lasts {found_s:.2f} s; write it again",
            )
    if video.rotation_deg % 90:
        yield FaultyVideo(
            path, "rotated", f"is to be turned by {video.rotation_deg:g} degrees, and is by the nearest multiple of 90"
        )
    yield from _fault_of_rate(path, video)
    yield from _oddities(path, video)


def _oddities(path: Path, video: VideoFile) -> Iterator[FaultyVideo]:
    """What reads well, and looks or counts otherwise in a program that does not care for it."""
    if video.is_joined:
        detail = "its clock is set anew on the way, as where recordings were joined; times come from the frame rate"
        yield FaultyVideo(path, "joined", detail)
    elif not video.has_times:
        detail = "does not say when frames are shown; their order comes from decoding, times from the frame rate"
        yield FaultyVideo(path, "no-times", detail)
    if video.is_mirrored:
        yield FaultyVideo(path, "mirrored", "is stored as in a mirror, and is mirrored back, as players do")
    if video.pixel_aspect != 1:
        width, height = video.pixel_aspect.numerator, video.pixel_aspect.denominator
        detail = f"its pixels are {width}:{height}; frames are resized to square ones, unless with `keep_squashed=True`"
        yield FaultyVideo(path, "not-square", detail)
    if video.changes_size:
        yield FaultyVideo(path, "changing-size", "its frames differ in size, and are resized to the size of the first")
    with suppress(VideoError):  # without times it is not known
        first_s = video.times_s()[0]
        if first_s >= LATE_S:
            yield FaultyVideo(path, "late", f"its pictures begin at {first_s:.3f} s on its clock, after its sound")


def _fault_of_rate(path: Path, video: VideoFile) -> Iterator[FaultyVideo]:
    try:
        times_s = video.times_s()
    except VideoError:  # without times there is no rate
        return
    steps_s = [after - before for before, after in itertools.pairwise(times_s)]
    usual_s = statistics.median(steps_s) if steps_s else 0.0
    if any(abs(step - usual_s) > _UNEVEN * usual_s for step in steps_s):
        yield FaultyVideo(
            path,
            "variable-rate",
            f"from one frame to the next are {1e3 * min(steps_s):.0f} to {1e3 * max(steps_s):.0f} ms, mostly "
            f"{1e3 * usual_s:.0f}",
        )


def _faults_of_parts(path: Path, video: Video, parts: Sequence[Part]) -> Iterator[FaultyVideo]:
    for part in parts:
        num_frames = video.num_frames
        if part.start_s is not None or part.end_s is not None:
            if not isinstance(video, VideoFile):
                yield FaultyVideo(path, "wrong-length", "its list gives times, but images have no clock", part.name)
                continue
            times_s = video.times_s()
            num_frames = len(frames_between(times_s, part.start_s, part.end_s))
            if not num_frames:
                there = f"{len(times_s)} from {times_s[0]:.2f} to {times_s[-1]:.2f} s"
                detail = f"its list names a part in which no frame is, as there are {there}"
                yield FaultyVideo(path, "wrong-length", detail, part.name)
                continue
        if part.box is not None and (fault := video.fault_of_box(part.box)) is not None:
            yield FaultyVideo(path, "wrong-box", fault, part.name)
        if part.num_frames is not None and part.num_frames > num_frames:
            detail = f"its list says {part.num_frames} frames, but there are {num_frames}; correct the list"
            yield FaultyVideo(path, "wrong-length", detail, part.name)
