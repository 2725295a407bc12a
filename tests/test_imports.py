"""What is imported when: a start is quick because heavy libraries come where they are used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import gateshift as gs
from gateshift.cli.verb_list import VERBS

# What a prediction does not need. timm itself imports torchvision.
NOT_TO_PREDICT = {
    "accelerate",
    "gdown",
    "gradio",
    "jinja2",
    "matplotlib",
    "nncf",
    "onnx",
    "onnxruntime",
    "openvino",
    "pandas",
    "ray",
    "scipy",
    "sklearn",
    "tensorboard",
}
HEAVY = {*NOT_TO_PREDICT, "PIL", "av", "numpy", "simplejpeg", "timm", "torch", "torchvision"}
PROGRAM = """
import json, sys
{code}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def imported(code: str, folder: Path | None = None) -> set[str]:
    """The distributions that a program imports, by their top-level modules."""
    command = [sys.executable, "-c", PROGRAM.format(code=code)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_alone_imports_nothing() -> None:
    assert imported("import gateshift; gateshift.__version__; dir(gateshift)") & {*HEAVY, "rich", "tyro"} == set()


def test_no_help_waits_for_a_heavy_library() -> None:
    code = """
from contextlib import suppress
from gateshift.cli.main import main
with suppress(SystemExit):
    main(["--help"])
assert "tyro" not in sys.modules and "rich" not in sys.modules
for verb in {verbs}:
    with suppress(SystemExit):
        main([verb, "--help"])
"""
    assert imported(code.format(verbs=list(VERBS))) & HEAVY == set()


def test_a_verb_imports_no_other() -> None:
    code = """
from contextlib import suppress
from gateshift.cli.main import main
with suppress(SystemExit):
    main(["predict", "--help"])
print([name for name in sys.modules if name.startswith("gateshift.") and name.endswith("settings")])
assert "gateshift.prediction.settings" in sys.modules and "gateshift.training.settings" not in sys.modules
"""
    assert "tyro" in imported(code)


@pytest.mark.parametrize(
    ("backbone", "others"), [("bninception", {"timm", "torchvision"}), ("test_resnet", set[str]())]
)
@pytest.mark.parametrize("use", ["main(['predict', 'm.safetensors', 'c.mp4'])", "gs.load_model('m.safetensors')"])
def test_one_prediction_imports_what_it_uses(
    backbone: str, others: set[str], use: str, clips: Path, tmp_path: Path
) -> None:
    gs.save_model(gs.create_model(backbone, classes=["a", "b"], num_segments=2), tmp_path / "m.safetensors")
    (tmp_path / "c.mp4").symlink_to(clips / "unseen" / "pick_up.mp4")
    found = imported(f"import gateshift as gs\nfrom gateshift.cli.main import main\n{use}", tmp_path)
    assert found & {*NOT_TO_PREDICT, *others} == set()
    assert "torch" in found and ("av" in found) == ("predict" in use)
