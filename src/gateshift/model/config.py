"""What a saved model says about itself: everything needed to build it, feed it and read its answers."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateshift.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
# More than any use needs, and little enough for a file that lies to take no more than memory that there is.
LARGEST = {"size_px": 4096, "num_segments": 10_000, "num_clips": 10_000, "num_crops": 10, "num_sites": 10_000}
MAY_BE_NONE = ("num_segments", "num_sites")


@dataclass(frozen=True)
class ModelConfig:
    """Architecture, class names, preprocessing and test protocol of a :class:`VideoClassifier`.

    Attributes:
        backbone: "bninception", "inceptionv3", a timm name, or "torchvision/NAME".
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
        return json.dumps({"format": FORMAT_VERSION, **dataclasses.asdict(self)})

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
            config = cls(**{name: _tuples(value) for name, value in fields.items()})
            config._check()
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"model description is damaged: {error}; save the model again") from None
        return config

    def _check(self) -> None:
        """Raise ValueError unless every field has the type and range that the network is built from."""
        if not isinstance(self.backbone, str) or not _are_texts(self.classes) or len(self.classes) < 1:
            raise ValueError("backbone and classes must be names")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("a class stands twice")
        if not all(isinstance(each, tuple) and len(each) == 3 for each in (self.mean, self.std)):
            raise ValueError("mean and std must be three numbers")
        if not all(_is_number(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise ValueError("mean and std must be finite numbers, std above 0")
        if not (_is_number(self.dropout) and 0 <= self.dropout < 1 and _is_number(self.ratio) and 0 < self.ratio <= 1):
            raise ValueError(f"dropout {self.dropout!r} or ratio {self.ratio!r} is out of range")
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if not (type(value) is int and 0 < value <= most) and (name not in MAY_BE_NONE or value is not None):
                raise ValueError(f"{name} {value!r} is not a whole number from 1 to {most}")
        for name in ("interleave", "bgr", "named", "causal", "multi_label", "whole_frame", "square_pixels"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false")
        if self.abstain_below is not None and not (_is_number(self.abstain_below) and 0 <= self.abstain_below <= 1):
            raise ValueError(f"abstain_below {self.abstain_below!r} is no probability")
        pairs = self.mirror_pairs
        if not isinstance(pairs, tuple) or not all(_are_texts(pair) and len(pair) == 2 for pair in pairs):
            raise ValueError("mirror_pairs must be pairs of classes")
        if not all(set(pair) <= set(self.classes) for pair in pairs):
            raise ValueError("mirror_pairs must be pairs of classes")


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
