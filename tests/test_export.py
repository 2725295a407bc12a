"""Exported files: written, checked, run by their runtimes, tested and predicted with."""

import contextlib
import copy
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_data import golden_clips, relative_error
from test_deploy import trained

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError, SettingsError
from gateshift.evaluation.scores import load_scores
from gateshift.exported.formats import EXPORTED_SUFFIXES, FORMAT_SUFFIXES
from gateshift.exported.loading import ExportedModel, load_any
from gateshift.exported.runtime import Runtime
from gateshift.exporting.arguments import check_export
from gateshift.exporting.export import export
from gateshift.exporting.writing import write_export
from gateshift.model.classifier import VideoClassifier
from gateshift.prediction.predict import predict_with

FORMATS = list(FORMAT_SUFFIXES)
SEGMENTS = 4


@pytest.fixture(scope="module")
def model(clips: Path) -> VideoClassifier:
    classes = (clips / "classes.txt").read_text().splitlines()
    # Two gates, one behind the other: what is written costs time for each.
    return trained(gs.create_model("test_resnet", classes=classes, size_px=32, num_segments=SEGMENTS, num_sites=2))


@pytest.fixture(scope="module")
def plain() -> VideoClassifier:
    """Without gates, for what is not about them."""
    return trained(gs.create_model("test_resnet", "none", num_classes=2, size_px=32, num_segments=SEGMENTS))


@pytest.fixture(scope="module")
def saved(model: VideoClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.safetensors"
    gs.save_model(model, path)
    return path


@pytest.fixture(scope="module")
def results(saved: Path, clips: Path) -> dict[str, Any]:
    """The model in every format beside it: two by the command line, which prints this, and one by Python."""
    found: dict[str, Any] = {}
    for kind in ("onnx", "openvino"):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            main(["export", str(saved), str(clips / "val.csv"), "--format", kind, "--workers", "0"])
        found[kind] = text.getvalue()
    counted: list[tuple[int, int]] = []
    result = export(saved, clips / "val.csv", format="torch", workers=0, progress=lambda *done: counted.append(done))
    total = 2 * result.model_metrics.num_videos
    assert counted[0] < counted[-1] == (total, total)
    return {"torch": result, **found}


@pytest.fixture(scope="module")
def exported(results: dict[str, Any], saved: Path) -> dict[str, Path]:
    return {kind: saved.with_suffix(FORMAT_SUFFIXES[kind]) for kind in results}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_answers_as_the_model_for_any_number_of_clips(
    kind: str, exported: dict[str, Path], model: VideoClassifier
) -> None:
    file = load_any(exported[kind])
    assert file.config == model.config
    for count in (1, 3, 2):
        some = golden_clips(count, count=count, num_frames=SEGMENTS, size_px=32)
        with torch.no_grad():
            assert relative_error(file(some), model(some)) <= 1e-5


@pytest.mark.slow
def test_test_and_predict_take_a_file_as_a_model(
    exported: dict[str, Path], saved: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = next((clips / "val").rglob("*.mp4"))
    logits, classes = {}, {}
    for name, path in {"model": saved, **exported}.items():
        options = ["--workers", "0", "--clips", "2", "--scores", str(tmp_path / f"{name}.npz")]
        main(["test", str(path), str(clips / "val.csv"), *options])
        logits[name] = load_scores(tmp_path / f"{name}.npz").logits
        capsys.readouterr()
        main(["predict", str(path), str(video), "--json", "--top", "2"])
        classes[name] = [top["class"] for top in json.loads(capsys.readouterr().out)["top"]]
    for kind in FORMATS:
        np.testing.assert_allclose(logits[kind], logits["model"], rtol=1e-3, atol=1e-4, err_msg=kind)
        assert classes[kind] == classes["model"], kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_a_runtime_does_without_torch(
    kind: str, exported: dict[str, Path], model: VideoClassifier, tmp_path: Path
) -> None:
    some = golden_clips(5, count=2, num_frames=SEGMENTS, size_px=32)
    np.save(tmp_path / "clips.npy", some.numpy())
    program = (
        "import sys, numpy as np\n"
        "from gateshift.exported.runtime import Runtime\n"
        "runtime = Runtime(sys.argv[1])\n"
        "np.save(sys.argv[3], runtime(np.load(sys.argv[2])))\n"
        "assert runtime.config.classes and 'torch' not in sys.modules\n"
    )
    paths = [exported[kind], tmp_path / "clips.npy", tmp_path / "logits.npy"]
    subprocess.run([sys.executable, "-c", program, *map(str, paths)], check=True, timeout=120)
    with torch.no_grad():
        assert relative_error(np.load(tmp_path / "logits.npy"), model(some)) <= 1e-5


def test_weights_of_others_beside_an_export_stay(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("of somebody else")
    with pytest.raises(SettingsError, match=r"model[.]bin exists; choose another name"):
        check_export(tmp_path / "model.xml", "openvino", "float32", overwrite=False)
    check_export(tmp_path / "model.onnx", "onnx", "float32", overwrite=False)


@pytest.mark.slow
def test_bfloat16_is_written_as_such_and_told_apart(
    model: VideoClassifier, plain: VideoClassifier, tmp_path: Path
) -> None:
    some = golden_clips(0, count=2, num_frames=SEGMENTS, size_px=32)
    for kind, network in (("torch", model), ("openvino", plain)):
        path = tmp_path / f"model{FORMAT_SUFFIXES[kind]}"
        assert write_export(network, path, kind, clips=some, precision="bf16") <= 0.1
        with torch.no_grad():
            rounded = relative_error(load_any(path)(some), network(some))
        if kind == "torch":
            assert rounded > 1e-4
        else:  # which computes in float32 on machines without bf16, whatever the file asks for
            assert '\\"precision\\": \\"bf16\\"' in path.read_text().replace("&quot;", '\\"')
    with pytest.raises(SettingsError, match="`precision=bf16` with `format=onnx`, which has no such kernels"):
        check_export(tmp_path / "model.onnx", "onnx", "bf16", overwrite=False)


@pytest.mark.slow
def test_a_model_in_half_precision_is_written_in_float32(plain: VideoClassifier, clips: Path, tmp_path: Path) -> None:
    half = copy.deepcopy(plain).half()
    half.reset_classifier((clips / "classes.txt").read_text().splitlines())
    result = export(half, clips / "val.csv", format="torch", out=tmp_path / "half.pt2", workers=0)
    assert half.head_dtype == torch.float16
    shown = golden_clips(2, count=2, num_frames=SEGMENTS, size_px=32)
    with torch.no_grad():
        expected = copy.deepcopy(half).float()(shown)
    assert relative_error(load_any(result.path)(shown), expected) < 1e-5


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_not_kept(
    plain: VideoClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateshift.exporting import writing as module

    monkeypatch.setitem(module.TOLERANCES, "float32", 1e-12)  # less than any runtime keeps
    some = golden_clips(0, count=2, num_frames=SEGMENTS, size_px=32)
    with pytest.raises(ModelError, match="nothing was kept"):
        # The format of most files: two, made by way of another.
        write_export(plain, tmp_path / "model.xml", "openvino", clips=some)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_clips_of_another_size_or_type_are_refused(kind: str, exported: dict[str, Path]) -> None:
    file = load_any(exported[kind])
    for size_px, dtype in ((24, torch.uint8), (32, torch.float32)):
        clips = torch.zeros(1, SEGMENTS, 3, size_px, size_px, dtype=dtype)
        with pytest.raises(ModelError, match=rf"clips of {dtype} .*takes uint8 \[B, 4, 3, 32, 32\]; convert or resize"):
            file(clips)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_clips_of_another_length_are_refused(kind: str, exported: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="was exported for clips of 4 frames, not 8; take `segments=4`"):
        load_any(exported[kind])(golden_clips(0, count=1, num_frames=8, size_px=32))


@pytest.mark.slow
def test_a_runtime_says_what_it_takes(exported: dict[str, Path], tmp_path: Path) -> None:
    runtime = Runtime(exported["onnx"], threads=1)
    with pytest.raises(ModelError, match=r"this file takes uint8 \[B, 4, 3, 32, 32\]"):
        runtime(np.zeros((1, 4, 3, 32, 32), np.float32))
    given: Any
    for given in ([[1]], [[1], [2, 3]], None):
        with pytest.raises(ModelError, match=r"^clips of .*(this file takes uint8|give a NumPy array)"):
            runtime(given)
    given = golden_clips(0, count=1, num_frames=SEGMENTS, size_px=32)
    np.testing.assert_array_equal(runtime(given), runtime(given.numpy()))
    with pytest.raises(ModelError, match="no such model file"):
        Runtime(tmp_path / "nothing.xml")
    with pytest.raises(ModelError, match=r"a runtime reads \.onnx, \.xml, \.tflite"):
        Runtime(tmp_path / "model.safetensors")
    for suffix in (".onnx", ".xml", ".pt2"):
        (tmp_path / f"broken{suffix}").write_bytes(b"nonsense")
        with pytest.raises(ModelError, match=r"cannot be opened|not a readable export"):
            load_any(tmp_path / f"broken{suffix}")


@pytest.mark.parametrize("threads", [0, -1, 2.5, "2", 100_000])
def test_threads_that_no_machine_has_are_refused(threads: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"^`threads` '?{threads}'?; "):
        Runtime(tmp_path / "model.onnx", threads=threads)


@pytest.mark.slow
def test_a_mistaken_export_is_refused_before_the_work(
    exported: dict[str, Path], saved: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.csv").write_text(f"path,label\n{next(clips.rglob('*.mp4'))},something else\n")
    val, new = str(clips / "val.csv"), ["--out", str(tmp_path / "new.onnx")]
    for model, listed, options, message in (
        (saved, val, [], "exists; choose another name"),
        (saved, val, ["--out", str(tmp_path / "model.xml")], "its name must end with .onnx; rename it"),
        (saved, val, ["--out", str(tmp_path / "nowhere" / "m.onnx")], "no folder"),
        (exported["torch"], val, new, "is an export itself; export the model that it was made of"),
        (saved, str(tmp_path / "other.csv"), new, "'something else'"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["export", str(model), listed, "--format", "onnx", *options])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new.onnx").exists()


@pytest.mark.slow
def test_a_file_says_for_how_many_frames_it_was_exported(
    saved: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "longer.pt2"
    export(saved, clips / "val.csv", format="torch", workers=0, segments=6, out=str(out))
    assert load_any(out).config.num_segments == 6
    capsys.readouterr()
    main(["predict", str(out), str(next(clips.rglob("*.mp4"))), "--json"])  # without --segments
    assert json.loads(capsys.readouterr().out)["error"] is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_predicts_as_its_model_from_one_thread_or_four(
    kind: str, exported: dict[str, Path], model: VideoClassifier, clips: Path
) -> None:
    file, videos = ExportedModel(exported[kind]), sorted(clips.rglob("*.mp4"))[:3]
    expected = [predict_with(model, video).probabilities for video in videos]
    for found, each in zip(file.predict(videos, batch_size=2, workers=1), expected, strict=True):
        torch.testing.assert_close(found.probabilities, each, rtol=0, atol=1e-5)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: file.predict(videos[0]).probabilities, range(8)))
    for each in found:
        torch.testing.assert_close(each, expected[0], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_python_says_what_the_command_line_prints(results: dict[str, Any], saved: Path) -> None:
    result, printed = results["torch"], results["openvino"].splitlines()
    assert result.path == saved.with_suffix(".pt2") and result.error <= 1e-5
    assert result.same_answers == 1.0 and result.num_calibration is None
    assert result.model_metrics == result.file_metrics
    lines = str(result).splitlines()
    assert lines[0].startswith(f"{result.path}: logits within ")
    assert printed[0].startswith(f"{saved.with_suffix('.xml')}: logits within ")
    assert lines[1:] == printed[1:]
    assert lines[1:] == [
        f"model (4 segments × 1 clips × 1 crops): {result.model_metrics}",
        f"file (4 segments × 1 clips × 1 crops): {result.file_metrics}",
        f"same top-1 on 100.00% of {result.model_metrics.num_videos} videos",
    ]


def test_wrong_arguments_are_one_line_before_the_work(model: VideoClassifier, clips: Path, tmp_path: Path) -> None:
    val, out = clips / "val.csv", tmp_path / "model.pt2"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"format": "tensorrt"}, "`format` 'tensorrt'; choose one of torch, onnx, openvino"),
        ({"format": "onnx", "precision": "fp8"}, "`precision` 'fp8'; choose one of float32, float16, bf16, int8"),
        ({"format": "onnx"}, "`out` is missing, and the model is no file beside which it could lie"),
        ({"format": "torch", "out": out, "calibrate": val}, "`calibrate` .* with `precision=float32`; only int8"),
        ({"format": "torch", "out": out, "workers": -1}, "`workers` -1; it must be 0"),
    ]
    for options, message in wrong:
        with pytest.raises(SettingsError, match=message):
            export(model, val, **options)
    with pytest.raises(SettingsError, match="`out` is missing, and the model is no file"):
        export("hf://somebody/model", val, format="onnx")
    with pytest.raises(ModelError, match="the model is in training mode"):
        export(gs.create_model("test_resnet", num_classes=2), val, format="torch", out=out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", EXPORTED_SUFFIXES)
def test_load_model_says_what_an_exported_file_is_given_to(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ModelError, match=f"model{suffix}: an exported file, not a saved model; give its path to"):
        gs.load_model(tmp_path / f"model{suffix}")
