"""Starting a training from a trained model: what it has learned, put into a new network."""

from __future__ import annotations

from os import PathLike
from typing import Any

import torch

from gateshift.errors import ModelError
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.io import load_model
from gateshift.model.temporal.site import fit_layers

# What decides the shape and the meaning of the weights.
SAME = ("backbone", "temporal", "sites", "num_sites", "ratio", "interleave", "causal")
SAME_HEAD = ("is_dense", "head", "look_ahead")  # else what the last layer sees is another


@torch.no_grad()
def start_from(model: VideoClassifier, path: str | PathLike[str]) -> list[str]:
    """Give a model the weights of a trained one: backbone, temporal modules, and the classes that both have.

    A network that answers for each frame may start from one of clips: it takes over the backbone alone.

    Args:
        model: Changed in place; its classes may be others than those of the file.
        path: As of :func:`gateshift.load_model`. A model whose temporal module has no weights, "none" or "tsm", takes
            the backbone of any.

    Returns:
        The classes that are new to the file: their part of the classifier is left as it is.

    Raises:
        ModelError: If the file cannot be loaded, or holds another network.
    """
    trained = load_model(path)
    _check_same(model.config, trained.config, path)
    try:
        weights = trained.backbone.state_dict()
        if model.config.temporal != trained.config.temporal:
            weights = fit_layers(weights, model.backbone)
        model.backbone.load_state_dict(weights)
    except RuntimeError:  # transformers for another size have other position embeddings
        sizes = f"{trained.config.size_px} px, and for {model.config.size_px} px"
        raise ModelError(f"{path}: its network is for {sizes} it has other weights; ask for the same size") from None
    if any(getattr(model.config, name) != getattr(trained.config, name) for name in SAME_HEAD):
        return list(model.classes)
    if model.config.is_dense:
        model.head.mix.load_state_dict(trained.head.mix.state_dict())
    known = {name: row for row, name in enumerate(_answers(trained.config))}
    own, theirs = (each.head.linear if each.config.is_dense else each.head for each in (model, trained))
    for row, name in enumerate(_answers(model.config)):
        if name in known:
            own.weight[row] = theirs.weight[known[name]]
            own.bias[row] = theirs.bias[known[name]]
    return [name for name in model.classes if name not in known]


def network_of(path: str | PathLike[str]) -> dict[str, Any]:
    """Options of a training of the network that a trained model is of, which :func:`start_from` asks for.

    Raises:
        ModelError: If the file cannot be loaded, or its modules are at sites of its own, which no option names.
    """
    config = load_model(path).config
    if config.sites is not None:
        raise ModelError(f"{path}: its modules are at named sites, which a training cannot place; use create_model")
    return {name: getattr(config, name) for name in SAME if name != "sites"}


def _answers(config: ModelConfig) -> list[str | int]:
    """What each row of the last layer is for: a class, 0 for nothing, or 1 for how far an event is."""
    if not config.is_dense:
        return list(config.classes)
    return [0, *config.classes, *([1] if config.displacement else [])]


def _check_same(own: ModelConfig, theirs: ModelConfig, path: str | PathLike[str]) -> None:
    has_weights = own.temporal == theirs.temporal or own.temporal not in ("none", "tsm")
    for name in SAME if has_weights else SAME[:1]:
        wanted, found = getattr(own, name), getattr(theirs, name)
        if wanted != found:
            raise ModelError(f"{path}: its {name} is {found}, and {wanted} is asked for; ask for the same")
