"""The wheel that users install: what is in it, and that it runs without the sources beside it."""

import email
import json
import os
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest
import torch

import gateshift as gs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a clean copy of what the build needs, by the setuptools that is installed."""
    pytest.importorskip("setuptools", minversion="77")
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(copy)], check=True, timeout=120)
    (built,) = out.iterdir()
    return built


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"gateshift-{gs.__version__}.dist-info/METADATA"))


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in (source / "gateshift").rglob("*") if path.is_file()}
    wanted = {name for name in files if "__pycache__" not in name} - {"gateshift/recipes/README.md"}
    found = names_in(wheel)
    assert {name for name in found if ".dist-info/" not in name} == wanted
    assert "gateshift/py.typed" in found
    assert "gateshift/evaluation/templates/report.html.jinja" in found
    assert "gateshift/recipes/gsm-bninception-8.toml" in found
    assert "gateshift/recipes/classes/something-v1.txt" in found


def test_the_wheel_is_for_every_machine_and_says_what_it_needs(wheel: Path) -> None:
    assert wheel.name == f"gateshift-{gs.__version__}-py3-none-any.whl"
    described = metadata(wheel)
    assert described["Requires-Python"] == ">=3.10"
    assert described["License-Expression"] == "Apache-2.0"
    assert {"export", "demo", "docs", "dev"} <= set(described.get_all("Provides-Extra", []))
    needed = [line for line in described.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert any(line.startswith("torch>=") for line in needed)
    assert not any(line.startswith("pytest") for line in needed)
    assert any(name.endswith("licenses/LICENSE") for name in names_in(wheel))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel alone; what it depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, str(wheel)], check=True, timeout=120)
    return folder


def run(installed: Path, cwd: Path, *command: str) -> str:
    """Run a command that finds the installed wheel first; its output."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_package_is_the_one_that_is_run(installed: Path, tmp_path: Path) -> None:
    printed = run(installed, tmp_path, sys.executable, "-c", "import gateshift; print(gateshift.__file__)")
    assert Path(printed.strip()) == installed / "gateshift" / "__init__.py"


def test_the_installed_command_says_what_it_can_do(installed: Path, tmp_path: Path) -> None:
    command = str(installed / "bin" / "gateshift")
    assert run(installed, tmp_path, command, "--version") == f"gateshift {gs.__version__}\n"
    assert "predict" in run(installed, tmp_path, command, "--help")
    assert "gsm-bninception-8" in run(installed, tmp_path, command, "recipes")
    assert "[model]" in run(installed, tmp_path, command, "recipes", "gsm-bninception-8")


def test_the_installed_command_predicts_and_writes_reports(installed: Path, clips: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classes = (clips / "classes.txt").read_text().split("\n")[:-1]
    model = gs.create_model("test_resnet", "gsm", classes=classes, num_segments=2, size_px=32)
    gs.save_model(model, tmp_path / "model.safetensors")
    command = [str(installed / "bin" / "gateshift")]
    video = str(clips / "unseen" / "cover.mp4")
    printed = run(installed, tmp_path, *command, "predict", "model.safetensors", video, "--top", "1", "--json")
    record = json.loads(printed)
    assert record["error"] is None
    assert record["top"][0]["class"] in classes
    tested = ["test", "model.safetensors", str(clips / "val.csv"), "--workers", "0", "--report", "report.html"]
    run(installed, tmp_path, *command, *tested)
    assert "<html" in (tmp_path / "report.html").read_text()
