"""One-file models: weights and everything needed to use them, in a .safetensors file."""

from __future__ import annotations

import functools
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.files import atomic_write
from gateshift.model.backbones.factory import create_backbone, fit_size
from gateshift.model.checkpoints import read_weights
from gateshift.model.classifier import DeployedClassifier, VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.released import find_state, read_released
from gateshift.model.surgery.insert import insert_temporal
from gateshift.model.temporal.causal import make_causal
from gateshift.model.temporal.site import SiteDescription, describe_sites

METADATA_KEY = "gateshift"
OWN = "own/"  # in front of the names of networks that the user makes, and gateshift cannot


def save_model(model: nn.Module, path: str | Path, *, config: ModelConfig | None = None) -> None:
    """Write a model as one .safetensors file: weights, architecture, classes, preprocessing, protocol.

    The file is written beside its final name and moved there when whole.

    Args:
        model: A :class:`VideoClassifier`, also as torch.compile, DataParallel, DistributedDataParallel or AveragedModel
            give it: the network inside is saved. One around a network of your own has a ``config.backbone`` of
            "own/NAME"; :func:`load_model` is given that network.
        path: Of the file.
        config: What the file says of the model, where that is not the model's own ``config``.

    Raises:
        ModelError: If it is another module, the name does not end in .safetensors, the folder does not exist, or
            load_model could not build the network by its description, as where temporal modules or the head were
            changed since the model was created.
    """
    from safetensors.torch import save

    path = Path(path)
    inner = _inside(model)
    if isinstance(inner, DeployedClassifier):
        raise ModelError(f"{path}: a deployed model is not saved; save the model that it was made of, or export it")
    if not isinstance(inner, VideoClassifier):
        raise ModelError(f"{path}: a {type(inner).__name__} is not saved; give the VideoClassifier of create_model")
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: a model file is named .safetensors; rename it")
    if not path.parent.is_dir():
        raise ModelError(f"{path.parent}: no such folder to save a model in; create it")
    _check_sites(inner)
    state = {_plain_key(inner, key): tensor for key, tensor in inner.state_dict().items()}
    if not inner.config.backbone.startswith(OWN):
        _check_as_described(inner.config, state, path)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    # Not save_file, which leaves the file to its owner alone, and another one beside it if it is killed.
    with atomic_write(path) as partial:
        partial.write_bytes(save(tensors, metadata={METADATA_KEY: (config or inner.config).to_json()}))


def _inside(model: nn.Module) -> nn.Module:
    """The network in wrappers."""
    while _is_wrapper(model):
        model = next(model.children())
    return model


def _is_wrapper(module: nn.Module) -> bool:
    """Whether a module is torch's own and holds another: compiled, on several devices, or an average of weights."""
    names = [name for name, _ in module.named_children()]
    return type(module).__module__.startswith("torch.") and names in (["_orig_mod"], ["module"])


def _plain_key(model: nn.Module, key: str) -> str:
    """The name of a tensor without the wrappers around parts of the model."""
    *path, name = key.split(".")
    kept, owner = [], model
    for part in path:
        if not _is_wrapper(owner):
            kept.append(part)
        owner = owner.get_submodule(part)
    return ".".join([*kept, name])


def _check_sites(model: VideoClassifier) -> None:
    """Raise ModelError unless the temporal modules are those that the model was created with."""
    if bool(model.made_with) != (model.config.temporal != "none"):
        raise ModelError(
            f"its config says temporal={model.config.temporal!r}, and it was made with {len(model.made_with)} temporal "
            "modules; make it by create_model"
        )
    for number, (before, now) in enumerate(zip_longest(model.made_with, describe_sites(model.backbone)), start=1):
        if before != now:
            raise ModelError(
                f"site {number} has {_told(now)}, and had {_told(before)} when the model was created, which its file "
                "would say; create the model with the modules that it is to be saved with"
            )


def _check_as_described(config: ModelConfig, state: dict[str, Tensor], path: Path) -> None:
    """Raise ModelError unless these are weights of the network that :func:`load_model` builds by the description."""
    try:
        expected = _described_shapes(config)
    except ModelError as error:
        raise ModelError(
            f"{path}: not saved, as load_model could not build it: {error}; name the backbone {OWN}NAME in the model's "
            "config if it is a network of your own, and give it to load_model(path, backbone=net)"
        ) from None
    found = {key: tensor.shape for key, tensor in state.items()}
    for key in [*expected, *found]:
        if found.get(key) != expected.get(key):
            shapes = [list(shapes[key]) if key in shapes else "not there" for shapes in (found, expected)]
            raise ModelError(
                f"{path}: not saved, as its {key} is {shapes[0]}, and {shapes[1]} in the {config.backbone} with "
                f"{len(config.classes)} classes that load_model would build; save its state_dict() by torch, or make "
                "the model by create_model"
            )


@functools.lru_cache(maxsize=8)  # a training saves the same network again and again
def _described_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    with torch.random.fork_rng(devices=[]):  # a training goes on as if nothing had been saved
        return {key: tensor.shape for key, tensor in _build(config).state_dict().items()}


def _told(site: SiteDescription | None) -> str:
    if site is None:
        return "no temporal module"
    kind, side, channels, interleave = site
    return f"{kind} {side} it on {channels} channels{', interleaved' if interleave else ''}"


def load_model(path: str | Path, *, backbone: nn.Module | None = None) -> VideoClassifier:
    """Load a model in eval mode: our own .safetensors file, or a released GSM, GSF or TSM ``.pth.tar`` one.

    Backbone, temporal module and classes are worked out from the file. Nothing in it is executed.

    Args:
        path: The file.
        backbone: The network of a model around one of your own, made as it was made then, temporal modules inside; it
            gets the weights of the file.

    Raises:
        ModelError: If the file is missing, damaged, or of no network that gateshift knows.
    """
    path = Path(path)
    tensors = read_weights(path)
    try:
        if path.suffix == ".safetensors":
            config, state = ModelConfig.from_json(_metadata(path)), tensors
        else:
            config, state = read_released(find_state(tensors))
        model = _build(config) if backbone is None else _build_around(backbone, config, state)
        _put_weights(model, state)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return model.eval()


def _metadata(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if METADATA_KEY not in metadata:
        raise ModelError("has weights but no gateshift description; a model is saved by gateshift.save_model")
    return str(metadata[METADATA_KEY])


def _build(config: ModelConfig) -> VideoClassifier:
    if config.backbone.startswith(OWN):
        raise ModelError(f"its network is your own, {config.backbone}; give it: load_model(path, backbone=net)")
    parts = create_backbone(config.backbone)
    if config.size_px != parts.size_px:
        fit_size(parts.net, config.backbone, config.size_px)
    insert_temporal(
        parts.net,
        config.temporal,
        num_sites=config.num_sites,
        ratio=config.ratio,
        interleave=config.interleave,
    )
    if config.causal:
        make_causal(parts.net)
    return VideoClassifier(parts.net, parts.num_features, config)


def _build_around(backbone: nn.Module, config: ModelConfig, state: dict[str, Tensor]) -> VideoClassifier:
    head = state.get("head.weight")
    if head is None or head.dim() != 2:
        raise ModelError("has no weights of a classifier; a model is saved by gateshift.save_model")
    model = VideoClassifier(backbone, head.shape[1], config)
    _check_sites(model)
    return model


def _put_weights(model: VideoClassifier, state: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        config = model.config
        raise ModelError(f"weights do not fit {config.backbone} with {config.temporal}: {first}") from None
