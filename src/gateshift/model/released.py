"""Names of the released checkpoints, and ours: the same networks, other names.

A released GSM file is a dictionary with a ``state_dict`` whose keys start with ``module.base_model.`` (the
backbone, under the names of its Caffe description) or ``module.new_fc.`` (the classifier). The published
ImageNet files of the two Inception networks use the same names without the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from gateshift.errors import ModelError
from gateshift.model.backbones import CAFFE_MEAN_BGR, PAPER_BACKBONES
from gateshift.model.config import ModelConfig

_BN_INCEPTION_UNIT = re.compile(r"(?:(inception_\d[a-e])_)?(\w+?)(_bn)?")
_INCEPTION_V3_UNIT = re.compile(r"(?:(mixed(?:_\d+)?)_)?((?:conv|tower)\w*?)_(Conv2D|batchnorm)")
_GATE_FIELDS = {"conv3D.weight": "weight", "conv3D.bias": "bias"}


def find_backbone(keys: Iterable[str]) -> str | None:
    """Which of the papers' backbones has these layer names (without prefix), or None."""
    names = set(keys)
    if "conv1_7x7_s2.weight" in names:
        return "bninception"
    return "inceptionv3" if "conv_Conv2D.weight" in names else None


def rename_backbone(weights: Mapping[str, Tensor], backbone: str) -> dict[str, Tensor]:
    """Give the weights of a papers' backbone our names.

    Args:
        weights: Released or published names, without prefix; a classifier is left out.
        backbone: "bninception" or "inceptionv3".

    Returns:
        Our names of the same tensors. Batch norms stored as [1, C] become [C].

    Raises:
        ModelError: If a name is not one of this network's.
    """
    gated = {key.removeprefix("gsm_").split(".")[0] for key in weights if key.startswith("gsm_")}
    renamed = {}
    for key, tensor in weights.items():
        if key.startswith(("last_linear.", "fc.", "top_cls_fc.")):
            continue
        renamed[_rename(key, backbone, gated)] = _reshape(tensor)
    return renamed


def _reshape(tensor: Tensor) -> Tensor:
    """The shape that our layers have: gate kernels over (group, step in time), batch norms without a leading 1."""
    if tensor.dim() == 5:  # [2, C/2, 3, 3, 3], axes (group, channel, time, height, width)
        return tensor.transpose(1, 2).flatten(0, 1).contiguous()  # [6, C/2, 3, 3]
    return tensor.reshape(-1) if tensor.dim() == 2 else tensor


def _rename(key: str, backbone: str, gated: set[str]) -> str:
    """One released name to ours; ``gated`` holds the convolutions that a gate-shift module follows."""
    layer, _, field = key.partition(".")
    if layer.startswith("gsm_"):
        return f"{_unit(layer.removeprefix('gsm_'), backbone)}.temporal.{_GATE_FIELDS.get(field, field)}"
    unit = _unit(layer, backbone)
    return f"{unit}.layer.{field}" if layer in gated else f"{unit}.{field}"


def _unit(layer: str, backbone: str) -> str:
    """The dotted name of a released layer, such as ``inception_3a_1x1_bn`` -> ``inception_3a.conv_1x1.bn``."""
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


def read_released(state: Mapping[Any, Any]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Work out the network of a released GSM or TSN checkpoint and give its weights our names.

    Args:
        state: The file's ``state_dict``.

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
            f"checkpoint with keys such as {some} is not of a released GSM network (BN-Inception or InceptionV3); "
            "save your own models with gateshift.save_model"
        )
    temporal = "gsm" if any(key.startswith("gsm_") for key in layers) else "none"
    renamed = {f"backbone.{key}": tensor for key, tensor in rename_backbone(layers, backbone).items()}
    renamed |= {key.replace("new_fc", "head"): t for key, t in plain.items() if key.startswith("new_fc.")}
    config = ModelConfig(
        backbone=backbone,
        temporal=temporal,
        classes=tuple(str(index) for index in range(plain["new_fc.weight"].shape[0])),
        interleave=temporal == "gsm",
        dropout=0.5,
        size_px=PAPER_BACKBONES[backbone][1],
        mean=CAFFE_MEAN_BGR,
        std=(1.0, 1.0, 1.0),
        bgr=True,
    )
    return config, renamed
