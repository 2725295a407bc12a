"""A small data set of drawn videos whose classes come in pairs: each is the other played backwards.

No single frame, and no set of frames without its order, says which of the two classes of a pair a
clip belongs to. A model that averages frames scores 50 % within a pair by construction; only one
that knows the order of events does better.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from gateshift.demo.scenes import SCENES, film
from gateshift.errors import SettingsError
from gateshift.files import atomic_write, csv_text, write_text

PAIRS: tuple[tuple[str, str], ...] = (
    ("move left", "move right"),
    ("pick up", "put down"),
    ("cover", "uncover"),
    ("approach", "recede"),
    ("turn clockwise", "turn counterclockwise"),
)
_NAMES = tuple(name for pair in PAIRS for name in pair)
FRAMES_PER_S = 25
MIN_SIDE_PX = 32


def write_reversal_clips(
    folder: Path,
    *,
    train_per_class: int = 40,
    val_per_class: int = 16,
    size_px: tuple[int, int] = (96, 72),
    seed: int = 0,
) -> None:
    """Write encoded videos of ten actions in five pairs, each the other of its pair backwards.

    The clips lie in ``train/CLASS/``, ``val/CLASS/`` and, one per class and named after it,
    ``unseen/``. Beside them ``train.csv`` and ``val.csv`` have the columns ``path,label`` with paths
    relative to ``folder``, and ``classes.txt`` has a class a line, the two of a pair adjacent. These
    three are written last, so a folder that has them is whole.

    Training clips are all drawn independently. Every clip in ``val`` and ``unseen`` comes with its
    exact reversal, under the same file number as the other class of its pair.

    Args:
        folder: Where to write; made if missing.
        train_per_class: Training clips of each class, at least 1.
        val_per_class: Validation clips of each class, at least 1.
        size_px: Width and height, both even and at least 32.
        seed: At least 0. The same seed draws the same frames; asking for more clips leaves the
            others as they are.

    Raises:
        SettingsError: If an argument is outside its range, or ``folder`` holds other clips, which
            would mix with these.
    """
    check_at_least(1, train_per_class=train_per_class, val_per_class=val_per_class)
    check_at_least(0, seed=seed)
    check_size(size_px)
    clips = dict(_plan(train_per_class, val_per_class))
    _check_no_other_clips(folder, set(clips))
    for name in ("train.csv", "val.csv", "classes.txt"):  # of an earlier set, until the new one is whole
        (folder / name).unlink(missing_ok=True)
    drawn: dict[tuple[int, int, int], NDArray[np.uint8]] = {}  # clips whose reversal is yet to be written
    for path, (label, key) in clips.items():
        if key in drawn:
            frames = np.ascontiguousarray(drawn.pop(key)[::-1])
        else:
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
            frames = draw_clip(label, rng=rng, size_px=size_px)
            if not path.startswith("train/"):
                drawn[key] = frames
        write_mp4(folder / path, frames)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in _NAMES))
    for split in ("train", "val"):
        rows = [(path, label) for path, (label, _) in clips.items() if path.startswith(f"{split}/")]
        write_text(folder / f"{split}.csv", csv_text([("path", "label"), *rows]))


def draw_clip(label: str, *, rng: np.random.Generator, size_px: tuple[int, int] = (96, 72)) -> NDArray[np.uint8]:
    """Draw the frames of one clip.

    The second class of a pair is the finished frame list of the first, reversed: shake, noise,
    easing and the still frames around the movement included. So the same ``rng`` state gives the
    same frames in opposite order for the two classes.

    Args:
        label: A class name out of ``PAIRS``.
        rng: Source of everything that varies.
        size_px: Width and height, both even and at least 32.

    Returns:
        Frames [T, H, W, 3] uint8 RGB with T odd, in 17..47.

    Raises:
        SettingsError: If ``label`` is no class, or ``size_px`` is outside its range.
    """
    if label not in _NAMES:
        raise SettingsError(f"label {label!r} is not a class; accepted are {', '.join(_NAMES)}; give one of them")
    check_size(size_px)
    pair, is_reversed = divmod(_NAMES.index(label), 2)
    frames = film(SCENES[pair], rng, size_px)
    return np.ascontiguousarray(frames[::-1]) if is_reversed else frames


def _plan(train_per_class: int, val_per_class: int) -> Iterator[tuple[str, tuple[str, tuple[int, int, int]]]]:
    """Yield each file's path with its label and the key that its random draws grow from."""
    for pair, names in enumerate(PAIRS):
        for direction, label in enumerate(names):
            for i in range(train_per_class):
                yield f"train/{label}/{i:04d}.mp4", (label, (0, 2 * pair + direction, i))
            for i in range(val_per_class):
                yield f"val/{label}/{i:04d}.mp4", (label, (1, pair, i))
            yield f"unseen/{label.replace(' ', '_')}.mp4", (label, (2, pair, 0))


def check_at_least(minimum: int, **given: float) -> None:
    """Raise SettingsError if an argument is smaller."""
    for name, value in given.items():
        if value < minimum:
            raise SettingsError(f"{name} is {value}; accepted is {minimum} or more; give a larger number")


def check_size(size_px: tuple[int, int]) -> None:
    """Raise SettingsError unless videos can have this width and height."""
    if any(side < MIN_SIDE_PX or side % 2 for side in size_px):
        raise SettingsError(
            f"size_px is {size_px[0]} x {size_px[1]}; accepted are even numbers of at least {MIN_SIDE_PX}, "
            "because video stores color for 2 x 2 pixels; round both"
        )


def _check_no_other_clips(folder: Path, planned: set[str]) -> None:
    found = {
        path.relative_to(folder).as_posix()
        for split in ("train", "val", "unseen")
        for path in (folder / split).rglob("*.mp4")
    }
    if others := sorted(found - planned):
        raise SettingsError(
            f"{folder} already holds {len(others)} other clips, such as {others[0]}; accepted is a folder "
            "without them or one written with the same numbers of clips; give a new folder"
        )


def write_mp4(path: Path, frames: NDArray[np.uint8], *, codec: Literal["libx264", "mpeg4"] | None = None) -> None:
    """Encode so that a frame's quality does not depend on its place in the video.

    Every frame is a key frame at one fixed quantizer. A quality target (crf) would not do: its rate
    control looks at the frames before, so coding errors would tell first frames from last ones.
    """
    if codec is None:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    quantizer = {"qp": "18", "preset": "veryfast"} if codec == "libx264" else {"qmin": "3", "qmax": "3"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=FRAMES_PER_S, options={"g": "1", "threads": "1", **quantizer})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
