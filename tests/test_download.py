"""Published checkpoints: fetched from a real server, interrupted, resumed, checked, converted, tested."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_data import GOLDEN, golden_clips, relative_error, released_state, write_checkpoint

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.class_pairs import find_mirror_pairs
from gateshift.errors import ModelError, SettingsError
from gateshift.evaluation.scores import load_scores
from gateshift.published import download as download_module
from gateshift.published.download import download, find_downloads
from gateshift.recipes.recipe import load_recipe, recipe_names

NAME = "gsm-bninception-8"
CASE = "bninception_gsm_T8_C174"


class FileServer:
    """Serves files of a folder over HTTP, ranges of them too, as slowly as it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ranges: list[str | None] = []
        self.seconds_per_chunk = 0.0
        serve = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                serve.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        file = self.folder / request.path.removeprefix("/")
        if not file.is_file():
            request.send_error(404)
            return
        content = file.read_bytes()
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        request.send_response(206 if asked else 200)
        if asked:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        try:
            for at in range(start, len(content), 1 << 20):
                request.wfile.write(content[at : at + (1 << 20)])
                time.sleep(self.seconds_per_chunk)
        except OSError:
            pass  # who asked was stopped


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the released format, with the recorded weights."""
    return write_checkpoint(tmp_path_factory.mktemp("served") / "released.pth.tar", released_state(CASE))


@pytest.fixture
def server(checkpoint: Path) -> Iterator[FileServer]:
    serving = FileServer(checkpoint.parent)
    yield serving
    serving.server.shutdown()
    serving.server.server_close()


@pytest.fixture
def write_golden_video(write_folder: Callable[..., Path]) -> Callable[[Path], Path]:
    """Write the recorded clip as a video whose one test view is that clip: 256 px, of which the centre is cut out."""

    def write(folder: Path) -> Path:
        clip = golden_clips(0, count=1, num_frames=8, size_px=224)[0].permute(0, 2, 3, 1).numpy()
        return write_folder(folder, np.pad(clip, ((0, 0), (16, 16), (16, 16), (0, 0))))

    return write


def stop_part_way(command: list[str], folder: Path) -> None:
    """Start a download and kill it once some of the file is there."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while sum(part.stat().st_size for part in folder.glob("*.part")) < 3 << 20:
        assert process.poll() is None, "the download ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)


@pytest.mark.slow
def test_a_model_is_fetched_interrupted_resumed_converted_and_tested(
    server: FileServer, checkpoint: Path, tmp_path: Path, write_golden_video: Callable[[Path], Path]
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    arguments = ["download", NAME, "--out", str(models), "--url", server.url(checkpoint.name)]
    server.seconds_per_chunk = 0.2
    stop_part_way([sys.executable, "-m", "gateshift", *arguments], models)
    (part,) = models.glob("*.part")
    kept = part.stat().st_size
    assert 0 < kept < checkpoint.stat().st_size
    assert not list(models.glob("*.safetensors"))

    server.seconds_per_chunk = 0.0
    server.ranges.clear()
    main(arguments)
    assert server.ranges[-1] == f"bytes={kept}-"  # it went on, it did not start again
    released = load_recipe(NAME).released
    assert (models / released.file).read_bytes() == checkpoint.read_bytes()

    model = gs.load_model(models / f"{NAME}.safetensors")
    assert list(model.classes) == load_recipe(NAME).class_names()
    assert model.config.mirror_pairs == find_mirror_pairs(model.classes)
    assert (model.config.num_segments, model.config.num_clips, model.config.num_crops) == (8, 1, 1)
    raw, clips = gs.load_model(checkpoint), golden_clips(0, count=1, num_frames=8, size_px=224)
    with torch.inference_mode():
        assert torch.equal(model(clips), raw(clips))

    write_golden_video(tmp_path / "video")
    (tmp_path / "val.csv").write_text("path,label\nvideo,Opening something\n")
    options = ["--recipe", NAME, "--workers", "0", "--scores", str(tmp_path / "scores.npz")]
    main(["test", str(models / f"{NAME}.safetensors"), str(tmp_path / "val.csv"), *options])
    scores = load_scores(tmp_path / "scores.npz")
    assert scores.classes[scores.labels[0]] == "Opening something"
    # As near as float32 allows with these weights, where the order of pixels in memory is another:
    # tests/golden/README.md.
    with torch.inference_mode():
        assert relative_error(scores.logits[0], raw(clips)[0]) <= 1e-2
    assert relative_error(scores.logits, np.load(GOLDEN / "forward.npz")[CASE][:1]) <= 2e-2


@pytest.mark.slow
def test_what_is_there_is_not_fetched_again(server: FileServer, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / load_recipe(NAME).released.file).write_bytes(checkpoint.read_bytes())
    progress: list[tuple[int, int | None]] = []
    written = download(NAME, tmp_path, url=server.url("nothing"), on_bytes=lambda *done: progress.append(done))
    assert (server.ranges, progress) == ([], [])
    assert written == tmp_path / f"{NAME}.safetensors"
    assert written.is_file()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One try, so that a dead link costs no waiting."""
    monkeypatch.setattr(download_module, "RETRIES", 0)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_dead_link_says_where_else_to_put_the_file(server: FileServer, tmp_path: Path) -> None:
    place = tmp_path / load_recipe(NAME).released.file
    with pytest.raises(ModelError, match="404") as raised:
        download(NAME, tmp_path, url=server.url("gone"))
    assert f"get the file by other means and put it at {place}, or give another address by `url`" in str(raised.value)
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(ModelError, match=f"put it at {re.escape(str(place))}"):
        download(NAME, tmp_path, url=server.url("gone"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["truncated", "page", "other network", "other classes"])
def test_a_truncated_or_foreign_file_is_refused_and_not_kept(
    fault: str, server: FileServer, checkpoint: Path, tmp_path: Path
) -> None:
    served = checkpoint.parent / f"{fault.replace(' ', '_')}.pth.tar"
    content = {"truncated": checkpoint.read_bytes()[:1_000_000], "page": b"<html>quota exceeded</html>"}
    if fault in content:
        served.write_bytes(content[fault])
        message = "not a readable model file"
    elif fault == "other network":
        write_checkpoint(served, released_state("bninception_T8_C174"))
        message = "is bninception with none, 174 classes"
    else:
        write_checkpoint(served, released_state(CASE, num_classes=48))
        message = f"48 classes, 555 tensors, but {NAME} is bninception with gsm, 174 classes, 555 tensors"
    with pytest.raises(ModelError, match=re.escape(message)) as raised:
        download(NAME, tmp_path, url=server.url(served.name))
    (line,) = str(raised.value).splitlines()
    assert "it was removed" in line
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_users_own_is_never_removed(tmp_path: Path) -> None:
    place = tmp_path / load_recipe(NAME).released.file
    place.write_bytes(b"something else")
    with pytest.raises(ModelError, match="remove it: put the file of"):
        download(NAME, str(tmp_path))
    assert place.read_bytes() == b"something else"


def test_one_address_and_one_call_are_for_one_model(tmp_path: Path) -> None:
    assert len(find_downloads(["gsm-inceptionv3-ensemble", "gsm-inceptionv3-16"])) == 4
    with pytest.raises(SettingsError, match="`url` is the address of one model, and 4 are named"):
        find_downloads(["gsm-inceptionv3-ensemble"], url="http://x")
    with pytest.raises(SettingsError, match="no model named; name one or more of"):
        find_downloads([])
    with pytest.raises(SettingsError, match="a recipe of several models; download each of gsm-inceptionv3-8x2, "):
        download("gsm-inceptionv3-ensemble", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_refused_is_one_line_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["download"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no model named" in line


def test_every_published_checkpoint_has_a_row_with_the_keys_of_the_released_networks() -> None:
    released = {r.released.google_drive: r for r in map(load_recipe, recipe_names()) if r.released}
    assert len(released) == 10  # 7 of GSM, 3 of GSF
    for recipe in released.values():
        backbone = recipe.model["backbone"].split(".")[0]
        keys = [file for file in GOLDEN.glob(f"keys_{backbone}_{recipe.model['temporal']}*") if file.is_file()]
        assert keys
        assert all(file.read_text().count("module.") == recipe.released.tensors for file in keys)


@pytest.mark.parametrize("name", ["something-v1", "diving48"])
def test_class_names_are_those_that_the_released_models_index(name: str) -> None:
    recipe = next(recipe for recipe in map(load_recipe, recipe_names()) if recipe.dataset == name)
    classes = recipe.class_names()
    assert classes == sorted(classes)
    assert len(set(classes)) == len(classes) == {"something-v1": 174, "diving48": 48}[name]
    if name == "something-v1":  # the pairs that the release swaps in a mirror, by number
        pairs = {tuple(sorted(map(classes.index, pair))) for pair in find_mirror_pairs(classes)}
        assert pairs == {(86, 87), (93, 94), (166, 167)}
