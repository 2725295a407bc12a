"""The movements of the drawn clips, as poses over time; each has a class, and backwards it has another or the same."""

import math
from dataclasses import dataclass, field

import numpy as np
from scenery import Field, Rng

# Each is the other played backwards. A name without a second is the same backwards.
PAIRS = (
    ("still",),
    ("move_left", "move_right"),
    ("move_up", "move_down"),
    ("move_up_left", "move_down_right"),
    ("move_up_right", "move_down_left"),
    ("approach", "recede"),
    ("turn_cw", "turn_ccw"),
    ("stretch", "shrink"),
    ("unfold", "fold"),
    ("unfold_fold",),
    ("fold_unfold",),
    ("wave",),
    ("enter", "leave"),
    ("appear", "disappear"),
    ("pick_up", "put_down"),
    ("cover", "uncover"),
    ("meet", "part"),
    ("caret", "caret_backwards"),
    ("check", "check_backwards"),
    ("circle_ccw", "circle_cw"),
    ("cross", "cross_backwards"),
    ("square", "square_backwards"),
    ("star", "star_backwards"),
    ("vee", "vee_backwards"),
    ("zed", "zed_backwards"),
    ("triangle", "triangle_backwards"),
)
ACTIONS = tuple(name for pair in PAIRS for name in pair)
# What a finger draws in the air: corners in -1..1, y down.
GESTURES: dict[str, list[tuple[float, float]]] = {
    "caret": [(-0.6, 0.8), (0, -0.9), (0.6, 0.8)],
    "check": [(-0.9, -0.1), (-0.55, 0.7), (0.9, -0.6)],
    "circle_ccw": [],
    "cross": [(-0.7, -0.8), (0.6, 0.75), (-0.8, 0.8), (0.75, -0.85)],
    "square": [(-0.8, -0.7), (0.8, -0.75), (0.75, 0.75), (-0.8, 0.75), (-0.75, -0.8)],
    "star": [(-0.6, 0.9), (0, -0.95), (0.65, 0.85), (-0.95, -0.1), (0.95, -0.3), (-0.55, 0.9)],
    "vee": [(-0.7, -0.8), (0, 0.85), (0.7, -0.8)],
    "zed": [(-0.8, -0.7), (0.8, -0.75), (-0.8, 0.75), (0.8, 0.7)],
    "triangle": [(-0.8, 0.7), (0, -0.8), (0.8, 0.7), (-0.75, 0.75)],
}
HANDS, POINTERS, THINGS, PEOPLE = range(4)
# How often each pair is drawn, and by which actors: hands, pointing hands, things, people from above.
WEIGHTS = {
    **{
        "still": 0.8,
        "move_left": 2.0,
        "move_up": 2.0,
        "move_up_left": 1.0,
        "move_up_right": 1.0,
        "stretch": 0.8,
        "unfold": 1.2,
        "unfold_fold": 1.5,
        "fold_unfold": 0.5,
    },
    **{"wave": 0.8, "appear": 0.4, "cover": 0.6, "meet": 0.6, "vee": 0.3, "zed": 0.3, "triangle": 0.3},
}
CASTS: dict[str, tuple[float, float, float, float]] = {
    "still": (4, 2, 2, 2),
    **dict.fromkeys(("move_left", "move_up", "move_up_left", "move_up_right"), (3, 4, 3, 2)),
    "approach": (2, 1, 4, 0),
    "turn_cw": (3, 0, 3, 2),
    "stretch": (0, 0, 2, 4),
    **dict.fromkeys(("unfold", "unfold_fold", "fold_unfold"), (1, 0, 0, 0)),
    "wave": (3, 2, 1, 0),
    "enter": (3, 2, 2, 4),
    **dict.fromkeys(("appear", "pick_up", "cover"), (0, 0, 1, 0)),
    "meet": (0, 0, 3, 1),
    **dict.fromkeys(GESTURES, (1, 8, 1, 0)),
}


@dataclass
class Motion:
    """One actor's poses at the times of a clip, and those of a second one where the action has two."""

    pair: int
    cast: int
    wide: float  # the picture's width over its height
    span: tuple[float, float]
    progress: Field  # [T] in 0..1
    place: Field  # [T, 2] in shares of the picture's height
    log_size: Field
    angle: Field
    stretch: Field
    fingers: Field  # [T, 5]
    seen: Field
    second: dict[str, Field] = field(default_factory=dict)


def draw_pair(rng: Rng) -> int:
    """The number of a pair."""
    weights = np.array([WEIGHTS.get(pair[0], 1.0) for pair in PAIRS])
    return int(rng.choice(len(PAIRS), p=weights / weights.sum()))


def plan(rng: Rng, pair: int, times: Field, wide: float) -> Motion:
    """The first movement of a pair at times of a clip [T]; ``wide`` is the picture's width over its height."""
    name, steps = PAIRS[pair][0], len(times)
    cast = int(rng.choice(4, p=np.array(CASTS[name]) / sum(CASTS[name])))
    span = _span(rng, name in GESTURES)
    t = _ease(rng, times, span)
    ones = np.ones(steps)
    size = {HANDS: (0.16, 0.45), POINTERS: (0.22, 0.5), THINGS: (0.18, 0.5), PEOPLE: (0.15, 0.36)}[cast]
    middle = rng.uniform((0.28 * wide, 0.3), (0.72 * wide, 0.72))
    motion = Motion(
        pair,
        cast,
        wide,
        span,
        t,
        place=np.tile(middle, (steps, 1)),
        log_size=ones * math.log(math.exp(rng.uniform(*np.log(size)))),
        angle=ones * _angle(rng, cast),
        stretch=ones.copy() if cast != PEOPLE else ones * rng.choice((1.0, 1.0, 2.5)),
        fingers=np.tile(_shape(rng) if cast == HANDS else [0, 1, 0, 0, 0], (steps, 1)).astype(float),
        seen=ones.copy(),
    )
    if name in GESTURES:
        motion.place = _gesture(rng, name, t, wide)
    elif name.startswith("move"):
        _move(rng, motion, name)
    else:
        _ACT.get(name, _nothing)(rng, motion)
    tremble = rng.uniform(0, 0.02) * np.sin(rng.uniform(2, 14, 2) * times[:, None] + rng.uniform(0, 7, 2))
    motion.place += tremble + rng.normal(0, rng.uniform(0, 0.004), (steps, 2))
    if cast == HANDS and name not in ("enter", "turn_cw") and rng.random() < 0.3:
        _come_and_go(rng, motion, times)
    return motion


def _span(rng: Rng, is_gesture: bool) -> tuple[float, float]:
    """When the movement begins and ends, as fractions of the clip."""
    if is_gesture or rng.random() < 0.5:
        lead, tail = rng.uniform(0, 0.2, 2)
        return float(lead), float(1 - tail)
    lasts = rng.uniform(0.25, 0.8)
    begin = rng.uniform(0, 1 - lasts)
    return float(begin), float(begin + lasts)


def _ease(rng: Rng, times: Field, span: tuple[float, float]) -> Field:
    """Progress 0..1 at each time: still, on the way at its own easing with a halt or two, still."""
    u = ((times - span[0]) / (span[1] - span[0])).clip(0, 1)
    power = math.exp(rng.uniform(-0.4, 0.4))
    eased = u**power if rng.random() < 0.5 else 1 - (1 - u) ** power
    smooth = rng.uniform(0, 1)
    eased = smooth * eased * eased * (3 - 2 * eased) + (1 - smooth) * eased
    halts = rng.uniform(0, 0.08) * np.sin(2 * math.pi * rng.integers(1, 4) * u) * np.sin(math.pi * u)
    return np.asarray((eased + halts).clip(0, 1))


def _angle(rng: Rng, cast: int) -> float:
    if cast == HANDS:  # the arm comes from below, or from a side
        return float(rng.choice((0, 0, -math.pi / 2, math.pi / 2)) + rng.normal(0, 0.3))
    return float(rng.uniform(-math.pi, math.pi)) if cast in (THINGS, PEOPLE) else 0.0


def _shape(rng: Rng) -> Field:
    """Which fingers are out: none, one, those of a number, or any."""
    known = (
        (0, 0, 0, 0, 0),
        (1, 0, 0, 0, 0),
        (0, 1, 0, 0, 0),
        (0, 1, 1, 0, 0),
        (0, 1, 1, 1, 0),
        (0, 1, 1, 1, 1),
        (1, 1, 1, 1, 1),
        (1, 1, 0, 0, 0),
        (1, 0, 0, 0, 1),
        (1, 1, 1, 0, 0),
    )
    if rng.random() < 0.75:
        return np.array(known[rng.integers(len(known))], float)
    return rng.integers(0, 2, 5).astype(float)


def _nothing(_rng: Rng, _motion: Motion) -> None:
    """The action "still"."""


def _move(rng: Rng, motion: Motion, name: str) -> None:
    way = np.array([name.count("right") - name.count("left"), name.count("down") - name.count("up")], float)
    far = rng.uniform(0.2, 0.8) / np.hypot(*way)
    turn = rng.normal(0, 0.12)
    step = far * way @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    bow = rng.normal(0, 0.05) * np.sin(math.pi * motion.progress)
    motion.place += (motion.progress[:, None] - rng.uniform(0.3, 0.7)) * step + bow[:, None] * step[::-1]


def _approach(rng: Rng, motion: Motion) -> None:
    growth = rng.uniform(0.35, 1.3)
    motion.log_size += (motion.progress - 0.5) * growth
    motion.place += (motion.progress[:, None] - 0.5) * rng.normal(0, 0.1, 2)


def _turn(rng: Rng, motion: Motion) -> None:
    far = rng.uniform(0.5, 3.2) if motion.cast != HANDS else rng.uniform(0.4, 1.6)
    motion.angle += (motion.progress - 0.5) * far


def _stretch(rng: Rng, motion: Motion) -> None:
    if motion.cast == PEOPLE:
        motion.stretch = 1 + 1.5 * motion.progress
        motion.place += motion.progress[:, None] * rng.normal(0, 0.12, 2)
        motion.angle += motion.progress * rng.normal(0, 0.7)
    else:
        low, high = rng.uniform(0.25, 0.7), rng.uniform(1.1, 2.0)
        motion.stretch = low * (high / low) ** motion.progress


def _unfold(rng: Rng, motion: Motion) -> None:
    """Fingers come out of a fist, all at once or one after the other."""
    motion.fingers = _between(rng, motion.progress)


def _between(rng: Rng, progress: Field) -> Field:
    shape = _shape(rng)
    shape[rng.integers(5)] = 1.0
    kept = np.zeros(5) if rng.random() < 0.75 else shape * rng.integers(0, 2, 5)
    if (kept == shape).all():
        kept = np.zeros(5)
    lag = rng.uniform(0, 0.35) * rng.permutation(5) / 4 if rng.random() < 0.3 else np.zeros(5)
    share = ((progress[:, None] - lag) / (1 - lag.max())).clip(0, 1)
    return np.asarray(kept + (shape - kept) * share)


def _unfold_fold(rng: Rng, motion: Motion) -> None:
    motion.fingers = _between(rng, _there_and_back(rng, motion.progress))


def _fold_unfold(rng: Rng, motion: Motion) -> None:
    motion.fingers = _between(rng, 1 - _there_and_back(rng, motion.progress))


def _there_and_back(rng: Rng, progress: Field) -> Field:
    rise = rng.uniform(0.15, 0.4)
    return np.asarray((np.minimum(progress, 1 - progress) / rise).clip(0, 1))


def _wave(rng: Rng, motion: Motion) -> None:
    swings, far = rng.integers(2, 5), rng.uniform(0.06, 0.25)
    angle = rng.choice((0, math.pi / 2)) + rng.normal(0, 0.2)
    there = np.sin(math.pi * swings * motion.progress) * rng.choice((-1, 1))
    motion.place += far * there[:, None] * np.array([math.cos(angle), math.sin(angle)])
    if motion.cast == HANDS:
        motion.angle += rng.uniform(0, 0.5) * there


def _enter(rng: Rng, motion: Motion) -> None:
    start = _outside(rng, motion)
    motion.place += (1 - motion.progress[:, None]) * (start - motion.place[0])


def _outside(rng: Rng, motion: Motion) -> Field:
    """A place out of the picture; a hand comes from where its arm does."""
    reach = 1.3 * math.exp(motion.log_size[0])
    angle = (
        motion.angle[0] if motion.cast == HANDS else 0.0 if motion.cast == POINTERS else rng.uniform(-math.pi, math.pi)
    )
    way = np.array([-math.sin(angle), math.cos(angle)])  # for an upright hand downwards
    steps = np.linspace(0, 3, 40)[:, None] * way + motion.place[0]
    out = (steps < -reach) | (steps > np.array([motion.wide, 1.0]) + reach)
    return np.asarray(steps[out.any(1).argmax()])


def _come_and_go(rng: Rng, motion: Motion, times: Field) -> None:
    """Before and after the movement the hand may be out of sight, as where someone shows a sign."""
    way = np.array([-math.sin(motion.angle[0]), math.cos(motion.angle[0])])
    begin, end = motion.span
    for is_first in (True, False):
        room = begin if is_first else 1 - end
        if room > 0.12 and rng.random() < 0.7:
            gone = ((begin - times) if is_first else (times - end)) / room
            motion.place += gone.clip(0, 1)[:, None] * way * rng.uniform(0.5, 1.2)


def _appear(rng: Rng, motion: Motion) -> None:
    soft = rng.uniform(0.02, 1.0)
    motion.seen = ((motion.progress - 0.5) / soft + 0.5).clip(0, 1)
    if rng.random() < 0.3:
        motion.log_size += np.log(0.15 + 0.85 * motion.seen)
        motion.seen = (motion.seen > 0.02).astype(float)


def _pick_up(rng: Rng, motion: Motion) -> None:
    """A hand comes, closes on a thing, and takes it away with it."""
    grasp = rng.uniform(0.35, 0.6)
    lift = ((motion.progress - grasp) / (1 - grasp)).clip(0, 1)[:, None]
    come = (motion.progress / (grasp - 0.08)).clip(0, 1)[:, None]
    hand_angle = rng.uniform(-math.pi, math.pi)
    way = np.array([-math.sin(hand_angle), math.cos(hand_angle)])  # towards the arm
    upwards = np.array([rng.normal(0, 0.15), -rng.uniform(0.3, 0.8)])
    up = upwards if rng.random() < 0.5 else way * rng.uniform(0.3, 0.9)
    start = motion.place[0] + way * rng.uniform(0.35, 0.9)
    held = motion.place[0] + way * 0.45 * math.exp(motion.log_size[0])
    motion.place = motion.place + lift * up
    hand = start + come * (held - start) + lift * up
    grip = ((grasp - motion.progress) / 0.1).clip(0, 1)
    motion.second = {"place": hand, "angle": np.full(len(grip), hand_angle), "open": 0.35 + 0.65 * grip}


def _cover(rng: Rng, motion: Motion) -> None:
    """A second thing comes from a side and ends over the first."""
    angle = rng.uniform(-math.pi, math.pi)
    far = rng.uniform(1.1, 1.8) * math.exp(motion.log_size[0])
    off = far * np.array([math.cos(angle), math.sin(angle)])
    motion.second = {"place": motion.place + (1 - motion.progress[:, None]) * off}


def _meet(rng: Rng, motion: Motion) -> None:
    """Two things or people come together."""
    angle, far = rng.uniform(-math.pi, math.pi), rng.uniform(0.3, 0.7)
    way = np.array([math.cos(angle), math.sin(angle)])
    apart = 0.35 * math.exp(motion.log_size[0]) + (1 - motion.progress[:, None]) * far / 2
    motion.second = {"place": motion.place - apart * way}
    motion.place = motion.place + apart * way


def _gesture(rng: Rng, name: str, t: Field, wide: float) -> Field:
    """Where the finger is on its way along a gesture."""
    if name == "circle_ccw":
        angle = rng.uniform(-2.2, 0.3) - t * rng.uniform(5.2, 6.6)
        path = np.stack([np.cos(angle), np.sin(angle)], 1) * 0.85
    else:
        corners = np.array(GESTURES[name]) + rng.normal(0, 0.09, (len(GESTURES[name]), 2))
        if name == "caret" and rng.random() < 0.2:
            corners = np.concatenate([corners, corners[:1]])
        lengths = np.hypot(*np.diff(corners, axis=0).T)
        lengths *= rng.uniform(0.75, 1.3, len(lengths))
        at = np.concatenate([[0], np.cumsum(lengths)]) / lengths.sum()
        soft = rng.uniform(0, 0.03)  # corners are cut a little
        path = np.mean([[np.interp(t + by, at, axis) for axis in corners.T] for by in (-soft, 0, soft)], axis=0).T
    turn = rng.normal(0, 0.12)
    path = path @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    half = rng.uniform(0.12, 0.36) * np.array([rng.uniform(0.8, 1.5), rng.uniform(0.8, 1.2)])
    middle = np.array([0.5 * wide, 0.45]) + rng.uniform((-0.15, -0.12), (0.15, 0.15))
    return np.asarray(path * half + middle)


_ACT = {
    "approach": _approach,
    "turn_cw": _turn,
    "stretch": _stretch,
    "unfold": _unfold,
    "unfold_fold": _unfold_fold,
    "fold_unfold": _fold_unfold,
    "wave": _wave,
    "enter": _enter,
    "appear": _appear,
    "pick_up": _pick_up,
    "cover": _cover,
    "meet": _meet,
}
