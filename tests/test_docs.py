"""What the documents say is true."""

import dataclasses
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from gateshift.cli.main import VERBS, main, parse
from gateshift.cli.recipe_words import put_recipe
from gateshift.data.lists.manifest import read_manifest
from gateshift.demo.reversal_clips import write_reversal_clips
from gateshift.exporting.writing import write_export
from gateshift.model.classifier import create_model
from gateshift.model.cost import count_cost
from gateshift.model.io import save_model
from gateshift.published.costs import recipe_costs
from gateshift.recipes.options import AugmentOptions, ModelOptions, OptimOptions, SkewOptions
from gateshift.recipes.recipe import load_recipe, recipe_names

ROOT = Path(__file__).parent.parent


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The gateshift commands of a document: lines of its shell blocks, and what stands in its tables."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = re.findall(r"^\s*(?:\w+=\S+ |.* -m )?gateshift (.*)$", blocks, re.MULTILINE)
    found = (*lines, *re.findall(r"<br>`gateshift (.*?)`", text))
    return [[word for word in shlex.split(line, comments=True) if not word.startswith("$")] for line in found]


PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))]
PAGES_WITH_COMMANDS = [page for page in PAGES if commands((ROOT / page).read_text("utf-8"))]
PAGES_WITH_PYTHON = [page for page in PAGES if python_blocks(page) and page != "docs/python.md"]  # has its own test


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the documents' commands leave: lists of real clips, and an untrained model."""
    folder = tmp_path_factory.mktemp("made")
    write_reversal_clips(folder / "drawn", train_per_class=4, val_per_class=1, size_px=(48, 36))
    (folder / "drawn" / "train").rename(folder / "my_clips")
    (folder / "drawn" / "unseen" / "pick_up.mp4").rename(folder / "new_clip.mp4")
    shutil.rmtree(folder / "drawn")
    main(["prepare", "folder", str(folder / "my_clips"), "--out", str(folder / "lists")])
    classes = read_manifest(folder / "lists" / "train.csv").class_names()
    (folder / "run").mkdir()
    model = create_model("test_resnet", classes=classes, num_segments=8, size_px=56).eval()
    save_model(model, folder / "run" / "best.safetensors")
    return folder


def export_best(folder: Path) -> None:
    # Of the size that the page says; without gates, as what is written costs time for each.
    model = create_model("test_resnet", "none", num_classes=10, num_segments=8, size_px=224).eval()
    clips = torch.randint(0, 256, (2, 8, 3, 224, 224), dtype=torch.uint8)
    write_export(model, folder / "best.onnx", "onnx", clips=clips)


@pytest.mark.slow
@pytest.mark.parametrize("document", PAGES_WITH_PYTHON)
def test_the_documents_python_runs(
    document: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    blocks = python_blocks(document)
    if any("best.onnx" in block for block in blocks):
        export_best(Path())
    names: dict[str, object] = {"__name__": document}
    for block in blocks:
        exec(compile(block, document, "exec"), names)
    if document == "README.md":
        assert "gsm at 8 sites (resnet)" in capsys.readouterr().out


@pytest.mark.parametrize("document", PAGES_WITH_COMMANDS)
def test_the_documents_commands_are_understood(document: str) -> None:
    for words in commands((ROOT / document).read_text("utf-8")):
        parts = put_recipe(words) if words[0] in ("train", "test") else {"": words}
        assert all(type(parse(each)) is VERBS[words[0]].settings_type() for each in parts.values())


@pytest.mark.slow
def test_the_commands_of_the_first_page_run_as_they_stand(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "my_clips", tmp_path / "my_clips")
    shutil.copy(made / "new_clip.mp4", tmp_path)
    monkeypatch.chdir(tmp_path)
    found = commands((ROOT / "docs/index.md").read_text("utf-8"))
    assert [words[0] for words in found] == ["scan", "prepare", "train", "test", "predict"]
    for words in found:
        main(words)
    assert (tmp_path / "first_report.html").is_file()
    assert "new_clip.mp4" in capsys.readouterr().out


def test_the_messages_of_the_troubleshooting_page_are_messages_of_ours() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/troubleshooting.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) > 5
    assert [row for row in rows if row not in source] == []


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenetv2_100", "resnet18"])
def test_the_costs_of_backbones_are_those_that_are_counted(backbone: str) -> None:
    plain, gated = (count_cost(create_model(backbone, temporal, num_classes=174)) for temporal in ("none", "gsm"))
    figures = (
        f"{plain.parameters / 1e6:.2f}",
        f"{plain.macs / 1e9:.3f}",
        f"{gated.parameters / plain.parameters - 1:.2%}".replace("%", " %"),
        f"{gated.macs / plain.macs - 1:.2%}".replace("%", " %"),
    )
    assert f"| `{backbone}` | {' | '.join(figures)} |" in (ROOT / "docs/backbones.md").read_text("utf-8")


def test_useful_commands_come_early_in_the_readme_and_it_is_short() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert next(number for number, line in enumerate(lines, start=1) if line.startswith(("make ", "gateshift "))) <= 20
    assert any(line.startswith("![") for line in lines[:20])
    assert len(lines) <= 150


def test_every_published_row_is_in_the_documents_with_its_figure() -> None:
    rows = {
        line.split("`")[1]: line for line in (ROOT / "docs/published.md").read_text().splitlines() if "--recipe" in line
    }
    for recipe in map(load_recipe, recipe_names()):
        published = "not stated" if recipe.published is None else f"{recipe.published:.2f}"
        assert f"| {published} | not measured: needs the data set |" in rows[recipe.name]
        assert f"gateshift download {recipe.name}`" in rows[recipe.name]


@pytest.mark.slow
def test_the_documents_costs_are_those_that_are_counted() -> None:
    text = (ROOT / "docs/published.md").read_text()
    for name in ("gsm-bninception-8", "gsf-resnet50-16"):
        plain, full = recipe_costs(load_recipe(name))
        figures = (plain.parameters / 1e6, full.parameters / 1e6)
        assert "{:.3f} | {:.3f} | {:.4f} | {:.4f}".format(*figures, plain.macs / 1e9, full.macs / 1e9) in text


def test_moving_over_names_options_that_there_are() -> None:
    known = {"--help"}
    for verb in VERBS.values():
        for part in (verb.settings_type(), ModelOptions, OptimOptions, AugmentOptions, SkewOptions):
            known |= {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(part)}
    rows = [line.split("|") for line in (ROOT / "docs/moving-over.md").read_text().splitlines() if line.count("|") == 3]
    assert len(rows) > 60
    for row in rows:
        unknown = set(re.findall(r"--[a-z][a-z-]+", row[2])) - known
        assert not unknown, row
