"""One-file models: weights and everything needed to use them, in a .safetensors file."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from itertools import zip_longest
from os import PathLike, fspath
from pathlib import Path

import torch
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.files import atomic_write
from gateshift.model.backbones.factory import check_features, check_network, create_backbone, set_size
from gateshift.model.checkpoints import read_weights
from gateshift.model.classifier import DeployedClassifier, VideoClassifier
from gateshift.model.config import OWN, ModelConfig
from gateshift.model.released import find_state, only_tensors, read_released
from gateshift.model.released_spotting import is_spotting, read_spotting
from gateshift.model.surgery.insert import find_temporal, insert_temporal
from gateshift.model.temporal.causal import is_causal, make_causal
from gateshift.model.temporal.site import SiteDescription, describe_sites

METADATA_KEY = "gateshift"
EXPORTED = (".pt2", ".onnx", ".xml", ".tflite", ".pte", ".mlpackage")
ON_HUB = re.compile(r"hf:/{1,2}(?=[^/])")  # a Path has made one slash of two


def save_model(model: nn.Module, path: str | PathLike[str], *, config: ModelConfig | None = None) -> None:
    """Write a model as one .safetensors file: weights, architecture, classes, preprocessing, protocol.

    The file is written beside its final name and moved there when whole.

    Args:
        model: A :class:`VideoClassifier`, also as torch.compile, DataParallel, DistributedDataParallel or AveragedModel
            give it: the network inside is saved.
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
    state = {_plain_key(inner, key): tensor for key, tensor in inner.state_dict().items()}
    config = config or inner.config
    _check_as_described(config, inner.backbone, state, path)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    # Not save_file, which leaves the file to its owner alone, and another one beside it if it is killed.
    with atomic_write(path) as partial:
        partial.write_bytes(save(tensors, metadata={METADATA_KEY: config.to_json()}))


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


def _check_as_described(config: ModelConfig, net: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Raise ModelError unless these are modules and weights of the network that :func:`load_model` builds."""
    if config.backbone.startswith(OWN):
        _check_own(net, config)
        return
    try:
        sites, expected = _described(config)
    except ModelError as error:
        raise ModelError(
            f"{path}: not saved, as load_model could not build it: {error}; make a model around a network of your own "
            "by VideoClassifier.wrap"
        ) from None
    for number, (found, wanted) in enumerate(zip_longest(describe_sites(net), sites), start=1):
        if found != wanted:
            raise ModelError(
                f"{path}: not saved, as site {number} has {_told(found)}, and {_told(wanted)} by the model's config; "
                "create the model with the modules that it is to be saved with"
            )
    shapes = {key: tensor.shape for key, tensor in state.items()}
    for key in [*expected, *shapes]:
        if shapes.get(key) != expected.get(key):
            own, other = (list(each[key]) if key in each else "not there" for each in (shapes, expected))
            raise ModelError(
                f"{path}: not saved, as its {key} is {own}, and {other} in the {config.backbone} with "
                f"{len(config.classes)} classes that load_model would build; save its state_dict() by torch, or make "
                "the model by create_model"
            )


@functools.lru_cache(maxsize=8)  # a training saves the same network again and again
def _described(config: ModelConfig) -> tuple[tuple[SiteDescription, ...], dict[str, torch.Size]]:
    """The temporal modules and the shapes of the weights of the network that a description is of."""
    with torch.random.fork_rng(devices=[]):  # a training goes on as if nothing had been saved
        model = _build(config)
    return describe_sites(model.backbone), {key: tensor.shape for key, tensor in model.state_dict().items()}


def _check_own(net: nn.Module, config: ModelConfig) -> None:
    """Raise ModelError unless the temporal modules of a user's own network are those that a description says."""
    found = find_temporal(net)
    for name, own, asked in (
        ("temporal", found.temporal, config.temporal),
        ("interleave", found.interleave, config.interleave),
        ("causal", is_causal(net), config.causal),
    ):
        if own != asked:
            raise ModelError(f"its {name} is {asked}, and that of the network is {own}; give a network made as it was")


def _told(site: SiteDescription | None) -> str:
    if site is None:
        return "no temporal module"
    kind, side, channels, interleave = site
    return f"{kind} {side} it on {channels} channels{', interleaved' if interleave else ''}"


def load_model(
    path: str | PathLike[str],
    device: str | torch.device | None = None,
    *,
    backbone: nn.Module | None = None,
    classes: Sequence[str] | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> VideoClassifier:
    """Load a model: our own .safetensors file, or a released GSM, GSF or TSM ``.pth.tar`` one, or E2E-Spot's.

    Backbone, temporal module and classes are worked out from the file. Nothing in it is executed.

    Args:
        path: The file; or ``hf://user/name``, ``hf://user/name@revision`` or ``hf://user/name/file.safetensors`` of a
            model on the Hugging Face Hub, which is fetched once and kept in the Hub's cache.
        device: Where the model is put; the CPU by default.
        backbone: The network of a model around one of your own (:meth:`VideoClassifier.wrap`), made as it was made
            then; it gets the weights of the file, in place. Temporal modules that it lacks are put in first.
        classes: Names for the classes of a released checkpoint, which has none, in the order of its outputs; other
            files keep their own.
        revision: Branch, tag or commit of a model on the Hub.
        token: For a private model on the Hub; by default what ``hf auth login`` has saved, or HF_TOKEN.

    Returns:
        The model, in eval mode.

    Raises:
        ModelError: If the file is missing, damaged, or of no network that gateshift knows, or does not fit ``backbone``
            or ``classes``; if this machine has no such device; or if the Hub cannot be reached, or has no such model.
    """
    if not isinstance(path, str | PathLike):
        raise ModelError(f"`path` of type {type(path).__name__}; a model is loaded from a file; give its path")
    _check_device(device)
    source = fspath(path)
    if ON_HUB.match(source):
        from gateshift.published.hub import fetch

        file = fetch(ON_HUB.sub("", source), revision=revision, token=token)
    elif revision is not None or token is not None:
        raise ModelError(f"{source}: `revision` and `token` are for models on the Hub, hf://user/name; leave them out")
    else:
        file = Path(source)
    if file.suffix in EXPORTED:
        raise ModelError(
            f"{source}: an exported file, not a saved model; give its path to predict or evaluate, or run it by Runtime"
        )
    tensors = read_weights(file)
    try:
        if file.suffix == ".safetensors":
            config, state = ModelConfig.from_json(_metadata(file)), tensors
        else:
            released = find_state(tensors)
            plain = {key.removeprefix("module."): tensor for key, tensor in only_tensors(released).items()}
            config, state = read_spotting(plain) if is_spotting(plain) else read_released(released)
        if classes is not None and not config.named:
            config = config.name_classes(classes)
        model = _build(config) if backbone is None else _build_around(backbone, config, state)
        _put_weights(model, state)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    return model.eval() if device is None else model.eval().to(device)


def _check_device(device: str | torch.device | None) -> None:
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, TypeError) as error:  # each kind of device has its own
        reason = str(error).splitlines()[0].rstrip(".")[:200]
        raise ModelError(f"`device` {device!r}: {reason}; give one of this machine, such as 'cpu'") from None


def describe_model(path: Path) -> ModelConfig:
    """What a file of ours says of its model, without its weights.

    Raises:
        ModelError: If it is no such file.
    """
    try:
        return ModelConfig.from_json(_metadata(path))
    except Exception:  # of a damaged file, which to read in full says why
        return load_model(path).config


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
        try:  # without trying it, which takes as long as loading: it was tried when the model was made
            set_size(parts.net, config.size_px)
        except ValueError as error:
            raise ModelError(f"{config.backbone} does not take an input of {config.size_px} px: {error}") from None
    _insert(parts.net, config)
    return VideoClassifier(parts.net, parts.num_features, config)


def _insert(net: nn.Module, config: ModelConfig) -> None:
    """Put in the temporal modules that a model's description says."""
    insert_temporal(
        net,
        config.temporal,
        sites=config.sites,
        num_sites=config.num_sites,
        ratio=config.ratio,
        interleave=config.interleave,
    )
    if config.causal:
        make_causal(net)


def _build_around(backbone: nn.Module, config: ModelConfig, state: dict[str, Tensor]) -> VideoClassifier:
    head = state.get("head.weight")
    if head is None or head.dim() != 2:
        raise ModelError("has no weights of a classifier; a model is saved by gateshift.save_model")
    check_network(backbone)
    if find_temporal(backbone).temporal == "none":
        _insert(backbone, config)
    _check_own(backbone, config)
    check_features(backbone, head.shape[1], config.size_px)
    return VideoClassifier(backbone, head.shape[1], config)


def _put_weights(model: VideoClassifier, state: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).partition("\n")[2].split())[:200]  # after the line that names the class
        config = model.config
        raise ModelError(f"weights do not fit {config.backbone} with {config.temporal}: {first}") from None
