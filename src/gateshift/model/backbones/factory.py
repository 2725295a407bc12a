"""Backbones by name: the papers' two, which timm does not have, every timm network, and torchvision's."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gateshift.errors import ModelError, one_line
from gateshift.model.backbones.bninception import BNInception
from gateshift.model.backbones.inceptionv3 import InceptionV3
from gateshift.model.temporal.clip_length import ClipLength

Triple = tuple[float, float, float]
PAPER_BACKBONES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "bninception": (BNInception, 224),
    "inceptionv3": (InceptionV3, 229),
}
# Its ImageNet weights come with the library (Google's, Apache-2.0; convolutions in half precision).
SHIPPED = "tf_efficientnet_lite0"
SHIPPED_FILE = Path(__file__).parents[2] / "starts" / "imagenet.safetensors"
TORCHVISION = "torchvision/"  # in front of the names of its networks
# These have more than one answer in training, or no linear classifier.
NOT_TAKEN = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1")
LARGEST_PX = 4096
SEARCHED_PX = 128  # how far from a size that does not fit others are tried: networks go in steps of 32 px and less
CAFFE_MEAN_BGR = (104.0, 117.0, 128.0)
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)  # RGB
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True)
class Backbone:
    """A network from frames [N, 3, H, W] to features [N, num_features], and how to feed it.

    Mean and std apply to pixels in 0..255, in the network's channel order.
    """

    net: nn.Module
    num_features: int
    size_px: int
    mean: Triple
    std: Triple
    bgr: bool


def create_backbone(name: str, *, imagenet: bool = False, drop_path: float = 0.0) -> Backbone:
    """Build a backbone without its classifier.

    Args:
        name: "bninception", "inceptionv3" (the papers' forms, Caffe preprocessing), a timm name, or
            "torchvision/NAME" for one of torchvision's classifiers of images.
        imagenet: Load timm's own ImageNet weights, from its hub or its cache; those of tf_efficientnet_lite0 come with
            the library.
        drop_path: Stochastic depth of timm's networks (Huang et al., ECCV 2016): the probability that, in training,
            a frame skips the last residual branch; it falls to 0 towards the first.

    Raises:
        ModelError: If no such backbone is known, its weights are not to be had, or it has no stochastic depth.
    """
    if not isinstance(name, str):
        raise ModelError(f"`backbone` {name!r}; give a name, such as 'resnet50'; VideoClassifier.wrap takes networks")
    if not 0 <= drop_path < 1:
        raise ModelError(f"`drop_path` {drop_path}; it must be a probability from 0 up to, not including, 1; lower it")
    if drop_path and (name in PAPER_BACKBONES or name.startswith(TORCHVISION)):
        raise _no_drop_path(name)
    if name in PAPER_BACKBONES:
        build, size_px = PAPER_BACKBONES[name]
        if imagenet:
            raise ModelError(
                f"{name} has no ImageNet weights to download by itself; "
                "give the path or URL of the published Caffe or Cadene file as `weights`"
            )
        net = build()
        return Backbone(net, net.num_features, size_px, CAFFE_MEAN_BGR, (1.0, 1.0, 1.0), bgr=True)  # type: ignore[arg-type]
    if name.startswith(TORCHVISION):
        return _torchvision_backbone(name.removeprefix(TORCHVISION), imagenet=imagenet)
    return _timm_backbone(name, imagenet=imagenet, drop_path=drop_path)


def fit_size(net: nn.Module, name: str, size_px: int) -> None:
    """Make a network take frames of this size, in place, if it does not already.

    Args:
        net: A backbone without temporal modules. The position embeddings of timm's transformers for one size are
            resampled.
        name: Of the backbone.
        size_px: Side of the input square.

    Raises:
        ModelError: If it cannot: some networks have one size, all a smallest. The error names the nearest that it can.
    """
    if not 1 <= size_px <= LARGEST_PX:
        raise ModelError(f"{name} does not take an input of {size_px} px; choose 1 to {LARGEST_PX}")
    shapes = copy.deepcopy(net).to("meta").eval()
    reason = _why_not(shapes, size_px)
    if reason is not None:
        nearest = _nearest_sizes(shapes, size_px)
        advice = f"take {' or '.join(f'{size} px' for size in nearest)}" if nearest else "leave the size out"
        raise ModelError(f"{name} does not take an input of {size_px} px: {reason}; {advice}")
    set_size(net, size_px)


def check_network(net: object) -> None:
    """Raise ModelError unless this is a network."""
    if not isinstance(net, nn.Module):
        raise ModelError(f"a network of type {type(net).__name__}; give an nn.Module; create_model takes names")


def check_features(net: nn.Module, num_features: int, size_px: int) -> None:
    """Raise ModelError if a net, which is left as it is, makes other features of a frame; nothing is computed."""
    number: Any = num_features
    if not isinstance(number, int):
        raise ModelError(f"`num_features` {num_features!r}; it must be a whole number; correct it")
    shapes = copy.deepcopy(net).to("meta").eval()
    try:
        with torch.no_grad(), ClipLength(1):
            features = shapes(torch.zeros(1, 3, size_px, size_px, device="meta"))
    except Exception:  # of anything that the meta device cannot do: the first call will tell
        return
    shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
    if shape != [1, num_features]:
        raise ModelError(
            f"`num_features` {num_features}: {type(net).__name__} makes {shape} of a frame [1, 3, {size_px}, "
            f"{size_px}]; it must make [1, {num_features}]; correct the number, or take its classifier off"
        )


def _why_not(shapes: nn.Module, size_px: int) -> str | None:
    """Why a network on the meta device does not take this size; None if it does. No pixel is computed."""
    try:
        set_size(shapes, size_px)
        with torch.no_grad():
            shapes(torch.zeros(1, 3, size_px, size_px, device="meta"))
    except NotImplementedError:  # of the meta device, not of the size: the first step will tell
        return None
    except (AssertionError, RuntimeError, ValueError) as error:
        return one_line(error).rstrip(".")
    return None


def _nearest_sizes(shapes: nn.Module, size_px: int) -> list[int]:
    """The nearest smaller and the nearest larger size that a network takes, as far as there are some near."""
    downwards = range(size_px - 1, max(size_px - SEARCHED_PX, 1) - 1, -1)
    upwards = range(size_px + 1, min(size_px + SEARCHED_PX, LARGEST_PX) + 1)
    found = (next((size for size in sizes if _why_not(shapes, size) is None), None) for sizes in (downwards, upwards))
    return [size for size in found if size is not None]


def set_size(net: nn.Module, size_px: int) -> None:
    """Tell one of timm's networks for one size another, in place; :func:`fit_size` also tries whether it takes it.

    Raises:
        ValueError: If its patches do not fill that.
    """
    patches = getattr(net, "patch_embed", None)
    if getattr(patches, "strict_img_size", False) and hasattr(net, "set_input_size"):
        side_px = patches.patch_size[0]  # type: ignore[union-attr]
        if size_px % side_px:  # timm would leave out what is over
            raise ValueError(f"its patches are {side_px} px wide")
        net.set_input_size(img_size=(size_px, size_px))  # type: ignore[operator]


def _no_drop_path(name: str) -> ModelError:
    return ModelError(
        f"{name} has no stochastic depth; timm's ResNets, RegNets, ConvNeXts, EfficientNets and MobileNets have; "
        "take one of these, or leave `drop_path` out"
    )


def _timm_backbone(name: str, *, imagenet: bool, drop_path: float) -> Backbone:
    import timm

    if not timm.is_model(name.split(".")[0]):
        known = [*PAPER_BACKBONES, *timm.list_models()]
        close = difflib.get_close_matches(name, known, n=3) or list(PAPER_BACKBONES)
        raise ModelError(f"unknown backbone {name!r}; bninception, inceptionv3 or a timm name: {', '.join(close)}")
    try:
        # Networks without stochastic depth do not know its argument.
        options = {"drop_path_rate": drop_path} if drop_path else {}
        net = timm.create_model(name, pretrained=imagenet and name != SHIPPED, num_classes=0, **options)
    except Exception as error:  # hub errors have no common base, and a bad tag is a RuntimeError
        if "drop_path_rate" in str(error):
            raise _no_drop_path(name) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = "check the name and the network" + imagenet * ", or start without weights: `weights=None`"
        raise ModelError(f"cannot create timm backbone {name!r}: {reason}; {advice}") from error
    if drop_path and not any(isinstance(module, timm.layers.DropPath) for module in net.modules()):
        raise _no_drop_path(name)
    if not imagenet:
        _open_residual_branches(net)
    elif name == SHIPPED:
        net.load_state_dict(load_file(SHIPPED_FILE))
    config = timm.data.resolve_model_data_config(net)
    mean, std = (tuple(255.0 * value for value in config[key]) for key in ("mean", "std"))
    num_features = getattr(net, "head_hidden_size", None) or net.num_features
    return Backbone(net, num_features, config["input_size"][-1], mean, std, bgr=False)


def _torchvision_backbone(name: str, *, imagenet: bool) -> Backbone:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models, exclude=NOT_TAKEN)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3) or known[-3:]
        raise ModelError(f"unknown backbone {TORCHVISION + name!r}; torchvision has {', '.join(close)}; take one")
    weights = torchvision.models.get_model_weights(name)["DEFAULT"]
    if imagenet:
        raise ModelError(
            f"{TORCHVISION}{name} does not download weights by itself; "
            f"give the path or URL of its file as `weights`, such as {weights.url}"
        )
    net = torchvision.models.get_model(name, weights=None)
    linear = [layer for layer, module in net.named_modules() if isinstance(module, nn.Linear)]
    num_features = net.get_submodule(linear[-1]).in_features  # the classifier
    net.set_submodule(linear[-1], nn.Identity())
    preset = weights.transforms()
    mean, std = (tuple(255.0 * value for value in values) for values in (preset.mean, preset.std))
    return Backbone(net, num_features, preset.crop_size[0], mean, std, bgr=False)


def _open_residual_branches(net: nn.Module) -> None:
    """Start batch norms at scale 1 that timm starts at 0, which closes the residual branches they end.

    Temporal modules sit in these branches and would get no gradient at first. Weights that are loaded
    afterwards replace the scales.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)
