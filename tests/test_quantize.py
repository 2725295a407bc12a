"""Exports to int8: fitted to clips, as good as the model, and private."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from conftest import WriteVideo
from golden_data import relative_error
from torch import Tensor, nn

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.manifest import read_manifest
from gateshift.evaluation.protocol import choose_protocol
from gateshift.exported.loading import load_any
from gateshift.exporting.export import read_clips
from gateshift.exporting.writing import write_export
from gateshift.model.classifier import VideoClassifier

pytestmark = pytest.mark.slow

SEGMENTS = 4


@pytest.fixture(scope="module")
def learned(clips: Path) -> tuple[VideoClassifier, Tensor]:
    """A small network that has learned the clips of a list by heart, and these clips."""
    torch.manual_seed(0)
    manifest = read_manifest(clips / "train.csv")
    model = gs.create_model(
        "test_resnet",
        classes=(clips / "classes.txt").read_text().split("\n")[:-1],
        size_px=32,
        num_segments=SEGMENTS,
        num_sites=2,  # what is written costs time for each gate
    )
    some = read_clips(manifest, model.config, choose_protocol(model.config), count=len(manifest))
    labels = torch.tensor(manifest.label_indices(model.classes))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    for _ in range(40):
        nn.functional.cross_entropy(model(some), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), some


@pytest.fixture(scope="module")
def saved(learned: tuple[VideoClassifier, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "model.safetensors"
    gs.save_model(learned[0], path)
    return path


@pytest.fixture(scope="module")
def printed(saved: Path, clips: Path) -> list[str]:
    """What the verb says of an export to int8; the file lies beside the model."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        main([*command(saved, clips / "train.csv"), "--precision", "int8"])
    return text.getvalue().splitlines()


def command(model: Path, videos: Path) -> list[str]:
    return ["export", str(model), str(videos), "--format", "openvino", "--workers", "0"]


def test_the_verb_tells_what_int8_costs(printed: list[str], clips: Path) -> None:
    count = len(read_manifest(clips / "train.csv"))
    first, checked, model, file, same = printed  # and nothing of NNCF's own
    assert first == f"int8 fitted to {count} videos"
    assert "logits within" in checked
    assert model.startswith("model (") and file.startswith("file (")
    assert all("top-1" in line for line in (model, file))
    assert float(same.removeprefix("same top-1 on ").split("%")[0]) >= 85


@pytest.mark.usefixtures("printed")
def test_the_file_answers_nearly_as_the_model(learned: tuple[VideoClassifier, Tensor], saved: Path) -> None:
    model, some = learned
    file = load_any(saved.with_suffix(".xml"))
    assert file.config == model.config
    with torch.no_grad():
        expected, found = model(some), file(some)
    assert 1e-4 < relative_error(found, expected) <= 0.1
    assert (found.argmax(1) == expected.argmax(1)).float().mean() >= 0.85


@pytest.mark.usefixtures("printed")
def test_the_file_is_int8(saved: Path) -> None:
    path = saved.with_suffix(".xml")
    assert '\\"precision\\": \\"int8\\"' in path.read_text().replace("&quot;", '\\"')
    assert path.with_suffix(".bin").stat().st_size < 0.35 * saved.stat().st_size  # which is float32
    layers = openvino.Core().read_model(path).get_ops()
    kinds = Counter(layer.get_type_name() for layer in layers)
    constants = Counter(layer.get_element_type() for layer in layers if layer.get_type_name() == "Constant")
    gates = kinds["Tanh"]
    assert gates > 0
    assert constants[openvino.Type.i8] == kinds["Convolution"] - gates, "every convolution but those of the gates"
    for layer in layers:
        if layer.get_type_name() in ("Tanh", "MatMul"):
            sources = {value.get_node().get_type_name() for value in layer.input_values()}
            assert "FakeQuantize" not in sources


@pytest.mark.usefixtures("printed")
def test_predict_takes_the_file(saved: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["predict", str(saved.with_suffix(".xml")), str(next(clips.rglob("*.mp4"))), "--json"])
    record = json.loads(capsys.readouterr().out)
    assert record["error"] is None and record["top"]


@pytest.mark.usefixtures("printed")
def test_the_file_can_be_compiled_for_an_open_number_of_clips(saved: Path) -> None:
    openvino.Core().compile_model(saved.with_suffix(".xml"), "CPU")


def test_int8_is_fitted_to_other_videos_if_asked(
    printed: list[str],
    saved: Path,
    clips: Path,
    tmp_path: Path,
    write_video: WriteVideo,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_video(tmp_path / "black.mp4", np.zeros((8, 36, 48, 3), np.uint8))
    (tmp_path / "black.csv").write_text("path,label\nblack.mp4,any\n")
    options = ["--precision", "int8", "--calibrate", str(tmp_path / "black.csv"), "--out", str(tmp_path / "out.xml")]
    main([*command(saved, clips / "train.csv"), *options])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "int8 fitted to 1 videos"
    own, other = (float(lines[1].split("within ")[1].split()[0]) for lines in (printed, told))
    assert other > own, "as the ranges of black frames are not those of these videos"


def test_a_mistaken_export_to_int8_is_refused_in_one_line(
    saved: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    val = str(clips / "val.csv")
    for options, message in (
        (["--format", "onnx", "--precision", "int8"], "--precision int8 with --format onnx"),
        (["--format", "torch", "--precision", "int8"], "--precision int8 with --format torch"),
        (["--format", "openvino", "--calibrate", val], "only int8 is fitted to videos"),
        (["--format", "openvino", "--precision", "int8", "--calibrate", "nowhere.csv"], "no such list"),
    ):
        suffix = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml"}[options[1]]
        with pytest.raises(SystemExit) as stop:
            main(["export", str(saved), val, *options, "--out", str(tmp_path / f"new{suffix}")])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_nncf_there_is_a_line_that_says_how_to_get_it(
    saved: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(SystemExit) as stop:
        main([*command(saved, clips / "val.csv"), "--precision", "int8", "--out", str(tmp_path / "new.xml")])
    assert stop.value.code == 2
    assert "--precision int8: nncf is not installed; pip install 'gateshift[export]'" in capsys.readouterr().err


def test_nothing_is_told_to_the_makers_of_openvino_and_nncf(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where pytest is imported NNCF is silent by itself, so this runs outside of it."""
    plain = tmp_path_factory.mktemp("plain") / "plain.xml"
    some = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    write_export(
        gs.create_model("test_resnet", "none", num_classes=2, size_px=32).eval(), plain, "openvino", clips=some
    )
    np.save(tmp_path / "clips.npy", some.numpy())
    program = (
        "import sys\n"
        "def watch(event, _):\n"
        "    assert event not in ('os.fork', 'subprocess.Popen', 'socket.getaddrinfo'), event\n"
        "from pathlib import Path\n"
        "import numpy as np, torch\n"
        "from gateshift.exported.loading import ExportedModel\n"
        "from gateshift.exporting.quantize import quantize\n"
        "clips = torch.from_numpy(np.load(sys.argv[2]))\n"
        "sys.addaudithook(watch)\n"
        "ExportedModel(Path(sys.argv[1]))(clips)\n"
        "import openvino\n"
        "quantize(openvino.Core().read_model(sys.argv[1]), clips)\n"
        "assert 'nncf' in sys.modules and 'openvino_telemetry' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(plain), str(tmp_path / "clips.npy")],
        env={**os.environ, "HOME": str(tmp_path), "CI": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["clips.npy"], "such as an identifier of this machine"
