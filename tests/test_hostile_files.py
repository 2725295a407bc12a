"""Files that somebody made to do harm: no code in them runs, and what they say of themselves is checked."""

import json
import os
import pickle
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import gateshift as gs
from gateshift.cli.main import main
from gateshift.errors import ModelError, ScoresError
from gateshift.evaluation.scores import FIELDS, load_scores
from gateshift.model.io import METADATA_KEY

SMALL = [
    "--backbone", "test_resnet", "--size", "32", "--segments", "2", "--batch-size", "5", "--workers", "0",
    "--epochs", "1", "--warmup-epochs", "0", "--recipe", "papers",
]  # fmt: skip


class Trap:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("sprung",))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, where a trap would leave its mark."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sprung() -> bool:
    return Path("sprung").exists()


def test_the_trap_works() -> None:
    pickle.loads(pickle.dumps(Trap()))
    assert sprung()


def write_zip(path: Path) -> None:
    torch.save({"state_dict": {}, "more": Trap()}, path)


def write_old(path: Path) -> None:
    torch.save({"state_dict": {}, "more": Trap()}, path, _use_new_zipfile_serialization=False)


def write_bare(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap()))


def write_tar(path: Path) -> None:
    """The oldest of torch's formats, an archive of pickles."""
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            Path(name).write_bytes(pickle.dumps(Trap(), protocol=2))
            archive.add(name)


def write_replaced(path: Path) -> None:
    """A whole checkpoint of today's format, its pickle exchanged."""
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, "whole.pth")
    with zipfile.ZipFile("whole.pth") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in whole.namelist():
            archive.writestr(name, pickle.dumps(Trap(), protocol=2) if name.endswith(".pkl") else whole.read(name))


@pytest.mark.parametrize("write", [write_zip, write_old, write_bare, write_tar, write_replaced])
@pytest.mark.parametrize("name", ["trap.pth.tar", "trap.pth", "trap.pt", "trap.bin", "trap.safetensors"])
def test_no_format_or_name_makes_a_model_file_run_code(write: Callable[[Path], None], name: str) -> None:
    write(Path(name))
    with pytest.raises(ModelError, match=name):
        gs.load_model(name)
    assert not sprung()


@pytest.mark.slow
def test_no_code_runs_of_a_file_that_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    write_zip(Path("trap.pth"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ModelError, match="trap.pth: cannot be fetched: "):
            gs.create_model("test_resnet", num_classes=2, weights=f"http://127.0.0.1:{server.server_port}/trap.pth")
        server.shutdown()
    assert list(folder.rglob("cache/**/trap.pth"))
    assert not sprung()


@pytest.mark.parametrize("option", ["--weights", "--start"])
def test_a_training_runs_no_code_of_the_file_it_starts_from(
    option: str, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_zip(Path("trap.pth"))
    with pytest.raises(SystemExit) as stop:
        main(["train", str(clips / "train.csv"), str(clips / "val.csv"), "--out", "run", *SMALL, option, "trap.pth"])
    assert stop.value.code == 2
    assert "gateshift: trap.pth: holds more than tensors, and reading it would run code" in capsys.readouterr().err
    assert not sprung()
    assert not Path("run").exists()


STATE = ["custom_checkpoint_0.pkl", "custom_checkpoint_1.pkl", "optimizer.bin", "random_states_0.pkl"]


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "run"
    main(["train", str(clips / "train.csv"), str(clips / "val.csv"), "--out", str(out), *SMALL, "--ema", "0.5"])
    return out


@pytest.mark.slow
def test_the_state_of_a_run_is_these_files(run: Path) -> None:
    assert sorted(path.name for path in (run / "state").iterdir()) == sorted([*STATE, "model.safetensors"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STATE, "model.safetensors", "pytorch_model.bin"])
def test_resuming_runs_no_code_of_the_state(
    name: str, run: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, "run")
    shutil.rmtree("run/state.old", ignore_errors=True)
    if name == "pytorch_model.bin":  # what accelerate looks for where there is no model.safetensors
        Path("run/state/model.safetensors").unlink()
    write_zip(Path("run/state") / name)
    lists = [str(clips / "train.csv"), str(clips / "val.csv")]
    with pytest.raises(SystemExit) as stop:
        main(["train", *lists, "--out", "run", *SMALL, "--ema", "0.5", "--resume"])
    assert stop.value.code == 2
    assert "run/state is damaged" in capsys.readouterr().err
    assert not sprung()


@pytest.mark.parametrize("verb", ["test", "predict", "inspect", "export", "explain"])
def test_a_verb_runs_no_code_of_the_model_it_is_given(
    verb: str, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_zip(Path("trap.pth.tar"))
    video = str(clips / "unseen" / "cover.mp4")
    words = {
        "test": ["test", "trap.pth.tar", str(clips / "val.csv")],
        "predict": ["predict", "trap.pth.tar", video],
        "inspect": ["inspect", "trap.pth.tar"],
        "export": ["export", "trap.pth.tar", str(clips / "val.csv"), "--format", "torch"],
        "explain": ["explain", "trap.pth.tar", video, "--out", "explained"],
    }
    with pytest.raises(SystemExit) as stop:
        main(words[verb])
    assert stop.value.code == 2
    assert "gateshift: trap.pth.tar: holds more than tensors" in capsys.readouterr().err
    assert not sprung()


SCORES = {
    "ids": np.array(["a.mp4", "b.mp4"]),
    "labels": np.array([0, 1]),
    "logits": np.zeros((2, 2), np.float32),
    "classes": np.array(["open", "close"]),
    "protocol": np.array("1 segment"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_scores_file_runs_no_code(field: str) -> None:
    np.savez("scores.npz", **{**SCORES, field: np.array([Trap(), Trap()], dtype=object)})
    with pytest.raises(ScoresError, match="scores.npz: not a whole scores file"):
        load_scores(Path("scores.npz"))
    Path("scores.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ScoresError, match="scores.npz: not a whole scores file"):
        load_scores(Path("scores.npz"))
    assert not sprung()


@pytest.mark.parametrize(
    ("field", "array"),
    [
        ("labels", np.array([0.5, 1.5])),
        ("labels", np.array([0j, 1j])),
        ("logits", np.array([["0", "1"], ["2", "3"]])),
        ("logits", np.zeros((2, 2), "M8[s]")),
        ("ids", np.array([1.0, 2.0])),
        ("classes", np.array([[1, 2], [3, 4]])),
        ("protocol", np.array([b"1 segment"])),
    ],
)
def test_scores_of_another_kind_are_refused(field: str, array: np.ndarray) -> None:
    np.savez("scores.npz", **{**SCORES, field: array})
    with pytest.raises(ScoresError, match="scores.npz: not a whole scores file"):
        load_scores(Path("scores.npz"))


def test_scores_that_say_they_are_larger_than_any_memory_are_refused() -> None:
    np.savez("whole.npz", **SCORES)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000, 1000), }".ljust(117) + b"\n"
    with zipfile.ZipFile("whole.npz") as whole, zipfile.ZipFile("scores.npz", "w") as archive:
        for name in whole.namelist():
            lie = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)
            archive.writestr(name, lie if name == "logits.npy" else whole.read(name))
    with pytest.raises(ScoresError, match="scores.npz: not a whole scores file"):
        load_scores(Path("scores.npz"))


def test_a_scores_file_with_changed_bytes_is_refused_or_read() -> None:
    np.savez_compressed("whole.npz", **SCORES)
    whole, draw = Path("whole.npz").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for place in draw.integers(len(data), size=4):
            data[place] = draw.integers(256)
        Path("scores.npz").write_bytes(data)
        try:
            load_scores(Path("scores.npz"))
        except ScoresError:
            refused += 1
    assert refused > 100


def tensor_file(header: object) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(64)


@pytest.mark.parametrize(
    "content",
    [
        (2**63).to_bytes(8, "little") + b"{}",
        (2**64 - 1).to_bytes(8, "little") + b"{}",
        tensor_file({"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 64]}}),
        tensor_file({"a": {"dtype": "F32", "shape": [-4, -4], "data_offsets": [0, 64]}}),
        tensor_file({"a": {"dtype": "F32", "shape": [16], "data_offsets": [64, 0]}}),
        tensor_file({"a": {"dtype": "F32", "shape": [10**15], "data_offsets": [0, 4 * 10**15]}}),
        tensor_file({"a": {"dtype": "OBJECT", "shape": [16], "data_offsets": [0, 64]}}),
        tensor_file({"a": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}, "__metadata__": {METADATA_KEY: 3}}),
        tensor_file({"a": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}, "__metadata__": [METADATA_KEY]}),
    ],
)
def test_a_model_file_with_an_impossible_table_of_tensors_is_refused(content: bytes) -> None:
    Path("model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="model.safetensors: not a readable model file"):
        gs.load_model("model.safetensors")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    model = gs.create_model("test_resnet", "gsm", classes=["open", "close"], num_segments=4, size_px=48)
    gs.save_model(model, path)
    return path


def describe_again(model_file: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Write the file with another description into the working folder."""
    with safe_open(model_file, "pt") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
    text = json.dumps(change(description))
    save_file(load_file(model_file), "model.safetensors", metadata={METADATA_KEY: text})


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "hf-hub:somebody/model"},
        {"backbone": "hf_hub:somebody/model"},
        {"backbone": "local-dir:/tmp"},
        {"backbone": "../../model"},
        {"backbone": "torchvision/../model"},
        {"backbone": "x" * 10_000},
        {"temporal": ["gsm"]},
        {"temporal": None},
        {"dropout": float("nan")},
        {"ratio": float("nan")},
        {"ratio": 1e-300},
        {"classes": 5},
        {"mirror_pairs": 5},
        {"num_segments": "8"},
        {"num_segments": 10**15},
        {"num_clips": 10**15},
        {"num_crops": 10**15},
        {"size_px": True},
        {"mean": ["a", "b", "c"]},
        {"mean": [float("nan")] * 3},
        {"mean": [10**400, 0, 0]},
        {"std": ["1", "1", "1"]},
        {"std": [float("inf")] * 3},
        {"classes": "ab"},
        {"classes": {"open": 1, "close": 2}},
        {"classes": ["open", "open"]},
        {"abstain_below": "0.5"},
        {"abstain_below": True},
        {"interleave": "no"},
        {"bgr": "no"},
        {"mirror_pairs": ["ab"]},
        {"mirror_pairs": {"open": "close"}},
    ],
)
def test_a_description_of_the_wrong_kind_is_refused_in_one_line(model_file: Path, changes: dict[str, object]) -> None:
    describe_again(model_file, lambda description: description | changes)
    with pytest.raises(ModelError, match="model.safetensors: ") as caught:
        gs.load_model("model.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, "null", '{"format": true}', '{"format": 1}'])
def test_a_description_that_is_none_is_refused(model_file: Path, text: str) -> None:
    save_file(load_file(model_file), "model.safetensors", metadata={METADATA_KEY: text})
    with pytest.raises(ModelError, match=r"model.safetensors: model (description|format)"):
        gs.load_model("model.safetensors")
