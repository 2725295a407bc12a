"""Weight files of other people, read without unpickling code."""

from __future__ import annotations

import pickle
import re
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gateshift.errors import ModelError
from gateshift.model.backbones.factory import PAPER_BACKBONES
from gateshift.model.released import only_tensors, rename_backbone


def read_weights(path: Path) -> dict[str, Any]:
    """Read a .safetensors or PyTorch file (of any age) as plain tensors.

    Raises:
        ModelError: If the file is missing, damaged, or would have to run code to be read.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; give a .safetensors file or a released .pth.tar")
    try:
        path.open("rb").close()  # safetensors does not say why it cannot open a file
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its old format, which the released files have
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "unsupported global" in str(error).lower():  # of any module, and of those that torch blocks
            raise ModelError(
                f"{path}: holds more than tensors, and reading it would run code from the file; "
                "ask its author for a plain state_dict"
            ) from error
        raise _damaged(path) from error
    except Exception as error:  # torch and safetensors raise many kinds on damaged bytes
        raise unreadable(path, error) or _damaged(path) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}; a checkpoint is a dictionary of tensors")
    return content


def unreadable(path: Path, error: Exception) -> ModelError | None:
    """Why a file could not be read although it may be sound; None where that is not known, and it may be damaged."""
    if isinstance(error, PermissionError):
        return ModelError(f"{path}: permission denied; ask its owner to let you read it")
    # Each library says it in its own way, mostly in a RuntimeError.
    if isinstance(error, MemoryError) or re.search(r"out of memory|(allocate|not enough) memory", str(error).lower()):
        size = path.stat().st_size / 2**20
        return ModelError(f"{path}: there is not enough memory to read its {size:,.0f} MiB; end other programs")
    if isinstance(error, OSError) and error.errno is not None:
        return ModelError(f"{path}: cannot be read: {error.strerror}; check the disk that it lies on")
    return None


def _damaged(path: Path) -> ModelError:
    return ModelError(f"{path}: not a readable model file; it is damaged, cut off, or something else")


def load_imagenet(net: nn.Module, backbone: str, source: str | PathLike[str]) -> None:
    """Start a backbone from a file of ImageNet weights; a classifier in the file is left out.

    Args:
        net: The backbone, without temporal modules.
        backbone: Its name.
        source: Path or URL: for the papers' networks the published Caffe or Cadene file, for timm networks
            a file with timm's own names.

    Raises:
        ModelError: If the file is not of this backbone.
    """
    is_url = str(source).startswith(("http://", "https://"))
    content = _download(str(source)) if is_url else read_weights(Path(source))
    inner = content.get("state_dict", content)
    weights = only_tensors(inner if isinstance(inner, dict) else {})
    if backbone in PAPER_BACKBONES:
        weights = rename_backbone(weights, backbone)
    own = net.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    wrong = [key for key in own if key in weights and weights[key].shape != own[key].shape]
    if missing or wrong:
        raise ModelError(
            f"{source}: not weights of {backbone}: {len(missing)} of {len(own)} tensors missing, {len(wrong)} of "
            f"another shape, such as {', '.join([*missing, *wrong][:2])}; give a file of this backbone"
        )
    net.load_state_dict({key: weights[key] for key in own if key in weights}, strict=False)


def _download(url: str) -> dict[str, Any]:
    """Fetch a PyTorch file into torch's own cache, once."""
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
    except Exception as error:  # urllib, zipfile and pickle each raise their own
        raise ModelError(f"{url}: cannot be fetched: {error}; download the file and give its path") from error
