"""What a saved model says about itself: everything needed to build it, feed it and read its answers."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateshift.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

Rule = tuple[Callable[[Any], bool], str]  # whether a value is right, and what is
FORMAT_VERSION = 1
OWN = "own/"  # in front of the names of networks that users make, and gateshift cannot
TASKS = ("clip", "spot", "segment")
HEADS = ("gru", "gru-forward", "tcn", "none")
MAX_LOOK_AHEAD = 31  # frames that the dilated convolutions of "tcn" reach ahead
# Of counts: more than any use needs, and little enough for a file that lies to take no more than memory that there is.
LARGEST = 10_000


@dataclass(frozen=True)
class ModelConfig:
    """Architecture, class names, preprocessing and test protocol of a :class:`VideoClassifier`. It is never changed.

    Attributes:
        backbone: "bninception", "inceptionv3", a timm name, "torchvision/NAME", or "own/NAME" for a network that
            :func:`gateshift.load_model` is given.
        temporal: "gsm", "gsf", "tsm" or "none".
        classes: Class names, in the order of the logits.
        interleave: Whether gate-shift mixes channels.
        dropout: Probability before the classifier.
        size_px: Side of the square that the network is trained and tested on.
        mean: Subtracted from pixels in 0..255, in the network's channel order.
        std: What the difference is divided by.
        bgr: Whether the network takes blue first.
        num_segments: Frames of a clip in training; None where a released file does not say.
        num_clips: Clips of a video that the model is tested on.
        num_crops: Crops of each of these clips.
        mirror_pairs: Pairs of classes that swap when a clip is mirrored.
        ratio: Share of each site's channels that go through the temporal module.
        named: Whether ``classes`` are names, and not the numbers of a released file that has no names.
        causal: Whether the temporal modules look only back; see :mod:`gateshift.model.temporal.causal`.
        num_sites: How many of the family's sites, the last ones, have a temporal module; None for all.
        abstain_below: Probability in 0..1 below which an answer is no answer; None where every one is.
        multi_label: Whether a video may be of several classes at once, or of none.
        whole_frame: Whether the square is the whole frame, its sides resized apart, and not cut out of it.
        square_pixels: Whether frames whose pixels are not square are resized first, so that they are. Those of released
            models and of earlier versions were not.
        sites: Names of the layers that have a temporal module, where they are not the family's.
        task: "clip": a video has one answer. "spot" and "segment": each frame has one, of the classes and of nothing;
            classes are events, which have a time, or what goes on from a time to another.
        head: Of the last two, what goes from frame to frame behind the backbone; see
            :class:`gateshift.model.temporal.frame_head.FrameHead`.
        fps: Frames a second that such a network sees, whatever the rate of a video; None where nothing says.
        look_ahead: Frames after its own that an answer of the head "tcn" depends on.
        displacement: How many frames around an event are trained to say how far it is; 0 where none says that.
        box: The region of the picture that the model was trained on, and sees where nothing else is said: left, upper,
            right and lower edge, as shares of the picture if all are up to 1, else in whole pixels. None for all of it.

    Raises:
        ModelError: If a field has another type, or is out of range.
    """

    backbone: str
    temporal: str
    classes: tuple[str, ...]
    interleave: bool
    dropout: float
    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool
    num_segments: int | None = None
    num_clips: int = 1
    num_crops: int = 1
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    ratio: float = 1.0
    named: bool = True
    causal: bool = False
    num_sites: int | None = None
    abstain_below: float | None = None
    multi_label: bool = False
    whole_frame: bool = False
    square_pixels: bool = False
    sites: tuple[str, ...] | None = None
    task: str = "clip"
    head: str = "none"
    fps: float | None = None
    look_ahead: int = 0
    displacement: int = 0
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        check_fields(**vars(self))
        if not all(set(pair) <= set(self.classes) for pair in self.mirror_pairs):
            raise ModelError(f"`mirror_pairs` {self.mirror_pairs!r}; both of a pair must be classes; correct them")
        if self.whole_frame and self.num_crops != 1:
            raise ModelError(f"`num_crops` {self.num_crops} with `whole_frame=True`, which is one crop; give 1")
        if not self.is_dense and (self.head, self.fps, self.look_ahead, self.displacement) != ("none", None, 0, 0):
            raise ModelError("`head`, `fps`, `look_ahead` and `displacement` are for `task=spot` or `task=segment`")
        if self.look_ahead and self.head != "tcn":
            raise ModelError(
                f"`look_ahead` {self.look_ahead} with `head={self.head}`; take `head=tcn`, or leave it out"
            )
        if self.displacement and self.task != "spot":
            raise ModelError(
                f"`displacement` {self.displacement} with `task={self.task}`; it is of events: `task=spot`"
            )
        if self.is_dense and self.multi_label:
            raise ModelError(f"`multi_label=True` with `task={self.task}`, where a frame has one label; leave it out")

    @property
    def is_dense(self) -> bool:
        """Whether each frame has an answer, and not only the clip."""
        return self.task != "clip"

    @property
    def resize_px(self) -> int | None:
        """Short side that a test frame is resized to before the square is cut out: 256 for 224; None: none is cut."""
        return None if self.whole_frame else self.size_px * 256 // 224

    def probabilities(self, logits: Tensor) -> Tensor:
        """What logits [..., K] say of each class, in 0..1; with several labels a video, of each for itself."""
        return logits.float().sigmoid() if self.multi_label else logits.float().softmax(-1)

    def likeliest(self, probabilities: Tensor, count: int) -> tuple[tuple[str, float], ...]:
        """The classes with the largest of these probabilities [K], and these, largest first; no more than there are."""
        best = probabilities.topk(min(count, len(self.classes)))
        named = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return tuple((self.classes[index], value) for index, value in named)

    def name_classes(self, names: Sequence[str]) -> ModelConfig:
        """The same with names for the classes of a released checkpoint, in the order of its outputs.

        Raises:
            ModelError: If there are not as many different names as classes.
        """
        if len(set(names)) != len(names) or len(names) != len(self.classes):
            raise ModelError(
                f"{len(names)} class names, {len(set(names))} different, for a model of {len(self.classes)} classes; "
                "give each class a name of its own"
            )
        return dataclasses.replace(self, classes=tuple(names), named=True)

    def to_json(self) -> str:
        """The text kept in a model file's metadata."""
        fields = dataclasses.asdict(self)
        if self.box is None:  # as files are of before there was one
            del fields["box"]
        return json.dumps({"format": FORMAT_VERSION, **fields})

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read :meth:`to_json` back, checking every field.

        Raises:
            ModelError: If the text is not such a description, or is of a newer format.
        """
        try:
            fields = json.loads(text)
            version = fields.pop("format")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise ModelError("model description is not readable; the file is not a gateshift model") from None
        if version != FORMAT_VERSION or isinstance(version, bool):
            raise ModelError(f"model format {version!r}; this gateshift reads {FORMAT_VERSION}; upgrade it")
        try:
            return cls(**{name: _tuples(value) for name, value in fields.items()})
        except (TypeError, ValueError, OverflowError, ModelError) as error:
            reason = str(error).replace("`", "").removesuffix("; correct it")
            raise ModelError(f"model description is damaged: {reason}; save the model again") from None


def check_fields(**fields: Any) -> None:
    """Raise ModelError unless each of these fields of a :class:`ModelConfig` has its type and is in its range."""
    for name, value in fields.items():
        is_right, accepted = _RULES[name]
        if not is_right(value):
            raise ModelError(f"`{name}` {repr(value)[:100]}; it must be {accepted}; correct it")


def given_fields(
    num_classes: int | None, classes: Sequence[str] | None, mirror_pairs: Sequence[tuple[str, str]], **fields: Any
) -> dict[str, Any]:
    """Fields of a :class:`ModelConfig` as a user gave them, checked before anything is built."""
    fields |= {"classes": class_names(num_classes, classes), "mirror_pairs": tuple(map(tuple, mirror_pairs))}
    check_fields(**fields)
    return fields


def class_names(num_classes: int | None, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Names as given, or numbers.

    Raises:
        ModelError: If there is none, or one twice, or another number is given than there are.
    """
    number: Any = num_classes
    if classes is None:
        if not isinstance(number, int) or number < 1:
            raise ModelError(f"`num_classes` {number!r}; give at least 1, or names as `classes`")
        return tuple(str(index) for index in range(number))
    given: Any = classes
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ModelError(f"`classes` {given!r}; give a list of different names, or how many as `num_classes`")
    names = tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise ModelError(f"`classes` {names[:3]}; names are text; convert them")
    if not names or len(set(names)) != len(names):
        raise ModelError(f"`classes`: {len(names)} names, {len(set(names))} different; give a list of different names")
    if num_classes is not None and num_classes != len(names):
        raise ModelError(f"`num_classes` {num_classes} but {len(names)} names in `classes`; leave the number out")
    return names


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _are_names(value: Any) -> bool:
    return _are_texts(value) and len(set(value)) == len(value) > 0


def _are_pairs(value: Any) -> bool:
    return isinstance(value, tuple) and all(_are_texts(pair) and len(pair) == 2 for pair in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _are_colors(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(map(_is_number, value))


def _is_box(value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) != 4 or not all(map(_is_number, value)):
        return False
    left, top, right, bottom = value
    is_known = right <= 1 >= bottom or all(float(edge).is_integer() for edge in value)
    return is_known and 0 <= left < right and 0 <= top < bottom


def _count(largest: int, *, optional: bool = False) -> Rule:
    accepted = f"a whole number from 1 to {largest}{', or None' if optional else ''}"
    return lambda value: (type(value) is int and 0 < value <= largest) or (optional and value is None), accepted


def _up_to(largest: int) -> Rule:
    return lambda value: type(value) is int and 0 <= value <= largest, f"a whole number from 0 to {largest}"


def _choice(names: tuple[str, ...]) -> Rule:
    return lambda value: value in names, f"one of {', '.join(names)}"


_TEXT: Rule = (lambda value: isinstance(value, str), "a name")
_FLAG: Rule = (lambda value: isinstance(value, bool), "True or False")
_RULES: dict[str, Rule] = {
    "backbone": _TEXT,
    "temporal": _TEXT,
    "classes": (_are_names, "a tuple of different names, at least one"),
    "dropout": (lambda value: _is_number(value) and 0 <= value < 1, "a probability from 0 up to, not including, 1"),
    "mean": (_are_colors, "a tuple of three finite numbers"),
    "std": (lambda value: _are_colors(value) and min(value) > 0, "a tuple of three finite numbers above 0"),
    "ratio": (lambda value: _is_number(value) and 0 < value <= 1, "a share above 0 and up to 1"),
    "abstain_below": (lambda value: value is None or (_is_number(value) and 0 <= value <= 1), "in 0..1, or None"),
    "mirror_pairs": (_are_pairs, "a tuple of pairs of classes"),
    "sites": (lambda value: value is None or _are_names(value), "a tuple of different names, or None"),
    "size_px": _count(4096),
    "num_clips": _count(LARGEST),
    "num_crops": _count(10),
    "num_segments": _count(LARGEST, optional=True),
    "num_sites": _count(LARGEST, optional=True),
    "task": _choice(TASKS),
    "head": _choice(HEADS),
    "fps": (lambda value: value is None or (_is_number(value) and 0 < value <= LARGEST), "above 0, or None"),
    "look_ahead": _up_to(MAX_LOOK_AHEAD),
    "displacement": _up_to(LARGEST),
    "box": (lambda value: value is None or _is_box(value), "four shares up to 1 or whole pixels x0,y0,x1,y1, or None"),
    **dict.fromkeys(("interleave", "bgr", "named", "causal", "multi_label", "whole_frame", "square_pixels"), _FLAG),
}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
