"""One-file models and released checkpoints."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from golden_data import released_state, write_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import gateshift as gs
from gateshift.errors import ModelError
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.io import METADATA_KEY
from gateshift.model.temporal.causal import make_causal


@pytest.fixture
def model() -> VideoClassifier:
    torch.manual_seed(0)
    made = gs.create_model("test_resnet", "gsm", classes=["öffnen", "close"], num_segments=4, size_px=48)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.eval()


def test_save_then_load_changes_no_bit(model: VideoClassifier, tmp_path: Path) -> None:
    gs.save_model(model, tmp_path / "model.safetensors")
    loaded = gs.load_model(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    assert loaded.classes == ("öffnen", "close")
    assert not loaded.training
    before, after = model.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    clips = torch.randint(0, 256, (1, 4, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(clips), loaded(clips))


def test_a_model_is_put_where_it_is_wanted_and_paths_are_text_or_paths(model: VideoClassifier, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    gs.save_model(model, str(path))
    assert gs.load_model(path, "meta").head.weight.is_meta
    assert gs.load_model(str(path), device=torch.device("cpu")).config == model.config
    with pytest.raises(ModelError, match="`path` of type bytes; a model is loaded from a file; give its path"):
        gs.load_model(str(path).encode())
    for option in ({"revision": "main"}, {"token": "hf_x"}):
        with pytest.raises(ModelError, match="`revision` and `token` are for models on the Hub"):
            gs.load_model(path, **option)


def test_a_model_in_channels_last_is_saved_as_any_other(model: VideoClassifier, tmp_path: Path) -> None:
    gs.save_model(model.to(memory_format=torch.channels_last), tmp_path / "model.safetensors")
    assert gs.load_model(tmp_path / "model.safetensors").config == model.config


def test_the_file_appears_whole_and_alone(model: VideoClassifier, tmp_path: Path) -> None:
    gs.save_model(model, tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_model_file_must_have_its_suffix_and_a_folder(model: VideoClassifier, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.pt: a model file is named .safetensors"):
        gs.save_model(model, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="no such folder to save a model in"):
        gs.save_model(model, tmp_path / "nowhere" / "model.safetensors")


def test_a_model_whose_modules_were_taken_out_is_not_saved(model: VideoClassifier, tmp_path: Path) -> None:
    gs.remove_temporal(model)
    with pytest.raises(
        ModelError, match="site 1 has no temporal module, and GateShift after it on .* by the model's config"
    ):
        gs.save_model(model, tmp_path / "model.safetensors")


@pytest.mark.parametrize("change", [{"num_sites": 2}, {"ratio": 0.5}, {"interleave": True}, {"temporal": "gsf"}])
def test_a_model_whose_modules_were_changed_is_not_saved(
    change: dict[str, object], model: VideoClassifier, tmp_path: Path
) -> None:
    gs.remove_temporal(model)
    gs.insert_temporal(model.backbone, **{"temporal": "gsm", **change})
    with pytest.raises(
        ModelError, match=r"not saved, as site \d has .*Shift.* by the model's config; create the model"
    ):
        gs.save_model(model, tmp_path / "model.safetensors")
    gs.remove_temporal(model)
    gs.insert_temporal(model.backbone, "gsm")
    gs.save_model(model, tmp_path / "model.safetensors")


def test_a_model_whose_config_is_of_another_network_is_not_saved(model: VideoClassifier, tmp_path: Path) -> None:
    gs.remove_temporal(model)
    made = VideoClassifier(model.backbone, model.head.in_features, model.config)
    with pytest.raises(ModelError, match="site 1 has no temporal module, and GateShift after it"):
        gs.save_model(made, tmp_path / "model.safetensors")


def test_a_model_made_causal_later_is_not_saved(model: VideoClassifier, tmp_path: Path) -> None:
    make_causal(model.backbone)
    with pytest.raises(ModelError, match="site 1 has CausalGateShift after it on"):
        gs.save_model(model, tmp_path / "model.safetensors")


def test_a_model_is_read_by_whom_other_files_are(model: VideoClassifier, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    gs.save_model(model, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable model file"),
        (b"not a model at all", "not a readable model file"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", "no gateshift description"),
    ],
)
def test_a_damaged_bundle_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        gs.load_model(path)
    assert str(path) in str(caught.value)


def test_a_bundle_cut_off_anywhere_is_refused(model: VideoClassifier, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    gs.save_model(model, path)
    whole = path.read_bytes()
    for length in (7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="not a readable model file"):
            gs.load_model(path)


def rewrite(path: Path, **changes: object) -> None:
    """Save a bundle again with other words in its description."""
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
    save_file(load_file(path), path, metadata={METADATA_KEY: json.dumps(description | changes)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "model format 99; this gateshift reads 1; upgrade"),
        ({"backbone": "nothing"}, "unknown backbone 'nothing'"),
        ({"backbone": 3}, "description is damaged"),
        ({"temporal": "lstm"}, "unknown temporal module"),
        ({"classes": []}, "description is damaged"),
        ({"classes": ["a", "b", "c"]}, "weights do not fit test_resnet"),
        ({"backbone": "resnet18"}, "weights do not fit resnet18"),
        ({"std": [0, 1, 1]}, "description is damaged"),
        ({"size_px": -3}, "description is damaged"),
        ({"num_segments": 0}, "description is damaged"),
        ({"mirror_pairs": [["close", "other"]]}, "description is damaged"),
        ({"surprise": 1}, "description is damaged"),
    ],
)
def test_a_bundle_with_an_impossible_description_is_refused(
    model: VideoClassifier, changes: dict, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    gs.save_model(model, path)
    rewrite(path, **changes)
    with pytest.raises(ModelError, match=message):
        gs.load_model(path)


def test_a_description_comes_back_as_it_was(model: VideoClassifier) -> None:
    assert ModelConfig.from_json(model.config.to_json()) == model.config


def test_a_missing_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file; give a .safetensors file or a released"):
        gs.load_model(tmp_path / "best.safetensors")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "more": Trap()}, "trap.pth.tar", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="holds more than tensors, and reading it would run code"):
        gs.load_model("trap.pth.tar")
    Path("plain.pth.tar").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match="plain.pth.tar: "):
        gs.load_model("plain.pth.tar")
    assert not Path("sprung").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"module.fc.weight": torch.zeros(2, 2)}}, "not of a released GSM, GSF or TSM network"),
        ({}, "not of a released GSM, GSF or TSM network"),
        ({"state_dict": 5}, "not of a released GSM, GSF or TSM network"),
        ({"epoch": 3, "model_state_dict": {}}, r"keys such as \(none\) is not of a released"),
        ([1, 2], "holds a list; a checkpoint is a dictionary"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth.tar")
    with pytest.raises(ModelError, match=message):
        gs.load_model(tmp_path / "other.pth.tar")


@pytest.mark.slow
def test_a_released_checkpoint_with_a_layer_missing_is_refused(tmp_path: Path) -> None:
    state = released_state("bninception_gsm_T8_C174")
    del state["module.base_model.inception_4a_3x3.weight"]
    with pytest.raises(ModelError, match=r"weights do not fit bninception.*inception_4a.conv_3x3.conv.weight"):
        gs.load_model(write_checkpoint(tmp_path / "released.pth.tar", state))


@pytest.mark.slow
def test_a_released_checkpoint_keeps_working_as_our_own_file(tmp_path: Path) -> None:
    released = gs.load_model(write_checkpoint(tmp_path / "r.pth.tar", released_state("bninception_gsm_T8_C174")))
    assert (released.config.num_segments, released.config.named) == (None, False)
    gs.save_model(released, tmp_path / "ours.safetensors")
    ours = gs.load_model(tmp_path / "ours.safetensors")
    assert ours.config == released.config
    names = [f"class {number}" for number in range(174)]
    named = gs.load_model(tmp_path / "ours.safetensors", classes=names)
    assert (named.classes, named.config.named) == (tuple(names), True)
    gs.save_model(named, tmp_path / "named.safetensors")
    assert gs.load_model(tmp_path / "named.safetensors", classes=names[::-1]).classes == tuple(names)  # it has its own
    with pytest.raises(ModelError, match="2 class names, 2 different, for a model of 174 classes"):
        gs.load_model(tmp_path / "ours.safetensors", classes=["one", "two"])
    assert all(
        torch.equal(a, b) for a, b in zip(ours.state_dict().values(), released.state_dict().values(), strict=True)
    )


def published_imagenet_file(path: Path, *, batch_norm_rows: bool) -> dict[str, torch.Tensor]:
    """BN-Inception weights under the names of the published Caffe and Cadene files."""
    state = {}
    for key, tensor in released_state("bninception_T8_C174").items():
        name = key.removeprefix("module.base_model.").replace("module.new_fc", "last_linear")
        if not name.endswith("num_batches_tracked"):
            row = batch_norm_rows and "_bn." in name
            state[name] = tensor[None] if row else tensor
    torch.save(state, path)
    return state


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm_rows", [False, True])
@pytest.mark.parametrize("as_url", [False, True])
def test_the_papers_backbone_starts_from_a_published_imagenet_file(
    batch_norm_rows: bool, as_url: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bn_inception.pth"
    state = published_imagenet_file(path, batch_norm_rows=batch_norm_rows)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with serve(tmp_path) as address:
        source = f"{address}/bn_inception.pth" if as_url else str(path)
        model = gs.create_model("bninception", "gsm", num_classes=5, weights=source)
    weights = model.state_dict()
    assert torch.equal(weights["backbone.inception_3a.conv_1x1.conv.layer.weight"], state["inception_3a_1x1.weight"])
    assert torch.equal(
        weights["backbone.inception_5b.pool_proj.bn.running_var"],
        state["inception_5b_pool_proj_bn.running_var"].reshape(-1),
    )
    assert weights["backbone.inception_3a.conv_1x1.conv.temporal.weight"].abs().sum() == 0


@pytest.mark.slow
def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bn_inception.pth"
    published_imagenet_file(path, batch_norm_rows=False)
    with pytest.raises(ModelError, match="not weights of resnet18: 100 of 120 tensors missing"):
        gs.create_model("resnet18", num_classes=5, weights=path)
    with pytest.raises(ModelError, match="no layer 'inception_3a_1x1' in inceptionv3|no layer 'conv1_7x7_s2'"):
        gs.create_model("inceptionv3", num_classes=5, weights=path)


@pytest.mark.slow
def test_a_url_that_answers_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with serve(tmp_path) as address, pytest.raises(ModelError, match="cannot be fetched: .*download the file"):
        gs.create_model("bninception", num_classes=5, weights=f"{address}/nothing.pth")


def test_timm_weights_are_read_by_timms_own_names(tmp_path: Path) -> None:
    import timm

    source = timm.create_model("test_resnet")
    save_file(source.state_dict(), tmp_path / "timm.safetensors")
    model = gs.create_model("test_resnet", "gsm", num_classes=5, weights=tmp_path / "timm.safetensors")
    assert torch.equal(model.state_dict()["backbone.conv1.0.weight"], source.state_dict()["conv1.0.weight"])


class serve:  # noqa: N801 - reads as a function: with serve(folder) as address
    """A web server on this machine for the files of a folder."""

    def __init__(self, folder: Path) -> None:
        from functools import partial
        from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))

    def __enter__(self) -> str:
        from threading import Thread

        Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


LOAD = """
import resource, sys
import torch
from pathlib import Path
from gateshift.model.checkpoints import read_weights
from gateshift.errors import ModelError
import safetensors.torch
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (64 << 20),) * 2)
try:
    read_weights(Path(sys.argv[1]))
except ModelError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_that_memory_is_too_small_for_is_not_called_damaged(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"large{suffix}"
    tensors = {"weight": torch.zeros(256 << 18)}  # 256 MiB
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    done = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: there is not enough memory to read its 256 MiB")
    assert done.stdout.count("\n") == 1
