"""ONNX files within the published limits of TensorRT's parser, which is not run here.

The limits are those of TensorRT 10.15, by the table of operators of its open parser (onnx-tensorrt): opsets 9 to 24;
uint8 for inputs and outputs of the network alone; axes of reductions, and of (un)squeezing, that are constants; pools
without dilation.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from golden_data import golden_clips
from onnx import TensorProto, numpy_helper
from test_deploy import trained

import gateshift as gs
from gateshift.exporting.writing import write_export

OPSETS = range(9, 25)
# Those of the table's supported operators that our networks need. One more that a network brings is to be looked up.
OPERATORS = {
    *("Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "Div", "Expand", "GRU"),
    *("Gather", "Gelu", "Gemm", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LayerNormalization"),
    *("Less", "MatMul", "MaxPool", "Mul", "Pad", "Range", "ReduceMean", "Relu", "Reshape", "Shape", "Sigmoid", "Slice"),
    *("Split", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where"),
}
WITH_CONSTANT_AXES = {"ReduceMean", "ReduceSum", "ReduceMax", "Squeeze", "Unsqueeze"}
POOLS = {"AveragePool", "MaxPool"}
QUICK = [("test_resnet", "gsm", {"num_sites": 2}), ("test_resnet", "tsm", {"num_sites": 2})]
SLOW = [
    ("test_resnet", "gsf", {"num_sites": 2}),
    ("test_resnet", "gsm", {"num_sites": 2, "causal": True}),
    ("test_resnet", "gsm", {"num_sites": 2, "task": "spot", "fps": 5.0, "head": "gru"}),
    ("mobilenetv3_small_050", "gsm", {"num_sites": 2}),
    ("convnext_atto", "gsm", {"num_sites": 2}),
    ("regnety_002", "tsm", {"num_sites": 2}),
]
NETWORKS = [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW)]


def broken_limits(model: onnx.ModelProto) -> list[str]:
    """What of a file is outside of the limits, in words."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    opsets = {each.domain: each.version for each in model.opset_import}
    found = [] if opsets[""] in OPSETS else [f"opset {opsets['']}"]
    uint8 = {each.name for each in graph.input if each.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in graph.node:
        attributes = {each.name: each for each in node.attribute}
        if node.domain or node.op_type not in OPERATORS:
            found.append(f"operator {node.domain}{node.op_type}")
        if uint8 & set(node.input) and node.op_type != "Cast":
            found.append(f"uint8 in {node.op_type}")
        if node.op_type in WITH_CONSTANT_AXES and not set(node.input[1:]) <= constants:
            found.append(f"axes of {node.op_type} that are computed")
        if node.op_type in POOLS and set(attributes["dilations"].ints if "dilations" in attributes else ()) - {1}:
            found.append(f"dilations of {node.op_type}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "temporal", "options"), NETWORKS)
def test_a_file_is_within_the_limits(backbone: str, temporal: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = trained_any(gs.create_model(backbone, temporal, num_classes=3, size_px=32, num_segments=4, **options))
    path = tmp_path / "model.onnx"
    write_export(model, path, "onnx", clips=golden_clips(0, count=2, num_frames=4, size_px=32))
    assert broken_limits(onnx.load(path)) == []


def trained_any(model: gs.VideoClassifier) -> gs.VideoClassifier:
    """As :func:`trained`, also where the head is one over time."""
    return model.eval() if model.config.is_dense else trained(model)


def test_each_limit_is_looked_at() -> None:
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    clips = value("clips", TensorProto.UINT8, [2, 3])
    nodes = [
        node("Reshape", ["clips", "shape"], ["a"]),
        node("NonMaxSuppressionOfOurs", ["a"], ["b"], domain="ours"),
        node("ReduceMean", ["b", "computed"], ["c"]),
        node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], dilations=[2, 2]),
    ]
    shape = numpy_helper.from_array(np.array([3, 2]), "shape")
    graph = onnx.helper.make_graph(nodes, "g", [clips], [value("d", TensorProto.FLOAT, None)], [shape])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 25)])
    assert broken_limits(model) == [
        "opset 25",
        "uint8 in Reshape",
        "operator oursNonMaxSuppressionOfOurs",
        "axes of ReduceMean that are computed",
        "dilations of MaxPool",
    ]


@pytest.mark.slow
def test_the_clips_of_a_file_go_into_a_cast_alone(tmp_path: Path) -> None:
    model = trained(gs.create_model("test_resnet", "none", num_classes=3, size_px=32, num_segments=4))
    some = golden_clips(0, count=2, num_frames=4, size_px=32)
    write_export(model, tmp_path / "m.onnx", "onnx", clips=some, precision="float16")
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert [node.op_type for node in graph.node if "clips" in node.input] == ["Cast"]
    assert torch.isfinite(torch.from_numpy(gs.Runtime(tmp_path / "m.onnx")(some.numpy()))).all()
