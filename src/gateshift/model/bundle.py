"""One-file models: weights and everything needed to use them, in a .safetensors file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from gateshift.errors import ModelError
from gateshift.model.backbones import create_backbone, fit_size
from gateshift.model.causal import make_causal
from gateshift.model.classifier import DeployedClassifier, VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.released import find_state, read_released
from gateshift.model.surgery import insert_temporal
from gateshift.model.temporal_site import describe_sites
from gateshift.model.weights import read_weights

METADATA_KEY = "gateshift"


def save_model(model: VideoClassifier, path: str | Path) -> None:
    """Write a model as one .safetensors file: weights, architecture, classes, preprocessing, protocol.

    The file is written beside its final name and moved there when whole.

    Raises:
        ModelError: If the name does not end in .safetensors, the folder does not exist, or temporal modules
            were put in, taken out or changed since the model was created, also by :func:`make_causal`.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if isinstance(model, DeployedClassifier):
        raise ModelError(f"{path}: a deployed model is not saved; save the model that it was made of, or export it")
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: a model file is named .safetensors; rename it")
    if not path.parent.is_dir():
        raise ModelError(f"{path.parent}: no such folder to save a model in; create it")
    if (found := describe_sites(model.backbone)) != model.made_with:
        before, now = (
            " and ".join(sorted({kind for kind, *_ in sites})) or "none" for sites in (model.made_with, found)
        )
        raise ModelError(
            f"temporal modules were changed (before: {len(model.made_with)} sites, {before}; now: {len(found)} sites, "
            f"{now}) since the model was created, which its file would not tell; create it as it is to be saved"
        )
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    partial = path.with_name(f".{path.name}.partial")
    partial.touch()
    mode = partial.stat().st_mode  # as of any other file: save_file gives it to its owner alone
    save_file(tensors, partial, metadata={METADATA_KEY: model.config.to_json()})
    partial.chmod(mode)
    partial.replace(path)


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
