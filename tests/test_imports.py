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
# What the library does not need beside it, with parts of torch that take long, and rooms of this package.
NOT_IN_PYTHON = {
    *(NOT_TO_PREDICT | {"fastapi", "fsspec", "requests", "rich", "transformers", "tyro", "uvicorn"}),
    *("torch._dynamo", "torch._inductor", "torch.onnx", "torch.distributed.fsdp", "torchvision.models.detection"),
    *(f"gateshift.{room}" for room in ("training", "bench", "demo", "explanation", "web", "drawing", "recipes", "cli")),
}
SAY = "print(json.dumps(sorted(sys.modules)))"


def imported(*steps: str, folder: Path | None = None) -> list[set[str]]:
    """The modules that a program has imported after each of its steps."""
    code = "\n".join(f"{step.strip()}\n{SAY}" for step in steps)
    command = [sys.executable, "-c", f"import json, sys\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
    return [set(json.loads(line)) for line in done.stdout.splitlines() if line.startswith('["')]


def test_the_package_alone_imports_nothing() -> None:
    (found,) = imported("import gateshift; gateshift.__version__; dir(gateshift)")
    assert found & {*HEAVY, "rich", "tyro"} == set()


@pytest.mark.slow
def test_no_help_waits_for_a_heavy_library_or_for_another_verb() -> None:
    of_all = """
from contextlib import suppress
from gateshift.cli.main import main
with suppress(SystemExit):
    main(["--help"])
"""
    of_one = """
with suppress(SystemExit):
    main(["predict", "--help"])
assert "gateshift.prediction.settings" in sys.modules and "gateshift.training.settings" not in sys.modules
"""
    of_each = f"""
for verb in {list(VERBS)}:
    with suppress(SystemExit):
        main([verb, "--help"])
"""
    first, second, last = imported(of_all, of_one, of_each)
    assert first & {"tyro", "rich"} == set()
    assert "tyro" in second
    assert last & HEAVY == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "others"), [("bninception", {"timm", "torchvision"}), ("test_resnet", set[str]())]
)
def test_one_prediction_imports_what_it_uses(backbone: str, others: set[str], clips: Path, tmp_path: Path) -> None:
    gs.save_model(gs.create_model(backbone, classes=["a", "b"], num_segments=2), tmp_path / "m.safetensors")
    (tmp_path / "c.mp4").symlink_to(clips / "unseen" / "pick_up.mp4")
    load = "import gateshift as gs\ngs.load_model('m.safetensors')"
    in_python = "from gateshift.prediction.predict import predict_with\n"
    in_python += "assert predict_with(gs.load_model('m.safetensors'), 'c.mp4').label"
    predict = "from gateshift.cli.main import main\nmain(['predict', 'm.safetensors', 'c.mp4'])"
    torch_and_timm, loaded, by_python, predicted = imported(
        "import torch" + ", timm" * (not others), load, in_python, predict, folder=tmp_path
    )
    assert predicted & {*NOT_TO_PREDICT, *others} == set()
    assert (by_python - torch_and_timm) & NOT_IN_PYTHON == set()
    assert "av" not in loaded and "av" in by_python


@pytest.mark.slow
def test_scores_of_events_and_spans_need_no_network_and_no_video() -> None:
    events = (
        "import gateshift as gs\nevent = {'video': 'v', 'frame': 3, 'label': 'hit'}\ngs.score_events([event], [event])"
    )
    spans = "gs.score_spans({'v': [gs.Span(0, 1, 'walk')]}, {})\ngs.suppress([gs.Event('v', 'hit', 3, score=0.5)], 2)"
    _, scored = imported(events, spans)
    assert scored & HEAVY == {"numpy"}
