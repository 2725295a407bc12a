"""The form of a model that answers: deployed, in float32 or in bf16, which may have to prove itself first."""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn

from gateshift.devices import AnyPrecision, why_bf16_is_slow
from gateshift.errors import ModelError, SettingsError, check_choice
from gateshift.exported.loading import ExportedModel, config_of
from gateshift.model.classifier import ClipClassifier, DeployedClassifier, VideoClassifier
from gateshift.model.config import ModelConfig

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
NUM_PROVING = 16  # clips for which bf16 must name the classes of float32
Model = TypeVar("Model", bound=nn.Module)
_Forms = dict[str, DeployedClassifier]  # by precision
_deployed: weakref.WeakKeyDictionary[VideoClassifier, tuple[Any, _Forms]] = weakref.WeakKeyDictionary()
_deploying = threading.Lock()


class Autocast(nn.Module):
    """A model in mixed precision."""

    def __init__(self, model: nn.Module, precision: str) -> None:
        super().__init__()
        self.model, self.config, self._dtype = model, config_of(model), AUTOCAST[precision]

    def forward(self, clips: Tensor) -> Tensor:
        """Logits in float32: [B, T, 3, H, W] -> [B, K]."""
        with torch.autocast(device_of(self.model).type, self._dtype):
            logits: Tensor = self.model(clips)
        return logits.float()


class ChosenPrecision(nn.Module):
    """A model that answers in bf16 where that is faster here and names the same classes, and else in float32.

    The first ``NUM_PROVING`` clips that come are answered in float32, and in bf16 beside it. ``str`` of it says what
    was chosen, and why.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.config: ModelConfig = config_of(model)
        self.exact = fast_form(model)
        is_exported = isinstance(model, ExportedModel)
        slow = "an exported file has its own" if is_exported else why_bf16_is_slow(device_of(model))
        self.fast = None if slow else fast_form(model, "bf16")
        self.num_same = 0
        self._why = slow or "no clip was classified"

    def forward(self, clips: Tensor) -> Tensor:
        """Logits: [B, T, 3, H, W] -> [B, K]."""
        fast = self.fast
        if fast is not None and self.num_same >= NUM_PROVING:
            return fast(clips)
        logits: Tensor = self.exact(clips)
        if fast is not None:
            is_same = self._named(logits) == self._named(fast(clips))
            if bool(is_same.all()):
                self.num_same += len(clips)
                self._why = f"the first {self.num_same} clips have the classes of float32"
            else:
                self.fast, self._why = None, "a clip has another class in bf16"
        return logits

    def _named(self, logits: Tensor) -> Tensor:
        """What a model says of clips by logits [B, K]: a class each, or, of several labels, those likelier than not."""
        return logits > 0 if self.config.multi_label else logits.argmax(1)

    def __str__(self) -> str:
        is_fast = self.fast is not None and self.num_same >= NUM_PROVING
        return f"precision: {'bf16' if is_fast else 'float32'}, as {self._why}"


def fast_form(model: Model, precision: AnyPrecision = "no") -> Model | DeployedClassifier | Autocast | ChosenPrecision:
    """The fastest form of a model that gives its answers, in a precision.

    That of a :class:`VideoClassifier` is the deployed one, with its answers to rounding. Folding takes a moment, so it
    is kept for as long as the model, until its weights or layers change.

    Args:
        model: In eval mode; a form that this function gave stays as it is.
        precision: "no" is float32; of "auto" see :class:`ChosenPrecision`. An exported file has its own.

    Raises:
        ModelError: If the model is in training mode.
        SettingsError: If the precision is none that the model can be had in here.
    """
    if isinstance(model, ClipClassifier) and model.training:
        raise ModelError("the model is in training mode, where answers are random; call model.eval()")
    check_precision(precision, model)
    if precision == "auto":
        return model if isinstance(model, ChosenPrecision) else ChosenPrecision(model)
    is_own = type(model) is VideoClassifier  # a subclass may compute something else
    if is_own and precision != "fp16":
        return _deployed_form(model, precision)  # type: ignore[arg-type]
    return model if precision == "no" else Autocast(fast_form(model), precision)


def check_precision(precision: AnyPrecision, model: nn.Module) -> None:
    """Raise SettingsError unless a model can be had in this precision where it is."""
    check_choice("precision", precision, get_args(AnyPrecision))
    if precision == "fp16" and device_of(model).type == "cpu":
        raise SettingsError(f"`precision={precision}` needs a GPU; take `precision=bf16` or `precision=no`")
    if precision in AUTOCAST and isinstance(model, ExportedModel):
        raise SettingsError(
            f"`precision={precision}`: {model.path} has the precision that it was exported in; leave it out, or export "
            "the model in this one"
        )


def device_of(model: nn.Module) -> torch.device:
    """Where clips for a model go; an exported file has no parameters and runs on the CPU."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _deployed_form(model: VideoClassifier, precision: str) -> DeployedClassifier:
    with _deploying:
        state = _state_of(model)
        known, forms = _deployed.get(model, (None, {}))
        if known != state:
            forms = {}
        if precision not in forms:
            with torch.inference_mode(False):
                forms[precision] = model.deploy(dtype=AUTOCAST.get(precision))
            _deployed[model] = (state, forms)
        return forms[precision]


def _state_of(model: VideoClassifier) -> tuple[object, ...]:
    """What a deployed form is made of. Versions tell of every change but one through ``.data``, which sums tell of."""
    tensors = [tensor.detach() for tensor in itertools.chain(model.parameters(), model.buffers())]
    versions = tuple(None if tensor.is_inference() else tensor._version for tensor in tensors)
    sums = torch.stack([tensor.sum(dtype=torch.float64) for tensor in tensors])
    return repr(model), model.config, versions, repr(sums.tolist())
