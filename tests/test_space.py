"""The example of a Space, run as the Hub runs it: with a model of the Hub, or with one that lies beside it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hub_server import TOKEN, Hub
from huggingface_hub import constants
from serving import write_brightness_model

import gateshift as gs
from gateshift.recipes.recipe import tomllib

ROOT = Path(__file__).parent.parent
SPACE = ROOT / "examples" / "space"
CLASSES = ["dark & <b>grim</b>", "bright"]


def test_it_asks_for_what_the_project_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    head = yaml.safe_load((SPACE / "README.md").read_text("utf-8").split("---")[1])
    assert (head["sdk"], head["license"]) == ("gradio", project["license"].lower())
    assert f"Programming Language :: Python :: {head['python_version']}" in project["classifiers"]
    assert (SPACE / head["app_file"]).is_file()
    (extra,) = re.findall(r"^gateshift\[(\w+)\]$", (SPACE / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    (least,) = (line.partition(">=")[2] for line in project["optional-dependencies"][extra] if "gradio" in line)
    assert [*map(int, head["sdk_version"].split("."))] >= [*map(int, least.split("."))]


@pytest.mark.slow
@pytest.mark.parametrize("is_on_hub", [True, False])
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the Hub's client
def test_it_serves_a_model(is_on_hub: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed; pip install '.[demo]'")
    space = Path(shutil.copytree(SPACE, tmp_path / "space"))
    write_brightness_model(space / "model.safetensors")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(tmp_path / "temp")}
    with Hub() as hub:
        if is_on_hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own for large files
            gs.load_model(space / "model.safetensors").push_to_hub("user/name", token=TOKEN)
            (space / "model.safetensors").unlink()
            environment |= {"MODEL": "hf://user/name", "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
            environment["HF_HUB_DISABLE_XET"] = "1"
        process = subprocess.Popen([sys.executable, "app.py"], cwd=space, env=environment)
        try:
            assert answer(f"http://127.0.0.1:{port}/api/model", process)["classes"] == CLASSES
        finally:
            process.kill()
            process.wait()


def answer(address: str, process: subprocess.Popen[bytes]) -> dict[str, object]:
    """What a server says once it is up."""
    end_s = time.monotonic() + 120
    while time.monotonic() < end_s and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(address, timeout=30) as response:
            found: dict[str, object] = json.load(response)
            return found
        time.sleep(0.2)
    raise AssertionError(f"nothing answers at {address}")
