"""Names of E2E-Spot's released checkpoints, and ours.

A file of "Spotting Temporally Precise, Fine-Grained Events in Video" (Hong et al., ECCV 2022) is a state_dict.
``_features.`` is timm's RegNetY, where the first convolution of each block, ``conv1``, lies in ``conv1.net`` beside its
gate-shift ``conv1.gsm`` (named as in GSM's release, and like it interleaved); ``_pred_fine.`` is the head. It says
neither classes nor frame rate, and clips have 100 frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from gateshift.errors import ModelError
from gateshift.model.backbones.factory import IMAGENET_MEAN, IMAGENET_STD
from gateshift.model.config import ModelConfig
from gateshift.model.released import reshape_released

FEATURES, HEAD = "_features.", "_pred_fine."
_BACKBONES = {(1, 1, 4, 7): "regnety_002", (1, 3, 8, 2): "regnety_008"}  # by the blocks of each stage
_BLOCK = re.compile(r"s(\d)\.b(\d+)\.conv1\..*")
_NUM_FRAMES = 100


def is_spotting(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of an E2E-Spot network, without ``module.``."""
    return any(key.startswith(FEATURES) for key in weights)


def read_spotting(weights: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Work out the network of a released E2E-Spot checkpoint and give its weights our names.

    Returns:
        The model's description (class names "0", "1", ...) and its state_dict.

    Raises:
        ModelError: If it is not RegNetY-200MF or 800MF with a GRU or a linear head.
    """
    layers = {key.removeprefix(FEATURES): t for key, t in weights.items() if key.startswith(FEATURES)}
    blocks = {match.groups() for key in layers if (match := _BLOCK.fullmatch(key))}
    depths = tuple(sum(stage == str(number) for stage, _ in blocks) for number in range(1, 5))
    head = {_rename_head(key.removeprefix(HEAD)): t for key, t in weights.items() if key.startswith(HEAD)}
    if depths not in _BACKBONES or "linear.weight" not in head:
        raise ModelError(
            f"an E2E-Spot checkpoint with {depths} blocks and a head of {', '.join(head) or 'nothing'}; RegNetY-200MF "
            "and 800MF with the head gru, or none, are read"
        )
    has_gates = any(".conv1.gsm." in key for key in layers)
    config = ModelConfig(
        backbone=_BACKBONES[depths],
        temporal="gsm" if has_gates else "tsm" if any(".conv1.net." in key for key in layers) else "none",
        classes=tuple(str(index) for index in range(len(head["linear.weight"]) - 1)),
        interleave=has_gates,
        dropout=0.5,
        size_px=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        bgr=False,
        num_segments=_NUM_FRAMES,
        ratio=0.25 if has_gates else 1.0,
        named=False,
        task="spot",
        head="gru" if "mix.weight_ih_l0" in head else "none",
    )
    renamed = {f"backbone.{_rename_layer(key)}": reshape_released(tensor) for key, tensor in layers.items()}
    return config, renamed | {f"head.{key}": tensor for key, tensor in head.items()}


def _rename_layer(key: str) -> str:
    """``s1.b1.conv1.net.conv.weight`` is our ``s1.b1.conv1.conv.layer.weight``, and so on."""
    key = key.replace(".conv1.net.conv.", ".conv1.conv.layer.").replace(".conv1.net.", ".conv1.")
    return key.replace(".conv1.gsm.conv3D.", ".conv1.conv.temporal.").replace(".conv1.gsm.", ".conv1.conv.temporal.")


def _rename_head(key: str) -> str:
    return key.replace("_gru.", "mix.").replace("_fc_out._fc_out.", "linear.").replace("_fc_out.", "linear.")
