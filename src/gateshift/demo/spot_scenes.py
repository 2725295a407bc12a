"""Long drawn videos in which things happen at exact frames that only motion tells.

A ball bounces on the floor and hits a wall; a lamp goes on and off; a hand takes something and lets it go; something
appears from behind a post and goes behind it. The frame of an event shows the same in both classes of a pair: which of
the two it is, and that it is one, the frames around it say. What looks alike and is no event: the ball turns in the
air, or rolls on the floor; the hand comes and takes nothing; something else drifts across in front of the post.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gateshift.demo.pictures import Canvas, Rng, color, paste, set_stage, texture, textured_object
from gateshift.demo.scenes import Hand, Look, Scene, shoot, sway

# The two of a pair are each other backwards; the others are themselves backwards.
SPOT_PAIRS = (("switch on", "switch off"), ("take", "let go"), ("appear", "vanish"))
SPOT_CLASSES = (*(name for pair in SPOT_PAIRS for name in pair), "bounce", "wall hit")
_BACKWARDS = {one: other for pair in SPOT_PAIRS for one, other in (pair, pair[::-1])}
_SWITCH_S = 0.08  # for how long a lamp, or a grip, changes
FLOOR, WALL, POST = 0.86, 0.92, (0.28, 0.48)  # as shares of height and width
BALL_KINDS = (*2 * ("bounce", "wall hit"), "turn above", "turn before", "roll")

Happening = tuple[int, str]  # frame, class
Actor = Callable[[Canvas, int, float], tuple[Scene, list[Happening]]]  # of a stage, frames, and frames a second


@dataclass(frozen=True)
class SpotVideo:
    """A video that is drawn frame by frame, of any length in little memory.

    Attributes:
        num_frames: Its length.
        fps: Frames a second.
        events: Frame and class of each event, in order of time.
        frame: Draws a frame [H, W, 3] uint8 by its number; the same each time.
    """

    num_frames: int
    fps: float
    events: tuple[Happening, ...]
    frame: Callable[[int], NDArray[np.uint8]]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return map(self.frame, range(self.num_frames))

    def backwards(self) -> "SpotVideo":
        """The same, played backwards: each event is the other one of its pair."""
        last = self.num_frames - 1
        events = tuple((last - frame, _BACKWARDS.get(label, label)) for frame, label in reversed(self.events))
        return SpotVideo(self.num_frames, self.fps, events, lambda number: self.frame(last - number))


def draw_spot_video(
    seed: int,
    *,
    duration_s: float = 30.0,
    fps: float = 25.0,
    size_px: tuple[int, int] = (128, 96),
    classes: Sequence[str] = SPOT_CLASSES,
) -> SpotVideo:
    """Make up a video. Half of the seeds give one that is drawn backwards, so that nothing else tells the direction.

    Args:
        seed: At least 0; another one gives another video.
        duration_s: Its length, in seconds.
        fps: Frames a second. Events are at whole frames.
        size_px: Width and height, both even and at least 32.
        classes: What may happen, of :data:`SPOT_CLASSES`; the two of a pair, and both of the ball, go together.
    """
    rng, num_frames = np.random.default_rng(seed), round(duration_s * fps)
    stage = set_stage(rng, size_px)
    _furnish(stage)
    scenes: list[Scene] = []
    events: list[Happening] = []
    # From the back to the front; one takes no part in any event.
    cast = {
        _peeker: SPOT_PAIRS[2],
        _lamp: SPOT_PAIRS[0],
        _drifter: classes,
        _ball: SPOT_CLASSES[6:],
        _hand: SPOT_PAIRS[1],
    }
    for actor in (actor for actor, acts in cast.items() if {*acts} & {*classes}):
        scene, own = actor(stage, num_frames, fps)
        scenes.append(scene)
        events += own
    look, times_s = Look.of(rng), np.arange(num_frames) / fps
    shake_px = stage.margin * rng.uniform(0, 1) * sway(rng, 25 * times_s)  # [T, 2]

    def frame(number: int) -> NDArray[np.uint8]:
        picture = stage.background.copy()
        for scene in scenes:
            scene(picture, times_s[number])
        return shoot(stage, picture, shake_px[number], look, np.random.default_rng((seed, number)))

    video = SpotVideo(num_frames, fps, tuple(sorted(events)), frame)
    return video.backwards() if rng.random() < 0.5 else video


def _furnish(stage: Canvas) -> None:
    """Floor and wall."""
    width, height = stage.background.size
    (wall, floor), ink = stage.at(WALL, FLOOR), (int(255 * stage.luma * 0.5),) * 3
    for left, top in ((0, round(floor)), (round(wall), 0)):
        part = texture(stage.rng, (width - left, height - top), stage.luma, 0.6)
        stage.background.paste(part, (left, top))
    ImageDraw.Draw(stage.background).line((0, floor, wall, floor), fill=ink, width=4)
    ImageDraw.Draw(stage.background).line((wall, 0, wall, floor), fill=ink, width=4)


def _moments(rng: Rng, num_frames: int, fps: float, *, apart_s: tuple[float, float]) -> Iterator[int]:
    """Frames at which an actor does something, so far apart, none at the ends of the video."""
    at = round(rng.uniform(1, apart_s[1]) * fps)
    while at < num_frames - fps:
        yield at
        at += round(rng.uniform(*apart_s) * fps)


def _trimmed(item: Image.Image) -> Image.Image:
    """Without an empty margin: it touches with its own edge, and its middle is that of what can be seen."""
    return item.crop(item.getbbox())


def _lamp(stage: Canvas, num_frames: int, fps: float) -> tuple[Scene, list[Happening]]:
    """A lamp on the wall: at the frame of the event it is half as bright as when it is on."""
    rng, radius = stage.rng, 0.07 * stage.height
    (x, y), off, on = (
        stage.at(rng.uniform(0.06, 0.22), rng.uniform(0.1, 0.2)),
        color(rng, 0.15, 0.5),
        color(rng, 0.9, 0.8),
    )
    begins_on = bool(rng.random() < 0.5)
    frames = list(_moments(rng, num_frames, fps, apart_s=(1.5, 7)))
    times_s = np.array(frames) / fps

    def draw(picture: Image.Image, time_s: float) -> None:
        changes = (0.5 + (time_s - times_s) / _SWITCH_S).clip(0, 1).sum()  # whole ones, and a share of one on its way
        level = 1 - abs(1 - (changes + begins_on) % 2)
        ink = tuple(int(value) for value in off + level * (on - off))
        pen = ImageDraw.Draw(picture)
        pen.rectangle((x - radius / 4, 0, x + radius / 4, y), fill=(30, 26, 26))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink, outline=(30, 26, 26), width=3)

    return draw, [(frame, SPOT_PAIRS[0][(place + begins_on) % 2]) for place, frame in enumerate(frames)]


def _peeker(stage: Canvas, num_frames: int, fps: float) -> tuple[Scene, list[Happening]]:
    """Something behind a post comes out and goes back; at the frame of an event half of it can be seen."""
    rng = stage.rng
    left, right = (round(stage.at(x, 0)[0]) for x in POST)
    post = texture(rng, (right - left, round(stage.at(0, FLOOR + 0.05)[1])), stage.luma, 0.9)
    ImageDraw.Draw(post).rectangle((0, -4, post.width - 1, post.height - 1), outline=(30, 26, 26), width=3)
    item, y = _trimmed(textured_object(stage, rng.uniform(0.18, 0.24))), rng.uniform(0.3, 0.7)
    outings: list[tuple[float, float, float, float]] = []  # from when to when, edge, how far out to the right
    events: list[Happening] = []
    for start in _moments(rng, num_frames, fps, apart_s=(3.5, 9)):
        stop = start + round(rng.uniform(0.8, 1.8) * fps)
        side = int(rng.integers(2))
        outings.append((start / fps, stop / fps, POST[side], rng.uniform(0.2, 0.4) * (1 if side else -1)))
        events += [
            (frame, label) for frame, label in zip((start, stop), SPOT_PAIRS[2], strict=True) if frame < num_frames
        ]

    def draw(picture: Image.Image, time_s: float) -> None:
        for start_s, stop_s, edge, reach in outings:
            half_s = (stop_s - start_s) / 2
            out = 1 - abs(time_s - start_s - half_s) / half_s  # 0 at both events, 1 in between
            if out * abs(reach) > (POST[0] - POST[1]) / 2:  # else it rests behind the post
                paste(picture, item, stage.at(edge + out * reach, y))
        picture.paste(post, (left, 0))

    return draw, events


def _drifter(stage: Canvas, num_frames: int, fps: float) -> tuple[Scene, list[Happening]]:
    """Something that takes no part: it wanders about in front of the post."""
    item = textured_object(stage, stage.rng.uniform(0.1, 0.16))
    path = sway(stage.rng, 4 * np.arange(num_frames + 1) / fps)  # [T, 2]

    def draw(picture: Image.Image, time_s: float) -> None:
        x, y = path[round(time_s * fps)]
        paste(picture, item, stage.at(0.4 + 0.6 * x, 0.4 + 0.3 * y))

    return draw, []


def _ball(stage: Canvas, num_frames: int, fps: float) -> tuple[Scene, list[Happening]]:
    """A ball comes into sight, turns at the floor, at the wall or in the air, and leaves as it came; or it rolls."""
    rng = stage.rng
    item = _trimmed(textured_object(stage, rng.uniform(0.14, 0.2), ("ring", "star")))
    right, bottom = WALL - item.width / 2 / stage.width, FLOOR - item.height / 2 / stage.height
    turns: list[tuple[float, float, str, float, float, float]] = []
    events: list[Happening] = []
    for frame in _moments(rng, num_frames, fps, apart_s=(2.2, 4.5)):
        kind = BALL_KINDS[rng.integers(len(BALL_KINDS))]
        x, y = rng.uniform(0.1, right - 0.1), rng.uniform(0.25, bottom - 0.15)
        x, y = (right if kind == "wall hit" else x), (bottom if kind in ("bounce", "roll") else y)
        turns.append((frame / fps, rng.uniform(0.6, 1.0), kind, x, y, rng.uniform(-0.15, 0.15)))
        if kind in SPOT_CLASSES:
            events.append((frame, kind))

    def draw(picture: Image.Image, time_s: float) -> None:
        for at_s, half_s, kind, x, y, drift in turns:
            tau = (time_s - at_s) / half_s  # -1..1, 0 at the turn
            if abs(tau) > 1:
                continue
            rise = 1 - (1 - abs(tau)) ** 2 if kind in ("bounce", "turn above") else 0.0  # as things fall
            away = {"wall hit": abs(tau), "turn before": abs(tau), "roll": tau * tau}.get(kind, 0.0)
            sideways = drift * tau if kind in ("bounce", "turn above") else 0.0
            paste(picture, item, stage.at(x - away * (x + 0.15) + sideways, y - rise * (y + 0.15)))

    return draw, events


def _hand(stage: Canvas, num_frames: int, fps: float) -> tuple[Scene, list[Happening]]:
    """A hand comes from above, takes what lies on the floor, or puts it there; or comes and leaves without it."""
    rng = stage.rng
    item = _trimmed(textured_object(stage, rng.uniform(0.18, 0.24)))
    x, floor = stage.at(rng.uniform(0.62, 0.78), FLOOR)
    y, reach, grip = floor - item.height / 2, 0.16 * stage.height, max(item.width / 2, 0.07 * stage.height)
    hand, lies = Hand(rng, stage.height // 2), bool(rng.random() < 0.5)
    visits: list[tuple[float, float, float, int]] = []  # when, for how long at it, how long it comes; 1 takes, -1 gives
    events: list[Happening] = []
    first = lies
    for frame in _moments(rng, num_frames, fps, apart_s=(3.0, 7)):
        change = 0 if lies and rng.random() < 0.3 else 1 if lies else -1
        visits.append((frame / fps, rng.uniform(0.05, 0.2), rng.uniform(0.5, 0.9), change))
        if change:
            events.append((frame, SPOT_PAIRS[1][change < 0]))
            lies = not lies

    def draw(picture: Image.Image, time_s: float) -> None:
        lies = first ^ (sum(change != 0 and at_s <= time_s for at_s, *_, change in visits) % 2 == 1)
        if lies:
            paste(picture, item, (x, y))
        for at_s, stay_s, come_s, change in visits:
            tau = (time_s - at_s) * (change or 1)  # what is put there runs backwards
            up = max(abs(tau) - stay_s, 0) / come_s * (y + reach)
            if up < y + reach:
                opened = 1 + 0.6 * (min(1, max(0, -tau / _SWITCH_S)) if change else 1)
                if change and tau >= 0 and not lies:
                    paste(picture, item, (x, y - up))
                hand.draw(picture, (x, y - item.height / 2 - 0.65 * reach - up), grip * opened, reach)

    return draw, events
