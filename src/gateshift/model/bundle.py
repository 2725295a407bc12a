"""One-file models: weights and everything needed to use them, in a .safetensors file."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from torch import Tensor

from gateshift.errors import ModelError
from gateshift.files import atomic_write
from gateshift.model.backbones import create_backbone, fit_size
from gateshift.model.causal import make_causal
from gateshift.model.classifier import DeployedClassifier, VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.released import find_state, read_released
from gateshift.model.surgery import insert_temporal
from gateshift.model.temporal_site import SiteDescription, describe_sites
from gateshift.model.weights import read_weights

METADATA_KEY = "gateshift"


def save_model(model: VideoClassifier, path: str | Path) -> None:
    """Write a model as one .safetensors file: weights, architecture, classes, preprocessing, protocol.

    The file is written beside its final name and moved there when whole.

    Raises:
        ModelError: If the name does not end in .safetensors, the folder does not exist, or temporal modules
            were put in, taken out or changed since the model was created, also by :func:`make_causal`.
    """
    from safetensors.torch import save

    path = Path(path)
    if isinstance(model, DeployedClassifier):
        raise ModelError(f"{path}: a deployed model is not saved; save the model that it was made of, or export it")
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: a model file is named .safetensors; rename it")
    if not path.parent.is_dir():
        raise ModelError(f"{path.parent}: no such folder to save a model in; create it")
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
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    # Not save_file, which leaves the file to its owner alone, and another one beside it if it is killed.
    with atomic_write(path) as partial:
        partial.write_bytes(save(tensors, metadata={METADATA_KEY: model.config.to_json()}))


def _told(site: SiteDescription | None) -> str:
    if site is None:
        return "no temporal module"
    kind, side, channels, interleave = site
    return f"{kind} {side} it on {channels} channels{', interleaved' if interleave else ''}"


def load_model(path: str | Path) -> VideoClassifier:
    """Load a model in eval mode: our own .safetensors file, or a released GSM, GSF or TSM ``.pth.tar`` one.

    Backbone, temporal module and classes are worked out from the file. Nothing in it is executed.

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
        return _build(config, state)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _metadata(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if METADATA_KEY not in metadata:
        raise ModelError("has weights but no gateshift description; a model is saved by gateshift.save_model")
    return str(metadata[METADATA_KEY])


def _build(config: ModelConfig, state: dict[str, Tensor]) -> VideoClassifier:
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
    model = VideoClassifier(parts.net, parts.num_features, config)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise ModelError(f"weights do not fit {config.backbone} with {config.temporal}: {first}") from None
    return model.eval()
