"""Files for phones: what they hold, that they answer as their model, and what is said where they cannot be made."""

import json
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_data import golden_clips, relative_error
from test_deploy import trained
from torch import nn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError, SettingsError
from gateshift.exported.formats import DEVICE_SUFFIXES
from gateshift.exported.loading import load_any
from gateshift.exporting.arguments import check_export
from gateshift.exporting.device_export import CONVERTERS, write_device_export
from gateshift.exporting.one_clip_network import OneClipNetwork
from gateshift.exporting.quiet import quietly
from gateshift.model.classifier import VideoClassifier

SEGMENTS = 4


def needs(kind: str) -> pytest.MarkDecorator:
    """Skip a test where what writes and runs a format is not installed."""
    missing = [name for name in CONVERTERS[kind] if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: not installed; the extra {kind!r} has it")


RUN_HERE = [pytest.param(kind, marks=needs(kind)) for kind in ("litert", "executorch")]
ALL = [*RUN_HERE, pytest.param("coreml", marks=needs("coreml"))]


def some_clips(seed: int = 0, count: int = 2, *, size_px: int = 32) -> torch.Tensor:
    return golden_clips(seed, count=count, num_frames=SEGMENTS, size_px=size_px)


@pytest.fixture(scope="module")
def model(clips: Path) -> VideoClassifier:
    classes = (clips / "classes.txt").read_text().splitlines()
    return trained(gs.create_model("test_resnet", classes=classes, size_px=32, num_segments=SEGMENTS, num_sites=2))


@pytest.fixture(scope="module")
def saved(model: VideoClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("devices") / "model.safetensors"
    gs.save_model(model, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("temporal", "causal"),
    [*((name, causal) for name in ("gsm", "gsf", "tsm") for causal in (False, True)), ("none", False)],
)
def test_the_network_of_one_clip_answers_as_its_model_in_four_axes(
    temporal: str, causal: bool, channels_last: bool
) -> None:
    model = trained(gs.create_model("test_resnet", temporal, num_classes=3, size_px=32, num_sites=2, causal=causal))
    some = some_clips(count=1)
    network = OneClipNetwork(model.deploy(), channels_last=channels_last)
    frames = (some[0].permute(0, 2, 3, 1) if channels_last else some[0]).float().contiguous()
    with torch.no_grad():
        assert relative_error(network(frames), model(some)) <= 1e-5
    for node in torch.export.export(network, (frames,)).run_decompositions({}).graph.nodes:
        value = node.meta.get("val")
        assert not isinstance(value, torch.Tensor) or value.ndim <= 4, node


@pytest.mark.slow
def test_gates_on_a_share_of_the_channels_and_blue_first_are_kept() -> None:
    model = trained(gs.create_model("resnet18", "gsm", num_classes=3, size_px=32, num_sites=2, ratio=0.5))
    bgr = trained(gs.create_model("bninception", "gsm", num_classes=3, size_px=64))
    assert bgr.config.bgr
    for each, size_px in ((model, 32), (bgr, 64)):
        some = some_clips(count=1, size_px=size_px)
        with torch.no_grad():
            found = OneClipNetwork(each.deploy(), channels_last=False)(some[0].float())
            assert relative_error(found, each(some)) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUN_HERE)
def test_a_file_is_tested_predicted_with_and_loaded_as_a_model(
    kind: str, saved: Path, model: VideoClassifier, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, val = tmp_path / f"model{DEVICE_SUFFIXES[kind]}", str(clips / "val.csv")
    main(["export", str(saved), val, "--format", kind, "--out", str(out), "--workers", "0"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"{out}: logits within ")
    assert printed[-1].startswith("same top-1 on 100.00% of ")
    assert [each.name for each in tmp_path.iterdir()] == [out.name]
    file, some = load_any(out, threads=1), some_clips(1, count=3)
    assert file.config == model.config
    with torch.no_grad():
        assert relative_error(file(some), model(some)) <= 1e-5
    main(["test", str(out), val, "--workers", "0"])
    assert "top-1" in capsys.readouterr().out
    video = next(clips.rglob("*.mp4"))
    main(["predict", str(out), str(video), "--json", "--top", "2"])
    top = json.loads(capsys.readouterr().out)["top"]
    assert [each["class"] for each in top] == [name for name, _ in model.predict(video, top=2).top]
    with pytest.raises(ModelError, match="was exported for clips of 4 frames, not 8"):
        file(golden_clips(0, count=1, num_frames=8, size_px=32))
    with pytest.raises(ModelError, match="an exported file, not a saved model; give its path to predict"):
        gs.load_model(out)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("backbone", "temporal", "options"),
    [
        ("test_resnet", "gsf", {}),
        ("test_resnet", "gsm", {"causal": True}),
        ("test_resnet", "gsf", {"causal": True}),
        ("resnet18", "gsm", {"ratio": 0.5}),
        ("resnet18", "gsf", {"ratio": 0.5}),
    ],
)
def test_files_are_written_of_other_modules_than_those_of_the_benchmark(
    backbone: str, temporal: str, options: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    options = {"num_segments": SEGMENTS, "num_sites": 2, **options}
    model = trained(gs.create_model(backbone, temporal, num_classes=3, size_px=32, **options))
    path = tmp_path / f"m{DEVICE_SUFFIXES[kind]}"
    error, structure = write_device_export(model, path, kind, clips=some_clips())
    assert error <= 1e-5 or (kind == "coreml" and structure is not None)


@pytest.mark.slow
@needs("litert")
def test_a_litert_file_runs_without_torch_and_has_its_labels_in_a_zip(model: VideoClassifier, tmp_path: Path) -> None:
    path, some = tmp_path / "model.tflite", some_clips(5)
    error, structure = write_device_export(model, path, "litert", clips=some)
    assert error <= 1e-5 and structure is None
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(model.classes)
        assert json.loads(archive.read("gateshift.json"))["precision"] == "float32"
    np.save(tmp_path / "clips.npy", some.numpy())
    program = (
        "import sys, numpy as np\n"
        "from gateshift.exported.runtime import Runtime\n"
        "np.save(sys.argv[3], Runtime(sys.argv[1])(np.load(sys.argv[2])))\n"
        "assert 'torch' not in sys.modules\n"
    )
    files = [path, tmp_path / "clips.npy", tmp_path / "logits.npy"]
    subprocess.run([sys.executable, "-c", program, *map(str, files)], check=True, timeout=120)
    with torch.no_grad():
        assert relative_error(np.load(tmp_path / "logits.npy"), model(some)) <= 1e-5


@pytest.mark.slow
@needs("coreml")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_core_ml_package_is_checked_in_structure_and_said_not_to_be_run(
    precision: str, saved: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with quietly():  # of warnings
        import coremltools

    out = tmp_path / "model.mlpackage"
    command = ["export", str(saved), str(clips / "val.csv"), "--format", "coreml", "--precision", precision]
    main([*command, "--out", str(out)])
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{out}: was not run, as Core ML runs on Apple devices alone: compare its logits there"
    assert second.startswith("checked in structure: frames [4, 3, 32, 32], ") and "slice_by_index" in second
    with pytest.raises(SystemExit):
        main([*command, "--out", str(out)])
    assert "is a folder; choose another name" in capsys.readouterr().err
    main([*command, "--out", str(out), "--overwrite"])
    assert [each.name for each in tmp_path.iterdir()] == [out.name]
    spec = coremltools.utils.load_spec(str(out))
    described = json.loads(spec.description.metadata.userDefined["gateshift"])
    assert json.loads(described["model"])["num_segments"] == SEGMENTS and described["precision"] == precision
    with pytest.raises(ModelError, match="Core ML runs on Apple devices"):
        load_any(out)


class FiveAxes(nn.Module):
    """A network that computes in five axes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.conv(x).unflatten(1, (2, 4))  # [N, 2, 4, H, W]
        return torch.relu(maps).flatten(1, 2).mean((2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("kind", DEVICE_SUFFIXES)
def test_five_axes_are_refused_and_nothing_is_left(kind: str, tmp_path: Path) -> None:
    model = VideoClassifier.wrap(FiveAxes(), 8, num_classes=2, size_px=32).eval()
    with pytest.raises(ModelError, match=r"in tensors of 5 axes \(aten.*take another network, or `format=onnx`"):
        write_device_export(model, tmp_path / f"m{DEVICE_SUFFIXES[kind]}", kind, clips=some_clips())
    assert list(tmp_path.iterdir()) == []


class Sorts(nn.Module):
    """A network with an operation that converters do not know."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.conv(x).mean((2, 3))
        return torch.special.bessel_j1(maps)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_what_a_converter_does_not_know_is_one_line_and_nothing_is_left(kind: str, tmp_path: Path) -> None:
    model = VideoClassifier.wrap(Sorts(), 8, num_classes=2, size_px=32).eval()
    with pytest.raises(ModelError, match="this network cannot be converted: .*; nothing was kept") as told:
        write_device_export(model, tmp_path / f"m{DEVICE_SUFFIXES[kind]}", kind, clips=some_clips())
    assert len(str(told.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUN_HERE)
def test_a_file_that_answers_otherwise_is_not_kept(
    kind: str, model: VideoClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateshift.exporting import writing as module

    monkeypatch.setitem(module.TOLERANCES, "float32", 1e-12)  # less than any runtime keeps
    with pytest.raises(ModelError, match="nothing was kept"):
        write_device_export(model, tmp_path / f"m{DEVICE_SUFFIXES[kind]}", kind, clips=some_clips())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", DEVICE_SUFFIXES)
def test_a_converter_that_is_not_there_is_named_with_its_extra(
    kind: str, saved: Path, clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CONVERTERS[kind]:
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr("gateshift.exporting.writing.find_spec", lambda _name: None)
    with pytest.raises(SystemExit) as stop:
        main(["export", str(saved), str(clips / "val.csv"), "--format", kind])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith(f"{CONVERTERS[kind][0]} is not installed; pip install 'gateshift[{kind}]'\n")
    assert len(said.splitlines()) == 1


def test_wrong_precisions_and_names_are_one_line(tmp_path: Path) -> None:
    wrong: list[tuple[Any, Any, str, str]] = [
        ("litert", "bf16", "m.tflite", "`precision=bf16` with `format=litert`, which has no such kernels"),
        (
            "executorch",
            "float16",
            "m.pte",
            "`precision=float16` with `format=executorch`; it is for onnx, web and",
        ),
        ("coreml", "int8", "m.mlpackage", "int8 is for openvino"),
        ("litert", "float32", "m.onnx", "its name must end with .tflite; rename it"),
    ]
    for kind, precision, name, message in wrong:
        with pytest.raises(SettingsError, match=message):
            check_export(tmp_path / name, kind, precision, overwrite=False)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        pytest.param("litert", "has no gateshift description|cannot be opened", marks=needs("litert")),
        pytest.param("executorch", "cannot be opened", marks=needs("executorch")),
    ],
)
def test_what_is_no_such_file_is_one_line(kind: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / f"broken{DEVICE_SUFFIXES[kind]}"
    with pytest.raises(ModelError, match="no such model file"):
        load_any(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=message):
        load_any(path)


@pytest.mark.parametrize(("suffix", "package"), [(".tflite", "ai-edge-litert"), (".pte", "executorch")])
def test_a_runtime_that_is_not_there_is_named(
    suffix: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"m{suffix}"
    path.touch()
    for name in ("ai_edge_litert.interpreter", "executorch.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelError, match=f"needs {package}, which is not installed; pip install {package}"):
        load_any(path)
