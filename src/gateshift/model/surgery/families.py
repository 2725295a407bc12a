"""Where a temporal module goes in each family of backbones: one table, a row for each family.

A family is recognized by its structure (layers that only it has), its sites by their dotted names. Where timm and
torchvision name the same layers differently, a row has both names.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateshift.model.temporal.site import Side


@dataclass(frozen=True)
class Family:
    """How one family of backbones is recognized and where its temporal modules go.

    Attributes:
        name: As it is reported.
        marker: Regular expression of the whole dotted name of a layer that every net of the family has, and no
            family above it.
        sites: Regular expressions of sites' whole dotted names, whose first group is the block they are in.
            Each block has one site: of the first expression that matches in it the first layer.
        side: On which side of the layer the module goes.
        source: Where the placement is from.
        interleave: Whether gate-shift mixes channels here unless asked otherwise: as in the released
            networks where there are some, and not where ImageNet features should survive the insertion.
        ratio: Share of a site's channels that go through a module that is not told.
        identity: Only blocks whose shortcut is the identity have a site: at stride 1, with as many channels out as in.
        temporal: The modules that this row is for; all where it is empty.
    """

    name: str
    marker: str
    sites: tuple[str, ...]
    side: Side
    source: str
    interleave: bool = False
    ratio: float = 1.0
    identity: bool = False
    temporal: tuple[str, ...] = ()


FAMILIES = (
    Family(
        name="bninception",
        marker=r"inception_5b\.conv_1x1\.conv",
        sites=(r"(inception_\d[a-e])\.conv_1x1\.conv", r"(inception_\d[a-e])\.conv_3x3_reduce\.conv"),
        side="after",
        source="GSM: the branch with the fewest convolutions, between convolution and batch norm",
        interleave=True,
        temporal=("gsm", "gsf"),
    ),
    Family(
        name="bninception",
        marker=r"inception_5b\.conv_1x1\.conv",
        sites=(r"(inception_\d[a-e])\.conv_1x1\.conv", r"(inception_\d[a-e])\.conv_3x3_reduce\.conv"),
        side="before",
        source="GSM's branch, before its first convolution as in TSM: the other branches see unshifted features",
        temporal=("tsm",),
    ),
    Family(
        name="inceptionv3",
        marker=r"mixed_10\.tower_conv\.conv",
        sites=(r"(mixed(?:_1|_2|_4|_5|_7|_9|_10)?)\.conv\.conv", r"(mixed_[38])\.tower_conv\.conv"),
        side="after",
        source="GSM: the branch with the fewest convolutions, without mixed_6, as released",
        interleave=True,
        temporal=("gsm",),
    ),
    Family(
        name="inceptionv3",
        marker=r"mixed_10\.tower_conv\.conv",
        sites=(r"(mixed(?:_[1-79]|_10)?)\.conv\.conv", r"(mixed_8)\.tower_conv\.conv"),
        side="after",
        source="GSF: the branch with the fewest convolutions, every block, as released",
        interleave=True,
        temporal=("gsf",),
    ),
    Family(
        name="inceptionv3",
        marker=r"mixed_10\.tower_conv\.conv",
        sites=(r"(mixed(?:_[1-79]|_10)?)\.conv\.conv", r"(mixed_8)\.tower_conv\.conv"),
        side="before",
        source="GSF's branch, before its first convolution as in TSM: the other branches see unshifted features",
        temporal=("tsm",),
    ),
    Family(
        name="resnet",
        marker=r"layer4\.0\.conv2",
        sites=(r"(layer\d\.\d+)\.conv3", r"(layer\d\.\d+)\.conv2"),
        side="after",
        source="GSF: the last convolution of each residual branch, before its batch norm",
        temporal=("gsm", "gsf"),
    ),
    Family(
        name="resnet",
        marker=r"layer4\.0\.conv2",
        sites=(r"(layer\d\.\d+)\.conv1",),
        side="before",
        source="TSM: before the first convolution of each residual branch, as released",
        temporal=("tsm",),
    ),
    Family(
        name="regnet",
        marker=r"s1\.b1\.conv1\.conv|trunk_output\.block1\.block1-0\.f\.a\.0",
        sites=(r"(s\d\.b\d+)\.conv1\.conv|(trunk_output\.block\d\.block\d-\d+)\.f\.a\.0",),
        side="before",
        source="E2E-Spot: before the first convolution of each block, gates on a quarter of the channels",
        ratio=0.25,
    ),
    Family(
        name="convnext",
        marker=r"stages\.0\.blocks\.0\.conv_dw|features\.1\.0\.block\.5",
        sites=(r"(stages\.\d\.blocks\.\d+)\.conv_dw|(features\.\d\.\d+)\.block\.0",),
        side="before",
        source="E2E-Spot: before the depthwise convolution of each block, gates on a quarter of the channels",
        ratio=0.25,
    ),
    Family(
        name="efficientnet/mobilenet",
        marker=r"blocks\.\d+\.\d+\.(?:conv_pwl|pw_proj\.conv)|features\.\d+(?:\.\d+)?\.(?:block|conv)\.1\.0",
        sites=(
            r"(blocks\.\d+\.\d+)\.(?:conv_(?:pw|exp|dw)|(?:dw_start|pw_exp)\.conv)"
            r"|(features\.\d+(?:\.\d+)?)\.(?:block|conv)\.0\.0",
        ),
        side="before",
        source="TSM on MobileNetV2: before the first convolution of each block with a residual",
        identity=True,
    ),
    Family(
        name="densenet",
        marker=r"features\.denseblock1\.denselayer1\.conv2",
        sites=(r"(features\.denseblock\d\.denselayer\d+)\.conv2",),
        side="after",
        source="the last convolution of each layer, as GSF in residual branches",
        temporal=("gsm", "gsf"),
    ),
    Family(
        name="densenet",
        marker=r"features\.denseblock1\.denselayer1\.conv2",
        sites=(r"(features\.denseblock\d\.denselayer\d+)\.conv1",),
        side="before",
        source="before the first convolution of each layer, as TSM in residual branches",
        temporal=("tsm",),
    ),
)
