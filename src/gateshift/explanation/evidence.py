"""Grad-CAM of clips: which places of which frames speak for a class."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.explanation.gate_maps import check_not_deployed
from gateshift.model.classifier import VideoClassifier


# Own code: captum and grad-cam hook a layer just so, but know nothing of clips whose frames are in the batch. Their
# weights of channels would differ from frame to frame, and maps could not be compared over time.
@torch.inference_mode(False)  # where a caller is in it there would be no gradients
def evidence_map(model: VideoClassifier, clips: Tensor, class_index: int, *, layer: str | None = None) -> Tensor:
    """Grad-CAM (ICCV 2017) of clips: which places of which frames speak for a class.

    The gradient of the class's logit is averaged over the frames and places of a clip to one weight for each channel
    of a layer; the evidence is the weighted sum of the channels where it is above 0. So frames can be compared. Where
    the layer is averaged over places and classified linearly, as in most networks, what is left out below 0, what is
    shown and the bias add up to the logit.

    Args:
        model: In eval mode; its gradients stay as they are.
        clips: [B, T, 3, H, W], as the model takes them.
        class_index: The class, 0..K - 1.
        layer: Name of a layer of ``model.backbone``; by default the last whose output still has places. An earlier one
            shows finer places, and less of what the class depends on.

    Returns:
        Evidence [B, T, h, w] float32, at least 0, in units of the logit.

    Raises:
        ModelError: If the model is deployed or does not take the clips, there is no such class or layer, or the layer's
            output has no places.
    """
    check_not_deployed(model)
    index = _class_of(model, class_index)
    if isinstance(clips, Tensor) and clips.is_inference():
        clips = clips.clone()  # what was made in inference mode has no gradients, a copy made outside has
    name = find_evidence_layer(model, clips) if layer is None else layer
    watched = dict(model.backbone.named_modules()).get(name) if name else None
    if watched is None:
        raise ModelError(f"no layer {name!r} in {model.config.backbone}; name one as in model.backbone.named_modules()")
    outputs: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        """Let the graph start here; layers behind may change the copy in place."""
        outputs.append(output.detach().requires_grad_())
        return outputs[-1].clone()

    with torch.enable_grad(), _hooked({name: watched}, lambda _: cut):
        logits = model(clips)
        if not outputs or as_maps(outputs[0], model.backbone) is None:
            raise ModelError(f"the output of layer {name} has no places; name a layer with maps, such as a convolution")
        (slopes,) = torch.autograd.grad(logits[:, index].sum(), outputs[:1])
    features, gradients = (
        as_maps(part.float(), model.backbone).unflatten(0, (len(clips), -1))  # type: ignore[union-attr]
        for part in (outputs[0].detach(), slopes)
    )  # each [B, T, C, h, w]
    weights = gradients.mean((1, 3, 4), keepdim=True)  # [B, 1, C, 1, 1]
    return (weights * features).sum(2).relu()  # [B, T, h, w]


def _class_of(model: VideoClassifier, class_index: int) -> int:
    """The number of a class, also of NumPy and torch; ModelError if a model has none of this number."""
    last = len(model.config.classes) - 1
    try:
        index = operator.index(class_index)
    except TypeError:
        raise ModelError(f"class {class_index!r}; a class is a whole number in 0..{last}; correct it") from None
    if not 0 <= index <= last:
        raise ModelError(f"class {index} of a model of {last + 1}; classes are 0..{last}; correct it")
    return index


def find_evidence_layer(model: VideoClassifier, clips: Tensor) -> str:
    """The last layer of a model's backbone whose output has more than one place.

    Raises:
        ModelError: If there is none.
    """
    reached: list[tuple[str, bool]] = []

    def record(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            maps = as_maps(output, model.backbone) if isinstance(output, Tensor) else None
            if name and maps is not None and maps.shape[2:].numel() > 1:
                reached.append((name, output.dim() == 3))

        return hook

    with torch.no_grad(), _hooked(dict(model.backbone.named_modules()), record):
        model(clips[:1])
    if not reached:
        raise ModelError(f"{model.config.backbone} has no layer with maps; give a network of convolutions or of tokens")
    name, of_tokens = reached[-1]
    if of_tokens:
        # A class token takes from the places in the last attention; behind that they no longer count.
        return next((name for name, _ in reversed(reached) if name.endswith("norm1")), name)
    return name


def as_maps(output: Tensor, backbone: nn.Module) -> Tensor | None:
    """What a layer says of each place, as maps [N, C, h, w]; None if it says nothing of places.

    Args:
        output: [N, C, h, w]; [N, h, w, C] where timm says so; or tokens [N, L, C] of a square of patches, behind those
            that stand for no place.
        backbone: The network of the layer.
    """
    if output.dim() == 4:
        channels_behind = str(getattr(backbone, "output_fmt", "NCHW")).endswith("NHWC")
        return output.permute(0, 3, 1, 2) if channels_behind else output
    if output.dim() != 3:
        return None
    patches = output[:, int(getattr(backbone, "num_prefix_tokens", 0)) :]
    side = math.isqrt(patches.shape[1])
    if side * side != patches.shape[1] or side == 0:
        return None
    return patches.transpose(1, 2).unflatten(2, (side, side))


@contextmanager
def _hooked(layers: Mapping[str, nn.Module], make: Callable[[str], Any]) -> Iterator[None]:
    """Hooks behind layers, each made of the layer's name, for the time of a block."""
    hooks = [layer.register_forward_hook(make(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
