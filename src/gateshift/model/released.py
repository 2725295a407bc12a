"""Names of the released checkpoints, and ours: the same networks, other names.

A released GSM or TSM file is a dictionary with a ``state_dict`` (GSF: ``model_state_dict``) whose keys start with
``module.base_model.`` (the backbone: the Inception networks under the names of their Caffe description, ResNets
under torchvision's; TSM calls a convolution behind its shift ``net``) or ``module.new_fc.`` (the classifier). The
published ImageNet files of the two Inception networks use the same names without the prefix.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gateshift.errors import ModelError
from gateshift.model.backbones.factory import CAFFE_MEAN_BGR, IMAGENET_MEAN, IMAGENET_STD, PAPER_BACKBONES
from gateshift.model.config import ModelConfig

_BN_INCEPTION_UNIT = re.compile(r"(?:(inception_\d[a-e])_)?(\w+?)(_bn)?")
_INCEPTION_V3_UNIT = re.compile(r"(?:(mixed(?:_\d+)?)_)?((?:conv|tower)\w*?)_(Conv2D|batchnorm)")
_RESNET_BLOCK = re.compile(r"layer(\d)\.\d+\.conv3\.weight")
_RESNET50_BLOCKS = {"1": 3, "2": 4, "3": 6, "4": 3}
_GATE = re.compile(r"gs[mf]_(?P<layer>[^.]+)\.(?P<field>.+)|(?P<block>layer\d\.\d+)\.gs[mf]\.(?P<resnet_field>.+)")
_SHIFTED = ".net"  # what TSM calls the convolution behind a shift
_GATE_FIELDS = {"conv3D.weight": "weight", "conv3D.bias": "bias"}


def find_backbone(keys: Iterable[str]) -> str | None:
    """Which of the papers' networks has these layer names (without prefix), or ResNet-50; None for another."""
    names = set(keys)
    if "conv1_7x7_s2.weight" in names:
        return "bninception"
    if "conv_Conv2D.weight" in names:
        return "inceptionv3"
    blocks = Counter(match[1] for name in names if (match := _RESNET_BLOCK.fullmatch(name)))
    return "resnet50" if blocks == _RESNET50_BLOCKS else None


def rename_backbone(weights: Mapping[str, Tensor], backbone: str) -> dict[str, Tensor]:
    """Give the weights of a released backbone our names.

    Args:
        weights: Released or published names, without prefix; a classifier is left out.
        backbone: "bninception", "inceptionv3" or "resnet50".

    Returns:
        Our names of the same tensors. Batch norms stored as [1, C] become [C].

    Raises:
        ModelError: If a name is not one of this network's.
    """
    gated = {_gated_layer(match) for key in weights if (match := _GATE.fullmatch(key))}
    renamed = {}
    for key, tensor in weights.items():
        if key.startswith(("last_linear.", "fc.", "top_cls_fc.")):
            continue
        renamed[_rename(key, backbone, gated)] = reshape_released(tensor)
    return _join_fusions(renamed)


def reshape_released(tensor: Tensor) -> Tensor:
    """The shape that our layers have: gate kernels over (group, step in time), batch norms without a leading 1."""
    if tensor.dim() == 5:  # [2, C/2, 3, 3, 3], axes (group, channel, time, height, width)
        return tensor.transpose(1, 2).flatten(0, 1).contiguous()  # [6, C/2, 3, 3]
    return tensor.reshape(-1) if tensor.dim() == 2 else tensor


def _join_fusions(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """GSF's two fusion convolutions, one for each half of the channels, as the one grouped convolution of ours."""
    joined = {}
    for key, tensor in weights.items():
        if ".channel_conv1." in key:
            other = weights.get(key.replace("conv1", "conv2"))
            if other is None:
                raise ModelError(f"{key} without its channel_conv2; the file is damaged")
            joined[key.replace("channel_conv1", "fuse")] = torch.cat((tensor, other))
        elif ".channel_conv2." not in key:
            joined[key] = tensor
    return joined


def _gated_layer(match: re.Match[str]) -> str:
    """The released name of the convolution that a gate stands behind."""
    return match["layer"] or f"{match['block']}.conv3"


def _rename(key: str, backbone: str, gated: set[str]) -> str:
    """One released name to ours; ``gated`` holds the convolutions that a temporal module follows."""
    if match := _GATE.fullmatch(key):
        field = match["field"] or match["resnet_field"]
        return f"{_unit(_gated_layer(match), backbone)}.temporal.{_GATE_FIELDS.get(field, field)}"
    layer, _, field = key.rpartition(".")
    if layer.endswith(_SHIFTED):
        return f"{layer.removesuffix(_SHIFTED)}.layer.{field}"
    unit = _unit(layer, backbone)
    return f"{unit}.layer.{field}" if layer in gated else f"{unit}.{field}"


def _unit(layer: str, backbone: str) -> str:
    """The dotted name of a released layer, such as ``inception_3a_1x1_bn`` -> ``inception_3a.conv_1x1.bn``."""
    if backbone not in PAPER_BACKBONES:
        return layer  # torchvision's names of ResNets are timm's
    pattern = _BN_INCEPTION_UNIT if backbone == "bninception" else _INCEPTION_V3_UNIT
    match = pattern.fullmatch(layer)
    if match is None:
        raise ModelError(f"no layer {layer!r} in {backbone}; the file is of another network")
    block, unit, kind = match.groups()
    if unit[0].isdigit():
        unit = f"conv_{unit}"
    part = "bn" if kind in ("_bn", "batchnorm") else "conv"
    return ".".join(filter(None, (block, unit, part)))


def only_tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The named tensors of a checkpoint's dictionary, without what else stands in it."""
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def find_state(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The weights of a released file, among what else stands in its dictionary."""
    inner = next((content[key] for key in ("state_dict", "model_state_dict") if key in content), content)
    return inner if isinstance(inner, dict) else {}


def read_released(state: Mapping[Any, Any]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Work out the network of a released GSM, GSF, TSM or TSN checkpoint and give its weights our names.

    Args:
        state: The file's weights, see :func:`find_state`.

    Returns:
        The model's description (class names "0", "1", ...; number of segments unknown) and its state_dict.

    Raises:
        ModelError: If it is not such a checkpoint.
    """
    plain = {key.removeprefix("module."): t for key, t in only_tensors(state).items()}
    layers = {key.removeprefix("base_model."): t for key, t in plain.items() if key.startswith("base_model.")}
    backbone = find_backbone(layers)
    if backbone is None or "new_fc.weight" not in plain:
        some = ", ".join(map(str, list(state)[:3])) or "(none)"
        raise ModelError(
            f"checkpoint with keys such as {some} is not of a released GSM, GSF or TSM network (BN-Inception, "
            "InceptionV3, ResNet-50); save your own models with gateshift.save_model"
        )
    renamed = rename_backbone(layers, backbone)
    temporal = _temporal(renamed)
    weights = {f"backbone.{key}": tensor for key, tensor in renamed.items()}
    weights |= {key.replace("new_fc", "head"): t for key, t in plain.items() if key.startswith("new_fc.")}
    of_paper = backbone in PAPER_BACKBONES
    config = ModelConfig(
        backbone=backbone,
        temporal=temporal,
        classes=tuple(str(index) for index in range(plain["new_fc.weight"].shape[0])),
        interleave=temporal in ("gsm", "gsf"),
        dropout=0.5,
        size_px=PAPER_BACKBONES[backbone][1] if of_paper else 224,
        mean=CAFFE_MEAN_BGR if of_paper else IMAGENET_MEAN,
        std=(1.0, 1.0, 1.0) if of_paper else IMAGENET_STD,
        bgr=of_paper,
        ratio=_ratio(renamed),
        named=False,
    )
    return config, weights


def _temporal(renamed: Mapping[str, Tensor]) -> str:
    """The temporal module whose weights are among these, by our names."""
    if any(key.endswith(".temporal.fuse.weight") for key in renamed):
        return "gsf"
    if any(key.endswith(".temporal.weight") for key in renamed):
        return "gsm"
    return "tsm" if any(key.endswith(".layer.weight") for key in renamed) else "none"  # a shift has no weights


def _ratio(renamed: Mapping[str, Tensor]) -> float:
    """The share of the channels that go through the temporal modules: the same at each site, up to rounding."""
    for key, tensor in renamed.items():
        if key.endswith(".temporal.bn.weight"):
            layer = renamed.get(key.replace("temporal.bn", "layer"))
            return 1.0 if layer is None else len(tensor) / len(layer)
    return 1.0
